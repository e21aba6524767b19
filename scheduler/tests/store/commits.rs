//! Cases about commits.

use std::time::Duration;

use bytes::Bytes;
use leveret_scheduler::store::{Commit, Error, Filter, Head, OutboxKind, OutboxRow, RunWrite, ScheduleWrite, Store};
use proto::{
    failure::Failure,
    id::{Digest, Epoch, ScheduleName, Shard},
    time::Timestamp,
    work::RunStatus,
};

use crate::place::{LONG, commit, id, more, new_run, own_all, shard, timer, work};

pub async fn a_run_is_kept_with_its_facts(store: &Store) {
    let fences = own_all(store, "a").await;
    let mut run = new_run(store, "r");
    run.status = RunStatus::Queued;
    run.created.as_mut().unwrap().labels = [("team".to_owned(), "ops".to_owned())].into();
    store.commit(commit(&fences, vec![run])).await.unwrap();
    let heads = store.heads(&[id("r"), id("absent")]).await.unwrap();
    assert_eq!(heads.len(), 1);
    let Head { summary, definition, content } = &heads[&id("r")];
    assert_eq!((*definition, *content), (Digest::of(b"definition"), Digest::of(b"r")));
    assert_eq!((summary.id.clone(), summary.workflow.as_str()), (id("r"), "w"));
    assert_eq!((summary.status, summary.started_at), (RunStatus::Queued, Timestamp::from_millis(1_000)));
    assert_eq!(summary.labels["team"], "ops");
    assert_eq!((&summary.error, summary.finished_at), (&None, None));
    assert_eq!(store.facts(&id("r")).await.unwrap(), ["accepted", "started"]);
    assert_eq!(store.facts(&id("absent")).await.unwrap(), [""; 0]);

    let failure = Failure::new("exit_code", "it ended with 1").at(&"probe".parse().unwrap());
    let ended = RunWrite {
        status: RunStatus::Failed,
        error: Some(failure.clone()),
        finished_at: Some(Timestamp::from_millis(9_000)),
        ..more(store, "r", 2, &["failed", "ended"])
    };
    store.commit(commit(&fences, vec![ended])).await.unwrap();
    let summary = &store.heads(&[id("r")]).await.unwrap()[&id("r")].summary;
    assert_eq!((summary.status, summary.finished_at), (RunStatus::Failed, Some(Timestamp::from_millis(9_000))));
    assert_eq!(summary.error, Some(failure));
    assert_eq!(summary.labels["team"], "ops", "what a run began with stays");
    assert_eq!(store.facts(&id("r")).await.unwrap(), ["accepted", "started", "failed", "ended"]);
    assert!(store.heads(&[]).await.unwrap().is_empty());
}

/// A commit of every kind of row, for run `other`, that must leave nothing behind when the rest of it fails.
fn full(store: &Store, fences: &[(Shard, Epoch)], runs: Vec<RunWrite>) -> Commit {
    let mut all = vec![RunWrite { value_refs: vec![Digest::of(b"v")], ..new_run(store, "other") }];
    all.extend(runs);
    Commit {
        outbox_add: vec![work(store, "other", "other/key")],
        outbox_remove: vec!["r/key".to_owned()],
        timers_set: vec![timer(store, "other", "other/timer", 5)],
        timers_clear: vec!["r/timer".to_owned()],
        ..commit(fences, all)
    }
}

/// A store with run `r`, whose outbox row and timer a failing commit must not remove.
async fn with_run(store: &Store) -> Vec<(Shard, Epoch)> {
    let fences = own_all(store, "a").await;
    let first = Commit {
        outbox_add: vec![work(store, "r", "r/key")],
        timers_set: vec![timer(store, "r", "r/timer", 5)],
        ..commit(&fences, vec![new_run(store, "r")])
    };
    store.commit(first).await.unwrap();
    fences
}

/// The store is as [`with_run`] left it.
async fn assert_untouched(store: &Store) {
    assert_eq!(store.list(&Filter::default()).await.unwrap().len(), 1);
    assert!(store.heads(&[id("other")]).await.unwrap().is_empty());
    assert_eq!(store.facts(&id("other")).await.unwrap(), [""; 0]);
    assert_eq!(store.facts(&id("r")).await.unwrap(), ["accepted", "started"]);
    for shard in (0..store.shards()).map(Shard) {
        let keys: Vec<_> = store.outbox(shard).await.unwrap().into_iter().map(|row| row.key).collect();
        let timers: Vec<_> = store.timers(shard).await.unwrap().into_iter().map(|row| row.key).collect();
        let ours = shard == self::shard(store, "r");
        assert_eq!(
            (keys, timers),
            if ours { (vec!["r/key".into()], vec!["r/timer".into()]) } else { Default::default() }
        );
    }
}

pub async fn a_fact_is_written_once(store: &Store) {
    let fences = with_run(store).await;
    let again = more(store, "r", 1, &["a second at position 1"]);
    let refused = store.commit(full(store, &fences, vec![again])).await;
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
    assert_untouched(store).await;
}

