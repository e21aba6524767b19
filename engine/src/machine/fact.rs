//! Facts: what happened to a run, stored for ever. A run is what its facts make of it.
//!
//! Since 0.1. Fields are added with a default and no name is used twice: stored histories must replay for ever.
//! Facts hold decisions, not their grounds, so that a newer machine reads an old history as it was lived.

use std::collections::BTreeMap;

use proto::{
    failure::Failure,
    id::{Instance, KeyName, RunId, WorkflowName},
    items::ItemSet,
    outcome::{ItemsPart, ItemsReport},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{RunStatus, Status},
};
use serde::{Deserialize, Serialize};

use crate::spec::TaskIndex;

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// When, by the scheduler's clock.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What can happen to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The job was accepted. Always the first fact.
    Accepted(Accepted),
    /// Vars are known and the entry tasks start.
    Begun {
        /// Evaluated vars, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        vars: Vec<(KeyName, ValueRef)>,
        /// The entry tasks.
        starts: Vec<Start>,
    },
    /// A task goes on to its next stage: its delay is known or over.
    Entered {
        /// Which.
        instance: Instance,
        /// Where to.
        stage: Entry,
    },
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
        report: ItemsReport,
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
    /// A task ended, and a worker must ask its transitions.
    Settling {
        /// Which.
        instance: Instance,
        /// How it ended.
        status: Status,
        /// Why, unless it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A task ended, with all that follows from it.
    Ended(Box<Ended>),
    /// Something failed and nothing handled it: nothing new starts.
    Failing {
        /// Why.
        failure: Failure,
        /// Tasks that had not begun and are dropped.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<Instance>,
    },
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
}

/// A stage that a task enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A worker evaluates its delay.
    Prepare,
    /// It waits until this time.
    Delay(Timestamp),
    /// A worker evaluates its items.
    List,
    /// A worker acts.
    Act,
    /// It has nothing to run and nothing to evaluate: the machine itself ends it.
    Pass,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<Start>,
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

impl Fact {
    /// Calls `visit` with each stored value that this fact needs.
    pub fn each_stored(&self, visit: &mut impl FnMut(Stored)) {
        match &self.what {
            What::Accepted(accepted) => {
                visit(accepted.definition);
                accepted.parameters.iter().for_each(|(_, value)| value.each_stored(visit));
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
            What::Finished { output, .. } => output.each_stored(visit),
            What::Entered { .. }
            | What::Ranged { .. }
            | What::Woken { .. }
            | What::Retrying { .. }
            | What::Returned { .. }
            | What::Settling { .. }
            | What::Failing { .. }
            | What::Canceling { .. }
            | What::Concluding => {}
        }
    }
}
