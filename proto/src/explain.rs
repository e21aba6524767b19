//! What a task of a run was given, and where each value came from: `leveret explain`.

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{Attempt, Instance, ItemIndex, PoolName, RunId, TaskName},
    time::Timestamp,
    value::ValueRef,
    work::{RunInfo, Status},
};

/// The document of `GET /api/v1/runs/{id}/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The run.
    pub run: RunId,
    /// The workflow's source, as the run has pinned it.
    pub definition: String,
    /// The task.
    pub task: TaskName,
    /// What it was given.
    pub given: Given,
}

/// What one start of a task was given, as it was when its work last left for a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// Which start of the task.
    pub instance: Instance,
    /// The latest starts of the task, in order.
    pub instances: Vec<Instance>,
    /// The task whose end started it; `None` at the beginning of the run, and for `finally`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cause>,
    /// When it started.
    pub started_at: Timestamp,
    /// When its work, or that of the item, last left for a worker; `None` before it did.
    #[serde(default)]
    pub sent_at: Option<Timestamp>,
    /// The attempt that left then; of an item, the item's.
    pub attempt: Attempt,
    /// Whose workers do it, unless that is not evaluated yet.
    #[serde(default)]
    pub pool: Option<PoolName>,
    /// What templates read as `run`.
    pub info: RunInfo,
    /// The read set, each path with its value.
    pub paths: Vec<Read>,
    /// How long its list is, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
    /// The item that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// What it came to, as far as it has.
    pub outcome: Outcome,
}

/// A path that the task reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// The path.
    pub path: String,
    /// The path that the templates read, when that is a whole root such as `workflow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Whether some template fails without it.
    pub required: bool,
    /// What stood there; `None` when nothing did, or when it is a list that is too large to come along.
    #[serde(default)]
    pub value: Option<ValueRef>,
    /// Whether the value itself was too large to come along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omitted: bool,
    /// Bytes of JSON that the value has.
    pub bytes: u64,
    /// Who wrote it; `None` when nobody did.
    #[serde(default)]
    pub source: Option<Origin>,
}

/// Where a value came from, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When it was written.
    pub at: Timestamp,
    /// Where from.
    #[serde(flatten)]
    pub from: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Source {
    /// The job gave this parameter.
    Parameter,
    /// The default of the parameter, or the same given.
    Default,
    /// One of the workflow's `vars`.
    Var,
    /// Another run's context, with which this run began.
    Imported {
        /// The run that this one does again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
    },
    /// The signal that the task took.
    Signal,
    /// A transition published it.
    Published(Cause),
    /// It is how a task ended.
    Ended(Cause),
}

/// A start of a task, as what something else came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The task.
    pub task: TaskName,
    /// Which start of it.
    pub instance: Instance,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its position, from 0.
    pub index: ItemIndex,
    /// The item itself; `None` when it cannot be had.
    pub value: Option<ValueRef>,
    /// `waiting`, `running`, `succeeded` or `failed`.
    pub status: String,
    /// Why it failed, as `item_errors` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ValueRef>,
}

/// What a start of a task came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `waiting`, `running`, or how it ended.
    pub status: String,
    /// Why it did not succeed, or why its last attempt did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Bytes of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// Attempts that failed and were followed by another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<Retried>,
}

/// An attempt that was followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retried {
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub status: Status,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}
