//! The store that forgets: the same meaning as the databases have, for tests of what stands on a store and for benches.
//!
//! It also fails on demand, in the two ways that matter to a turn: before a commit, and after one whose answer is lost.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use proto::{
    id::{Digest, Epoch, RunId, ScheduleName, Shard, WorkflowName},
    time::Timestamp,
    view::Summary,
};
use tokio::time::Instant;

use super::{Commit, Error, Filter, Head, OutboxRow, RunWrite, ScheduleWrite, TimerRow, rows};

/// One scheduler, one shard, as with SQLite.
pub const SHARDS: u16 = 1;

/// A store in this process's memory.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

/// How a commit is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is committed.
    Before,
    /// All is committed, and the answer is lost.
    After,
}

#[derive(Debug, Default)]
struct State {
    lease: Lease,
    runs: HashMap<RunId, Run>,
    outbox: BTreeMap<u64, OutboxRow>,
    outbox_positions: HashMap<String, u64>,
    outbox_next: u64,
    timers: HashMap<String, TimerRow>,
    schedules: BTreeMap<ScheduleName, (Shard, Bytes)>,
    values: HashMap<Digest, Bytes>,
    definitions: HashMap<Digest, Bytes>,
    names: BTreeMap<WorkflowName, (Digest, Timestamp)>,
    faults: VecDeque<Fault>,
}

#[derive(Debug, Default)]
struct Lease {
    owner: Option<String>,
    epoch: u64,
    until: Option<Instant>,
}

