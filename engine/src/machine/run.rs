//! A run in memory: what its facts have made of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proto::{
    failure::Failure,
    id::{Instance, RunId, TaskName},
    time::Timestamp,
    value::{Stored, ValueRef},
    view::ItemCounts,
    work::{Phase, RunInfo, RunStatus, Status, WorkKey},
};

use super::{fact::ReplyTo, fanout::FanOut};
use crate::{
    context::Context,
    spec::{TaskIndex, Workflow},
};

/// A run. Only [`super::evolve`] changes it, and only by facts, so that a replay of them gives it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub(super) id: RunId,
    pub(super) info: RunInfo,
    pub(super) definition: Stored,
    pub(super) reply: Option<ReplyTo>,
    pub(super) stage: Stage,
    /// Why the run fails; set once.
    pub(super) failure: Option<Failure>,
    /// A cancel was asked for.
    pub(super) cancel: Option<Cancel>,
    /// Parameters and vars: where every entry task starts from.
    pub(super) base: Context,
    /// What all ended branches have written, for the output.
    pub(super) merged: Context,
    /// By [`TaskIndex`].
    pub(super) tasks: Vec<TaskState>,
    /// Tasks that have started and not ended.
    pub(super) live: BTreeMap<Instance, Live>,
    /// Tasks that the machine itself can end now.
    pub(super) passing: BTreeSet<Instance>,
    /// Started so far.
    pub(super) instances: u32,
    /// Pieces of work of the run itself so far.
    pub(super) serial: u32,
    /// Writes to any context so far.
    pub(super) writes: u64,
    /// Facts so far.
    pub(super) facts: u32,
    pub(super) finished: Option<Finished>,
}

/// Where the run itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A worker evaluates the vars.
    Preparing,
    /// Tasks run.
    Running,
    /// A worker evaluates the output.
    Concluding,
    /// It has ended.
    Ended,
}

/// Someone asked for the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cancel {
    /// Why, for people.
    pub reason: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// When.
    pub at: Timestamp,
    /// Succeeded, failed or canceled.
    pub status: RunStatus,
    /// Its output.
    pub output: ValueRef,
}

/// What a run knows of one task of its workflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TaskState {
    /// Times it was started.
    pub instances: u32,
    /// The latest start, for people.
    pub latest: Option<Latest>,
    /// How often each inbound task has arrived at this join.
    pub arrivals: BTreeMap<TaskIndex, u32>,
    /// Passes of this join that some inbound tasks have reached, and others have not.
    pub passes: BTreeMap<u32, Pass>,
}

/// The latest start of a task, as people see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latest {
    pub instance: Instance,
    pub attempts: u32,
    /// `None` while it lives.
    pub ended: Option<Status>,
    pub failure: Option<Failure>,
    pub items: Option<ItemCounts>,
}

/// One pass of a join.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pass {
    /// Inbound tasks that have arrived.
    pub arrived: BTreeSet<TaskIndex>,
    /// What they bring, merged, until the task starts with it.
    pub context: Context,
    /// The task was started for it.
    pub is_started: bool,
}

/// A task that has started and not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub(super) task: TaskIndex,
    pub(super) context: Context,
    /// Attempts that went out, lost ones too; one that was handed back untouched does not count.
    pub(super) attempt: u32,
    /// Retries used.
    pub(super) retries: u32,
    /// Pieces of work so far.
    pub(super) serial: u32,
    pub(super) at: At,
}

/// Where a live task is. The work of a stage is the one with the latest serial, except for ranges.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum At {
    Preparing,
    Delayed(Timestamp),
    Listing,
    Acting,
    BackingOff(Box<BackOff>),
    Items(Box<FanOut>),
    Settling(Box<Settling>),
    Passing,
}

/// A task between two attempts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BackOff {
    pub until: Timestamp,
    /// How the last attempt ended.
    pub status: Status,
    pub failure: Option<Failure>,
}

/// A task that has ended and whose transitions a worker asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settling {
    pub status: Status,
    pub failure: Option<Failure>,
    /// Its items, when it had some.
    pub items: Option<Box<FanOut>>,
}

impl Run {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The workflow's source.
    #[must_use]
    pub fn definition(&self) -> Stored {
        self.definition
    }

    /// What templates read as `run`, as it is now.
    #[must_use]
    pub fn info(&self) -> RunInfo {
        RunInfo { status: self.status(), error: self.failure.clone(), ..self.info.clone() }
    }

