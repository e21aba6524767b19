//! Cases about everything but commits.

use std::time::Duration;

use bytes::Bytes;
use leveret_scheduler::store::{Commit, Error, Filter, OutboxKind, OutboxRow, RunWrite, Store};
use proto::{
    failure::Failure,
    id::{Digest, Epoch, Shard},
    time::Timestamp,
    work::RunStatus,
};

use crate::place::{LONG, commit, id, new_run, own_all, shard, work};

pub async fn a_shard_has_one_owner_at_a_time(store: &Store) {
    let shard = Shard(store.shards() - 1);
    assert_eq!(store.acquire(shard, "a", LONG).await.unwrap(), Some(Epoch(1)));
    assert_eq!(store.acquire(shard, "b", LONG).await.unwrap(), None);
    assert_eq!(store.acquire(shard, "a", LONG).await.unwrap(), Some(Epoch(2)));
    assert_eq!(store.acquire(Shard(store.shards()), "a", LONG).await.unwrap(), None, "there is no such shard");
}

pub async fn a_lease_that_is_over_can_be_taken(store: &Store) {
    assert_eq!(store.acquire(Shard(0), "a", Duration::ZERO).await.unwrap(), Some(Epoch(1)));
    assert_eq!(store.acquire(Shard(0), "b", LONG).await.unwrap(), Some(Epoch(2)));
    assert_eq!(store.renew("a", LONG).await.unwrap(), []);
    assert_eq!(store.renew("b", LONG).await.unwrap(), [Shard(0)]);
}

pub async fn a_renewed_lease_cannot_be_taken(store: &Store) {
    for shard in (0..store.shards()).map(Shard) {
        assert_eq!(store.acquire(shard, "a", Duration::ZERO).await.unwrap(), Some(Epoch(1)));
    }
    let all: Vec<Shard> = (0..store.shards()).map(Shard).collect();
    assert_eq!(store.renew("a", LONG).await.unwrap(), all);
    assert_eq!(store.acquire(Shard(0), "b", LONG).await.unwrap(), None);
}

pub async fn a_released_shard_is_free(store: &Store) {
    let fences = own_all(store, "a").await;
    store.release("b").await.unwrap();
    assert_eq!(store.acquire(Shard(0), "b", LONG).await.unwrap(), None);
    store.release("a").await.unwrap();
    assert_eq!(store.renew("a", LONG).await.unwrap(), []);
    // Until somebody takes it the last turn of the old owner may still end.
    store.commit(commit(&fences, vec![new_run(store, "last")])).await.unwrap();
    assert_eq!(store.acquire(Shard(0), "b", LONG).await.unwrap(), Some(Epoch(2)));
}

pub async fn lists_are_newest_first_and_filtered(store: &Store) {
    let fences = own_all(store, "a").await;
    let run = |text: &str, workflow: &str, started_ms: i64, status: RunStatus, labels: &[(&str, &str)]| {
        let mut run = RunWrite { status, ..new_run(store, text) };
        let new = run.created.as_mut().unwrap();
        new.workflow = workflow.parse().unwrap();
        new.started_at = Timestamp::from_millis(started_ms);
        new.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        run
    };
    let odd = "q'u\"o\\te %_ ä\u{1F407}";
    let runs = vec![
        run("old", "a", 1_000, RunStatus::Failed, &[("team", "ops")]),
        run("same-1", "a", 2_000, RunStatus::Succeeded, &[("team", "ops"), ("tier", "1")]),
        run("Same-2", "b", 2_000, RunStatus::Running, &[("team", "dev"), (odd, odd)]),
        run("same-3", "b", 2_000, RunStatus::Running, &[("tier", "1")]),
        run("new", "a", 3_000, RunStatus::Running, &[]),
    ];
    store.commit(commit(&fences, runs)).await.unwrap();

    let check = async |filter: Filter, wanted: &[&str]| {
        let found = store.list(&filter).await.unwrap();
        let ids: Vec<&str> = found.iter().map(|summary| summary.id.as_str()).collect();
        assert_eq!(ids, wanted, "{filter:?}");
    };
    let all = Filter::default;
    let labels = |pairs: &[(&str, &str)]| {
        let labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Filter { labels, ..Filter::default() }
    };
    check(all(), &["new", "same-3", "same-1", "Same-2", "old"]).await;
    check(Filter { limit: 2, ..all() }, &["new", "same-3"]).await;
    check(Filter { limit: 0, ..all() }, &[]).await;
    check(Filter { status: Some(RunStatus::Running), ..all() }, &["new", "same-3", "Same-2"]).await;
    check(Filter { status: Some(RunStatus::Queued), ..all() }, &[]).await;
    check(Filter { workflow: Some("a".parse().unwrap()), ..all() }, &["new", "same-1", "old"]).await;
    check(Filter { since: Some(Timestamp::from_millis(2_001)), ..all() }, &["new"]).await;
    check(Filter { since: Some(Timestamp::from_millis(3_000)), ..all() }, &["new"]).await;
    check(labels(&[("team", "ops")]), &["same-1", "old"]).await;
    check(labels(&[("team", "ops"), ("tier", "1")]), &["same-1"]).await;
    check(labels(&[("team", "1")]), &[]).await;
    check(labels(&[(odd, odd)]), &["Same-2"]).await;
    let both = Filter { workflow: Some("b".parse().unwrap()), limit: 1, ..labels(&[("tier", "1")]) };
    check(both, &["same-3"]).await;
}

