//! A small run that comes when a large one is under way.

use std::time::Duration;

use anyhow::{Result, ensure};
use leveret_benches::report::{Row, short};
use serde_json::{Value, json};

use crate::bench::{Bench, job};

const LARGE: u32 = 100_000;
const SMALL: u32 = 10;
/// How long the large run has been under way when the small one is submitted.
const HEAD_START: Duration = Duration::from_millis(200);
/// What the engine makes a range last.
const RANGE_MS: f64 = 50.0;

/// Items that wait for a millisecond each.
const NAPS: &str = r#"
name: naps
parameters:
  items: { type: integer, required: true }
tasks:
  each:
    action: core.sleep
    with_items: "{{ range(end=parameters.items) }}"
    input: { seconds: 0.001 }
"#;

/// `fairness.alone` and `fairness.beside`, taken in turns.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (fleet, mut client) = bench.fleet().await?;
    let (mut alone, mut beside, mut later) = (vec![], vec![], vec![]);
    for _ in 0..bench.options.samples {
        // What is left of the large run before this is out of the way then.
        client.run(&naps(SMALL)).await?;
        let by_itself = client.run(&naps(SMALL)).await?.seconds * 1000.0;
        let large = client.submit(&naps(LARGE)).await?;
        tokio::time::sleep(HEAD_START).await;
        let small = client.submit(&naps(SMALL)).await?;
        // Fails when the large run ends first: then nothing was beside it.
        let finished = client.finish(small).await?;
        ensure!(finished.status == "succeeded", "the small run is {}", finished.status);
        client.cancel(large).await?;
        let millis = finished.seconds * 1000.0;
        bench.say(&format!("fairness: alone {} ms, beside a large run {} ms", short(by_itself), short(millis)));
        alone.push(by_itself);
        beside.push(millis);
        later.push((millis - by_itself) / RANGE_MS);
    }
    bench.end(fleet, client).await?;
    let small = "10 items of a millisecond, from submission to the answer `finished`";
    Ok(vec![
        Row::new("fairness.alone", format!("{small}, nothing else under way"), "ms", alone),
        Row::new("fairness.beside", format!("{small}, beside 100,000 such items that came before"), "ms", beside)
            .with_spread("ranges_later", &later),
    ])
}

fn naps(items: u32) -> Value {
    job(NAPS, json!({ "items": items }))
}
