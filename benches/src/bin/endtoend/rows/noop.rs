//! Items that do nothing, against as many messages of the floor.

use anyhow::Result;
use leveret_benches::report::{Row, short};
use serde_json::json;

use super::with_percentiles;
use crate::{
    bench::{Bench, ITEMS, job},
    facts::Times,
};

/// Items, and tasks of the floor.
const COUNT: u32 = 10_000;
/// Items of the run that warms up connections and caches.
const WARM_UP: u32 = 1_000;

/// `noop`, `noop.whole` and `floor.tasks.10000`, taken in turns.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (fleet, mut client) = bench.fleet().await?;
    let mut floor = bench.floor().await?;
    client.run(&job(ITEMS, json!({ "items": WARM_UP }))).await?;
    floor.burst(WARM_UP).await?;
    let count = f64::from(COUNT);
    let (mut items, mut whole, mut tasks, mut ratios, mut millis) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..bench.options.samples {
        let bare = floor.burst(COUNT).await?;
        let finished = client.run(&job(ITEMS, json!({ "items": COUNT }))).await?;
        let times = Times::of(&fleet, &finished.run)?;
        let (rate, floor_rate) = (count / times.items, count / bare.seconds);
        bench.say(&format!("noop: {} items/s, floor {} tasks/s", short(rate), short(floor_rate)));
        items.push(rate);
        whole.push(count / finished.seconds);
        ratios.push(rate / floor_rate);
        tasks.push(floor_rate);
        millis.extend(bare.millis);
    }
    let noop = Row::new("noop", "10,000 items that do nothing, from their list to their end", "items/s", items)
        .with_spread("ratio", &ratios)
        .with("worker_peak_mib", fleet.worker_peak_mib()?)
        .with("scheduler_peak_mib", fleet.scheduler.memory().peak_mib()?)
        .with("broker_peak_mib", bench.broker.memory()?.peak_mib()?);
    let whole = Row::new("noop.whole", "the same, from submission to the answer `finished`", "items/s", whole);
    let tasks =
        Row::new("floor.tasks.10000", "bare lapin: 10,000 tasks, a message and a result each", "tasks/s", tasks);
    floor.end().await?;
    bench.end(fleet, client).await?;
    Ok(vec![noop, whole, with_percentiles(tasks, &millis)])
}