pub async fn live_runs_are_those_that_have_not_ended(store: &Store) {
    let fences = own_all(store, "a").await;
    let name = |status: RunStatus| format!("run-{}", status.as_str());
    let runs = RunStatus::ALL.map(|status| RunWrite { status, ..new_run(store, &name(status)) });
    store.commit(commit(&fences, runs.to_vec())).await.unwrap();
    let mut live = Vec::new();
    for (shard, _) in &fences {
        let found = store.live_runs(*shard).await.unwrap();
        assert!(found.iter().all(|run| Shard::of(run, store.shards()) == *shard));
        live.extend(found);
    }
    live.sort();
    let mut wanted: Vec<_> =
        RunStatus::ALL.into_iter().filter(|status| !status.is_terminal()).map(|status| id(&name(status))).collect();
    wanted.sort();
    assert_eq!(live, wanted);

    let ended = RunWrite { status: RunStatus::Canceled, ..crate::place::more(store, "run-paused", 2, &[]) };
    store.commit(commit(&fences, vec![ended])).await.unwrap();
    assert!(!store.live_runs(shard(store, "run-paused")).await.unwrap().contains(&id("run-paused")));
}

pub async fn definitions_have_names(store: &Store) {
    let (one, two) = (Bytes::from_static(b"name: one\n"), Bytes::from_static(b"name: two\n"));
    let (one_digest, two_digest) = (Digest::of(&one), Digest::of(&two));
    assert_eq!(store.definition(one_digest).await.unwrap(), None);
    for _ in 0..2 {
        store.define(one_digest, one.clone()).await.unwrap();
    }
    store.define(two_digest, two).await.unwrap();
    assert_eq!(store.definition(one_digest).await.unwrap(), Some(one.clone()));
    assert!(matches!(store.define(two_digest, one).await, Err(Error::Mismatch { digest }) if digest == two_digest));

    let name = "fleet".parse().unwrap();
    assert_eq!(store.registered(&name).await.unwrap(), None);
    store.register(&name, one_digest).await.unwrap();
    store.register(&"api".parse().unwrap(), one_digest).await.unwrap();
    let before = store.workflows().await.unwrap();
    assert_eq!(before.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["api", "fleet"]);
    store.register(&name, one_digest).await.unwrap();
    assert_eq!(store.workflows().await.unwrap(), before, "naming the same one again changes nothing");
    store.register(&name, two_digest).await.unwrap();
    assert_eq!(store.registered(&name).await.unwrap(), Some(two_digest));
    assert_eq!(store.workflows().await.unwrap().len(), 2);
}

pub async fn values_are_kept_by_digest(store: &Store) {
    let (a, b) = (Bytes::from_static(b"\"a\""), Bytes::from_static(b"\"b\""));
    let (a_digest, b_digest) = (Digest::of(&a), Digest::of(&b));
    let absent = Digest::of(b"absent");
    assert_eq!(store.value(a_digest).await.unwrap(), None);
    assert_eq!(store.absent_values(&[b_digest, a_digest]).await.unwrap(), [b_digest, a_digest]);
    for _ in 0..2 {
        store.put_value(a_digest, a.clone()).await.unwrap();
    }
    assert_eq!(store.value(a_digest).await.unwrap(), Some(a.clone()));
    assert_eq!(store.absent_values(&[absent, a_digest, b_digest]).await.unwrap(), [absent, b_digest]);
    assert_eq!(store.absent_values(&[]).await.unwrap(), []);
    assert!(matches!(store.put_value(b_digest, a).await, Err(Error::Mismatch { digest }) if digest == b_digest));
    assert_eq!(store.value(b_digest).await.unwrap(), None, "what was refused is not kept");
}

pub async fn a_large_value_comes_back_whole(store: &Store) {
    let mut bytes = vec![0; 8 << 20];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = ((i * i) >> 7) as u8;
    }
    let bytes = Bytes::from(bytes);
    store.put_value(Digest::of(&bytes), bytes.clone()).await.unwrap();
    assert!(store.value(Digest::of(&bytes)).await.unwrap() == Some(bytes));
}

pub async fn any_text_of_a_user_can_be_kept(store: &Store) {
    let fences = own_all(store, "a").await;
    let text: String = "\0\u{1}\n\t'\";--\\u0000\u{FFFD}\u{10FFFF}é".to_owned();
    let mut run = RunWrite { error: Some(Failure::new("odd", text.clone())), ..new_run(store, "r") };
    run.created.as_mut().unwrap().labels = [(text.clone(), text.clone())].into();
    let every_byte = Bytes::from((0..=255).collect::<Vec<u8>>());
    run.facts = vec![every_byte.clone(), Bytes::new()];
    let reply = OutboxRow { kind: OutboxKind::Reply, body: Some(every_byte.clone()), ..work(store, "r", "reply") };
    let written = Commit { outbox_add: vec![reply.clone()], ..commit(&fences, vec![run]) };
    store.commit(written).await.unwrap();

    let labels = [(text.clone(), text.clone())].into();
    let found = store.list(&Filter { labels, ..Filter::default() }).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].error, Some(Failure::new("odd", text)));
    assert_eq!(store.facts(&id("r")).await.unwrap(), [every_byte, Bytes::new()]);
    assert_eq!(store.outbox(shard(store, "r")).await.unwrap(), [reply]);
}
