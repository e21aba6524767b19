//! One file per kind of measurement.

pub mod cold;
pub mod fairness;
pub mod items;
pub mod latency;
pub mod noop;
pub mod queue;
pub mod sequence;

use anyhow::Result;
use leveret_benches::report::{Row, percentile};

use crate::{bench::Bench, options::Kind};

/// Takes the measurements of a kind.
pub async fn measure(bench: &Bench, kind: Kind) -> Result<Vec<Row>> {
    match kind {
        Kind::Noop => noop::measure(bench).await,
        Kind::Queue => queue::measure(bench).await,
        Kind::Sequence => sequence::measure(bench).await,
        Kind::Latency => latency::measure(bench).await,
        Kind::Cold => cold::measure(bench).await,
        Kind::Items => items::measure(bench).await,
        Kind::Fairness => fairness::measure(bench).await,
    }
}

/// The row with the 50th and 99th percentile of `millis`.
fn with_percentiles(row: Row, millis: &[f64]) -> Row {
    row.with("p50_ms", percentile(millis, 0.5)).with("p99_ms", percentile(millis, 0.99))
}
