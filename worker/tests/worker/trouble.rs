//! What can be wrong with messages, values and queues.

use proto::{
    codec,
    control::Control,
    id::Shard,
    manifest::ManifestRef,
    outcome::{FromWorker, Report},
    value::{Stored, ValueRef},
    work::{Phase, Status, Work},
};
use queue::{Declared, Source};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::stage::{RUN, Stage, indices, within};

const ECHO: &str = r#"
name: w
parameters: { x: {} }
tasks:
  t: { action: core.echo, input: { message: "{{ parameters.x }}" } }
  big: { action: test.big, input: { bytes: 100000 } }
  each: { action: core.echo, input: { message: "{{ parameters.x }}" }, with_items: "{{ parameters.x }}" }
"#;

fn reading(work: Work, stored: Stored) -> Work {
    Work { manifest: ManifestRef::Inline([("parameters.x".into(), ValueRef::Stored(stored))].into()), ..work }
}

fn absent() -> Stored {
    Stored::of(b"\"nobody stored this\"")
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter() {
    let mut stage = Stage::new(ECHO).await;
    let mut dead = stage.queue.consume(Source::Dead, 10).await.expect("consumes");
    let deep = "[".repeat(1000);
    for body in ["no json", "{\"schema\":1}", deep.as_str()] {
        stage.send_bytes(body.into()).await;
        let letter = within(dead.recv()).await.expect("open");
        assert_eq!(letter.body, body.as_bytes());
        assert_eq!(letter.properties.death.as_ref().expect("it died").reason, "rejected");
        letter.ack();
    }
    // The slot was given back each time, and the worker goes on.
    let value = stage.values.put("5");
    let work = reading(stage.task("t", Phase::Act), value);
    assert_eq!(stage.acted(&work).await.status, Status::Succeeded);
    stage.drain_clean().await;
}

#[tokio::test]
async fn while_values_cannot_be_had_work_is_held() {
    let mut stage = Stage::new(ECHO).await;
    let value = stage.values.put("5");
    stage.values.set_down(true);
    stage.send(&reading(stage.task("t", Phase::Act), value)).await;
    stage.values.refused_after(0).await;
    stage.values.set_down(false);
    let Report::Acted(acted) = stage.outcome().await.report else { panic!("acted") };
    assert_eq!((acted.status, stage.read(&acted.result)), (Status::Succeeded, json!(5)));
    stage.drain_clean().await;
}

#[tokio::test]
async fn while_values_cannot_be_stored_the_outcome_is_held() {
    let mut stage = Stage::new(ECHO).await;
    // From now on the definition is here.
    stage.acted(&stage.task("big", Phase::Act)).await;
    stage.values.set_down(true);
    let mut work = stage.task("big", Phase::Act);
    work.key.serial = 2;
    stage.send(&work).await;
    stage.values.refused_after(0).await;
    stage.values.set_down(false);
    let Report::Acted(acted) = stage.outcome().await.report else { panic!("acted") };
    assert_eq!(acted.status, Status::Succeeded);
    assert!(matches!(acted.result, ValueRef::Stored(_)));
    stage.drain_clean().await;
}

#[tokio::test]
async fn held_work_ends_with_a_cancel_and_goes_back_with_a_stop() {
    let mut stage = Stage::new(ECHO).await;
    stage.values.set_down(true);
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    stage.values.refused_after(0).await;
    stage.tell(&Control::Cancel { run: RUN.parse().expect("valid"), through: proto::id::Instance(1) }).await;
    assert_eq!(stage.outcome().await.report, Report::HandedBack);

    let mut other = work;
    other.key.run = "run-2".parse().expect("valid");
    let before = stage.values.refusals();
    stage.send(&other).await;
    stage.values.refused_after(before).await;
    let left = stage.drain(CancellationToken::new()).await;
    assert_eq!(left.works, [other.key]);
}

#[tokio::test]
async fn an_absent_value_fails_what_needs_it() {
    let mut stage = Stage::new(ECHO).await;
    let failure = stage.unable(&reading(stage.task("t", Phase::Act), absent())).await;
    assert_eq!(failure.code, "value_absent");
    stage.send(&reading(stage.range("each", &[json!(1), json!(2)]), absent())).await;
    let report = stage.items().await;
    assert_eq!((indices(&report.failed), report.failure.expect("why").code.as_str()), (vec![0, 1], "value_absent"));
    let work = reading(stage.task("each", Phase::Items), absent());
    assert!(matches!(stage.report(&work).await, Report::Unable(failure) if failure.code == "value_absent"));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_fails_the_work() {
    let mut stage = Stage::new("tasks: {}").await;
    assert_eq!(stage.unable(&stage.task("t", Phase::Act)).await.code, "value_unreadable");
    stage.drain_clean().await;
    let mut stage = Stage::new(ECHO).await;
    assert_eq!(stage.unable(&stage.task("other", Phase::Act)).await.code, "task_unknown");
    stage.drain_clean().await;
}

#[tokio::test]
async fn an_outcome_without_a_queue_is_sent_until_there_is_one() {
    let stage = Stage::new(ECHO).await;
    let shard = Shard(9);
    let value = stage.values.put("5");
    let work = Work { shard, ..reading(stage.task("t", Phase::Act), value) };
    stage.send(&work).await;
    stage.queue.declare(Declared::Outcomes(shard)).await.expect("declared");
    let mut outcomes = stage.queue.consume(Source::Outcomes(shard), 10).await.expect("consumes");
    let key = loop {
        let delivery = within(outcomes.recv()).await.expect("open");
        match codec::decode(&delivery.body).expect("readable") {
            FromWorker::Outcome(outcome) => break outcome.key,
            FromWorker::Heartbeat(_) | FromWorker::Claim(_) => {}
        }
    };
    assert_eq!(key, work.key);
    stage.drain_clean().await;
}
