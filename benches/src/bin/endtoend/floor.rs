//! The raw floor: one message per task and no engine. A driver publishes, a process of its own consumes, publishes a
//! result and acknowledges, the driver consumes the results. Everything is persistent, mandatory, confirmed, and goes
//! over quorum queues.

pub mod worker;

use std::{
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use lapin::{Channel, Connection};

use crate::amqp::{self, Inbox, Message};

/// Bytes of a task's message, as Leveret's own are.
const TASK_BYTES: usize = 512;

/// The driver, its worker process and their two queues.
pub struct Floor {
    /// Held: its channels end with it.
    _connection: Connection,
    channel: Channel,
    results: Inbox,
    queues: Queues,
    worker: Worker,
}

/// What came of some tasks.
pub struct Measured {
    /// From the first publish to the last result.
    pub seconds: f64,
    /// Of each task, from its publish to its result.
    pub millis: Vec<f64>,
}

#[derive(Clone)]
struct Queues {
    tasks: String,
    results: String,
}

/// The worker's process, which ends with its standard input.
struct Worker(Child);

impl Queues {
    fn under(prefix: &str) -> Self {
        Self { tasks: format!("{prefix}.tasks"), results: format!("{prefix}.results") }
    }
}

impl Floor {
    /// Starts it under a prefix, and waits until it has done a task.
    pub async fn start(url: &str, prefix: &str) -> Result<Self> {
        let queues = Queues::under(prefix);
        let connection = amqp::connect(url, "floor driver").await?;
        let channel = amqp::confirming(&connection).await?;
        amqp::declare(&channel, &queues.tasks).await?;
        amqp::declare(&channel, &queues.results).await?;
        let results = Inbox::open(&connection, &queues.results).await?;
        let own = std::env::current_exe().context("looking for this program")?;
        let child = Command::new(own)
            .args(["floor-worker", "--amqp", url, "--prefix", prefix])
            .stdin(Stdio::piped())
            .spawn()
            .context("starting the floor's worker")?;
        let mut floor = Self { _connection: connection, channel, results, queues, worker: Worker(child) };
        floor.burst(1).await?;
        Ok(floor)
    }

    /// Does `count` tasks as fast as it can.
    pub async fn burst(&mut self, count: u32) -> Result<Measured> {
        let began = Instant::now();
        let sent: Vec<_> = (0..count).map(|_| std::cell::Cell::new(began)).collect();
        let messages = (0..count).map(|number| {
            sent[number as usize].set(Instant::now());
            self.queues.task(number)
        });
        let results = &mut self.results;
        let collecting = async {
            let mut millis = Vec::with_capacity(count as usize);
            while millis.len() < count as usize {
                let result = results.next().await?;
                let number: u32 = correlation(&result.properties)?;
                let at = sent.get(number as usize).context("a result of a task that was not sent")?;
                millis.push(at.get().elapsed().as_secs_f64() * 1000.0);
            }
            let seconds = began.elapsed().as_secs_f64();
            results.acknowledge().await?;
            Ok(Measured { seconds, millis })
        };
        let ((), measured) = tokio::try_join!(amqp::publish_all(&self.channel, messages), collecting)?;
        Ok(measured)
    }

    /// Does one task after the other: milliseconds of each.
    pub async fn one_at_a_time(&mut self, count: u32) -> Result<Vec<f64>> {
        let mut millis = Vec::with_capacity(count as usize);
        for _ in 0..count {
            millis.extend(self.burst(1).await?.millis);
        }
        Ok(millis)
    }

    /// Stops it and removes its queues.
    pub async fn end(self) -> Result<()> {
        drop(self.worker);
        drop(self.results);
        amqp::delete(&self.channel, &self.queues.tasks).await?;
        amqp::delete(&self.channel, &self.queues.results).await
    }
}

impl Queues {
    fn task(&self, number: u32) -> Message {
        let head = format!("{{\"task\":{number},\"input\":\"");
        let mut body = head.into_bytes();
        body.resize(TASK_BYTES - 2, b'x');
        body.extend_from_slice(b"\"}");
        Message {
            exchange: "".into(),
            key: self.tasks.as_str().into(),
            properties: amqp::persistent().with_correlation_id(number.to_string().into()),
            body,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing is left to be done about one that does not end.
        let _ = self.0.wait();
    }
}

/// The number that a message answers.
pub fn correlation(properties: &lapin::BasicProperties) -> Result<u32> {
    let id = properties.correlation_id().as_ref().context("a message without a correlation id")?;
    ensure!(!id.as_str().is_empty(), "a message with an empty correlation id");
    id.as_str().parse().with_context(|| format!("the correlation id {id}"))
}
