//! Schedules in a turn: ticks are taken, schedules made, changed and removed.
//!
//! Where a schedule has come to is in the same commit as the run that it starts. The run's id follows from the due time,
//! so that a tick which is taken again, after a commit whose answer was lost, finds its run there already.

use std::collections::BTreeMap;

use proto::{
    id::{RunId, ScheduleName, Shard},
    limits::SCHEDULES_MAX,
    schedule::Outcome,
    time::Timestamp,
};
use tokio::sync::oneshot;

use super::{Error, Source, Turn};
use crate::{
    desk::Desk,
    intake,
    metrics::Count,
    programs,
    schedule::{Decision, Previous, Schedule, Started},
    store::ScheduleWrite,
};

/// Ticks of one schedule in one turn at the most: others shall have their turn, too.
const TICKS_MAX: usize = 32;

/// What is to become of a schedule.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is made, or takes the place of the one of its name.
    Put(Box<Schedule>),
    /// It is removed. Its runs go on.
    Remove(ScheduleName),
}

/// What a change has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Made,
    Replaced,
    Removed,
    /// There is no such schedule.
    Unknown,
    /// There are too many.
    Full,
    /// The store does not answer: try again.
    Unavailable,
}

/// What a turn changes about schedules.
#[derive(Debug, Default)]
pub(super) struct Ticked {
    /// `None` is one that is removed.
    schedules: BTreeMap<ScheduleName, Option<Schedule>>,
    answers: Vec<(oneshot::Sender<Changed>, Changed)>,
}

impl Change {
    pub(crate) fn name(&self) -> &ScheduleName {
        match self {
            Self::Put(schedule) => &schedule.name,
            Self::Remove(name) => name,
        }
    }
}

impl Desk {
    /// Runs that a turn at `now` may start for this schedule. They must be looked up before, and be forgotten if the turn
    /// does not come to stand.
    pub(super) fn runs_of_ticks(&self, name: &ScheduleName, now: Timestamp) -> Vec<RunId> {
        let Some(mut schedule) = self.schedules.get(name).cloned() else { return Vec::new() };
        schedule.catch_up(now);
        schedule.waiting(TICKS_MAX).map(|due| schedule.run(due)).collect()
    }

    /// Takes up a schedule as it is stored, and sets its alarm.
    pub(crate) fn take_up_schedule(&mut self, name: ScheduleName, body: &[u8]) {
        match Schedule::read(name.clone(), body) {
            Ok(schedule) => self.keep_schedule(schedule),
            // One that cannot be read must not keep all others from going on.
            Err(error) => tracing::error!(schedule = %name, %error, "a schedule stands still"),
        }
    }

    fn keep_schedule(&mut self, schedule: Schedule) {
        let alarm = schedule.alarm(self.previous(&schedule), self.now());
        self.schedules.put(schedule, alarm);
    }

    /// One whose history cannot be read counts as living: nobody knows what it has left undone.
    fn previous(&self, schedule: &Schedule) -> Previous {
        let lives = |run: &RunId| match self.live.get(run) {
            Some(live) => live.run.finished().is_none(),
            None => self.unreadable.contains(run),
        };
        if schedule.last_run().is_some_and(lives) { Previous::Lives } else { Previous::Over }
    }

    fn shard_of_schedule(&self, name: &ScheduleName) -> Shard {
        Shard::of_schedule(name, self.shards)
    }
}

