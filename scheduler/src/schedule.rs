//! Schedules: which ticks are due, which of them start a run, and which come to nothing. Pure: clocks and runs are told.
//!
//! A tick is taken in one commit: where the schedule has come to, and the run that it starts. So nobody takes it twice,
//! and nobody loses it. `timetable` says when ticks are due, `roster` is all schedules of this process and their alarms;
//! the turn that takes ticks is `turn/tick.rs`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use proto::{
    SCHEMA, codec,
    id::{RunId, ScheduleName},
    job::{Job, Target},
    limits::TICKS_WAITING_MAX,
    schedule::{self, Counts, Definition, Missed, Outcome, Overlap},
    time::Timestamp,
    work::RunStatus,
};
use serde::{Deserialize, Serialize};

use timetable::Timetable;

pub(crate) mod roster;
pub(crate) mod timetable;

/// A tick that is taken later than this counts as missed: longer than a scheduler needs to start again.
const LATE: Duration = Duration::from_secs(60);
/// The label under which a run names its schedule.
const LABEL: &str = "schedule";
/// Bytes of an error that are kept.
const ERROR_CHARS_MAX: usize = 1_000;

/// A schedule and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub name: ScheduleName,
    definition: Arc<Definition>,
    timetable: Timetable,
    state: State,
}

/// What is stored of a schedule. A later version may add fields with defaults.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    schema: u16,
    definition: Definition,
    state: State,
}

/// How far a schedule has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// Every tick up to this time is taken, or waits.
    taken_to: Timestamp,
    /// Ticks that are due and not decided, in order.
    #[serde(default)]
    waiting: VecDeque<Timestamp>,
    /// The latest tick that was decided.
    #[serde(default)]
    last: Option<Tick>,
    /// The latest run that was started.
    #[serde(default)]
    last_run: Option<RunId>,
    /// Why the latest tick that was to start a run did not.
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    ticks: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tick {
    due: Timestamp,
    outcome: Outcome,
}

/// Whether the run of the tick before still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Previous {
    Lives,
    Over,
}

/// What is to become of the tick that is first in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Start(Timestamp),
    Skip(Timestamp),
}

/// What starting a run has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// It was accepted, now or before.
    Accepted,
    /// It was not, and why.
    Refused(String),
}

/// Ticks that will never be decided, found while catching up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Passed while no scheduler ran; a lower bound when there were very many.
    pub missed: u64,
    /// No room to wait.
    pub skipped: u64,
}

/// Why a stored schedule cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Stored(#[from] codec::Error),
    #[error(transparent)]
    Timetable(#[from] timetable::Error),
}

impl Schedule {
    /// A schedule that has not begun.
    pub(crate) fn new(name: ScheduleName, definition: Definition) -> Result<Self, timetable::Error> {
        let timetable = Timetable::read(&definition.cron, &definition.tz)?;
        Ok(Self { name, definition: Arc::new(definition), timetable, state: State::default() })
    }

    /// Begins it: its first tick is after `now`.
    pub(crate) fn beginning(mut self, now: Timestamp) -> Self {
        self.state.taken_to = now;
        self
    }

    /// Reads what [`Schedule::write`] wrote.
    pub(crate) fn read(name: ScheduleName, body: &[u8]) -> Result<Self, Error> {
        let Stored { definition, state, .. } = codec::decode(body)?;
        let timetable = Timetable::read(&definition.cron, &definition.tz)?;
        Ok(Self { name, definition: Arc::new(definition), timetable, state })
    }

    /// What is stored of it.
    pub(crate) fn write(&self) -> Bytes {
        let definition = self.definition.as_ref().clone();
        codec::encode(&Stored { schema: SCHEMA, definition, state: self.state.clone() }).into()
    }

    /// This schedule in place of `old`: it goes on where that one was. Ticks that are due by another timetable begin
    /// now, as nobody meant those that would have been due before.
    pub(crate) fn replacing(mut self, old: &Self, now: Timestamp) -> Self {
        self.state = old.state.clone();
        if self.timetable != old.timetable {
            self.state.taken_to = self.state.taken_to.max(now);
        }
        self
    }

    /// Lets every tick that is due at `now` wait for its decision, but for those that are missed.
    pub(crate) fn catch_up(&mut self, now: Timestamp) -> Dropped {
        let after = self.state.taken_to;
        let mut dues = self.timetable.first(after, now, TICKS_WAITING_MAX + 1);
        let are_too_many = dues.len() > TICKS_WAITING_MAX;
        if are_too_many {
            dues = match self.definition.missed {
                Missed::All => self.timetable.latest(after, now, TICKS_WAITING_MAX),
                Missed::Last | Missed::None => self.timetable.last(after, now).into_iter().collect(),
            };
        }
        let Some(last) = dues.last().copied() else { return Dropped::default() };
        self.state.taken_to = last;
        let found = dues.len();
        let wanted = match self.definition.missed {
            Missed::All => dues,
            Missed::None if now.since(last) > LATE => Vec::new(),
            Missed::Last | Missed::None => vec![last],
        };
        let mut dropped = Dropped { missed: (found - wanted.len()) as u64, skipped: 0 };
        if are_too_many {
            dropped.missed = dropped.missed.max(1) + TICKS_WAITING_MAX as u64 - wanted.len() as u64;
        }
        if are_too_many && self.definition.missed == Missed::All {
            let from = wanted.first().map_or(last, |due| *due).to_whole_seconds();
            self.fail(format!("more than {TICKS_WAITING_MAX} ticks were missed: none before {from} is run"));
        }
        if wanted.is_empty() {
            self.state.last = Some(Tick { due: last, outcome: Outcome::Missed });
        }
        dropped.skipped = self.line_up(wanted);
        self.state.ticks.add(Outcome::Missed, dropped.missed);
        self.state.ticks.add(Outcome::Skipped, dropped.skipped);
        dropped
    }

