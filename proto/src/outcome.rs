//! Outcomes: what a worker says of the work it was given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{ItemIndex, KeyName, PoolName, WorkerId},
    items::ItemSet,
    value::ValueRef,
    work::{Status, WorkKey},
};

/// One message on a shard's outcomes queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// Something was done.
    Outcome(Box<Outcome>),
    /// A worker is alive, and what it holds.
    Heartbeat(Heartbeat),
    /// A worker asks whether it may begin what must not be begun twice.
    Claim(Claim),
}

/// Asks for work of a task with `on_lost: fail`. [`crate::control::Control::Claimed`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The work.
    pub key: WorkKey,
    /// Unlike any other claim's: who asks again asks with the same one.
    pub nonce: String,
    /// The broker has delivered the work before, and whoever had it then has lost it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
}

/// What came of one piece of work. A range may send several; the last precedes the acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The work's key.
    pub key: WorkKey,
    /// Who did it.
    pub worker: WorkerId,
    /// What came of it.
    pub report: Report,
}

/// What came of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Phase `prepare` of a run.
    RunPrepared(RunPrepared),
    /// Phase `prepare` of a task.
    TaskPrepared(TaskPrepared),
    /// Phase `items`: the list, and how to go through it.
    Listed(Listed),
    /// Phase `act` of a task without items.
    Acted(Acted),
    /// Phase `act` of a range of items.
    Items(ItemsReport),
    /// Phase `act` of a task without items that runs a workflow.
    Called(Called),
    /// Phase `settle`. Where `retry` is asked too, [`Report::Acted`] answers instead.
    Settled(Settlement),
    /// Phase `output`.
    Output(OutputReport),
    /// The phase could not be evaluated: `template_error`, `items_not_a_list` and their like.
    Unable(Failure),
    /// Nothing was begun: the worker stops or the delivery was cancelled before it started.
    HandedBack,
}

/// What must be known before a run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPrepared {
    /// Its vars, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<(KeyName, ValueRef)>,
    /// `timeout` in milliseconds, where the file has an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// `concurrency`, at least 1, when the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// What must be known before a task is sent or waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPrepared {
    /// `delay` in milliseconds, written out or evaluated.
    #[serde(default)]
    pub delay_ms: u64,
    /// `wait_for.timeout` in milliseconds, written out or evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// `pool`, where the file has an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
}

/// A list of items, evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The list in parts of at most [`crate::limits::PART_BYTES_MAX`] bytes, in order.
    pub parts: Vec<ItemsPart>,
    /// `concurrency`, when the task has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many items may fail, already counted out of the list's length.
    pub tolerate: u32,
}

/// A part of an item list. Its bytes are sliced by `offsets`, never parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemsPart {
    /// How many items it has, at least 1.
    pub count: u32,
    /// The JSON array of the items.
    pub values: ValueRef,
    /// A JSON array of `count + 1` numbers: where each item begins in the bytes of `values`, and last their length.
    /// Item `i` is `offsets[i] .. offsets[i + 1] - 1`, which leaves out the comma or bracket behind it.
    pub offsets: ValueRef,
    /// The length of its longest item, by which ranges are kept small enough to send.
    pub item_bytes_max: u32,
}

/// A task without items, tried once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acted {
    /// How the attempt ended.
    pub status: Status,
    /// What the action returned, also beside a failure.
    pub result: ValueRef,
    /// Present when the status is not `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failed>,
    /// What follows.
    pub next: Next,
    /// How long the action ran.
    pub busy_ms: u64,
}

/// What a child run is to be started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// Its parameters, checked against its workflow, with defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<(KeyName, ValueRef)>,
    /// The task's `timeout` in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A failure with all that templates can read of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Code and message, for the run's summary.
    pub failure: Failure,
    /// The value that templates read as `error`: `{code, message, details}`.
    pub error: ValueRef,
}

/// What follows an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Try again after this long.
    Retry {
        /// Milliseconds from now, back-off and jitter included.
        delay_ms: u64,
    },
    /// The transitions were asked.
    Settled(Settlement),
    /// The transitions could not be asked: the run fails with this.
    Unable(Failure),
}

/// Transitions, asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Positions in `next` of the transitions that fire, ascending.
    pub fired: Vec<u16>,
    /// What they publish, each key's last value, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<KeyName, ValueRef>,
    /// `retry.count`, when one that fires says `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// What was done of a range so far. No item is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemsReport {
    /// Items that succeeded.
    #[serde(default, skip_serializing_if = "ItemSet::is_empty")]
    pub succeeded: ItemSet,
    /// Items that failed and are not tried again.
    #[serde(default, skip_serializing_if = "ItemSet::is_empty")]
    pub failed: ItemSet,
    /// Items that are to be run as children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<(ItemIndex, Called)>,
    /// Items that failed and are tried again after a delay in milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry: Vec<(u64, ItemSet)>,
    /// Items not begun, for new ranges.
    #[serde(default, skip_serializing_if = "ItemSet::is_empty")]
    pub handed_back: ItemSet,
    /// Results of `succeeded`: a JSON array in item order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<ValueRef>,
    /// Errors of `failed`: a JSON array of `{index, item, error}` in item order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<ValueRef>,
    /// The first failure among `failed`, for the task's summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The time that items took, added up, in microseconds.
    pub busy_us: u64,
}

/// A run's output, evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputReport {
    /// The value of the whole `output` map.
    pub value: ValueRef,
    /// Why keys were left out, when some could not be evaluated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Failure>,
}

/// A sign of life, sent to every shard whose work a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// Who.
    pub worker: WorkerId,
    /// The pools it serves.
    pub pools: Vec<PoolName>,
    /// Items that it can run at once.
    pub slots: u32,
    /// Work of this shard that it runs now.
    pub running: Vec<WorkKey>,
}
