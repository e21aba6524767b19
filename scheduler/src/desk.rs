//! The runs that this process owns, in memory, and everything a turn needs beside them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use engine::machine::{self, Run, fact::Fact};
use proto::{
    codec,
    id::{Digest, Epoch, RunId, Shard},
    time::Timestamp,
    topology::Topology,
    view,
    work::WorkKey,
};
use tokio::sync::{oneshot, watch};

use crate::{
    clock::Clock,
    dispatch::Dispatch,
    lines::Lines,
    metrics::Metrics,
    outbox::Outbox,
    programs::{self, Known, Programs},
    recover::Doubt,
    schedule::roster::Roster,
    store::{self, Store},
    timers::Timers,
    turn::Own,
    workers::Workers,
};

/// Runs that ended lately, so that a late message about one needs no look into the store.
const ENDED_MAX: usize = 20_000;
/// Those who wait to follow runs in doubt. One more is shown what the store has.
const WAITING_MAX: usize = 1_000;

/// A run in memory.
#[derive(Debug)]
pub(crate) struct Live {
    pub run: Run,
    pub known: Arc<Known>,
    /// What its job asked for, to tell a duplicate from a conflict.
    pub content: Digest,
}

/// Where somebody waits to be told how to follow a run.
pub(crate) type WatchAnswer = oneshot::Sender<Option<watch::Receiver<Arc<view::Run>>>>;

/// Everything that the loop owns.
#[derive(Debug)]
pub(crate) struct Desk {
    pub store: Arc<Store>,
    pub topology: Topology,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub epochs: HashMap<Shard, Epoch>,
    pub shards: u16,
    pub live: HashMap<RunId, Live>,
    pub ended: Ended,
    /// Runs whose history this version cannot read.
    pub unreadable: HashSet<RunId>,
    pub programs: Programs,
    pub dispatch: Dispatch,
    pub timers: Timers,
    pub schedules: Roster,
    pub outbox: Outbox,
    pub workers: Workers,
    pub watchers: HashMap<RunId, watch::Sender<Arc<view::Run>>>,
    /// Those who want to follow a run that is in doubt: whether it lives will be known once that is settled.
    pub waiting: Vec<(RunId, WatchAnswer)>,
    /// Runs that said [`machine::Command::Continue`].
    pub continuing: VecDeque<RunId>,
    /// Work that could not be written.
    pub lost: VecDeque<WorkKey>,
    /// Runs whose turn has come among those that exclude each other.
    pub admitted: VecDeque<RunId>,
    /// Runs that exclude each other.
    pub lines: Lines,
    /// What failed turns have left unclear; no input is taken until it is settled.
    pub doubt: Option<Doubt>,
}

/// Runs that ended lately.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    known: HashSet<RunId>,
    in_order: VecDeque<RunId>,
}

impl Ended {
    pub(crate) fn contains(&self, run: &RunId) -> bool {
        self.known.contains(run)
    }

    pub(crate) fn add(&mut self, run: RunId) {
        if self.in_order.len() >= ENDED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(run.clone()) {
            self.in_order.push_back(run);
        }
    }
}

/// Why a run could not be brought back from the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its history cannot be read.
    #[error("the history of {run} cannot be read: {why}")]
    History { run: RunId, why: String },
}

impl Desk {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The shards that `commit` must own: those of its rows, or any when it only deletes.
    pub(crate) fn fences_of(&self, commit: &store::Commit) -> Vec<(Shard, Epoch)> {
        let runs = commit.runs.iter().map(|run| run.shard);
        let rows = commit.outbox_add.iter().map(|row| row.shard);
        let timers = commit.timers_set.iter().map(|row| row.shard);
        let schedules = commit.schedules.iter().map(|row| row.shard);
        let touched: HashSet<Shard> = runs.chain(rows).chain(timers).chain(schedules).collect();
        let owned = self.epochs.iter().map(|(shard, epoch)| (*shard, *epoch));
        match touched.is_empty() {
            true => owned.take(1).collect(),
            false => owned.filter(|(shard, _)| touched.contains(shard)).collect(),
        }
    }

    /// Lets whoever asked follow a run, at once unless nobody knows now whether it lives.
    pub(crate) fn answer_watch(&mut self, run: RunId, answer: WatchAnswer) {
        let is_in_doubt = self.doubt.as_ref().is_some_and(|doubt| doubt.runs.contains(&run));
        if is_in_doubt && self.waiting.len() < WAITING_MAX {
            self.waiting.push((run, answer));
        } else {
            // Whoever asked may have hung up.
            let _ = answer.send(self.watch(&run));
        }
    }

    /// Follows a live run: what comes out is its latest view.
    fn watch(&mut self, run: &RunId) -> Option<watch::Receiver<Arc<view::Run>>> {
        let live = self.live.get(run)?;
        let view = || Arc::new(live.run.view(live.known.program.workflow()));
        // Whoever stops following says nothing.
        self.watchers.retain(|_, watcher| !watcher.is_closed());
        let watcher = self.watchers.entry(run.clone()).or_insert_with(|| watch::Sender::new(view()));
        Some(watcher.subscribe())
    }

