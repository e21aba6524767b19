//! How time and memory grow with the number of items.

use anyhow::Result;
use leveret_benches::report::{Row, short};
use serde_json::json;

use super::peaks::Peaks;
use crate::{
    bench::{Bench, ITEMS, job},
    facts::Times,
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
    peaks: Peaks,
}

async fn sample(bench: &Bench, count: u32) -> Result<Sample> {
    let (fleet, mut client) = bench.fleet().await?;
    client.run(&job(ITEMS, json!({ "items": WARM_UP }))).await?;
    bench.broker.memory()?.reset()?;
    let finished = client.run(&job(ITEMS, json!({ "items": count }))).await?;
    let sample = Sample {
        seconds: finished.seconds,
        items_seconds: Times::of(&fleet, &finished.run)?.items,
        peaks: Peaks::of(bench, &fleet)?,
    };
    bench.end(fleet, client).await?;
    Ok(sample)
}

fn row(count: u32, taken: &[Sample]) -> Row {
    let figures = |read: fn(&Sample) -> f64| taken.iter().map(read).collect::<Vec<f64>>();
    let peaks = taken.iter().map(|sample| sample.peaks).fold(Peaks::default(), Peaks::most);
    let seconds = figures(|sample| sample.seconds);
    let rates: Vec<f64> = seconds.iter().map(|seconds| f64::from(count) / seconds).collect();
    let what = format!("{} items that do nothing, from submission to the answer `finished`", short(f64::from(count)));
    let row = Row::new(format!("items.{count}"), what, "s", seconds)
        .with_spread("items_per_second", &rates)
        .with_spread("items_seconds", &figures(|sample| sample.items_seconds));
    peaks.beside(row)
}