    /// Lets `dues` wait, and counts those for which there is no room.
    fn line_up(&mut self, dues: Vec<Timestamp>) -> u64 {
        let room = TICKS_WAITING_MAX.saturating_sub(self.state.waiting.len());
        let skipped = dues.len().saturating_sub(room);
        if let Some(due) = dues.get(room) {
            self.fail(format!("{TICKS_WAITING_MAX} ticks wait already: that of {due} is skipped"));
        }
        self.state.waiting.extend(dues.into_iter().take(room));
        skipped as u64
    }

    /// The first ticks in line, at most `most`.
    pub(crate) fn waiting(&self, most: usize) -> impl Iterator<Item = Timestamp> {
        self.state.waiting.iter().take(most).copied()
    }

    /// What becomes of the first in line; `None` when it is not its turn, or there is none.
    pub(crate) fn decide(&self, previous: Previous) -> Option<Decision> {
        let due = *self.state.waiting.front()?;
        match (self.definition.overlap, previous) {
            (Overlap::Allow, _) | (Overlap::Skip | Overlap::Queue, Previous::Over) => Some(Decision::Start(due)),
            (Overlap::Skip, Previous::Lives) => Some(Decision::Skip(due)),
            (Overlap::Queue, Previous::Lives) => None,
        }
    }

    /// Notes that the first in line is skipped.
    pub(crate) fn skip(&mut self) {
        self.take(Outcome::Skipped);
    }

    /// Notes what became of the run of the first in line.
    pub(crate) fn started(&mut self, started: Started) -> Outcome {
        let (outcome, error) = match started {
            Started::Accepted => (Outcome::Started, None),
            Started::Refused(why) => (Outcome::Refused, Some(why)),
        };
        if outcome == Outcome::Started {
            self.state.last_run = self.state.waiting.front().map(|due| self.run(*due));
            self.state.error = None;
        }
        self.take(outcome);
        error.into_iter().for_each(|why| self.fail(why));
        outcome
    }

    fn take(&mut self, outcome: Outcome) {
        if let Some(due) = self.state.waiting.pop_front() {
            self.state.last = Some(Tick { due, outcome });
            self.state.ticks.add(outcome, 1);
        }
    }

    fn fail(&mut self, why: String) {
        self.state.error = Some(why.chars().take(ERROR_CHARS_MAX).collect());
    }

    /// When to look at it next: now when a tick is in line whose turn it is, else when the next is due.
    pub(crate) fn alarm(&self, previous: Previous, now: Timestamp) -> Option<Timestamp> {
        match self.decide(previous) {
            Some(_) => Some(now),
            None => self.timetable.next(self.state.taken_to),
        }
    }

    /// The run of the tick that is due at `due`.
    pub(crate) fn run(&self, due: Timestamp) -> RunId {
        RunId::of_tick(&self.name, due)
    }

    /// The latest run that a tick started.
    pub(crate) fn last_run(&self) -> Option<&RunId> {
        self.state.last_run.as_ref()
    }

    /// The job of the tick that is due at `due`.
    pub(crate) fn job(&self, due: Timestamp) -> Job {
        let Definition { workflow, parameters, labels, coerce, .. } = self.definition.as_ref().clone();
        let mut labels = labels;
        labels.entry(LABEL.to_owned()).or_insert_with(|| self.name.to_string());
        let target = Target::Name(workflow);
        Job { target, parameters, id: Some(self.run(due)), labels, at: None, coerce, context: None }
    }

    /// How people see it, with the status of its latest run.
    pub(crate) fn view(&self, last_run_status: Option<RunStatus>) -> schedule::Schedule {
        let State { taken_to, waiting, last, last_run, error, ticks } = self.state.clone();
        schedule::Schedule {
            name: self.name.clone(),
            definition: self.definition.as_ref().clone(),
            next_due: self.timetable.next(taken_to),
            last_due: last.map(|tick| tick.due),
            last_outcome: last.map(|tick| tick.outcome),
            last_run,
            last_run_status,
            last_error: error,
            waiting: u32::try_from(waiting.len()).unwrap_or(u32::MAX),
            ticks,
        }
    }
}

#[cfg(test)]
mod tests;
