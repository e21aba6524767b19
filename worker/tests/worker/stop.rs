//! Stops, kills and lost connections: nothing is lost, and nothing is acknowledged that was not reported.

use std::time::Duration;

use proto::{
    control::Control,
    outcome::Report,
    work::{Phase, Status, Work, WorkKey},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::stage::{Plan, RUN, Stage, indices, within};

const GATE: &str = "name: w\ntasks: { t: { action: test.gate }, s: { action: test.stubborn }, \
                    sh: { action: shell.run, input: { argv: [sleep, 600] } }, \
                    each: { action: test.gate, with_items: [1, 2, 3] } }";

fn numbered(work: Work, serial: u32) -> Work {
    Work { key: WorkKey { serial, ..work.key.clone() }, ..work }
}

fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

#[tokio::test]
async fn a_stop_finishes_what_runs_and_leaves_the_rest() {
    let stage = Stage::with_slots(GATE, 1).await;
    let works = [1, 2, 3].map(|serial| numbered(stage.task("t", Phase::Act), serial));
    for work in &works {
        stage.send(work).await;
    }
    stage.gate.entered(1).await;
    let gate = stage.gate.clone();
    // Polled in this order: the gate opens once the worker was told to stop.
    let (mut left, ()) = tokio::join!(stage.drain(CancellationToken::new()), async { gate.let_go(3) });
    assert_eq!(left.works, [works[1].key.clone(), works[2].key.clone()]);
    assert!(matches!(left.reports().as_slice(), [Report::Acted(acted)] if acted.status == Status::Succeeded));
    assert_eq!(gate.times_entered(), 1);
}

#[tokio::test]
async fn a_stop_gives_back_what_waits_for_a_slot() {
    let stage = Stage::with_slots(GATE, 2).await;
    stage.send(&stage.range("each", &[json!(1), json!(2), json!(3)])).await;
    stage.gate.entered(2).await;
    // Delivered, since the prefetch is two, and without a slot, since the range has both.
    let waiting = stage.task("t", Phase::Act);
    stage.send(&waiting).await;
    let gate = stage.gate.clone();
    let (mut left, ()) = tokio::join!(stage.drain(CancellationToken::new()), async { gate.let_go(9) });
    assert_eq!(left.works, [waiting.key]);
    let (mut succeeded, mut handed_back) = (Vec::new(), Vec::new());
    for report in left.reports() {
        let Report::Items(report) = report else { panic!("{report:?}") };
        succeeded.extend(indices(&report.succeeded));
        handed_back.extend(indices(&report.handed_back));
    }
    succeeded.sort_unstable();
    assert_eq!((succeeded, handed_back), (vec![0, 1], vec![2]));
}

#[tokio::test]
async fn after_the_drain_timeout_what_runs_goes_back() {
    let plan = Plan { drain_timeout: Duration::from_millis(100), ..Plan::default() };
    let stage = Stage::set(GATE, plan).await;
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    stage.gate.entered(1).await;
    let mut left = stage.drain(CancellationToken::new()).await;
    assert_eq!((left.works.clone(), left.reports()), (vec![work.key], vec![]));
}

#[tokio::test]
async fn a_second_signal_is_now() {
    let mut stage = Stage::new(GATE).await;
    let work = stage.task("sh", Phase::Act);
    stage.send(&work).await;
    while stage.heartbeat().await.running != [work.key.clone()] {}
    let mut left = stage.drain(cancelled()).await;
    assert_eq!((left.works.clone(), left.reports()), (vec![work.key], vec![]));
}

#[tokio::test]
async fn a_kill_reports_the_items_that_are_done_and_hands_back_the_others() {
    let stage = Stage::with_slots(GATE, 2).await;
    stage.send(&stage.range("each", &[json!(1), json!(2), json!(3)])).await;
    stage.gate.entered(2).await;
    stage.gate.let_go(1);
    stage.gate.entered(3).await;
    let mut left = stage.drain(cancelled()).await;
    assert_eq!(left.works, [], "nothing of it is to be done twice");
    let (mut succeeded, mut handed_back) = (0, 0);
    for report in left.reports() {
        let Report::Items(report) = report else { panic!("{report:?}") };
        succeeded += report.succeeded.len();
        handed_back += report.handed_back.len();
        assert_eq!(report.failed.len(), 0);
    }
    assert_eq!((succeeded, handed_back), (1, 2));
}

#[tokio::test]
async fn an_action_that_does_not_stop_is_dropped() {
    let mut stage = Stage::new(GATE).await;
    stage.send(&stage.task("s", Phase::Act)).await;
    stage.gate.entered(1).await;
    // From here on nothing is read or written outside of this process.
    tokio::time::pause();
    stage.tell(&Control::Cancel { run: RUN.parse().expect("valid"), through: proto::id::Instance(1) }).await;
    let Report::Acted(acted) = stage.outcome().await.report else { panic!("acted") };
    assert_eq!(acted.status, Status::Canceled);
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_kill_does_not_wait_for_an_action_that_does_not_stop() {
    let stage = Stage::new(GATE).await;
    let work = stage.task("s", Phase::Act);
    stage.send(&work).await;
    stage.gate.entered(1).await;
    tokio::time::pause();
    let mut left = stage.drain(cancelled()).await;
    assert_eq!((left.works.clone(), left.reports()), (vec![work.key], vec![]));
}

#[tokio::test]
async fn a_lost_connection_fails_the_worker_and_loses_nothing() {
    let mut stage = Stage::new(GATE).await;
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    stage.gate.entered(1).await;
    stage.worker_queue.clone().close().await;
    let error = within(stage.worker.failed()).await;
    assert!(error.to_string().contains("ended"), "{error}");
    // It cannot report what it does, and does not acknowledge it either.
    stage.gate.let_go(1);
    let left = stage.drain(cancelled()).await;
    assert_eq!(left.works, [work.key]);
}
