//! Runs as HTTP and the command line show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{Digest, RunId, TaskName, WorkflowName},
    json::Json,
    time::Timestamp,
    value::Stored,
    work::RunStatus,
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
