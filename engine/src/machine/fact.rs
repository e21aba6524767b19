//! Facts: what happened to a run, stored for ever. A run is what its facts make of it.
//!
//! Since 0.1. Fields are added with a default and no name is used twice: stored histories must replay for ever.
//! Facts hold decisions, not their grounds, so that a newer machine reads an old history as it was lived.

use std::collections::BTreeMap;

use proto::{
    failure::Failure,
    id::{Digest, Instance, ItemIndex, KeyName, RunId, TaskName, WorkflowName},
    items::ItemSet,
    outcome::{ItemsPart, ItemsReport, TaskPrepared},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{RunStatus, Status},
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::spec::TaskIndex;

/// Tasks that start together. Nearly always it is one, and histories hold many: one needs no memory of its own.
pub type Starts = SmallVec<[Start; 1]>;

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// When, by the scheduler's clock.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What can happen to a run. What is large is boxed: histories hold many facts, and most are small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The job was accepted. Always the first fact.
    Accepted(Box<Accepted>),
    /// The start time has come, and the run waits for its turn among those that exclude each other.
    Due,
    /// The run may begin: its start time has come, and its turn.
    Admitted,
    /// Vars are known and the entry tasks start.
    Begun {
        /// Evaluated vars, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        vars: Vec<(KeyName, ValueRef)>,
        /// When the run's time is over, where that had to be evaluated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
        /// At most so many tasks and items in flight.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        concurrency: Option<u32>,
        /// The entry tasks.
        starts: Vec<Start>,
    },
    /// What a task must know before it goes on was evaluated.
    Prepared {
        /// Which.
        instance: Instance,
        /// What was evaluated.
        #[serde(flatten)]
        prepared: TaskPrepared,
    },
    /// A task goes on to its next stage: its delay is known or over.
    Entered {
        /// Which.
        instance: Instance,
        /// Where to.
        stage: Entry,
    },
    /// Work that was held back goes out: the run was resumed, or has room for it.
    Released {
        /// Which.
        instance: Instance,
    },
    /// A signal came.
    Signaled {
        /// Its name.
        name: KeyName,
        /// Whoever sends it twice under one id means it once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// What it says.
        payload: ValueRef,
    },
    /// A task that waits took the oldest signal of its name.
    Received {
        /// Which.
        instance: Instance,
    },
    /// A worker may begin work that must not be begun twice.
    Claimed {
        /// Which.
        instance: Instance,
        /// The work's serial.
        serial: u32,
        /// By which that worker knows that it is meant.
        nonce: String,
    },
    /// Child runs were started for a task, or for items of it.
    Called {
        /// Which.
        instance: Instance,
        /// The piece of work that said so.
        serial: u32,
        /// The items; none for a task without.
        #[serde(default, skip_serializing_if = "ItemSet::is_empty")]
        items: ItemSet,
    },
    /// The child run of an item ended.
    ItemEnded(Box<ItemEnded>),
    /// The items of a task are known.
    Listed {
        /// Which.
        instance: Instance,
        /// The list.
        parts: Vec<ItemsPart>,
        /// At most so many items in flight.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        concurrency: Option<u32>,
        /// So many items may fail.
        tolerate: u32,
    },
    /// Items were given to a range.
    Ranged {
        /// Which.
        instance: Instance,
        /// The range's serial.
        serial: u32,
        /// Retries that these items have used.
        retries: u32,
        /// The items.
        items: ItemSet,
    },
    /// A range, or a part of it, was done.
    Reported {
        /// Which.
        instance: Instance,
        /// The range's serial.
        serial: u32,
        /// What was done.
        report: Box<ItemsReport>,
        /// Items of it that were reported before, by a worker that was lost before it could acknowledge.
        #[serde(default, skip_serializing_if = "ItemSet::is_empty")]
        ignored: ItemSet,
    },
    /// Retries of items are due.
    Woken {
        /// Which.
        instance: Instance,
    },
    /// An attempt failed, and there will be another.
    Retrying {
        /// Which.
        instance: Instance,
        /// How the attempt ended.
        status: Status,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// When the next attempt is due.
        until: Timestamp,
    },
    /// Work was given back or lost before it was done; it goes out again and uses up no retry.
    Returned {
        /// Which; `None` for work of the run itself.
        instance: Option<Instance>,
        /// The work's serial.
        serial: u32,
        /// The items travel alone from now on: one of them may be what kills workers.
        #[serde(default)]
        alone: bool,
    },
    /// Items that did not succeed are to be done again.
    Reopened {
        /// Which task.
        instance: Instance,
    },
    /// A task ended, and a worker must ask its transitions.
    Settling(Box<Unsettled>),
    /// A task ended, with all that follows from it.
    Ended(Box<Ended>),
    /// Something failed and nothing handled it: nothing new starts.
    Failing {
        /// Why.
        failure: Failure,
        /// Tasks that had not begun and are dropped.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<Instance>,
        /// What has begun is stopped too: the run's time is over.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stops: bool,
    },
    /// A pause was asked for: nothing is sent.
    Pausing {
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The pause is over.
    Resuming,
    /// A cancel was asked for: nothing new starts.
    Canceling {
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Tasks that had not begun and are dropped.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<Instance>,
    },
    /// Nothing is left to do but the output, which a worker evaluates.
    Concluding,
    /// How the run ends is known, and the task of `finally` starts.
    Finalizing {
        /// Succeeded, failed or canceled.
        status: RunStatus,
        /// The output.
        output: ValueRef,
        /// Why it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// The start of that task.
        start: Box<Start>,
    },
    /// The run ended.
    Finished {
        /// Succeeded, failed or canceled.
        status: RunStatus,
        /// The output.
        output: ValueRef,
        /// Why it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
}

/// A job, accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The workflow's source, pinned.
    pub definition: Stored,
    /// Parameters, checked, with defaults.
    pub parameters: Vec<(KeyName, ValueRef)>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A worker must evaluate the vars first.
    pub prepare: bool,
    /// Who is told of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyTo>,
    /// It begins no sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Runs with the same of this go one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<Digest>,
    /// The run and the task that it is a child of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The workflows that it and its children call, pinned.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<WorkflowName, Stored>,
    /// The run that this one does again, or in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<RunId>,
    /// What its context begins with, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub imported: BTreeMap<String, ValueRef>,
}

/// Which task of which run a child belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskName,
    /// Which start of it.
    pub instance: Instance,
    /// Which piece of work of it.
    pub serial: u32,
    /// Which item of it, if it has items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemIndex>,
    /// How many runs are around this one: 1 for a child, 2 for its children.
    pub depth: u8,
    /// The task's timeout in milliseconds: the child takes no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Accepted {
    /// A run with these, and nothing else.
    #[must_use]
    pub fn of(run: RunId, workflow: WorkflowName, definition: Stored) -> Self {
        Self {
            run,
            workflow,
            definition,
            parameters: Vec::new(),
            labels: BTreeMap::new(),
            prepare: false,
            reply: None,
            start_at: None,
            exclusive: None,
            parent: None,
            children: BTreeMap::new(),
            ancestor: None,
            imported: BTreeMap::new(),
        }
    }
}

