//! Confirmed publishing and batched consuming against a real broker, in messages per second. Its queues stay behind,
//! so give it a broker of its own: `scripts/broker.sh start DIR` prints the url of one.
//!
//! `cargo run --release -p leveret-queue --example throughput -- amqp://guest:guest@127.0.0.1:5672/%2f [messages]`

#![allow(clippy::print_stdout, reason = "the numbers are its output")]

use std::{error::Error, time::Instant};

use futures_util::{StreamExt, stream};
use leveret_queue::{Declared, Publication, Queue, Source, ack_all, amqp::Settings};
use proto::topology::{JOB_KEY, Topology};

const BODY_BYTES: usize = 512;
const IN_FLIGHT: usize = 512;
const BATCH_MAX: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: throughput AMQP_URL [MESSAGES]")?;
    let messages: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let topology = Topology::new(format!("throughput-{}", std::process::id()));
    let queue = Queue::connect(Settings::new(url, topology.clone())).await?;
    queue.declare(Declared::Core).await?;

    let began = Instant::now();
    publish(&queue, &topology, messages).await?;
    report("published and confirmed", messages, began);

    let began = Instant::now();
    consume(&queue, messages).await?;
    report("consumed and acked", messages, began);

    let began = Instant::now();
    let (published, consumed) = tokio::join!(publish(&queue, &topology, messages), consume(&queue, messages));
    published?;
    consumed?;
    report("both at once", messages, began);
    queue.close().await;
    Ok(())
}

async fn publish(queue: &Queue, topology: &Topology, messages: usize) -> Result<(), Box<dyn Error>> {
    let exchange = topology.jobs_exchange();
    let mut confirms = stream::iter(0..messages)
        .map(|number| {
            let mut publication = Publication::new(exchange.clone(), JOB_KEY, vec![b'x'; BODY_BYTES]);
            publication.message_id = Some(format!("message-{number}"));
            queue.publish(publication)
        })
        .buffer_unordered(IN_FLIGHT);
    while let Some(confirm) = confirms.next().await {
        confirm?;
    }
    Ok(())
}

async fn consume(queue: &Queue, messages: usize) -> Result<(), Box<dyn Error>> {
    let mut consumer = queue.consume(Source::Jobs, 512).await?;
    let mut received = 0;
    while received < messages {
        let mut batch: Vec<_> = consumer.recv().await.into_iter().collect();
        while batch.len() < BATCH_MAX
            && let Some(delivery) = consumer.try_recv()
        {
            batch.push(delivery);
        }
        received += batch.len();
        ack_all(batch);
    }
    consumer.stop().await;
    Ok(())
}

fn report(what: &str, messages: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no precision")]
    let rate = messages as f64 / seconds;
    println!("{what}: {messages} in {seconds:.2} s, {rate:.0}/s");
}