impl Turn<'_> {
    /// Takes the ticks of a schedule that are due.
    pub(super) async fn tick(&mut self, name: &ScheduleName) -> Result<(), Error> {
        // The runs of one that was changed in this very turn were not looked up; it rings again.
        if self.ticked.schedules.contains_key(name) {
            return Ok(());
        }
        let Some(mut schedule) = self.schedule(name).cloned() else { return Ok(()) };
        let dropped = schedule.catch_up(self.now);
        for (outcome, count) in [(Outcome::Missed, dropped.missed), (Outcome::Skipped, dropped.skipped)] {
            if count > 0 {
                tracing::warn!(schedule = %name, outcome = outcome.as_str(), count, "ticks start no run");
                self.counts.push(Count::Ticks { outcome, count });
            }
        }
        for _ in 0..TICKS_MAX {
            let Some(decision) = schedule.decide(self.desk.previous(&schedule)) else { break };
            let outcome = match decision {
                Decision::Skip(due) => {
                    tracing::info!(schedule = %name, %due, "tick skipped: the run of the one before still lives");
                    schedule.skip();
                    Outcome::Skipped
                }
                Decision::Start(due) => {
                    let started = self.start_tick(&schedule, due).await?;
                    schedule.started(started)
                }
            };
            self.counts.push(Count::Ticks { outcome, count: 1 });
        }
        self.ticked.schedules.insert(name.clone(), Some(schedule));
        Ok(())
    }

    /// Accepts the run of a tick, as if its job had come by queue.
    async fn start_tick(&mut self, schedule: &Schedule, due: Timestamp) -> Result<Started, Error> {
        let (run, job) = (schedule.run(due), schedule.job(due));
        let refused = |why: String| {
            tracing::warn!(schedule = %schedule.name, %due, %why, "tick refused");
            Ok(Started::Refused(format!("{run}: {why}")))
        };
        if let Some(content) = self.content(&run).await? {
            return match content == intake::content_of(&job) {
                true => Ok(Started::Accepted),
                false => refused("a run of that id exists, and its job was another one".to_owned()),
            };
        }
        match intake::check(&self.desk.programs, &self.names, run.clone(), job, None).await {
            Ok(order) => {
                self.start(run, order, None, Source::Own).await?;
                Ok(Started::Accepted)
            }
            Err(programs::Error::Refused(problems)) => {
                refused(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
            }
            Err(programs::Error::Store(error)) => Err(error.into()),
        }
    }

    /// Makes, changes or removes a schedule.
    pub(super) fn change(&mut self, change: Change, asker: oneshot::Sender<Changed>) {
        let name = change.name().clone();
        let known = self.schedule(&name);
        let (kept, changed) = match (change, known) {
            (Change::Put(schedule), Some(old)) => (Some(schedule.replacing(old, self.now)), Changed::Replaced),
            (Change::Put(_), None) if self.desk.schedules.len() >= SCHEDULES_MAX => {
                self.ticked.answers.push((asker, Changed::Full));
                return;
            }
            (Change::Put(schedule), None) => (Some(schedule.beginning(self.now)), Changed::Made),
            (Change::Remove(_), Some(_)) => (None, Changed::Removed),
            (Change::Remove(_), None) => (None, Changed::Unknown),
        };
        // Also when it is unknown: one that cannot be read is removed all the same.
        self.ticked.schedules.insert(name, kept);
        self.ticked.answers.push((asker, changed));
    }

    /// A schedule as this turn has it.
    fn schedule(&self, name: &ScheduleName) -> Option<&Schedule> {
        match self.ticked.schedules.get(name) {
            Some(changed) => changed.as_ref(),
            None => self.desk.schedules.get(name),
        }
    }

    /// Adds to the commit what is new about schedules.
    pub(super) fn write_schedules(&mut self) {
        for (name, schedule) in &self.ticked.schedules {
            let is_new = schedule.as_ref().is_none_or(|schedule| self.desk.schedules.get(name) != Some(schedule));
            if is_new {
                let shard = self.desk.shard_of_schedule(name);
                let body = schedule.as_ref().map(Schedule::write);
                self.commit.schedules.push(ScheduleWrite { name: name.clone(), shard, body });
                self.doubt.schedules.insert(name.clone());
            }
        }
    }

    /// What the commit allows: alarms are set, and whoever asked is told.
    pub(super) fn keep_schedules(&mut self) {
        let Ticked { schedules, answers } = std::mem::take(&mut self.ticked);
        for (name, schedule) in schedules {
            match schedule {
                Some(schedule) => self.desk.keep_schedule(schedule),
                None => self.desk.schedules.remove(&name),
            }
        }
        for (asker, changed) in answers {
            // Whoever asked may have hung up.
            let _ = asker.send(changed);
        }
    }
}