#[derive(Debug)]
struct Run {
    head: Head,
    shard: Shard,
    facts: BTreeMap<u32, Bytes>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next commit fail that no earlier call lets fail already.
    pub fn fail_next_commit(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    pub(super) fn acquire(&self, shard: Shard, owner: &str, lease: Duration) -> Option<Epoch> {
        let mut state = self.state();
        let now = Instant::now();
        let free = state.lease.until.is_none_or(|until| until <= now);
        let ours = state.lease.owner.as_deref() == Some(owner);
        if shard.0 >= SHARDS || !(free || ours) {
            return None;
        }
        let epoch = state.lease.epoch + 1;
        state.lease = Lease { owner: Some(owner.to_owned()), epoch, until: Some(now + lease) };
        Some(Epoch(epoch))
    }

    pub(super) fn renew(&self, owner: &str, lease: Duration) -> Vec<Shard> {
        let mut state = self.state();
        if state.lease.owner.as_deref() != Some(owner) {
            return Vec::new();
        }
        state.lease.until = Some(Instant::now() + lease);
        vec![Shard(0)]
    }

    pub(super) fn release(&self, owner: &str) {
        let mut state = self.state();
        if state.lease.owner.as_deref() == Some(owner) {
            state.lease = Lease { owner: None, until: None, ..state.lease };
        }
    }

    pub(super) fn commit(&self, commit: Commit) -> Result<(), Error> {
        let mut state = self.state();
        let fault = state.faults.pop_front();
        if fault == Some(Fault::Before) {
            return Err(Error::Unavailable("a fault was asked for before the commit".into()));
        }
        state.check(&commit)?;
        state.apply(commit);
        match fault {
            Some(Fault::After) => Err(Error::Unavailable("a fault was asked for after the commit".into())),
            Some(Fault::Before) | None => Ok(()),
        }
    }

    pub(super) fn heads(&self, ids: &[RunId]) -> HashMap<RunId, Head> {
        let state = self.state();
        ids.iter().filter_map(|id| Some((id.clone(), state.runs.get(id)?.head.clone()))).collect()
    }

    pub(super) fn facts(&self, id: &RunId) -> Result<Vec<Bytes>, Error> {
        let state = self.state();
        let facts = state.runs.get(id).into_iter().flat_map(|run| &run.facts);
        rows::in_order(id, facts.map(|(seq, fact)| (i64::from(*seq), fact.to_vec())))
    }

    pub(super) fn live_runs(&self, shard: Shard) -> Vec<RunId> {
        let state = self.state();
        let live = state.runs.iter().filter(|(_, run)| run.shard == shard && !run.head.summary.status.is_terminal());
        live.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn outbox(&self, shard: Shard) -> Vec<OutboxRow> {
        self.state().outbox.values().filter(|row| row.shard == shard).cloned().collect()
    }

    pub(super) fn timers(&self, shard: Shard) -> Vec<TimerRow> {
        let mut timers: Vec<_> = self.state().timers.values().filter(|row| row.shard == shard).cloned().collect();
        timers.sort_by(|a, b| (a.due, &a.key).cmp(&(b.due, &b.key)));
        timers
    }

    pub(super) fn schedules(&self, shard: Shard) -> Vec<(ScheduleName, Bytes)> {
        let state = self.state();
        let of_shard = state.schedules.iter().filter(|(_, (home, _))| *home == shard);
        of_shard.map(|(name, (_, body))| (name.clone(), body.clone())).collect()
    }

    pub(super) fn schedule(&self, name: &ScheduleName) -> Option<Bytes> {
        self.state().schedules.get(name).map(|(_, body)| body.clone())
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<Summary> {
        let state = self.state();
        let mut wanted: Vec<&Summary> =
            state.runs.values().map(|run| &run.head.summary).filter(|summary| filter.admits(summary)).collect();
        wanted.sort_by_key(|summary| Reverse((summary.started_at, &summary.id)));
        wanted.truncate(filter.limit.min(Filter::LIMIT_MAX) as usize);
        wanted.into_iter().cloned().collect()
    }

    pub(super) fn define(&self, digest: Digest, source: Bytes) {
        self.state().definitions.insert(digest, source);
    }

    pub(super) fn register(&self, name: &WorkflowName, digest: Digest) {
        let mut state = self.state();
        if state.names.get(name).is_none_or(|(known, _)| *known != digest) {
            state.names.insert(name.clone(), (digest, rows::now()));
        }
    }

    pub(super) fn registered(&self, name: &WorkflowName) -> Option<Digest> {
        self.state().names.get(name).map(|(digest, _)| *digest)
    }

    pub(super) fn definition(&self, digest: Digest) -> Option<Bytes> {
        self.state().definitions.get(&digest).cloned()
    }

    pub(super) fn workflows(&self) -> Vec<(WorkflowName, Digest, Timestamp)> {
        self.state().names.iter().map(|(name, (digest, at))| (name.clone(), *digest, *at)).collect()
    }

    pub(super) fn put_value(&self, digest: Digest, bytes: Bytes) {
        self.state().values.insert(digest, bytes);
    }

    pub(super) fn value(&self, digest: Digest) -> Option<Bytes> {
        self.state().values.get(&digest).cloned()
    }

    pub(super) fn absent_values(&self, digests: &[Digest]) -> Vec<Digest> {
        let state = self.state();
        digests.iter().filter(|digest| !state.values.contains_key(digest)).copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no caller panics while it holds the lock")
    }
}

impl State {
    /// Finds whatever would fail, so that `apply` cannot.
    fn check(&self, commit: &Commit) -> Result<(), Error> {
        for (shard, epoch) in &commit.fences {
            if shard.0 >= SHARDS || epoch.0 != self.lease.epoch {
                return Err(Error::Fenced { shard: *shard });
            }
        }
        for write in &commit.runs {
            match (&write.created, self.runs.get(&write.id)) {
                (Some(_), Some(_)) => return Err(Error::Conflict { run: write.id.clone() }),
                (None, None) => return Err(Error::Broken(format!("run {} does not exist", write.id).into())),
                (None, Some(run)) => check_positions(write, run)?,
                (Some(_), None) => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, commit: Commit) {
        self.values.extend(commit.values);
        for write in commit.runs {
            self.write_run(write);
        }
        for key in commit.outbox_remove {
            self.remove_outbox(&key);
        }
        for row in commit.outbox_add {
            let position = self.outbox_positions.get(&row.key).copied().unwrap_or(self.outbox_next);
            self.outbox_next = self.outbox_next.max(position + 1);
            self.outbox_positions.insert(row.key.clone(), position);
            self.outbox.insert(position, row);
        }
        for write in commit.schedules {
            self.write_schedule(write);
        }
        for key in commit.timers_clear {
            self.timers.remove(&key);
        }
        self.timers.extend(commit.timers_set.into_iter().map(|row| (row.key.clone(), row)));
    }

    fn write_schedule(&mut self, write: ScheduleWrite) {
        match write.body {
            Some(body) => self.schedules.insert(write.name, (write.shard, body)),
            None => self.schedules.remove(&write.name),
        };
    }

    fn write_run(&mut self, write: RunWrite) {
        if let Some(new) = write.created {
            let summary = Summary {
                id: write.id.clone(),
                workflow: new.workflow,
                status: write.status,
                labels: new.labels,
                error: None,
                started_at: new.started_at,
                finished_at: None,
            };
            let head = Head { summary, definition: new.definition, content: new.content };
            self.runs.insert(write.id.clone(), Run { head, shard: write.shard, facts: BTreeMap::new() });
        }
        let run = self.runs.get_mut(&write.id).expect("checked before anything was applied");
        run.head.summary.status = write.status;
        run.head.summary.error = write.error;
        run.head.summary.finished_at = write.finished_at;
        run.facts.extend((write.first_seq..).zip(write.facts));
    }

    fn remove_outbox(&mut self, key: &str) {
        if let Some(position) = self.outbox_positions.remove(key) {
            self.outbox.remove(&position);
        }
    }
}

fn check_positions(write: &RunWrite, run: &Run) -> Result<(), Error> {
    match (write.first_seq..).zip(&write.facts).find(|(seq, _)| run.facts.contains_key(seq)) {
        Some((seq, _)) => Err(Error::Broken(format!("run {} has a fact at position {seq} already", write.id).into())),
        None => Ok(()),
    }
}
