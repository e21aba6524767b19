//! Work: what a scheduler asks of a worker.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{Attempt, Instance, RunId, Shard, TaskName, WorkflowName},
    items::ItemSet,
    json::Json,
    manifest::ManifestRef,
    time::Timestamp,
    value::Stored,
};

/// One message on a pool's queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// Who this is; also the AMQP `message_id`. The outcome repeats it.
    pub key: WorkKey,
    /// The routing key of the outcome.
    pub shard: Shard,
    /// The source of the workflow, as a value.
    pub definition: Stored,
    /// What templates read as `run`.
    pub run: RunInfo,
    /// What templates read as `attempt`.
    pub attempt: Attempt,
    /// Retries that were used up before this attempt; a lost worker uses none.
    pub retries: u32,
    /// What the templates of this phase read.
    pub manifest: ManifestRef,
    /// The items to act on, for a task with items in phase `act`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// How the task ended, for phase `settle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The workflow that a child run of this task is to run, for phase `act`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<Stored>,
    /// When it was published, by the scheduler's clock.
    pub dispatched_at: Timestamp,
}

/// How a task ended, for the transitions that ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What `succeeded()` and the others read.
    pub status: Status,
    /// Present when the status is not `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// `retry` is to be asked before the transitions, as this was an attempt: a child run ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_retry: bool,
}

/// How an attempt, an item or a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It did what it was asked.
    Succeeded,
    /// The action or a template said no.
    Failed,
    /// It took longer than its `timeout`.
    TimedOut,
    /// Its worker was lost for good.
    Crashed,
    /// The run was cancelled.
    Canceled,
}

impl Status {
    /// The word that users read, such as `timed_out`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Canceled => "canceled",
        }
    }
}

/// Items to act on, with their values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Which items, at most [`crate::limits::RANGE_ITEMS_MAX`].
    pub items: ItemSet,
    /// A JSON array of as many values, in item order.
    pub values: Json,
}

/// What templates read as `run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// When the run was accepted.
    pub started_at: Timestamp,
    /// Labels given at submission.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `run.status` as it is when the work leaves.
    pub status: RunStatus,
    /// `run.error`, once the run has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Where a run is between acceptance and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted; nothing of it has begun.
    Queued,
    /// Tasks are running or waiting.
    Running,
    /// A pause was asked for; published work is being awaited.
    Pausing,
    /// Nothing is published and nothing starts.
    Paused,
    /// A cancel was asked for; published work is being awaited.
    Canceling,
    /// Ended: everything was done.
    Succeeded,
    /// Ended: something failed and nothing handled it.
    Failed,
    /// Ended by a cancel.
    Canceled,
}

impl RunStatus {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Canceling,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
    ];

    /// Whether the run has ended for good.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// The word that users read, such as `canceling`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Canceling => "canceling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl FromStr for RunStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// A word that is no run status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a run status: queued, running, pausing, paused, canceling, succeeded, failed or canceled")]
pub struct UnknownStatus(String);

/// What a worker is asked to do for a task or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Evaluate what must be known before dispatch: a run's vars, a task's delay.
    Prepare,
    /// Evaluate `with_items` to a list.
    Items,
    /// Render the input, run the action, ask the transitions.
    Act,
    /// Ask the transitions of a task that ended where no worker could ask them.
    Settle,
    /// Evaluate the run's output.
    Output,
}

impl Phase {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Prepare, "prepare"),
        (Self::Items, "items"),
        (Self::Act, "act"),
        (Self::Settle, "settle"),
        (Self::Output, "output"),
    ];

    /// The word in keys and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

/// Names one piece of work for ever: `run/task#instance/phase.serial`, or `run/-/phase.serial` for the run itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkKey {
    /// The run.
    pub run: RunId,
    /// The task and which start of it; `None` for work of the run itself.
    pub task: Option<(TaskName, Instance)>,
    /// What is asked.
    pub phase: Phase,
    /// Counts pieces of work of this phase, from 1: the attempt of a plain task, the range of one with items.
    pub serial: u32,
}

impl WorkKey {
    /// The stable key that an action gets: the same for every attempt, `run/task#instance` or `run/task#instance[item]`.
    #[must_use]
    pub fn idempotency_key(&self, item: Option<crate::id::ItemIndex>) -> String {
        let task = self.task.as_ref().map_or_else(|| "-".to_owned(), |(task, instance)| format!("{task}#{instance}"));
        match item {
            Some(item) => format!("{}/{task}[{item}]", self.run),
            None => format!("{}/{task}", self.run),
        }
    }
}

impl fmt::Display for WorkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some((task, instance)) => {
                write!(f, "{}/{task}#{instance}/{}.{}", self.run, self.phase.as_str(), self.serial)
            }
            None => write!(f, "{}/-/{}.{}", self.run, self.phase.as_str(), self.serial),
        }
    }
}

/// A text that is no work key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a work key: run/task#instance/phase.serial")]
pub struct BadKey(String);

impl FromStr for WorkKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        parse_key(text).ok_or_else(|| BadKey(text.chars().take(300).collect()))
    }
}

fn parse_key(text: &str) -> Option<WorkKey> {
    let (run, rest) = text.split_once('/')?;
    let (task, rest) = rest.split_once('/')?;
    let (phase, serial) = rest.split_once('.')?;
    let task = match task {
        "-" => None,
        _ => {
            let (name, instance) = task.split_once('#')?;
            Some((name.parse().ok()?, Instance(instance.parse().ok()?)))
        }
    };
    let (phase, _) = Phase::NAMES.into_iter().find(|(_, name)| *name == phase)?;
    Some(WorkKey { run: run.parse().ok()?, task, phase, serial: serial.parse().ok()? })
}

impl TryFrom<String> for WorkKey {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<WorkKey> for String {
    fn from(key: WorkKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        for text in ["r-1/probe#3/act.12", "r:@1/-/prepare.1", "r/a#1/items.1", "r/a#1/settle.1", "r/-/output.2"] {
            assert_eq!(text.parse::<WorkKey>().expect("valid").to_string(), text);
        }
        for text in ["", "r/a/act.1", "r/a#1/act", "r/a#1/fly.1", "r/a#x/act.1", "r//act.1"] {
            assert!(text.parse::<WorkKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_idempotency_key_is_the_same_for_every_attempt() {
        let key = |text: &str, item| text.parse::<WorkKey>().expect("valid").idempotency_key(item);
        assert_eq!(key("r/probe#3/act.1", None), "r/probe#3");
        assert_eq!(key("r/probe#3/act.2", None), "r/probe#3");
        let item = Some(crate::id::ItemIndex(7));
        assert_eq!([key("r/probe#3/act.1", item), key("r/probe#3/act.9", item)], ["r/probe#3[7]", "r/probe#3[7]"]);
    }

    #[test]
    fn phase_names_follow_their_order() {
        for (phase, name) in Phase::NAMES {
            assert_eq!(phase.as_str(), name);
        }
    }
}
