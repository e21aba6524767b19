//! What is written to a store and read from it.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use proto::{
    failure::Failure,
    id::{Digest, Epoch, RunId, ScheduleName, Shard, WorkflowName},
    time::Timestamp,
    view::Summary,
    work::RunStatus,
};

/// All that a turn changes, done in one transaction: removals and clears first, then additions.
///
/// Every shard in it has a fence, and a run, an outbox key or a timer key stands in each list once at most.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The shards it touches, each with the epoch under which the committer owns it.
    pub fences: Vec<(Shard, Epoch)>,
    /// What is new about runs.
    pub runs: Vec<RunWrite>,
    /// Messages to be sent until they are confirmed. A key that is there already is replaced.
    pub outbox_add: Vec<OutboxRow>,
    /// Keys of messages that were confirmed. One that is absent is ignored.
    pub outbox_remove: Vec<String>,
    /// Timers. A key that is there already is replaced.
    pub timers_set: Vec<TimerRow>,
    /// Keys of timers that fired or are no longer needed. One that is absent is ignored.
    pub timers_clear: Vec<String>,
    /// Schedules that were made, moved on or removed.
    pub schedules: Vec<ScheduleWrite>,
    /// Values that the facts name, with digests already checked. They are durable before the rest is.
    pub values: Vec<(Digest, Bytes)>,
}

impl Commit {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.outbox_add.is_empty()
            && self.outbox_remove.is_empty()
            && self.timers_set.is_empty()
            && self.timers_clear.is_empty()
            && self.schedules.is_empty()
            && self.values.is_empty()
    }
}

/// What is new about one run.
#[derive(Clone, Debug)]
pub struct RunWrite {
    /// The run.
    pub id: RunId,
    /// Its shard.
    pub shard: Shard,
    /// Given when this is the first that is written of it.
    pub created: Option<NewRun>,
    /// Position of the first of `facts` among all facts of the run. A position is written once only.
    pub first_seq: u32,
    /// Encoded facts, in order.
    pub facts: Vec<Bytes>,
    /// Where the run is after them.
    pub status: RunStatus,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Values that the facts name, to be kept as long as the run is.
    pub value_refs: Vec<Digest>,
}

/// What stays the same in a run's life.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its workflow.
    pub workflow: WorkflowName,
    /// Digest of the workflow's source.
    pub definition: Digest,
    /// Digest of the job, by which a second submission under the same id is a duplicate or a conflict.
    pub content: Digest,
    /// Labels given at submission.
    pub labels: BTreeMap<String, String>,
    /// When it was accepted.
    pub started_at: Timestamp,
}

/// A message that is sent until the broker confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its stable id, which is also the message's.
    pub key: String,
    /// The run it belongs to.
    pub run: RunId,
    /// That run's shard.
    pub shard: Shard,
    /// What it is.
    pub kind: OutboxKind,
    /// The message, for a reply or an event; a work's is rebuilt from facts.
    pub body: Option<Bytes>,
}

/// What an outbox row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboxKind {
    /// Work for a pool.
    Work,
    /// An answer to whoever submitted the run.
    Reply,
    /// Something that happened, for whoever listens.
    Event,
}

/// Something to be done at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRow {
    /// Its stable id.
    pub key: String,
    /// The run it belongs to.
    pub run: RunId,
    /// That run's shard.
    pub shard: Shard,
    /// When.
    pub due: Timestamp,
}

/// What is new about one schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleWrite {
    /// The schedule.
    pub name: ScheduleName,
    /// Its shard.
    pub shard: Shard,
    /// What it is and how far it has come; `None` removes it, and is ignored when it is absent.
    pub body: Option<Bytes>,
}

/// A run without its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What lists show.
    pub summary: Summary,
    /// Digest of the workflow's source.
    pub definition: Digest,
    /// Digest of the job.
    pub content: Digest,
}

