//! One task at a time on an idle system.

use anyhow::Result;
use leveret_benches::report::{Row, percentile, short};
use serde_json::json;

use super::{queue::SINGLE, with_percentiles};
use crate::{bench::Bench, http};

/// Runs of a sample, one after the other.
const RUNS: u32 = 100;
/// Runs that warm up connections and caches.
const WARM_UP: u32 = 20;

/// `latency` and `floor.latency`, taken in turns.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (fleet, mut client) = bench.fleet().await?;
    let mut floor = bench.floor().await?;
    http::put(fleet.scheduler.http, "/api/v1/workflows/single", SINGLE)?;
    let job = json!({ "workflow": "single" });
    for _ in 0..WARM_UP {
        client.run(&job).await?;
    }
    let (mut medians, mut floor_medians, mut all, mut floor_all) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.options.samples {
        let bare = floor.one_at_a_time(RUNS).await?;
        let mut millis = Vec::new();
        for _ in 0..RUNS {
            millis.push(client.run(&job).await?.seconds * 1000.0);
        }
        let (p50, p99) = (percentile(&millis, 0.5), percentile(&millis, 0.99));
        bench.say(&format!("latency: p50 {} ms, p99 {} ms", short(p50), short(p99)));
        medians.push(p50);
        floor_medians.push(percentile(&bare, 0.5));
        all.extend(millis);
        floor_all.extend(bare);
    }
    floor.end().await?;
    bench.end(fleet, client).await?;
    let latency = Row::new("latency", "one task, idle, from submission to the answer `finished`", "ms", medians);
    let bare = Row::new("floor.latency", "bare lapin: one task at a time, to its result", "ms", floor_medians);
    Ok(vec![with_percentiles(latency, &all), with_percentiles(bare, &floor_all)])
}
