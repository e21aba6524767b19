//! Work that must not be begun twice is asked for first.

use proto::{
    control::Control,
    outcome::Report,
    work::{Phase, Status},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    metrics::scrape,
    stage::{Stage, within},
};

/// Each run of the task leaves a line in a file.
fn once(folder: &tempfile::TempDir) -> String {
    let file = folder.path().join("begun");
    let script = format!("echo begun >> {}", file.display());
    let task = json!({ "action": "shell.run", "on_lost": "fail", "input": { "script": script } });
    json!({ "name": "w", "tasks": { "t": task } }).to_string()
}

fn begun(folder: &tempfile::TempDir) -> usize {
    std::fs::read_to_string(folder.path().join("begun")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn nothing_begins_before_the_claim_is_granted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut stage = Stage::new(&once(&folder)).await;
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    let claim = stage.claim().await;
    assert_eq!((&claim.key, claim.redelivered, begun(&folder)), (&work.key, false, 0));
    // Control may be lost: it asks again, with the same nonce.
    let again = stage.claim().await;
    assert_eq!(again, claim);
    stage.tell(&Control::Claimed { key: work.key.clone(), nonce: claim.nonce }).await;
    let report = stage.outcome_after_claims().await.report;
    let Report::Acted(acted) = report else { panic!("{report:?}") };
    assert_eq!((acted.status, begun(&folder)), (Status::Succeeded, 1));
    stage.drain_clean().await;
}

#[tokio::test]
async fn what_another_one_has_is_let_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut stage = Stage::new(&once(&folder)).await;
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    let claim = stage.claim().await;
    stage.tell(&Control::Claimed { key: claim.key, nonce: "another".to_owned() }).await;
    // It is acknowledged, though nothing is reported. Nobody tells when: its slot is idle then.
    within(async { while scrape(&stage).await["leveret_slots_busy"] > 0.0 {} }).await;
    stage.drain_clean().await;
    assert_eq!(begun(&folder), 0);
}

/// Who claimed may have been granted it, and the answer lost: a delivery that only comes again would look begun.
#[tokio::test]
async fn what_nobody_answers_is_handed_back_in_so_many_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut stage = Stage::new(&once(&folder)).await;
    stage.send(&stage.task("t", Phase::Act)).await;
    stage.claim().await;
    let mut left = stage.drain(CancellationToken::new()).await;
    assert_eq!((left.works.clone(), left.reports()), (vec![], vec![Report::HandedBack]));
    assert_eq!(begun(&folder), 0);
}