/// Where a client waits for answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// A queue, by its name.
    pub queue: String,
    /// What the client knows the answer by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// A task starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Which start this is.
    pub instance: Instance,
    /// The task.
    pub task: TaskIndex,
    /// Its first stage.
    pub stage: Entry,
    /// How often `do: retry` has started it again, this start included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub again: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A stage that a task enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A worker evaluates its delay.
    Prepare,
    /// It waits for its signal, until this time if there is one.
    Wait(Option<Timestamp>),
    /// It waits until this time.
    Delay(Timestamp),
    /// A worker evaluates its items.
    List,
    /// A worker acts.
    Act,
    /// It has nothing to run and nothing to evaluate: the machine itself ends it.
    Pass,
}

/// The child run of an item ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemEnded {
    /// Which task.
    pub instance: Instance,
    /// Which item.
    pub item: ItemIndex,
    /// The child's output, when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ValueRef>,
    /// An entry of `item_errors`, when the item has failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ValueRef>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When it is tried again, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A task ended, and nobody has asked its transitions yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsettled {
    /// Which.
    pub instance: Instance,
    /// How it ended.
    pub status: Status,
    /// Why, unless it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it came to, unless it has items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ValueRef>,
    /// What templates read as `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ValueRef>,
}

/// A task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub instance: Instance,
    /// How.
    pub status: Status,
    /// Why, unless it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What templates read as `task.<name>.result`. Absent with items: the reports hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ValueRef>,
    /// What templates read as `task.<name>.error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ValueRef>,
    /// What its transitions publish.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<KeyName, ValueRef>,
    /// Tasks that start with this branch's context.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub starts: Starts,
    /// Joins that this branch reaches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrivals: Vec<Arrival>,
}

