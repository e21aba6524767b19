//! Many small runs by queue, against as many messages of the floor.

use anyhow::Result;
use leveret_benches::report::{Row, short};
use serde_json::json;

use super::with_percentiles;
use crate::{bench::Bench, http};

/// Runs, and tasks of the floor.
const COUNT: u32 = 20_000;
/// Runs that warm up connections and caches.
const WARM_UP: u32 = 200;

/// `queue` and `floor.tasks.20000`, taken in turns.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (fleet, mut client) = bench.fleet().await?;
    let mut floor = bench.floor().await?;
    http::put(fleet.scheduler.http, "/api/v1/workflows/single", SINGLE)?;
    let job = json!({ "workflow": "single" });
    client.burst(&job, WARM_UP).await?;
    floor.burst(WARM_UP).await?;
    let count = f64::from(COUNT);
    let (mut runs, mut tasks, mut ratios) = (vec![], vec![], vec![]);
    let (mut millis, mut floor_millis) = (vec![], vec![]);
    for _ in 0..bench.options.samples {
        let bare = floor.burst(COUNT).await?;
        let measured = client.burst(&job, COUNT).await?;
        let (rate, floor_rate) = (count / measured.seconds, count / bare.seconds);
        bench.say(&format!("queue: {} runs/s, floor {} tasks/s", short(rate), short(floor_rate)));
        runs.push(rate);
        ratios.push(rate / floor_rate);
        tasks.push(floor_rate);
        millis.extend(measured.millis);
        floor_millis.extend(bare.millis);
    }
    let what =
        "20,000 runs of one task, submitted and answered by queue, from the first publish to the last `finished`";
    let queue = Row::new("queue", what, "runs/s", runs)
        .with_spread("ratio", &ratios)
        .with("worker_peak_mib", fleet.worker_peak_mib()?)
        .with("scheduler_peak_mib", fleet.scheduler.memory().peak_mib()?)
        .with("broker_peak_mib", bench.broker.memory()?.peak_mib()?);
    let tasks =
        Row::new("floor.tasks.20000", "bare lapin: 20,000 tasks, a message and a result each", "tasks/s", tasks);
    floor.end().await?;
    bench.end(fleet, client).await?;
    Ok(vec![with_percentiles(queue, &millis), with_percentiles(tasks, &floor_millis)])
}

/// One light task. Not `core.noop`, which the state machine ends by itself: no worker would hear of it.
pub const SINGLE: &str = "name: single\ntasks:\n  only: { action: core.echo, input: { message: 1 } }\n";
