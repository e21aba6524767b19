//! What tasks do: the [`Action`] trait, where strangers add cases, and the actions that are built in.
//!
//! Reading order: [`registry`] finds an action and checks its input, [`basic`], [`template`], [`shell`], [`plugin`],
//! [`http`] and [`mod@file`] are the actions, `process` runs what two of them start, [`duration`] and [`scalar`] are what their inputs have in common.

pub mod basic;
pub mod duration;
pub mod file;
pub mod http;
pub mod plugin;
mod process;
pub mod registry;
pub mod scalar;
pub mod shell;
pub mod template;

use futures_util::future::BoxFuture;
use proto::{
    id::{Attempt, ItemIndex, RunId, TaskName},
    time::Timestamp,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Something that a task can do.
///
/// It may run again for the same attempt: after a worker crash, a lost connection or a drain. [`Call::key`] stays
/// the same then, so that an action with effects elsewhere can pass it on.
pub trait Action: Send + Sync + 'static {
    /// The name that tasks say, such as `shell.run`.
    fn name(&self) -> &str;

    /// JSON Schema (draft 2020-12) of the input. What breaks it never reaches [`Action::run`].
    fn input_schema(&self) -> Value;

    /// JSON Schema (draft 2020-12) of the result.
    fn output_schema(&self) -> Value;

    /// Does it. When `call.cancel` is cancelled it must stop what it started and return soon; when it is dropped,
    /// nothing of it may go on.
    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>>;
}

/// What an action knows of the attempt that it runs for.
#[derive(Clone, Debug)]
pub struct Call {
    /// The idempotency key: the same for every attempt of the same task or item.
    pub key: String,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskName,
    /// Which attempt this is.
    pub attempt: Attempt,
    /// Which item this is, for a task with items.
    pub item: Option<ItemIndex>,
    /// When the attempt's time is up.
    pub deadline: Timestamp,
    /// Cancelled when the run is, when the attempt's time is up, or when the worker must go.
    pub cancel: CancellationToken,
}

/// Why an action did not succeed, as templates see it: `error.code`, `error.message` and `error.details`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// A stable word, such as `exit_code`.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// What the action has to show all the same, or null.
    pub result: Value,
}

impl Error {
    /// An error without a result.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), result: Value::Null }
    }

    /// The same error with what the action has to show.
    #[must_use]
    pub fn with_result(self, result: Value) -> Self {
        Self { result, ..self }
    }

    /// An input that the schema allows and that makes no sense all the same.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new("input_invalid", message)
    }

    /// The call was cancelled. The caller knows why: a cancelled run, a timeout, a worker that goes.
    #[must_use]
    pub fn canceled() -> Self {
        Self::new("canceled", "canceled before it ended")
    }
}

impl Call {
    /// Runs `work`, and drops it when the call is cancelled.
    ///
    /// # Errors
    /// Those of `work`, or [`Error::canceled`].
    pub async fn or_canceled<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(Error::canceled()))
    }
}

/// Reads an input that has passed its schema as the type that the action works with.
///
/// # Errors
/// `input_invalid` where type and schema do not agree.
pub fn read<T: DeserializeOwned>(input: Value) -> Result<T, Error> {
    serde_json::from_value(input).map_err(|error| Error::input(format!("input: {error}")))
}

/// The schema of an object with just these keys.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The schema of a result that is always null.
fn nothing() -> Value {
    json!({ "type": "null" })
}