/// A branch reaches a join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// The task that joins.
    pub join: TaskIndex,
    /// Which pass of it, from 1: the inbound task's k-th arrival belongs to pass k.
    pub pass: u32,
    /// The start of the joining task, when this arrival completes its pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Start>,
}

impl What {
    /// The start of a task that this is about, if it is about just one.
    #[must_use]
    pub fn instance(&self) -> Option<Instance> {
        match self {
            Self::Prepared { instance, .. }
            | Self::Entered { instance, .. }
            | Self::Released { instance }
            | Self::Received { instance }
            | Self::Claimed { instance, .. }
            | Self::Called { instance, .. }
            | Self::Listed { instance, .. }
            | Self::Ranged { instance, .. }
            | Self::Reported { instance, .. }
            | Self::Woken { instance }
            | Self::Retrying { instance, .. }
            | Self::Reopened { instance } => Some(*instance),
            Self::ItemEnded(ended) => Some(ended.instance),
            Self::Settling(unsettled) => Some(unsettled.instance),
            Self::Returned { instance, .. } => *instance,
            Self::Ended(ended) => Some(ended.instance),
            Self::Accepted(_)
            | Self::Due
            | Self::Admitted
            | Self::Begun { .. }
            | Self::Signaled { .. }
            | Self::Failing { .. }
            | Self::Pausing { .. }
            | Self::Resuming
            | Self::Canceling { .. }
            | Self::Concluding
            | Self::Finalizing { .. }
            | Self::Finished { .. } => None,
        }
    }
}

impl Fact {
    /// Calls `visit` with each stored value that this fact needs.
    pub fn each_stored(&self, visit: &mut impl FnMut(Stored)) {
        match &self.what {
            What::Accepted(accepted) => {
                visit(accepted.definition);
                accepted.parameters.iter().for_each(|(_, value)| value.each_stored(visit));
                accepted.imported.values().for_each(|value| value.each_stored(visit));
                accepted.children.values().for_each(|stored| visit(*stored));
            }
            What::Begun { vars, .. } => vars.iter().for_each(|(_, value)| value.each_stored(visit)),
            What::Listed { parts, .. } => parts.iter().for_each(|part| {
                part.values.each_stored(visit);
                part.offsets.each_stored(visit);
            }),
            What::Reported { report, .. } => {
                report.results.iter().chain(&report.errors).for_each(|value| value.each_stored(visit));
            }
            What::Ended(ended) => {
                let own = ended.result.iter().chain(&ended.error).chain(ended.published.values());
                own.for_each(|value| value.each_stored(visit));
            }
            What::Settling(unsettled) => {
                unsettled.result.iter().chain(&unsettled.error).for_each(|value| value.each_stored(visit));
            }
            What::ItemEnded(ended) => {
                ended.result.iter().chain(&ended.error).for_each(|value| value.each_stored(visit));
            }
            What::Signaled { payload, .. } => payload.each_stored(visit),
            What::Finalizing { output, .. } | What::Finished { output, .. } => output.each_stored(visit),
            What::Due
            | What::Admitted
            | What::Prepared { .. }
            | What::Claimed { .. }
            | What::Called { .. }
            | What::Reopened { .. }
            | What::Released { .. }
            | What::Received { .. }
            | What::Pausing { .. }
            | What::Resuming
            | What::Entered { .. }
            | What::Ranged { .. }
            | What::Woken { .. }
            | What::Retrying { .. }
            | What::Returned { .. }
            | What::Failing { .. }
            | What::Canceling { .. }
            | What::Concluding => {}
        }
    }
}