pub async fn a_run_is_created_once(store: &Store) {
    let fences = with_run(store).await;
    let refused = store.commit(full(store, &fences, vec![new_run(store, "r")])).await;
    assert!(matches!(&refused, Err(Error::Conflict { run }) if *run == id("r")), "{refused:?}");
    assert_untouched(store).await;
}

pub async fn a_run_that_is_absent_cannot_be_written(store: &Store) {
    let fences = with_run(store).await;
    let refused = store.commit(full(store, &fences, vec![more(store, "absent", 0, &["lost"])])).await;
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
    assert_untouched(store).await;
}

pub async fn a_stale_epoch_commits_nothing(store: &Store) {
    let old = with_run(store).await;
    store.release("a").await.unwrap();
    let lost = *old.last().unwrap();
    assert_eq!(store.acquire(lost.0, "b", LONG).await.unwrap(), Some(Epoch(2)));
    let refused = store.commit(full(store, &old, vec![more(store, "r", 2, &["too late"])])).await;
    assert!(matches!(refused, Err(Error::Fenced { shard }) if shard == lost.0), "{refused:?}");
    assert_untouched(store).await;
    for epoch in [Epoch(0), Epoch(3), Epoch(u64::MAX)] {
        let refused = store.commit(commit(&[(lost.0, epoch)], Vec::new())).await;
        assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    }
    store.commit(commit(&[(lost.0, Epoch(2))], Vec::new())).await.unwrap();
}

pub async fn outbox_rows_are_added_and_removed(store: &Store) {
    let fences = own_all(store, "a").await;
    let home = shard(store, "r");
    let event =
        OutboxRow { kind: OutboxKind::Event, body: Some(Bytes::from_static(b"{}")), ..work(store, "r", "a-event") };
    let rows = vec![work(store, "r", "z"), event.clone(), work(store, "r", "m")];
    let first = Commit { outbox_add: rows, ..commit(&fences, vec![new_run(store, "r")]) };
    store.commit(first).await.unwrap();
    let keys = async || store.outbox(home).await.unwrap().into_iter().map(|row| row.key).collect::<Vec<_>>();
    assert_eq!(keys().await, ["z", "a-event", "m"], "in the order of their adding");
    assert_eq!(store.outbox(home).await.unwrap()[1], event);

    let second = Commit {
        outbox_remove: vec!["z".to_owned(), "never was".to_owned()],
        outbox_add: vec![work(store, "r", "b"), work(store, "r", "z")],
        ..commit(&fences, Vec::new())
    };
    store.commit(second).await.unwrap();
    assert_eq!(keys().await, ["a-event", "m", "b", "z"], "removals come first");

    let replaced = OutboxRow { body: Some(Bytes::from_static(b"[]")), ..event };
    store.commit(Commit { outbox_add: vec![replaced.clone()], ..commit(&fences, Vec::new()) }).await.unwrap();
    assert_eq!(keys().await.len(), 4);
    assert_eq!(store.outbox(home).await.unwrap()[0], replaced);
}

pub async fn timers_are_set_and_cleared(store: &Store) {
    let fences = own_all(store, "a").await;
    let home = shard(store, "r");
    let set = |timers| Commit { timers_set: timers, ..commit(&fences, Vec::new()) };
    store.commit(set(vec![timer(store, "r", "b", 20), timer(store, "r", "a", 30)])).await.unwrap();
    assert_eq!(store.timers(home).await.unwrap(), [timer(store, "r", "b", 20), timer(store, "r", "a", 30)]);
    store.commit(set(vec![timer(store, "r", "a", 10)])).await.unwrap();
    assert_eq!(store.timers(home).await.unwrap(), [timer(store, "r", "a", 10), timer(store, "r", "b", 20)]);
    let keys = ["a", "b", "never was"].map(str::to_owned).to_vec();
    store.commit(Commit { timers_clear: keys, ..set(vec![timer(store, "r", "b", 40)]) }).await.unwrap();
    assert_eq!(store.timers(home).await.unwrap(), [timer(store, "r", "b", 40)], "clears come first");
}

