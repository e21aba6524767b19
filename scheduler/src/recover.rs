//! Taking up what is unfinished: of a shard that was taken over, and of a commit whose answer was lost.

use std::collections::{BTreeSet, HashMap, HashSet};

use proto::id::{RunId, ScheduleName, Shard};

use crate::{
    desk::Desk,
    dispatch,
    outbox::{self, Envelope},
    store::{Commit, OutboxKind, OutboxRow},
    timers,
    turn::{Error, Own, ready_envelope},
};

/// Runs that are brought back at once.
const CHUNK: usize = 500;

/// What failed turns may have written or not. The store knows; until it was asked, nothing else is decided.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    /// Runs that were forgotten.
    pub runs: HashSet<RunId>,
    /// Rows for the outbox.
    pub rows: HashMap<String, Shard>,
    /// Schedules.
    pub schedules: HashSet<ScheduleName>,
}

impl Doubt {
    pub(crate) fn absorb(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.rows.extend(other.rows);
        self.schedules.extend(other.schedules);
    }
}

impl Desk {
    /// Brings back everything that `shard` left unfinished.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn recover(&mut self, shard: Shard) -> Result<(), Error> {
        let runs = self.store.live_runs(shard).await?;
        for chunk in runs.chunks(CHUNK) {
            self.load(chunk.to_vec()).await?;
        }
        for row in self.store.timers(shard).await? {
            if let Some((run, timer)) = timers::read_key(&row.key) {
                self.timers.arm(&run, timer, row.due);
            }
        }
        let schedules = self.store.schedules(shard).await?;
        let rows = self.store.outbox(shard).await?;
        let count = schedules.len();
        schedules.into_iter().for_each(|(name, body)| self.take_up_schedule(name, &body));
        tracing::info!(%shard, runs = runs.len(), schedules = count, unconfirmed = rows.len(), "shard taken over");
        self.line_up();
        for chunk in rows.chunks(CHUNK) {
            self.send_again(shard, chunk).await?;
        }
        Ok(())
    }

    /// Reads from the store what failed turns have come to: their runs, and timers and messages that this process
    /// would otherwise never hear of, since the inputs that led to them change nothing when they come again.
    ///
    /// # Errors
    /// When the store does not answer; the doubt remains.
    pub(crate) async fn settle_doubt(&mut self) -> Result<(), Error> {
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        let settled = self.read_again(&doubt).await;
        if settled.is_err() {
            self.doubt.get_or_insert_default().absorb(doubt);
        }
        settled
    }

    async fn read_again(&mut self, doubt: &Doubt) -> Result<(), Error> {
        let Doubt { runs, rows, schedules } = doubt;
        // Before any input is taken again: each that comes back from a failed turn comes back once more from the
        // broker, which gives it up after a number of times. A store that cannot write shall not use those up.
        let fences = self.epochs.iter().map(|(shard, epoch)| (*shard, *epoch)).collect();
        self.store.commit(Commit { fences, ..Commit::default() }).await?;
        self.load(runs.iter().cloned().collect()).await?;
        let shards: BTreeSet<Shard> = runs.iter().map(|run| self.shard_of(run)).chain(rows.values().copied()).collect();
        for shard in shards {
            for row in self.store.timers(shard).await? {
                if let Some((run, timer)) = timers::read_key(&row.key).filter(|(run, _)| runs.contains(run)) {
                    self.timers.arm(&run, timer, row.due);
                }
            }
            let mut stored = self.store.outbox(shard).await?;
            stored.retain(|row| rows.contains_key(&row.key));
            self.send_again(shard, &stored).await?;
        }
        self.line_up();
        for name in schedules {
            match self.store.schedule(name).await? {
                Some(body) => self.take_up_schedule(name.clone(), &body),
                None => self.schedules.remove(name),
            }
        }
        for run in runs {
            self.show(run);
            if !self.live.contains_key(run) {
                // Those who follow it see the end of this, and look for the run in the store.
                self.watchers.remove(run);
                self.schedules.run_ended(run, self.now());
            }
        }
        for (run, answer) in std::mem::take(&mut self.waiting) {
            self.answer_watch(run, answer);
        }
        tracing::info!(runs = runs.len(), "what failed turns have come to was read from the store");
        Ok(())
    }

    /// Makes the lines of runs that exclude each other again: first those that have begun, then those that wait, in the
    /// order in which they were accepted.
    fn line_up(&mut self) {
        self.lines.clear();
        self.admitted.clear();
        let mut all: Vec<_> =
            self.live.values().map(|live| &live.run).filter(|run| run.exclusive().is_some()).collect();
        all.retain(|run| !run.is_scheduled());
        all.sort_by_key(|run| (run.is_in_line(), run.started_at(), run.id().clone()));
        let mut admitted = Vec::new();
        for run in all {
            let is_first = run.exclusive().is_some_and(|key| self.lines.join(key, run.id()));
            if is_first && run.is_in_line() {
                admitted.push(run.id().clone());
            }
        }
        admitted.into_iter().for_each(|run| self.take_up(Own::Admit(run)));
    }

    /// Publishes again what may not have reached the broker. Work that nobody wants any more is dropped.
    async fn send_again(&mut self, shard: Shard, rows: &[OutboxRow]) -> Result<(), Error> {
        let mut commit = Commit::default();
        let mut envelopes = Vec::new();
        for row in rows {
            match self.rewrite(shard, row, &mut commit).await? {
                Rewritten::Envelopes(again) => envelopes.extend(again),
                Rewritten::Unwanted => commit.outbox_remove.push(row.key.clone()),
                Rewritten::Impossible => {}
            }
        }
        if !commit.is_empty() {
            commit.fences = self.fences_of(&commit);
            self.store.commit(commit).await?;
        }
        self.outbox.push(envelopes);
        Ok(())
    }

    async fn rewrite(&mut self, shard: Shard, row: &OutboxRow, commit: &mut Commit) -> Result<Rewritten, Error> {
        match (row.kind, &row.body) {
            (OutboxKind::Reply | OutboxKind::Event, Some(body)) => {
                Ok(outbox::letters_of(&row.key, body).map_or(Rewritten::Unwanted, Rewritten::Envelopes))
            }
            (OutboxKind::Work, _) => self.rewrite_work(shard, &row.run, &row.key, commit).await,
            (OutboxKind::Reply | OutboxKind::Event, None) => Ok(Rewritten::Unwanted),
        }
    }

    async fn rewrite_work(
        &mut self,
        shard: Shard,
        run: &RunId,
        key: &str,
        commit: &mut Commit,
    ) -> Result<Rewritten, Error> {
        if self.unreadable.contains(run) {
            return Ok(Rewritten::Impossible);
        }
        let now = self.now();
        let (Ok(key), Some(live)) = (key.parse(), self.live.get(run)) else { return Ok(Rewritten::Unwanted) };
        match self.dispatch.write(&live.known, &live.run, shard, &key, now, &mut commit.values).await {
            Ok(Some(ready)) => Ok(Rewritten::Envelopes(vec![ready_envelope(ready, &self.topology)])),
            Ok(None) => Ok(Rewritten::Unwanted),
            Err(error @ dispatch::Error::Items { .. }) => {
                tracing::error!(%error, "work cannot be written: it counts as lost");
                self.take_up(Own::Lost(key));
                Ok(Rewritten::Impossible)
            }
            Err(error @ dispatch::Error::Store(_)) => Err(error.into()),
        }
    }
}

/// What has become of a stored row.
enum Rewritten {
    Envelopes(Vec<Envelope>),
    /// Nobody waits for it any more: its row goes.
    Unwanted,
    /// It cannot be written now: its row stays.
    Impossible,
}
