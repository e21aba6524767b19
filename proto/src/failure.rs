//! Why something did not succeed, as data.

use serde::{Deserialize, Serialize};

use crate::id::TaskName;

/// A failure as people see it: a stable code, a sentence, and the task where it happened.
///
/// What an action returned beside it travels as a value, never in here, so that this stays small: both texts
/// are cut to [`Failure::TEXT_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word, such as `exit_code` or `template_error`.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// The task it belongs to, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
}

impl Failure {
    /// The most bytes of `message` that are kept.
    pub const TEXT_BYTES_MAX: usize = 2048;

    /// A failure without a task. A longer message is cut at a character's border.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > Self::TEXT_BYTES_MAX {
            let end = (0..=Self::TEXT_BYTES_MAX - 3).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        Self { code: code.into(), message, task: None }
    }

    /// The same failure, said of `task`.
    #[must_use]
    pub fn at(mut self, task: &TaskName) -> Self {
        self.task = Some(task.clone());
        self
    }
}
