//! Templates that do not end: each costs its own piece of work, and nothing beside it.

use std::time::{Duration, Instant};

use proto::{
    failure::Failure,
    outcome::{Next, Report},
    work::{Phase, Status, Work},
};
use serde_json::json;

use super::stage::{Plan, Stage, indices, manifest};

/// Loops within loops, of a thousand million turns and more, in every place that a template may stand in. What hangs for
/// long makes its list once: lists that are made again and again are too large long before.
const DEFINITION: &str = r#"
name: w
parameters:
  n: {}
vars:
  slow: "{{ [a for a in range(end=1000000) if [b for b in range(end=1000000) if b < 0] | length == 1] }}"
tasks:
  slow:
    action: core.echo
    delay: "{{ [a for a in range(end=1000000) if [b for b in range(end=1000000) if b < 0] | length == 1] }}"
    input:
      message: "{% set r = range(end=1000) %}{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}{% endfor %}{% endfor %}"
  quick:
    action: core.echo
    input: { message: "{{ parameters.n + 1 }}" }
  asked:
    action: core.echo
    input: { message: 1 }
    next:
      - when: "[a for a in range(end=1000000) if [b for b in range(end=1000000) if b < 0] | length == 1] | length == 0"
  retried:
    action: core.fail
    input: { message: "no" }
    retry:
      count: 1
      when: "[a for a in range(end=1000000) if [b for b in range(end=1000000) if b < 0] | length == 1] | length == 0"
  each:
    action: core.echo
    with_items: "{{ [a for a in range(end=1000000) if [b for b in range(end=1000000) if b < 0] | length == 1] }}"
    input: { message: "{{ item }}" }
  some:
    action: core.echo
    with_items: [1, 1000000]
    input: { message: "{{ [a for a in range(end=item) if [b for b in range(end=item) if b < 0] | length == 1] }}" }
output:
  slow: "{{ [a for a in range(end=1000000) if [b for b in range(end=1000000) if b < 0] | length == 1] }}"
  quick: "{{ parameters.n }}"
"#;

async fn stage(limit: Duration) -> Stage {
    Stage::set(DEFINITION, Plan { slots: 2, template_timeout: limit, ..Plan::default() }).await
}

fn assert_timed_out(failure: &Failure, field: &str) {
    assert_eq!(failure.code, "template_timeout");
    assert!(failure.message.starts_with(&format!("{field}: the evaluation took longer than")), "{}", failure.message);
}

#[tokio::test]
async fn other_work_goes_on_while_a_template_hangs() {
    // One thread: if it were held up, nothing else would move.
    let mut stage = stage(Duration::from_secs(2)).await;
    let begun = Instant::now();
    stage.send(&stage.task("slow", Phase::Act)).await;
    let quick = Work { manifest: manifest(json!({"parameters.n": 1})), ..stage.task("quick", Phase::Act) };
    for _ in 0..3 {
        let acted = stage.acted(&quick).await;
        assert_eq!(acted.status, Status::Succeeded);
        assert_eq!(stage.read(&acted.result), json!(2));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "it was held up");
    let Report::Acted(acted) = stage.outcome().await.report else { panic!("an attempt") };
    assert_eq!(acted.status, Status::Failed);
    assert_timed_out(&acted.failure.expect("why").failure, "tasks.slow.input.message");
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_template_is_stopped_wherever_it_stands() {
    let mut stage = stage(Duration::from_millis(50)).await;
    for (work, field) in [
        (stage.work(None, Phase::Prepare), "vars.slow"),
        (stage.task("slow", Phase::Prepare), "tasks.slow.delay"),
        (stage.task("each", Phase::Items), "tasks.each.with_items"),
    ] {
        assert_timed_out(&stage.unable(&work).await, field);
    }
    let asked = stage.acted(&stage.task("asked", Phase::Act)).await;
    assert_eq!(asked.status, Status::Succeeded);
    let Next::Unable(failure) = asked.next else { panic!("{:?}", asked.next) };
    assert_timed_out(&failure, "tasks.asked.next[0].when");
    let retried = stage.acted(&stage.task("retried", Phase::Act)).await;
    assert_timed_out(&retried.failure.expect("why").failure, "tasks.retried.retry.when");
    stage.drain_clean().await;
}

#[tokio::test]
async fn output_lacks_what_takes_too_long() {
    let mut stage = stage(Duration::from_millis(50)).await;
    let work = stage.work(None, Phase::Output);
    let work = Work { manifest: manifest(json!({"parameters.n": 1})), ..work };
    let Report::Output(output) = stage.report(&work).await else { panic!("an output") };
    assert_eq!(stage.read(&output.value), json!({"quick": 1}));
    assert_timed_out(&output.left_out[0], "output.slow");
    stage.drain_clean().await;
}

#[tokio::test]
async fn an_item_that_takes_too_long_fails_alone() {
    let mut stage = stage(Duration::from_millis(500)).await;
    stage.send(&stage.range("some", &[json!(1), json!(1_000_000)])).await;
    let report = stage.items().await;
    assert_eq!((indices(&report.succeeded), indices(&report.failed)), (vec![0], vec![1]));
    assert_timed_out(&report.failure.expect("why"), "tasks.some.input.message");
    stage.drain_clean().await;
}