/// Which runs to list. Every condition that is given must hold.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Where the run is.
    pub status: Option<RunStatus>,
    /// Its workflow.
    pub workflow: Option<WorkflowName>,
    /// Labels it has, perhaps among others.
    pub labels: BTreeMap<String, String>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// How many at most, itself at most [`Filter::LIMIT_MAX`].
    pub limit: u32,
}

impl Filter {
    /// Whether a run is asked for.
    pub(crate) fn admits(&self, summary: &Summary) -> bool {
        self.status.is_none_or(|status| summary.status == status)
            && self.workflow.as_ref().is_none_or(|workflow| summary.workflow == *workflow)
            && self.since.is_none_or(|since| summary.started_at >= since)
            && self.labels.iter().all(|(key, value)| summary.labels.get(key) == Some(value))
    }
}

impl Commit {
    /// Panics where the rules above are broken: a database would answer with an error that names none of our things.
    pub(super) fn assert_sound(&self) {
        let fenced: HashSet<Shard> = self.fences.iter().map(|(shard, _)| *shard).collect();
        assert_eq!(fenced.len(), self.fences.len(), "a shard has two fences: {:?}", self.fences);
        let touched = (self.runs.iter().map(|row| (&row.id, row.shard)))
            .chain(self.outbox_add.iter().map(|row| (&row.run, row.shard)))
            .chain(self.timers_set.iter().map(|row| (&row.run, row.shard)));
        for (run, shard) in touched {
            assert!(fenced.contains(&shard), "run {run} is written without a fence for its shard {shard}");
        }
        for write in &self.schedules {
            let ScheduleWrite { name, shard, .. } = write;
            assert!(fenced.contains(shard), "schedule {name} is written without a fence for its shard {shard}");
        }
        assert_once(self.schedules.iter().map(|row| row.name.as_str()));
        assert_once(self.runs.iter().map(|row| row.id.as_str()));
        assert_once(self.outbox_add.iter().map(|row| row.key.as_str()));
        assert_once(self.timers_set.iter().map(|row| row.key.as_str()));
    }
}

impl OutboxKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Work, Self::Reply, Self::Event];

    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Reply => "reply",
            Self::Event => "event",
        }
    }
}

impl Filter {
    /// The most runs that one list holds.
    pub const LIMIT_MAX: u32 = 10_000;
}

impl Default for Filter {
    /// The newest 100 of all runs.
    fn default() -> Self {
        Self { status: None, workflow: None, labels: BTreeMap::new(), since: None, limit: 100 }
    }
}

fn assert_once<'a>(keys: impl Iterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    for key in keys {
        assert!(seen.insert(key), "{key} is written twice in one commit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(key: &str) -> TimerRow {
        TimerRow { key: key.to_owned(), run: RunId::fresh(), shard: Shard(0), due: Timestamp::from_millis(0) }
    }

    fn refused(commit: Commit) -> String {
        let caught = std::panic::catch_unwind(|| commit.assert_sound()).expect_err("it is not sound");
        *caught.downcast::<String>().expect("a message with ids")
    }

    #[test]
    fn a_commit_that_breaks_the_rules_is_our_mistake() {
        let fences = vec![(Shard(0), Epoch(1))];
        let timers_set = vec![timer("a"), timer("b")];
        Commit { fences: fences.clone(), timers_set: timers_set.clone(), ..Commit::default() }.assert_sound();
        let unfenced = refused(Commit { timers_set, ..Commit::default() });
        assert!(unfenced.contains("without a fence for its shard 0"), "{unfenced}");
        let timers_set = vec![timer("a"), timer("a")];
        let twice = refused(Commit { fences: fences.clone(), timers_set, ..Commit::default() });
        assert!(twice.contains("a is written twice"), "{twice}");
        let two = refused(Commit { fences: [fences.clone(), fences].concat(), ..Commit::default() });
        assert!(two.contains("two fences"), "{two}");
    }
}
