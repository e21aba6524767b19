//! Items that share a context which no worker has yet.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use leveret_benches::report::{Row, short};
use serde_json::{Value, json};

use super::peaks::Peaks;
use crate::{
    bench::{Bench, job},
    broker::Octets,
    client::Client,
    facts::Times,
    fleet::Fleet,
    relay::Passed,
};

const ITEMS: u32 = 1_000;

/// Sizes of the shared context, in bytes of JSON.
const CONTEXTS: [(&str, usize); 4] = [("1KB", 1 << 10), ("100KB", 100 << 10), ("1MB", 1 << 20), ("5MB", 5 << 20)];

/// Bytes of a line in the file that becomes the context, its quotes and comma in JSON included.
const LINE_BYTES: usize = 64;

/// The first task reads the context from a file, because a submission may have 256 KiB at most; a worker of another pool
/// does it, so that those which do the items have to fetch it. Each item reads a line of it and its own value; its result
/// is a number, so that results do not hide what the items themselves cost.
const WORKFLOW: &str = r#"
name: cold
parameters:
  path: { type: string, required: true }
  items: { type: integer, required: true }
tasks:
  load:
    action: file.read_lines
    pool: loader
    input: { path: "{{ parameters.path }}" }
    next:
      - when: succeeded()
        publish: { context: "{{ result }}" }
        do: each
  each:
    action: core.echo
    with_items: "{{ range(end=parameters.items) }}"
    input: { message: "{{ (workflow.context[index % 10] | length) + item }}" }
"#;

/// `cold.1KB` to `cold.5MB`: each sample with processes of its own, whose caches are empty.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut taken: Vec<Vec<Sample>> = CONTEXTS.map(|_| Vec::new()).into();
    for _ in 0..bench.options.samples {
        for ((name, bytes), taken) in CONTEXTS.into_iter().zip(&mut taken) {
            let sample = sample(bench, bytes).await.with_context(|| format!("cold.{name}"))?;
            bench.say(&format!("cold.{name}: {} s", short(sample.seconds)));
            taken.push(sample);
        }
    }
    let mut rows = Vec::new();
    for ((name, bytes), taken) in CONTEXTS.into_iter().zip(&taken) {
        let values = values_bytes(bench, bytes).await.with_context(|| format!("values of cold.{name}"))?;
        rows.push(row(name, taken).with("values_bytes", values));
    }
    Ok(rows)
}

/// What came of one run.
struct Sample {
    /// From the start of the task with items to its end.
    seconds: f64,
    /// Through the broker, for the whole run. They depend on how many ranges the items were cut into, and so on how long
    /// the first ones took.
    octets: Octets,
    peaks: Peaks,
}

async fn sample(bench: &Bench, context_bytes: usize) -> Result<Sample> {
    let (fleet, mut client) = bench.fleet_with_loader(None).await?;
    bench.broker.memory()?.reset()?;
    let before = bench.broker.octets()?;
    let run = run(&fleet, &mut client, context_bytes).await?;
    let octets = bench.broker.octets()?.since(before);
    let sample = Sample { seconds: Times::of(&fleet, &run)?.task, octets, peaks: Peaks::of(bench, &fleet)? };
    bench.end(fleet, client).await?;
    Ok(sample)
}

/// What passes between workers and the values service in such a run, both ways. Counted in a run of its own, so that the
/// relay that counts takes no time from the others.
async fn values_bytes(bench: &Bench, context_bytes: usize) -> Result<f64> {
    let passed = Passed::default();
    let (fleet, mut client) = bench.fleet_with_loader(Some(&|server| passed.relay(server))).await?;
    run(&fleet, &mut client, context_bytes).await?;
    bench.end(fleet, client).await?;
    Ok(passed.bytes() as f64)
}

async fn run(fleet: &Fleet, client: &mut Client, context_bytes: usize) -> Result<String> {
    let file = fleet.folder().join("context");
    write_context(&file, context_bytes)?;
    let job: Value = job(WORKFLOW, json!({ "path": file, "items": ITEMS }));
    Ok(client.run(&job).await?.run)
}

fn row(name: &str, taken: &[Sample]) -> Row {
    let figures = |read: fn(&Sample) -> f64| taken.iter().map(read).collect::<Vec<f64>>();
    let items = f64::from(ITEMS);
    let received = figures(|sample| sample.octets.received as f64);
    let sent = figures(|sample| sample.octets.sent as f64);
    let per_item = |bytes: &[f64]| bytes.iter().map(|bytes| bytes / items).collect::<Vec<f64>>();
    let peaks = taken.iter().map(|sample| sample.peaks).fold(Peaks::default(), Peaks::most);
    let what =
        format!("1,000 items that share a context of {name} which no worker has, from the task's start to its end");
    let row = Row::new(format!("cold.{name}"), what, "s", figures(|sample| sample.seconds))
        .with_spread("bytes_in", &received)
        .with_spread("bytes_out", &sent)
        .with_spread("bytes_in_per_item", &per_item(&received))
        .with_spread("bytes_out_per_item", &per_item(&sent));
    peaks.beside(row)
}

fn write_context(file: &Path, bytes: usize) -> Result<()> {
    let lines: String = (0..bytes / LINE_BYTES)
        .map(|number| format!("{number:0>width$}\n", width = LINE_BYTES - r#""","#.len()))
        .collect();
    fs::write(file, lines).context("writing the context")
}