    /// Where it is.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match (&self.finished, self.cancel.is_some()) {
            (Some(finished), _) => finished.status,
            (None, true) => RunStatus::Canceling,
            (None, false) if self.stage == Stage::Preparing => RunStatus::Queued,
            (None, false) => RunStatus::Running,
        }
    }

    /// Who is told of the end.
    #[must_use]
    pub fn reply(&self) -> Option<&ReplyTo> {
        self.reply.as_ref()
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    /// Why it fails or failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// How many facts have made it: the next one's sequence.
    #[must_use]
    pub fn facts(&self) -> u32 {
        self.facts
    }

    /// When it was accepted.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.info.started_at
    }

    /// Bytes of JSON that its context stands for.
    #[must_use]
    pub fn context_bytes(&self) -> u64 {
        self.merged.bytes() + self.live.values().map(|live| live.context.bytes()).max().unwrap_or(0)
    }

    /// Whether the machine can go on by itself, without any input.
    #[must_use]
    pub fn has_passing(&self) -> bool {
        !self.passing.is_empty()
    }

    /// Nothing new starts: it fails or is cancelled.
    pub(super) fn is_closing(&self) -> bool {
        self.failure.is_some() || self.cancel.is_some()
    }

    /// Every piece of work that is with the broker or on a worker, as the run itself sees it. The laws hold it against
    /// what was really sent.
    #[must_use]
    pub fn outstanding(&self, spec: &Workflow) -> Vec<WorkKey> {
        let mut keys = Vec::new();
        match self.stage {
            Stage::Preparing => keys.push(self.own_key(Phase::Prepare)),
            Stage::Concluding => keys.push(self.own_key(Phase::Output)),
            Stage::Running | Stage::Ended => {}
        }
        for (&instance, live) in &self.live {
            let name = &spec.task(live.task).name;
            match (&live.at, live.at.phase()) {
                (At::Items(fan), _) => {
                    keys.extend(fan.flights().map(|serial| self.key(name, instance, Phase::Act, serial)));
                }
                (_, Some(phase)) => keys.push(self.key(name, instance, phase, live.serial)),
                (_, None) => {}
            }
        }
        keys
    }

    /// The live task and phase that `key` asks for, if that work is still wanted.
    pub(super) fn wanted(&self, spec: &Workflow, key: &WorkKey) -> Option<(Instance, &Live)> {
        let (name, instance) = key.task.as_ref()?;
        let live = self.live.get(instance)?;
        let is_task = spec.task(live.task).name == *name;
        let is_current = match &live.at {
            At::Items(fan) => key.phase == Phase::Act && fan.flight(key.serial).is_some(),
            other => other.phase() == Some(key.phase) && live.serial == key.serial,
        };
        (is_task && is_current).then_some((*instance, live))
    }

    /// Whether `key` is the work of the run itself that is wanted now.
    pub(super) fn wants_own(&self, key: &WorkKey) -> bool {
        let phase = match self.stage {
            Stage::Preparing => Phase::Prepare,
            Stage::Concluding => Phase::Output,
            Stage::Running | Stage::Ended => return false,
        };
        key.task.is_none() && key.phase == phase && key.serial == self.serial
    }

    pub(super) fn own_key(&self, phase: Phase) -> WorkKey {
        WorkKey { run: self.id.clone(), task: None, phase, serial: self.serial }
    }

    pub(super) fn key(&self, task: &TaskName, instance: Instance, phase: Phase, serial: u32) -> WorkKey {
        WorkKey { run: self.id.clone(), task: Some((task.clone(), instance)), phase, serial }
    }

    pub(super) fn state(&self, task: TaskIndex) -> &TaskState {
        &self.tasks[usize::from(task.0)]
    }

    pub(super) fn write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }
}

impl Live {
    /// The task's fan-out, while its items run or are settled.
    pub(super) fn fan_out(&self) -> Option<&FanOut> {
        match &self.at {
            At::Items(fan) => Some(fan),
            At::Settling(settling) => settling.items.as_deref(),
            At::Preparing | At::Delayed(_) | At::Listing | At::Acting | At::BackingOff(_) | At::Passing => None,
        }
    }
}

impl At {
    /// The phase of the one piece of work that this stage waits for; ranges are several.
    pub(super) fn phase(&self) -> Option<Phase> {
        match self {
            Self::Preparing => Some(Phase::Prepare),
            Self::Listing => Some(Phase::Items),
            Self::Acting => Some(Phase::Act),
            Self::Settling(_) => Some(Phase::Settle),
            Self::Delayed(_) | Self::BackingOff(_) | Self::Items(_) | Self::Passing => None,
        }
    }

    /// What becomes of a task here when the run closes.
    pub(super) fn at_close(&self) -> AtClose {
        match self {
            Self::Preparing | Self::Delayed(_) | Self::Listing | Self::Passing => AtClose::Drop,
            Self::Acting => AtClose::Await,
            Self::Items(fan) if fan.is_flying() => AtClose::Await,
            Self::BackingOff(_) | Self::Items(_) | Self::Settling(_) => AtClose::End,
        }
    }

    /// When the timer of a task here rings, if it waits for one.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Delayed(until) => Some(*until),
            Self::BackingOff(back_off) => Some(back_off.until),
            Self::Items(fan) => fan.next_due(),
            Self::Preparing | Self::Listing | Self::Acting | Self::Settling(_) | Self::Passing => None,
        }
    }
}

/// What becomes of a live task when its run fails or is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtClose {
    /// It has not begun: an evaluation has no effect outside.
    Drop,
    /// Something of it may have begun on a worker and is waited for.
    Await,
    /// It has done what it will do, and ends with that.
    End,
}

/// A value that several contexts share.
pub(super) fn shared(value: &ValueRef) -> Arc<ValueRef> {
    Arc::new(value.clone())
}
