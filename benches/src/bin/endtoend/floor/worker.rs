//! The floor's worker: a process that answers each task with a result, and does nothing else.

use std::{io::Read as _, thread};

use anyhow::{Context, Result};
use futures_util::{StreamExt as _, stream::FuturesOrdered};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::oneshot;

use super::Queues;
use crate::amqp::{self, ACKS, Message, PREFETCH};

/// Bytes of a result.
const RESULT_BYTES: usize = 256;

/// Works until standard input ends.
pub async fn run(url: &str, prefix: &str) -> Result<()> {
    let queues = Queues::under(prefix);
    let consuming = amqp::connect(url, "floor worker consume").await?;
    let publishing = amqp::connect(url, "floor worker publish").await?;
    let out = amqp::confirming(&publishing).await?;
    let channel = consuming.create_channel().await.context("opening a channel")?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.context("setting the prefetch")?;
    let consumer = channel.basic_consume(
        queues.tasks.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consumer.await.context("consuming")?;
    let mut ended = end_of_input();
    // In order, so that one acknowledgement covers all before it.
    let mut flying = FuturesOrdered::new();
    let mut done = 0;
    loop {
        // All are cancel safe: `next` of a stream, and a receiver.
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.context("the consumer ended")?.context("consuming")?;
                flying.push_back(answer(&out, &queues.results, delivery));
            }
            Some(tag) = flying.next(), if !flying.is_empty() => {
                let tag = tag?;
                done += 1;
                if done == ACKS || flying.is_empty() {
                    amqp::acknowledge(&channel, tag).await?;
                    done = 0;
                }
            }
            _ = &mut ended => return Ok(()),
        }
    }
}

/// Publishes the result of a task, and gives the tag to acknowledge once it is confirmed.
async fn answer(out: &Channel, queue: &str, task: Delivery) -> Result<u64> {
    let mut properties = amqp::persistent();
    if let Some(id) = task.properties.correlation_id() {
        properties = properties.with_correlation_id(id.clone());
    }
    let body = vec![b'0'; RESULT_BYTES];
    amqp::publish(out, &Message { exchange: "".into(), key: queue.into(), properties, body }).await?;
    Ok(task.delivery_tag)
}

/// Resolves when standard input ends: whoever started this process has gone.
fn end_of_input() -> oneshot::Receiver<()> {
    let (tx, rx) = oneshot::channel();
    thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // Nobody may listen any more.
        let _ = tx.send(());
    });
    rx
}
