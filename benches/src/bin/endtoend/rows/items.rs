//! How time and memory grow with the number of items.

use anyhow::Result;
use leveret_benches::report::{Row, short};
use serde_json::json;

use crate::{
    bench::{Bench, ITEMS, job},
    facts::Times,
    fleet::Fleet,
    http,
};

const COUNTS: [u32; 3] = [1_000, 10_000, 100_000];
/// Items of the run that warms up connections and caches.
const WARM_UP: u32 = 100;

/// `items.1000`, `items.10000`, `items.100000`: each sample with processes of its own, so that peaks of memory are its own too.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut taken: Vec<Vec<Sample>> = COUNTS.map(|_| Vec::new()).into();
    for _ in 0..bench.options.samples {
        for (count, taken) in COUNTS.into_iter().zip(&mut taken) {
            let sample = sample(bench, count).await?;
            bench.say(&format!("items.{count}: {} s", short(sample.seconds)));
            taken.push(sample);
        }
    }
    Ok(COUNTS.into_iter().zip(&taken).map(|(count, taken)| row(count, taken)).collect())
}

/// What came of one run.
struct Sample {
    /// From submission to the end.
    seconds: f64,
    /// From the list to its end.
    items_seconds: f64,
    scheduler_mib: f64,
    worker_mib: f64,
    /// Of the worker with the largest caches.
    cache_mib: f64,
    broker_mib: f64,
}

async fn sample(bench: &Bench, count: u32) -> Result<Sample> {
    let (fleet, mut client) = bench.fleet().await?;
    client.run(&job(ITEMS, json!({ "items": WARM_UP }))).await?;
    bench.broker.memory()?.reset()?;
    let finished = client.run(&job(ITEMS, json!({ "items": count }))).await?;
    let sample = Sample {
        seconds: finished.seconds,
        items_seconds: Times::of(&fleet, &finished.run)?.items,
        scheduler_mib: fleet.scheduler.memory().peak_mib()?,
        worker_mib: fleet.worker_peak_mib()?,
        cache_mib: cache_mib(&fleet)?,
        broker_mib: bench.broker.memory()?.peak_mib()?,
    };
    bench.end(fleet, client).await?;
    Ok(sample)
}

fn row(count: u32, taken: &[Sample]) -> Row {
    let figures = |read: fn(&Sample) -> f64| taken.iter().map(read).collect::<Vec<f64>>();
    let most = |read: fn(&Sample) -> f64| figures(read).into_iter().fold(0.0, f64::max);
    let seconds = figures(|sample| sample.seconds);
    let rates: Vec<f64> = seconds.iter().map(|seconds| f64::from(count) / seconds).collect();
    let what = format!("{} items that do nothing, from submission to the answer `finished`", short(f64::from(count)));
    Row::new(format!("items.{count}"), what, "s", seconds)
        .with_spread("items_per_second", &rates)
        .with_spread("items_seconds", &figures(|sample| sample.items_seconds))
        .with("scheduler_peak_mib", most(|sample| sample.scheduler_mib))
        .with("worker_peak_mib", most(|sample| sample.worker_mib))
        .with("worker_cache_mib", most(|sample| sample.cache_mib))
        .with("broker_peak_mib", most(|sample| sample.broker_mib))
}

/// Heap of the caches of the worker that has the most, in MiB.
pub fn cache_mib(fleet: &Fleet) -> Result<f64> {
    let mut most = 0.0_f64;
    for worker in &fleet.workers {
        let metrics = http::get(worker.http, "/metrics")?;
        most = most.max(http::metric(&metrics, "leveret_cache_heap_bytes")? / 1024.0 / 1024.0);
    }
    Ok(most)
}
