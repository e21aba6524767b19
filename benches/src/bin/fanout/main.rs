//! The whole way of 10,000 items: a scheduler and some workers as processes of their own, one RabbitMQ between them, and
//! a context that every item reads. Says what an item costs in time, on the wire and in memory.
//!
//! ```text
//! cargo run --release -p leveret-benches --bin fanout
//! ```
//!
//! | variable | |
//! |---|---|
//! | `LEVERET_BIN` | the `leveret` to measure; `target/release/leveret` |
//! | `LEVERET_AMQP_URL` | a broker that runs already, with `LEVERET_BROKER_DIR`, its folder for `scripts/broker.sh`; without them one is started and stopped again |
//! | `LEVERET_BENCH_ITEMS`, `LEVERET_BENCH_WORKERS` | 10,000 and 2 |
//!
//! Bytes are those of the broker's own counters, of all connections: bodies, headers, acknowledgements and heartbeats.

mod broker;
mod fleet;
mod http;
mod measure;

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use broker::Broker;
use measure::{Measured, measure};

/// Sizes of the shared context, in bytes of JSON.
const CONTEXTS: [(&str, usize); 3] = [("1 KB", 1 << 10), ("1 MB", 1 << 20), ("5 MB", 5 << 20)];

/// What is measured.
struct Settings {
    binary: PathBuf,
    items: u32,
    workers: u32,
}

fn main() -> Result<()> {
    let settings = Settings {
        binary: env::var_os("LEVERET_BIN").map_or_else(|| "target/release/leveret".into(), PathBuf::from),
        items: number("LEVERET_BENCH_ITEMS", 10_000)?,
        workers: number("LEVERET_BENCH_WORKERS", 2)?,
    };
    ensure!(
        settings.binary.exists(),
        "{} is not there: cargo build --release -p leveret, or say LEVERET_BIN",
        settings.binary.display()
    );
    let broker = Broker::find_or_start(Path::new("scripts/broker.sh"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} items, {} workers, {}\n", settings.items, settings.workers, settings.binary.display())?;
    writeln!(
        out,
        "| context | items/s | seconds | bytes to the broker per item | from it | worker RSS, at most | scheduler RSS, at most | values fetched |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (name, bytes) in CONTEXTS {
        let measured = measure(&settings, &broker, bytes).with_context(|| format!("with a context of {name}"))?;
        writeln!(out, "{}", row(name, &settings, &measured))?;
        out.flush()?;
    }
    Ok(())
}

fn row(name: &str, settings: &Settings, measured: &Measured) -> String {
    let items = f64::from(settings.items);
    let mib = |kib: u64| format!("{:.0} MiB", kib as f64 / 1024.0);
    let octets = measured.octets;
    format!(
        "| {name} | {:.0} | {:.2} | {:.0} | {:.0} | {} | {} | {} |",
        items / measured.seconds,
        measured.seconds,
        octets.received as f64 / items,
        octets.sent as f64 / items,
        mib(measured.worker_peak_kib),
        mib(measured.scheduler_peak_kib),
        measured.values_fetched,
    )
}

fn number(name: &str, default: u32) -> Result<u32> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number: {text:?}")),
        Err(_) => Ok(default),
    }
}
