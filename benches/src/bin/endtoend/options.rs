//! What is measured, and with what.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

/// Measures Leveret from end to end on a real RabbitMQ, beside bare lapin on the same one.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    pub part: Option<Part>,
    /// What to measure; everything when absent
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    pub rows: Vec<Kind>,
    /// Samples of each row
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub samples: u32,
    /// A broker that runs already; with --broker-dir. Otherwise one is started and stopped again
    #[arg(long, value_name = "URL", requires = "broker_dir")]
    amqp: Option<String>,
    /// Its folder for scripts/broker.sh
    #[arg(long, value_name = "DIR", requires = "amqp")]
    broker_dir: Option<PathBuf>,
    /// Worker processes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// The binary to measure
    #[arg(long, default_value = "target/release/leveret", value_name = "PATH")]
    pub leveret: PathBuf,
    /// Where the results are written
    #[arg(long, default_value = "target/bench/endtoend.json", value_name = "OUT")]
    pub json: PathBuf,
}

/// Other things that this program does.
#[derive(Subcommand)]
pub enum Part {
    /// The worker of the floor; ends with its standard input
    #[command(hide = true)]
    FloorWorker {
        #[arg(long)]
        amqp: String,
        #[arg(long)]
        prefix: String,
    },
}

/// A kind of measurement, which gives one or several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// 10,000 items that do nothing, and the floor
    Noop,
    /// 20,000 runs of one task each, submitted and answered by queue, and the floor
    Queue,
    /// 40 tasks, one after the other
    Sequence,
    /// One task at a time on an idle system, and the floor
    Latency,
    /// 1,000 items that share a context which no worker has yet
    Cold,
    /// 1,000, 10,000 and 100,000 items: time and memory
    Items,
    /// A small run beside a large one
    Fairness,
}

impl Options {
    /// The kinds to measure, in their order.
    pub fn kinds(&self) -> Vec<Kind> {
        let all = Kind::value_variants().iter().copied();
        all.filter(|kind| self.rows.is_empty() || self.rows.contains(kind)).collect()
    }

    /// A broker that runs already.
    pub fn running_broker(&self) -> Result<Option<(String, PathBuf)>> {
        match (&self.amqp, &self.broker_dir) {
            (Some(url), Some(folder)) => Ok(Some((url.clone(), folder.clone()))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => bail!("--amqp and --broker-dir go together"),
        }
    }
}
