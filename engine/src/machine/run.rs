//! A run in memory: what its facts have made of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use proto::{
    failure::Failure,
    id::{Digest, Instance, KeyName, RunId, TaskName, WorkflowName},
    limits::SIGNALS_MAX,
    time::Timestamp,
    value::{Stored, ValueRef},
    view::ItemCounts,
    work::{Phase, RunInfo, RunStatus, Status, WorkKey},
};

use super::{
    fact::{Parent, ReplyTo},
    fanout::FanOut,
    live::{At, Live},
};
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
    pub(super) parent: Option<Parent>,
    pub(super) ancestor: Option<RunId>,
    /// Runs with the same of this go one at a time.
    pub(super) exclusive: Option<Digest>,
    /// The workflows that it and its children call.
    pub(super) children: BTreeMap<WorkflowName, Stored>,
    pub(super) stage: Stage,
    /// It has to be prepared by a worker before it begins.
    pub(super) prepare: bool,
    /// When it began, or was first about to.
    pub(super) begun_at: Timestamp,
    /// When its time is over.
    pub(super) deadline: Option<Timestamp>,
    /// Why the run fails; set once.
    pub(super) failure: Option<Failure>,
    /// A cancel was asked for.
    pub(super) cancel: Option<Cancel>,
    /// What runs is stopped, through this start of a task.
    pub(super) stop: Option<Instance>,
    /// A pause was asked for.
    pub(super) pause: Option<Pause>,
    /// How it will end, while the task of `finally` runs.
    pub(super) verdict: Option<Verdict>,
    /// Parameters and vars: where every entry task starts from.
    pub(super) base: Context,
    /// What all ended branches have written, for the output.
    pub(super) merged: Context,
    /// By [`TaskIndex`].
    pub(super) tasks: Vec<TaskState>,
    /// Tasks that have started and not ended.
    pub(super) live: BTreeMap<Instance, Box<Live>>,
    /// Tasks that the machine itself can end now.
    pub(super) passing: BTreeSet<Instance>,
    /// Tasks whose work is held back by a pause.
    pub(super) held: BTreeSet<Instance>,
    /// Work of the run itself is held back by a pause.
    pub(super) held_own: bool,
    /// Tasks that have no room in `concurrency`.
    pub(super) queued: BTreeSet<Instance>,
    /// Tasks whose items go out.
    pub(super) fans: BTreeSet<Instance>,
    /// At most so many tasks and items in flight.
    pub(super) concurrency: Option<u32>,
    /// Tasks and items that are with the broker or on workers, or run as children; counted where there is a bound.
    pub(super) flying: u32,
    /// Signals that came and were not taken, by name and in order.
    pub(super) signals: BTreeMap<KeyName, VecDeque<ValueRef>>,
    /// Ids of signals that came.
    pub(super) signal_ids: BTreeSet<String>,
    /// Signals that came.
    pub(super) signals_count: usize,
    /// Tasks that wait for a signal, by its name.
    pub(super) waiters: BTreeMap<KeyName, BTreeSet<Instance>>,
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
    /// Its start time has not come.
    Scheduled(Timestamp),
    /// It waits for its turn among those that exclude each other.
    InLine,
    /// A worker evaluates the vars.
    Preparing,
    /// Tasks run.
    Running,
    /// A worker evaluates the output.
    Concluding,
    /// The task of `finally` runs.
    Finalizing(Instance),
    /// It has ended.
    Ended,
}

/// Someone asked for the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cancel {
    /// Why, for people.
    pub reason: Option<String>,
}

/// Someone asked for a rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pause {
    /// Why, for people.
    pub reason: Option<String>,
}

