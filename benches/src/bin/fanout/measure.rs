//! One measurement: a run whose items all read one shared context.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Settings,
    broker::{Broker, Octets},
    fleet::Fleet,
    http,
};

/// Bytes of a line in the file that becomes the context, its quotes and comma in JSON included.
const LINE_BYTES: usize = 64;

/// The first task reads the context from a file, because a submission may have 256 KiB at most. Each item then reads a
/// line of it and its own value; its result is a number, so that results do not hide what the items themselves cost.
const WORKFLOW: &str = r#"
name: fanout
parameters:
  path: { type: string, required: true }
  items: { type: integer, required: true }
tasks:
  load:
    action: file.read_lines
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

/// What came of it.
pub struct Measured {
    /// From the list of items being known to the last one being done, by the scheduler's clock.
    pub seconds: f64,
    /// Of the whole run.
    pub octets: Octets,
    pub worker_peak_kib: u64,
    pub scheduler_peak_kib: u64,
    /// Requests of all workers to the values service.
    pub values_fetched: u64,
}

/// Runs it with processes and files of its own.
pub fn measure(settings: &Settings, broker: &Broker, context_bytes: usize) -> Result<Measured> {
    let folder = TempDir::new().context("making a folder")?;
    let file = folder.path().join("context");
    write_context(&file, context_bytes)?;
    let prefix = format!("bench-{}-{context_bytes}", std::process::id());
    let fleet = Fleet::start(&settings.binary, folder.path(), &broker.url, &prefix, settings.workers)?;
    let before = broker.octets()?;
    let run = submit(&fleet, &file, settings.items)?;
    follow(&fleet, &run)?;
    let octets = broker.octets()?.since(before);
    let mut measured = Measured {
        seconds: seconds(&fleet, &run)?,
        octets,
        worker_peak_kib: 0,
        scheduler_peak_kib: fleet.scheduler.peak_kib()?,
        values_fetched: 0,
    };
    for worker in &fleet.workers {
        measured.worker_peak_kib = measured.worker_peak_kib.max(worker.peak_kib()?);
        let metrics = http::get(worker.http, "/metrics")?;
        measured.values_fetched += count(&metrics, "leveret_value_fetch_seconds_count")?;
    }
    Ok(measured)
}

fn write_context(file: &Path, bytes: usize) -> Result<()> {
    let lines: String = (0..bytes / LINE_BYTES)
        .map(|number| format!("{number:0>width$}\n", width = LINE_BYTES - r#""","#.len()))
        .collect();
    fs::write(file, lines).context("writing the context")
}

fn submit(fleet: &Fleet, file: &Path, items: u32) -> Result<String> {
    let job = json!({ "definition": WORKFLOW, "parameters": { "path": file, "items": items } });
    let answer: Value = serde_json::from_str(&http::post(fleet.scheduler.http, "/api/v1/runs", &job.to_string())?)?;
    answer["id"].as_str().map(str::to_owned).with_context(|| format!("no run id in {answer}"))
}

/// Waits for the run's end: the last of its events.
fn follow(fleet: &Fleet, run: &str) -> Result<()> {
    let events = http::get(fleet.scheduler.http, &format!("/api/v1/runs/{run}/events"))?;
    let last = events.lines().rev().find_map(|line| line.strip_prefix("data:")).context("no event")?;
    let last: Value = serde_json::from_str(last.trim())?;
    let status = &last["run"]["status"];
    ensure!(status == "succeeded", "the run is {status}: {}", last["run"]["error"]);
    Ok(())
}

/// Between the two facts: the items are known, and their task has ended.
fn seconds(fleet: &Fleet, run: &str) -> Result<f64> {
    let facts = http::get(fleet.scheduler.http, &format!("/api/v1/runs/{run}/facts"))?;
    let facts: Vec<Value> = serde_json::from_str(&facts)?;
    let at = |fact: Option<&Value>| fact.and_then(|fact| fact["at"].as_str()).and_then(millis);
    let listed = facts.iter().find(|fact| fact["what"].get("listed").is_some());
    let ended = facts.iter().rev().find(|fact| fact["what"].get("ended").is_some());
    match (at(listed), at(ended)) {
        (Some(listed), Some(ended)) if ended > listed => Ok((ended - listed) as f64 / 1000.0),
        _ => bail!("the facts do not tell when the items began and ended"),
    }
}

/// Milliseconds into the day of `2026-12-01T09:00:00.012Z`. No measurement lasts over midnight twice.
fn millis(time: &str) -> Option<i64> {
    let clock = time.split_once('T')?.1.strip_suffix('Z')?;
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':')?;
    let seconds: f64 = seconds.parse().ok()?;
    let whole: i64 = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    Some(whole * 1000 + (seconds * 1000.0).round() as i64)
}

/// The value of a metric without labels.
fn count(metrics: &str, name: &str) -> Result<u64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    line.trim().parse().with_context(|| format!("{name}{line}"))
}
