//! Tasks that wait for each other: what a hop from task to task takes.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use leveret_benches::report::{Row, short};
use serde_json::json;

use crate::bench::{Bench, job};

/// Tasks of the sequence.
const TASKS: u32 = 40;
/// What each does. Not `core.noop`, which the state machine ends by itself: no worker would hear of it.
const LIGHT: &str = "action: core.echo, input: { message: 1 }";

/// `sequence`.
pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (fleet, mut client) = bench.fleet().await?;
    let job = job(&definition()?, json!({}));
    client.run(&job).await?;
    let mut seconds = vec![];
    for _ in 0..bench.options.samples {
        let finished = client.run(&job).await?;
        bench.say(&format!("sequence: {} s", short(finished.seconds)));
        seconds.push(finished.seconds);
    }
    bench.end(fleet, client).await?;
    Ok(vec![Row::new(
        "sequence",
        "40 tasks, one after the other, from submission to the answer `finished`",
        "s",
        seconds,
    )])
}

fn definition() -> Result<String> {
    let mut text = "name: sequence\ntasks:\n".to_owned();
    for number in 1..TASKS {
        writeln!(text, "  task_{number}: {{ {LIGHT}, next: [{{ do: task_{} }}] }}", number + 1)
            .context("writing the definition")?;
    }
    writeln!(text, "  task_{TASKS}: {{ {LIGHT} }}").context("writing the definition")?;
    Ok(text)
}
