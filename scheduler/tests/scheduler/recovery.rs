//! What a scheduler finds when it starts: work, timers and messages of the one before.

use leveret_scheduler::store::{Commit, NewRun, RunWrite, Store};
use proto::{
    id::{Digest, Shard},
    time::Timestamp,
    work::RunStatus,
};
use serde_json::json;

use crate::{
    robot::{NONE, ONE, acted, decide, output, retry, task_of},
    site::{Site, eventually, run_id, within},
};

#[tokio::test]
async fn it_resumes_after_each_step() {
    let mut site = Site::sqlite().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    let (work, delivery) = site.work().await;
    site.kill().await;
    site.report(&work, retry(0)).await;
    delivery.ack();
    site.start().await;
    let (work, delivery) = next_new(&mut site, "r/say#1/act.2").await;
    site.kill().await;
    site.report(&work, acted(&[])).await;
    delivery.ack();
    site.start().await;
    let (work, delivery) = next_new(&mut site, "r/-/output.1").await;
    site.kill().await;
    site.report(&work, output(&json!({ "said": 1 }))).await;
    delivery.ack();
    site.start().await;
    let run = site.ended("r").await;
    assert_eq!((&run["status"], &run["output"]), (&json!("succeeded"), &json!({ "said": 1 })));
    assert_eq!(run["tasks"]["say"]["attempts"], 2);
}

/// Passes over what is sent again because nobody knows whether it had been confirmed.
async fn next_new(site: &mut Site, key: &str) -> (proto::work::Work, queue::Delivery) {
    loop {
        let (work, delivery) = site.work().await;
        if work.key.to_string() == key {
            return (work, delivery);
        }
        delivery.ack();
    }
}

#[tokio::test]
async fn timers_ring_after_a_restart() {
    let mut site = Site::sqlite().await;
    let slow = ONE.replace("action: core.echo", "action: core.echo, delay: 150ms");
    site.submit(&json!({ "definition": slow, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    site.kill().await;
    assert_eq!(timers(&site).await, 1);
    site.start().await;
    let (work, delivery) = site.work().await;
    site.report(&work, retry(150)).await;
    delivery.ack();
    eventually(async || (site.metric("leveret_timers_pending").await == 1.0).then_some(())).await;
    site.kill().await;
    assert_eq!(timers(&site).await, 1);
    site.start().await;
    let (work, _delivery) = next_new(&mut site, "r/say#1/act.2").await;
    assert_eq!((work.attempt.0, work.retries), (2, 1));
}

/// Timers that are stored, whether they are due or not.
async fn timers(site: &Site) -> usize {
    site.open().await.timers(Shard(0)).await.unwrap().len()
}

#[tokio::test]
async fn what_was_not_confirmed_is_published_again_and_nothing_else() {
    let mut site = Site::sqlite().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (first, delivery) = site.work().await;
    let sent = delivery.properties.clone();
    delivery.ack();
    // Confirmed, but its row is still there: it is deleted with the next turn.
    site.kill().await;
    site.start().await;
    let (again, delivery) = site.work().await;
    assert_eq!((again.key.clone(), delivery.properties.clone()), (first.key.clone(), sent));
    delivery.ack();
    site.report(&again, acted(&[])).await;
    let (last, delivery) = site.work().await;
    delivery.ack();
    site.report(&last, output(&json!({ "said": 1 }))).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
    // A stop lets everything arrive, so that the next start finds nothing to send.
    site.stop().await;
    while site.answer_now().is_some() {}
    site.start().await;
    assert!(site.store().outbox(Shard(0)).await.unwrap().is_empty());
    assert!(site.answer_now().is_none() && site.work_now().is_none());
}

#[tokio::test]
async fn a_stop_gives_the_shards_back_at_once() {
    let mut site = Site::sqlite().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (work, delivery) = site.work().await;
    site.stop().await;
    let store = site.open().await;
    let lease = std::time::Duration::from_secs(1);
    assert!(store.acquire(Shard(0), "another", lease).await.unwrap().is_some(), "nobody waits for a lease");
    store.release("another").await.unwrap();
    drop(store);
    site.start().await;
    site.report(&work, acted(&[])).await;
    delivery.ack();
    let (work, _delivery) = site.work().await;
    assert_eq!(task_of(&work), "-");
}

#[tokio::test]
async fn a_scheduler_whose_shard_was_taken_ends() {
    let mut site = Site::memory().await;
    let store = site.store();
    store.release("owner").await.unwrap();
    let lease = std::time::Duration::from_secs(60);
    assert!(store.acquire(Shard(0), "thief", lease).await.unwrap().is_some());
    let why = within(site.scheduler().failed()).await;
    assert!(why.to_string().contains("took over"), "{why}");
}

#[tokio::test]
async fn a_history_that_cannot_be_read_stops_no_other_run() {
    let mut site = Site::sqlite().await;
    site.submit(&json!({ "definition": ONE, "id": "good" })).await;
    let (work, delivery) = site.work().await;
    site.kill().await;
    let store = site.open().await;
    write_nonsense(&store).await;
    drop(store);
    site.start().await;
    site.report(&work, acted(&[])).await;
    delivery.ack();
    let good = site.work_off("good", decide).await;
    assert_eq!(good["status"], "succeeded");

    let (status, problem) = site.get("/api/v1/runs/bad").await;
    assert_eq!((status.as_u16(), &problem["code"]), (500, &json!("history_unreadable")));
    let (status, problem) = site.call(reqwest::Method::POST, "/api/v1/runs/bad/cancel", "").await;
    assert_eq!((status.as_u16(), &problem["code"]), (500, &json!("history_unreadable")));
    let mut late = work.clone();
    late.key.run = run_id("bad");
    site.report(&late, acted(&[])).await;
    let kept = site.rejected().await;
    assert_eq!(kept.properties.headers["reason"], "history_unreadable");
    assert_eq!(kept.properties.headers["source"], site.topology.outcomes_queue(Shard(0)));
    site.submit(&json!({ "definition": NONE, "id": "next" })).await;
    assert_eq!(site.ended("next").await["status"], "succeeded");
}

async fn write_nonsense(store: &Store) {
    let lease = std::time::Duration::from_secs(1);
    let epoch = store.acquire(Shard(0), "owner", lease).await.unwrap().unwrap();
    let digest = Digest::of(b"no workflow");
    let created = NewRun {
        workflow: "bad".parse().unwrap(),
        definition: digest,
        content: digest,
        labels: Default::default(),
        started_at: Timestamp::from_millis(0),
    };
    let write = RunWrite {
        id: run_id("bad"),
        shard: Shard(0),
        created: Some(created),
        first_seq: 0,
        facts: vec!["nonsense".into()],
        status: RunStatus::Running,
        error: None,
        finished_at: None,
        value_refs: Vec::new(),
    };
    let commit = Commit { fences: vec![(Shard(0), epoch)], runs: vec![write], ..Commit::default() };
    store.commit(commit).await.unwrap();
    store.release("owner").await.unwrap();
}