    /// Live runs with a task that waits for a signal, newest first.
    pub(crate) fn waiting_for_signals(&self, filter: &store::Filter) -> Vec<view::Summary> {
        let waiting = self.live.values().filter(|live| live.run.is_waiting()).map(|live| live.run.summary());
        let mut waiting: Vec<view::Summary> = waiting.filter(|summary| filter.admits(summary)).collect();
        waiting.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        waiting.truncate(filter.limit as usize);
        waiting
    }

    /// Takes up what the loop itself is to do next.
    pub(crate) fn take_up(&mut self, own: Own) {
        match own {
            // Whatever its due time was: it rang, and its turn did not come to stand.
            Own::Timer(run, timer) => self.timers.arm(&run, timer, self.now()),
            Own::Tick(schedule) => self.schedules.arm(&schedule, self.now()),
            Own::Continue(run) if self.continuing.contains(&run) => {}
            Own::Continue(run) => self.continuing.push_back(run),
            Own::Lost(key) => self.lost.push_back(key),
            Own::Admit(run) => self.admitted.push_back(run),
        }
    }

    /// When something of the loop's own is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.next_due().into_iter().chain(self.schedules.next_due()).min()
    }

    /// What the loop itself has to do, as far as it is due; at most `most`.
    pub(crate) fn due(&mut self, most: usize) -> Vec<Own> {
        let now = self.now();
        if let Some(due) = self.next_due().filter(|due| *due <= now) {
            self.metrics.turns.timer_lag.set(now.since(due).as_secs_f64());
        }
        let rung = self.timers.ring(now, most).into_iter().map(|(run, timer)| Own::Timer(run, timer));
        let mut due: Vec<Own> = rung.collect();
        due.extend(self.schedules.ring(now, most - due.len()).into_iter().map(Own::Tick));
        let continuing = self.continuing.len().min(most - due.len());
        due.extend(self.continuing.drain(..continuing).map(Own::Continue));
        let lost = self.lost.len().min(most - due.len());
        due.extend(self.lost.drain(..lost).map(Own::Lost));
        let admitted = self.admitted.len().min(most - due.len());
        due.extend(self.admitted.drain(..admitted).map(Own::Admit));
        due
    }

    pub(crate) fn shard_of(&self, run: &RunId) -> Shard {
        Shard::of(run, self.shards)
    }

    /// Brings those of `ids` into memory that have not ended, and gives the heads of all that the store knows.
    pub(crate) async fn load(&mut self, ids: Vec<RunId>) -> Result<HashMap<RunId, store::Head>, Error> {
        let absent: Vec<RunId> =
            ids.into_iter().filter(|id| !self.live.contains_key(id) && !self.ended.contains(id)).collect();
        if absent.is_empty() {
            return Ok(HashMap::new());
        }
        let heads = self.store.heads(&absent).await?;
        for (id, head) in &heads {
            if head.summary.status.is_terminal() {
                self.ended.add(id.clone());
            } else {
                self.bring_back(id, head).await?;
            }
        }
        Ok(heads)
    }
}

impl Desk {
    /// One run whose history cannot be read must not keep all others from going on: it is left as it is, and what comes
    /// for it is put aside.
    async fn bring_back(&mut self, id: &RunId, head: &store::Head) -> Result<(), Error> {
        match restore(&self.store, &self.programs, id, head).await {
            Ok((run, known)) => {
                self.unreadable.remove(id);
                if run.has_passing() {
                    self.take_up(Own::Continue(id.clone()));
                }
                self.live.insert(id.clone(), Live { run, known, content: head.content });
                Ok(())
            }
            Err(Error::Store(error)) => Err(error.into()),
            Err(error @ Error::History { .. }) => {
                tracing::error!(run = %id, %error, "a run stands still");
                self.unreadable.insert(id.clone());
                Ok(())
            }
        }
    }
}

/// Makes a run again from its facts.
pub(crate) async fn restore(
    store: &Store,
    programs: &Programs,
    id: &RunId,
    head: &store::Head,
) -> Result<(Run, Arc<Known>), Error> {
    let (facts, known) = history(store, programs, id, head).await?;
    let lost = || Error::History { run: id.clone(), why: "no fact accepts it".into() };
    let run = machine::replay(known.program.workflow(), &facts).ok_or_else(lost)?;
    Ok((run, known))
}

/// Everything that happened to a run, and its workflow.
pub(crate) async fn history(
    store: &Store,
    programs: &Programs,
    id: &RunId,
    head: &store::Head,
) -> Result<(Vec<Fact>, Arc<Known>), Error> {
    let history = |why: String| Error::History { run: id.clone(), why };
    let known = programs.by_digest(head.definition).await.map_err(|error| match error {
        programs::Error::Store(error) => Error::Store(error),
        programs::Error::Refused(problems) => {
            history(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
        }
    })?;
    let facts: Result<Vec<Fact>, codec::Error> =
        store.facts(id).await?.iter().map(|bytes| codec::decode_within(bytes, usize::MAX)).collect();
    Ok((facts.map_err(|error| history(error.to_string()))?, known))
}