/// How a run will end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub status: RunStatus,
    pub output: ValueRef,
    pub failure: Option<Failure>,
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
    /// Its child runs, the first of them.
    pub children: Vec<RunId>,
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

    /// What templates read as `run`, as it is now: for the task of `finally`, as it will end.
    #[must_use]
    pub fn info(&self) -> RunInfo {
        let verdict = self.verdict.as_ref();
        let status = verdict.map_or_else(|| self.status(), |verdict| verdict.status);
        let error = verdict.map_or_else(|| self.failure.clone(), |verdict| verdict.failure.clone());
        RunInfo { status, error, ..self.info.clone() }
    }

    /// Where it is.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match (&self.finished, self.cancel.is_some(), self.pause.is_some()) {
            (Some(finished), _, _) => finished.status,
            (None, true, _) => RunStatus::Canceling,
            (None, false, true) if self.has_work_out() => RunStatus::Pausing,
            (None, false, true) => RunStatus::Paused,
            (None, false, false) if self.has_begun() => RunStatus::Running,
            (None, false, false) => RunStatus::Queued,
        }
    }

    fn has_begun(&self) -> bool {
        match self.stage {
            Stage::Scheduled(_) | Stage::InLine | Stage::Preparing => false,
            Stage::Running | Stage::Concluding | Stage::Finalizing(_) | Stage::Ended => true,
        }
    }

    /// Whether anything was sent that is not reported or handed back. Children rest by themselves.
    fn has_work_out(&self) -> bool {
        let own = match self.stage {
            Stage::Preparing | Stage::Concluding => !self.held_own,
            Stage::Scheduled(_) | Stage::InLine | Stage::Running | Stage::Finalizing(_) | Stage::Ended => false,
        };
        let is_out = |instance: &Instance, live: &Live| match &live.at {
            At::Items(fan) => fan.is_flying(),
            other => other.phase().is_some() && !self.held.contains(instance) && !self.queued.contains(instance),
        };
        own || self.live.iter().any(|(instance, live)| is_out(instance, live))
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

    /// The run and the task that it is a child of.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// The run that this one does again, or in part.
    #[must_use]
    pub fn ancestor(&self) -> Option<&RunId> {
        self.ancestor.as_ref()
    }

    /// What it has to be alone with, for as long as it has begun and not ended.
    #[must_use]
    pub fn exclusive(&self) -> Option<Digest> {
        self.exclusive
    }

    /// Whether it waits for its turn among those that exclude each other.
    #[must_use]
    pub fn is_in_line(&self) -> bool {
        self.stage == Stage::InLine
    }

    /// Whether it waits for its start time.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        matches!(self.stage, Stage::Scheduled(_))
    }

    /// Whether it can take another signal: `false` once [`SIGNALS_MAX`] have come.
    #[must_use]
    pub fn takes_signals(&self) -> bool {
        self.signals_count < SIGNALS_MAX
    }

    /// Child runs that live.
    pub fn children(&self) -> impl Iterator<Item = RunId> + '_ {
        self.live.iter().flat_map(move |(&instance, live)| {
            let of_items = live.items().into_iter().flat_map(FanOut::children);
            let of_items = of_items.map(move |(item, serial)| self.id.child(instance, serial, Some(item)));
            live.child().cloned().into_iter().chain(of_items)
        })
    }

    /// Whether the machine can go on by itself, without any input.
    #[must_use]
    pub fn has_passing(&self) -> bool {
        !self.passing.is_empty() && self.pause.is_none()
    }

    /// Nothing new starts: it fails or is cancelled.
    pub(super) fn is_closing(&self) -> bool {
        self.failure.is_some() || self.cancel.is_some()
    }

    /// Nothing more of `instance` starts. The task of `finally` goes on in a run that has failed, until it is itself
    /// cancelled.
    pub(super) fn is_closed(&self, instance: Instance) -> bool {
        match self.stage {
            Stage::Finalizing(finale) if finale == instance => self.stop.is_some_and(|stop| stop >= instance),
            _ => self.is_closing(),
        }
    }

    /// Whether a task could be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.concurrency.is_none_or(|bound| self.flying < bound)
    }

    /// Whether a task that has just begun could be sent now: nobody overtakes one that has waited for room.
    pub(super) fn has_room_for_new(&self) -> bool {
        self.has_room() && self.queued.is_empty()
    }

    /// How many items more may be in flight. Tasks that wait for room come first.
    pub(super) fn room(&self) -> u32 {
        match self.concurrency {
            None => u32::MAX,
            Some(_) if !self.queued.is_empty() => 0,
            Some(bound) => bound.saturating_sub(self.flying),
        }
    }

    /// Whether the work that `instance` waits for has not been sent.
    pub(super) fn is_held(&self, instance: Instance) -> bool {
        self.held.contains(&instance) || self.queued.contains(&instance)
    }

    /// What `instance` counts in `concurrency`.
    pub(super) fn weight(&self, instance: Instance) -> u32 {
        match self.live.get(&instance).map(|live| &live.at) {
            Some(At::Acting) if self.is_held(instance) => 0,
            Some(At::Acting | At::Called(_)) => 1,
            Some(At::Items(fan)) => fan.counts().running,
            Some(
                At::Preparing
                | At::Waiting(_)
                | At::Delayed(_)
                | At::Listing
                | At::BackingOff(_)
                | At::Settling(_)
                | At::Passing,
            )
            | None => 0,
        }
    }

    /// Every piece of work that is with the broker or on a worker, as the run itself sees it. The laws hold it against
    /// what was really sent.
    #[must_use]
    pub fn outstanding(&self, spec: &Workflow) -> Vec<WorkKey> {
        let mut keys = Vec::new();
        match self.stage {
            _ if self.held_own => {}
            Stage::Preparing => keys.push(self.own_key(Phase::Prepare)),
            Stage::Concluding => keys.push(self.own_key(Phase::Output)),
            Stage::Scheduled(_) | Stage::InLine | Stage::Running | Stage::Finalizing(_) | Stage::Ended => {}
        }
        for (&instance, live) in &self.live {
            let name = &spec.task(live.task).name;
            match (&live.at, live.at.phase()) {
                (At::Items(fan), _) => {
                    keys.extend(fan.flights().map(|serial| self.key(name, instance, Phase::Act, serial)));
                }
                (_, Some(_)) if self.is_held(instance) => {}
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
            _ if self.is_held(*instance) => false,
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
            Stage::Scheduled(_) | Stage::InLine | Stage::Running | Stage::Finalizing(_) | Stage::Ended => return false,
        };
        !self.held_own && key.task.is_none() && key.phase == phase && key.serial == self.serial
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

/// A value that several contexts share.
pub(super) fn shared(value: &ValueRef) -> Arc<ValueRef> {
    Arc::new(value.clone())
}
