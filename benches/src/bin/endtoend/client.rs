//! A client of Leveret that speaks by queue: it submits jobs, and is answered on a queue of its own.

use std::{collections::HashMap, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use lapin::{Channel, Connection, message::Delivery};
use proto::topology::{JOB_KEY, Topology};
use serde_json::{Value, json};

use crate::{
    amqp::{self, Inbox, Message},
    floor::{Measured, correlation},
};

/// The client of one prefix.
pub struct Client {
    /// Held: its channels end with it.
    _connection: Connection,
    channel: Channel,
    answers: Inbox,
    address: Address,
    /// Number of the next job.
    next: u32,
    /// When the jobs that are not finished were sent.
    waiting: HashMap<u32, Instant>,
}

/// Where jobs go, and where their answers.
struct Address {
    topology: Topology,
    reply_to: String,
}

/// A run that has ended.
pub struct Finished {
    pub run: String,
    pub status: String,
    /// From submission to this answer.
    pub seconds: f64,
    error: Value,
}

impl Client {
    /// Connects, with a queue for answers that is as durable as all others.
    pub async fn connect(url: &str, topology: &Topology) -> Result<Self> {
        let connection = amqp::connect(url, "client").await?;
        let channel = amqp::confirming(&connection).await?;
        let reply_to = format!("{}client", topology.reply_prefix());
        amqp::declare(&channel, &reply_to).await?;
        let answers = Inbox::open(&connection, &reply_to).await?;
        let address = Address { topology: topology.clone(), reply_to };
        Ok(Self { _connection: connection, channel, answers, address, next: 0, waiting: HashMap::new() })
    }

    /// The channel, for whoever has something to declare or to remove.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Submits a job and waits until its run has succeeded.
    pub async fn run(&mut self, job: &Value) -> Result<Finished> {
        let number = self.submit(job).await?;
        let finished = self.finish(number).await?;
        ensure!(finished.status == "succeeded", "the run is {}: {}", finished.status, finished.error);
        Ok(finished)
    }

    /// Submits a job: its number.
    pub async fn submit(&mut self, job: &Value) -> Result<u32> {
        let number = self.number();
        self.waiting.insert(number, Instant::now());
        amqp::publish(&self.channel, &self.address.job(number, job.to_string().into_bytes())).await?;
        Ok(number)
    }

    /// Waits for the end of that run; no other may be under way, but such as end later.
    pub async fn finish(&mut self, number: u32) -> Result<Finished> {
        loop {
            let answer = self.answers.next().await?;
            let Some(finished) = read(&answer)? else { continue };
            let answered = correlation(&answer.properties)?;
            let Some(sent) = self.waiting.remove(&answered) else { continue };
            ensure!(answered == number, "the run {answered} ended before the run {number}");
            let seconds = sent.elapsed().as_secs_f64();
            self.answers.acknowledge().await?;
            return Ok(Finished { seconds, ..finished });
        }
    }

    /// Submits `count` times the same job, as fast as the window lets it, and waits until all have succeeded.
    pub async fn burst(&mut self, job: &Value, count: u32) -> Result<Measured> {
        let body = job.to_string().into_bytes();
        let first = self.next;
        self.next += count;
        let began = Instant::now();
        let sent: Vec<_> = (0..count).map(|_| std::cell::Cell::new(Some(began))).collect();
        let Self { channel, answers, address, .. } = self;
        let messages = (0..count).map(|at| {
            sent[at as usize].set(Some(Instant::now()));
            address.job(first + at, body.clone())
        });
        let collecting = async {
            let mut millis = Vec::with_capacity(count as usize);
            while millis.len() < count as usize {
                let answer = answers.next().await?;
                let Some(finished) = read(&answer)? else { continue };
                ensure!(finished.status == "succeeded", "a run is {}: {}", finished.status, finished.error);
                let at = correlation(&answer.properties)?.wrapping_sub(first);
                // One that came twice has no time any more.
                if let Some(sent) = sent.get(at as usize).and_then(std::cell::Cell::take) {
                    millis.push(sent.elapsed().as_secs_f64() * 1000.0);
                }
            }
            let seconds = began.elapsed().as_secs_f64();
            answers.acknowledge().await?;
            Ok(Measured { seconds, millis })
        };
        let ((), measured) = tokio::try_join!(amqp::publish_all(channel, messages), collecting)?;
        Ok(measured)
    }

    /// Cancels a run, and waits for its end.
    pub async fn cancel(&mut self, number: u32) -> Result<()> {
        let order = json!({ "command": "cancel", "id": run_id(number) });
        let message = Message {
            exchange: self.address.topology.jobs_exchange().into(),
            key: JOB_KEY.into(),
            properties: amqp::persistent(),
            body: order.to_string().into_bytes(),
        };
        amqp::publish(&self.channel, &message).await?;
        let finished = self.finish(number).await?;
        ensure!(finished.status == "canceled", "the run is {}, not cancelled", finished.status);
        Ok(())
    }

    /// Removes the queue for answers.
    pub async fn end(self) -> Result<()> {
        drop(self.answers);
        amqp::delete(&self.channel, &self.address.reply_to).await
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

impl Address {
    fn job(&self, number: u32, body: Vec<u8>) -> Message {
        let properties = amqp::persistent()
            .with_message_id(run_id(number).into())
            .with_correlation_id(number.to_string().into())
            .with_reply_to(self.reply_to.as_str().into());
        Message { exchange: self.topology.jobs_exchange().into(), key: JOB_KEY.into(), properties, body }
    }
}

/// The id of the run of a job that was submitted here.
fn run_id(number: u32) -> String {
    format!("run-{number}")
}

/// What an answer says about the end of a run; nothing when it says only that the job was accepted.
fn read(answer: &Delivery) -> Result<Option<Finished>> {
    let kind = answer.properties.kind().as_ref().map(|kind| kind.as_str()).unwrap_or_default();
    match kind {
        "accepted" => Ok(None),
        "finished" => {
            let body: Value = serde_json::from_slice(&answer.data).context("reading an answer")?;
            let text = |key: &str| body[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {body}"));
            let (run, status) = (text("id")?, text("status")?);
            Ok(Some(Finished { run, status, seconds: 0.0, error: body["error"].clone() }))
        }
        _ => bail!("a job was answered {kind:?}: {}", String::from_utf8_lossy(&answer.data)),
    }
}
