//! Events: what the outside is told as runs go on.

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{RunId, TaskName, WorkflowName},
    time::Timestamp,
};

/// One message on the events exchange, routing key [`Event::routing_key`]. At least once, with a stable `message_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// Orders the events of a run: the number of facts behind it.
    pub sequence: u32,
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The task, for a task's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
    /// The new status: a run's, or `started`, `succeeded`, … of a task.
    pub status: String,
    /// Why, when it is a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// When, by the scheduler's clock.
    pub at: Timestamp,
}

impl Event {
    /// `run.<workflow>.<status>` or `task.<workflow>.<task>.<status>`.
    #[must_use]
    pub fn routing_key(&self) -> String {
        match &self.task {
            Some(task) => format!("task.{}.{task}.{}", self.workflow, self.status),
            None => format!("run.{}.{}", self.workflow, self.status),
        }
    }
}
