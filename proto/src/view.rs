//! Runs as HTTP and the command line show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{Digest, Instance, ItemIndex, KeyName, RunId, TaskName, WorkflowName},
    json::Json,
    time::Timestamp,
    value::Stored,
    work::{RunStatus, Status},
};

/// A line of `leveret list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub id: RunId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// Where it is.
    pub status: RunStatus,
    /// Labels given at submission.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Failure>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
}

/// What `leveret get` and `leveret run -o json` show of a run: fan-outs as counts, never item by item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The run.
    pub id: RunId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// Where it is.
    pub status: RunStatus,
    /// Labels given at submission.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Failure>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// The run that this is a child of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The run that this one does again, or in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<RunId>,
    /// The digest of the workflow's source.
    pub definition: Digest,
    /// The output, once finished and not too large to show.
    #[serde(default)]
    pub output: Option<Json>,
    /// Where the output is, when it is too large to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_stored: Option<Stored>,
    /// Every task of the workflow, by name.
    pub tasks: BTreeMap<TaskName, Task>,
}

/// A task of a run: its latest instance, and how often it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// `not_run`, `waiting`, `running`, or how it ended.
    pub status: String,
    /// Attempts of the latest instance.
    pub attempts: u32,
    /// How many times it was started.
    pub instances: u32,
    /// Counts, for a task with items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemCounts>,
    /// Why the latest instance failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The signal that the latest instance waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<KeyName>,
    /// Child runs of the latest instance: the first [`crate::limits::CHILDREN_SHOWN_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<RunId>,
}

/// How far a fan-out is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemCounts {
    /// Items of the list.
    pub total: u32,
    /// Finally succeeded.
    pub succeeded: u32,
    /// Finally failed.
    pub failed: u32,
    /// On workers now.
    pub running: u32,
}

/// The document of `leveret run -o json` and `GET /api/v1/runs/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The run.
    pub run: Run,
}

/// The document of `GET /api/v1/runs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// Newest first.
    pub runs: Vec<Summary>,
}

/// What a run's context is, or begins with: `leveret get ID --context -o json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextDocument {
    /// [`crate::SCHEMA`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<u16>,
    /// `parameters`.
    pub parameters: BTreeMap<String, Json>,
    /// `workflow`: vars and published values.
    pub workflow: BTreeMap<String, Json>,
    /// `signal`.
    pub signal: BTreeMap<String, Json>,
    /// `task`, each with `status`, `result` and the others.
    pub task: BTreeMap<String, BTreeMap<String, Json>>,
}

/// The document of `GET /api/v1/runs/{id}/items`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemsDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// Which page this is, from 1.
    pub page: u32,
    /// Items on all pages.
    pub total: u32,
    /// Task by task in the order of the file, and in item order.
    pub items: Vec<FailedItem>,
}

/// An item that failed, or that was never begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedItem {
    /// Its task.
    pub task: TaskName,
    /// Its place in the list.
    pub index: ItemIndex,
    /// The item.
    pub item: Json,
    /// Why it failed: `{code, message, details}`.
    pub error: Json,
}

/// The document of `GET /api/v1/runs/{id}/timeline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The run.
    pub id: RunId,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Every start of a task, in order.
    pub tasks: Vec<Stretch>,
}

/// A start of a task, and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The task.
    pub task: TaskName,
    /// Which start in the whole run.
    pub instance: Instance,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How it ended; absent while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}