pub async fn schedules_are_written_and_removed(store: &Store) {
    let fences = own_all(store, "a").await;
    let name = |text: &str| text.parse::<ScheduleName>().unwrap();
    let home = |text: &str| Shard::of_schedule(&name(text), store.shards());
    let write = |text: &str, body: Option<&'static str>| ScheduleWrite {
        name: name(text),
        shard: home(text),
        body: body.map(Bytes::from),
    };
    let commit_of = |schedules| Commit { schedules, ..commit(&fences, Vec::new()) };
    let all = vec![write("b", Some("1")), write("B.2", Some("2")), write("gone", Some("3"))];
    store.commit(commit_of(all)).await.unwrap();
    store.commit(commit_of(vec![write("b", Some("4")), write("gone", None), write("absent", None)])).await.unwrap();
    assert_eq!(store.schedule(&name("b")).await.unwrap(), Some(Bytes::from("4")));
    assert_eq!(store.schedule(&name("gone")).await.unwrap(), None);
    let mut found = Vec::new();
    for shard in (0..store.shards()).map(Shard) {
        let of_shard = store.schedules(shard).await.unwrap();
        assert!(of_shard.iter().all(|(name, _)| home(name.as_str()) == shard));
        assert!(of_shard.is_sorted_by(|(left, _), (right, _)| left < right));
        found.extend(of_shard);
    }
    found.sort();
    assert_eq!(found, [(name("B.2"), Bytes::from("2")), (name("b"), Bytes::from("4"))]);

    // One with its run, or neither.
    let run = new_run(store, "b@2026-12-01T09:00:00Z");
    assert_eq!(run.shard, home("b"), "both are in one shard");
    store.commit(commit(&fences, vec![run.clone()])).await.unwrap();
    let again = Commit { schedules: vec![write("b", Some("5"))], ..commit(&fences, vec![run]) };
    assert!(matches!(store.commit(again).await, Err(Error::Conflict { .. })));
    assert_eq!(store.schedule(&name("b")).await.unwrap(), Some(Bytes::from("4")));
}

pub async fn values_come_with_a_commit(store: &Store) {
    let fences = own_all(store, "a").await;
    let values: Vec<_> =
        (0..20_u8).map(|i| Bytes::from(vec![i % 10; 2_000])).map(|bytes| (Digest::of(&bytes), bytes)).collect();
    let digests: Vec<_> = values.iter().map(|(digest, _)| *digest).collect();
    let run = RunWrite { value_refs: digests.clone(), ..new_run(store, "r") };
    store.commit(Commit { values: values.clone(), ..commit(&fences, vec![run]) }).await.unwrap();
    assert_eq!(store.absent_values(&digests).await.unwrap(), []);
    assert_eq!(store.value(digests[3]).await.unwrap().as_ref(), Some(&values[3].1));
    let again = RunWrite { value_refs: digests, ..more(store, "r", 2, &[]) };
    store.commit(Commit { values, ..commit(&fences, vec![again]) }).await.unwrap();
}

/// A caller may go away at any point: in a round trip, or while the writer's thread has the job.
pub async fn a_commit_that_nobody_awaits_is_whole_or_nothing(store: &Store) {
    let fences = own_all(store, "a").await;
    let names: Vec<String> = (0..40).map(|i| format!("run-{i}")).collect();
    for (patience, name) in (0..).zip(&names) {
        let whole = Commit { outbox_add: vec![work(store, name, name)], ..commit(&fences, vec![new_run(store, name)]) };
        let _ = tokio::time::timeout(Duration::from_micros(patience * 50), store.commit(whole)).await;
    }
    // What the writer took before this is done when this is.
    store.commit(commit(&fences, vec![new_run(store, "last")])).await.unwrap();
    for name in &names {
        let head = store.heads(&[id(name)]).await.unwrap().len();
        let facts = store.facts(&id(name)).await.unwrap().len();
        let rows = store.outbox(shard(store, name)).await.unwrap().into_iter().filter(|row| row.key == *name).count();
        assert!([(0, 0, 0), (1, 2, 1)].contains(&(head, facts, rows)), "{name}: {head} {facts} {rows}");
    }
}

pub async fn many_runs_are_one_commit(store: &Store) {
    let fences = own_all(store, "a").await;
    let names: Vec<String> = (0..512).map(|i| format!("run-{i:04}")).collect();
    let keys: Vec<String> = names.iter().map(|name| format!("{name}/probe#1")).collect();
    let added = names.iter().zip(&keys).map(|(name, key)| work(store, name, key)).collect();
    let runs = names.iter().map(|name| new_run(store, name)).collect();
    store.commit(Commit { outbox_add: added, ..commit(&fences, runs) }).await.unwrap();
    let ended = |name: &String| {
        let finished_at = Some(Timestamp::from_millis(2_000));
        RunWrite { status: RunStatus::Succeeded, finished_at, ..more(store, name, 2, &["one", "two", "three"]) }
    };
    let runs = names.iter().map(ended).collect();
    store.commit(Commit { outbox_remove: keys, ..commit(&fences, runs) }).await.unwrap();

    let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
    let heads = store.heads(&ids).await.unwrap();
    assert_eq!(heads.len(), 512);
    assert!(heads.values().all(|head| head.summary.status == RunStatus::Succeeded));
    assert_eq!(store.facts(&ids[511]).await.unwrap(), ["accepted", "started", "one", "two", "three"]);
    for shard in (0..store.shards()).map(Shard) {
        assert_eq!(store.live_runs(shard).await.unwrap(), []);
        assert_eq!(store.outbox(shard).await.unwrap(), []);
    }
}
