//! The whole way, measured from outside: a scheduler and some workers as processes of their own, one RabbitMQ between
//! them, and in the same run on the same broker the floor: the same messages with bare lapin and no engine.
//!
//! ```text
//! cargo run --release -p leveret-benches --bin endtoend -- --rows noop,queue
//! ```
//!
//! `--help` names the rows. Progress goes to standard error, a table to standard output, and everything to a file of JSON.
//! Floor and Leveret take turns, so that a noisy neighbour hits both. Bytes are those of the broker's own counters, of all
//! connections: bodies, headers, acknowledgements and heartbeats. Peaks of memory are the kernel's (`VmHWM`).
//!
//! Parts in reading order: `options`, `bench` (what all have in common), `rows` (a file per kind of measurement), `client`
//! and `facts` (how Leveret is driven and timed), `floor`, `amqp` beneath both, then the processes: `broker`, `fleet`.

mod amqp;
mod bench;
mod broker;
mod client;
mod facts;
mod fleet;
mod floor;
mod http;
mod machine;
mod memory;
mod options;
mod relay;
mod rows;

use std::{io::Write as _, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use leveret_benches::report::{HEADING, Report};

use bench::Bench;
use broker::Broker;
use options::{Options, Part};

fn main() -> Result<()> {
    let options = Options::parse();
    // A thread beside the main one: connections stay alive while this one waits for a process.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    match &options.part {
        Some(Part::FloorWorker { amqp, prefix }) => runtime.block_on(floor::worker::run(amqp, prefix)),
        None => runtime.block_on(measure(options)),
    }
}

async fn measure(options: Options) -> Result<()> {
    ensure!(
        options.leveret.exists(),
        "{} is not there: cargo build --release -p leveret, or say --leveret",
        options.leveret.display()
    );
    let began = Instant::now();
    let broker = Broker::find_or_start(options.running_broker()?)?;
    let machine = machine::describe(&broker, &options.leveret)?;
    let bench = Bench::new(options, broker);
    let mut report = Report { schema: 1, machine, rows: Vec::new() };
    for kind in bench.options.kinds() {
        let taken = Instant::now();
        let rows = rows::measure(&bench, kind).await.with_context(|| format!("measuring {kind:?}"))?;
        bench.say(&format!("{kind:?} took {:.0} s", taken.elapsed().as_secs_f64()));
        report.rows.extend(rows);
    }
    report.write(&bench.options.json)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{HEADING}")?;
    for row in &report.rows {
        writeln!(out, "{}", row.markdown())?;
    }
    drop(out);
    bench.say(&format!("all took {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}
