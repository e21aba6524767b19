//! What came of a fan-out, for people and for programs.

use std::time::Duration;

use proto::{SCHEMA, time::Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::Options;
use crate::{
    client::Happened,
    ending::Error,
    table::{Cell, Table},
};

/// The document of `leveret bench -o json`.
#[derive(Debug, Serialize)]
pub struct Document {
    schema: u16,
    bench: Measured,
}

/// Figures of one fan-out.
#[derive(Debug, Serialize)]
pub struct Measured {
    items: u32,
    context_bytes: u32,
    workers: u32,
    /// `memory` or `rabbitmq`.
    queues: &'static str,
    /// From the list of items being known to the last item being done.
    seconds: f64,
    items_per_second: f64,
    /// From the job's being handed in to the end of its run; the context is made in it, too.
    run_seconds: f64,
    /// The most that this process had resident; absent where the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
}

impl Measured {
    /// Reads the times out of the run's facts.
    pub fn read(options: &Options, facts: &[Happened], run_seconds: f64) -> Result<Self, Error> {
        let seconds =
            fan_out(facts).ok_or_else(|| Error::failed("the run's facts do not tell when its items began"))?;
        let seconds = seconds.as_secs_f64();
        Ok(Self {
            items: options.items,
            context_bytes: options.context,
            workers: options.workers,
            queues: if options.amqp.is_some() { "rabbitmq" } else { "memory" },
            seconds,
            items_per_second: f64::from(options.items) / seconds,
            run_seconds,
            peak_memory_bytes: peak_memory_bytes(),
        })
    }

    /// For programs.
    pub fn document(self) -> Document {
        Document { schema: SCHEMA, bench: self }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::default();
        let mut line = |what: &str, figure: String| table.row([Cell::plain(what), Cell::plain(figure)]);
        line("items", self.items.to_string());
        line("context", format!("{} bytes", self.context_bytes));
        line("workers", self.workers.to_string());
        line("queues", self.queues.to_owned());
        line("items/s", format!("{:.0}", self.items_per_second));
        line("seconds", format!("{:.3}", self.seconds));
        line("whole run", format!("{:.3} s", self.run_seconds));
        if let Some(bytes) = self.peak_memory_bytes {
            line("peak memory", format!("{} MiB", bytes >> 20));
        }
        table.render()
    }
}

/// From the list of items to the end of their task, by the scheduler's clock of milliseconds.
fn fan_out(facts: &[Happened]) -> Option<Duration> {
    let when = |wanted: &str| -> Option<Timestamp> {
        let is_it = |fact: &&Happened| fact.what.parse::<Value>().is_ok_and(|what| what.get(wanted).is_some());
        facts.iter().rev().find(is_it).map(|fact| fact.at)
    };
    Some(when("ended")?.since(when("listed")?).max(Duration::from_millis(1)))
}

fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
