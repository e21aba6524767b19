//! Where a store of a test is, and what the tests put into it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use leveret_scheduler::store::{self, Commit, NewRun, OutboxKind, OutboxRow, RunWrite, Store, TimerRow};
use proto::{
    id::{Digest, Epoch, RunId, Shard},
    time::Timestamp,
    work::RunStatus,
};
use tempfile::TempDir;

use crate::server;

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(600);

/// Where a store is; opening it again finds the same one, except in memory.
pub struct Place {
    pub url: String,
    pub folder: Option<TempDir>,
}

impl Place {
    pub fn memory() -> Self {
        Self { url: "memory:".to_owned(), folder: None }
    }

    pub fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        Self { url: format!("sqlite:{}", folder.path().join("leveret.db").display()), folder: Some(folder) }
    }

    pub async fn postgres() -> Self {
        Self { url: server::fresh_schema().await, folder: None }
    }

    pub async fn open(&self) -> Store {
        store::open(&self.url).await.unwrap()
    }
}

pub fn id(text: &str) -> RunId {
    text.parse().unwrap()
}

/// Takes every shard.
pub async fn own_all(store: &Store, owner: &str) -> Vec<(Shard, Epoch)> {
    let mut fences = Vec::new();
    for shard in (0..store.shards()).map(Shard) {
        fences.push((shard, store.acquire(shard, owner, LONG).await.unwrap().expect("nobody else holds it")));
    }
    fences
}

/// A commit of `runs` by the owner of all shards.
pub fn commit(fences: &[(Shard, Epoch)], runs: Vec<RunWrite>) -> Commit {
    Commit { fences: fences.to_vec(), runs, ..Commit::default() }
}

/// A new run of workflow `w`, accepted at time 1,000, with two facts.
pub fn new_run(store: &Store, text: &str) -> RunWrite {
    let new = NewRun {
        workflow: "w".parse().unwrap(),
        definition: Digest::of(b"definition"),
        content: Digest::of(text.as_bytes()),
        labels: BTreeMap::new(),
        started_at: Timestamp::from_millis(1_000),
    };
    let facts = vec![Bytes::from("accepted"), Bytes::from("started")];
    RunWrite { created: Some(new), facts, ..more(store, text, 0, &[]) }
}

/// What comes after, from position `first_seq` on.
pub fn more(store: &Store, text: &str, first_seq: u32, facts: &[&'static str]) -> RunWrite {
    RunWrite {
        id: id(text),
        shard: shard(store, text),
        created: None,
        first_seq,
        facts: facts.iter().map(|fact| Bytes::from_static(fact.as_bytes())).collect(),
        status: RunStatus::Running,
        error: None,
        finished_at: None,
        value_refs: Vec::new(),
    }
}

pub fn shard(store: &Store, run: &str) -> Shard {
    Shard::of(&id(run), store.shards())
}

pub fn work(store: &Store, run: &str, key: &str) -> OutboxRow {
    OutboxRow { key: key.to_owned(), run: id(run), shard: shard(store, run), kind: OutboxKind::Work, body: None }
}

pub fn timer(store: &Store, run: &str, key: &str, due_ms: i64) -> TimerRow {
    let due = Timestamp::from_millis(due_ms);
    TimerRow { key: key.to_owned(), run: id(run), shard: shard(store, run), due }
}
