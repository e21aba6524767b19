//! Jobs and commands: what clients put on the jobs queue or post over HTTP, and what they are answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{RunId, WorkflowName},
    json::Json,
    time::Timestamp,
};

/// A message on the jobs queue as clients write it: a job, or with `command` an order for a run.
///
/// Unknown fields are errors, so that a typing mistake is never ignored. [`Submission::try_from`] tells the two apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Message {
    /// A registered workflow's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowName>,
    /// A whole workflow instead: a text of YAML or an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Json>,
    /// Values of the workflow's parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, Json>>,
    /// The run's id; the same id and content twice is one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RunId>,
    /// Labels, for people and filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Read text parameters by their declared types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coerce: Option<bool>,
    /// An order for the run `id` instead of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandName>,
    /// Why, for people (`cancel`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Orders for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandName {
    /// End it now.
    Cancel,
}

/// A message, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Submission {
    /// Run something.
    Job(Job),
    /// Do something to a run.
    Command(Command),
}

/// A job: run this with that.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What to run.
    pub target: Target,
    /// Values of its parameters, not yet checked.
    pub parameters: BTreeMap<String, Json>,
    /// The client's id, when it gave one.
    pub id: Option<RunId>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Not before this time.
    pub at: Option<Timestamp>,
    /// Whether text parameters are read by their declared types.
    pub coerce: bool,
}

/// What a job runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A registered workflow.
    Name(WorkflowName),
    /// A workflow's source: the text itself, or an object's JSON, which is YAML too.
    Source(String),
}

/// An order for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The run.
    pub run: RunId,
    /// The order.
    pub order: Order,
}

/// What a [`Command`] asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// End the run now.
    Cancel {
        /// Why, for people.
        reason: Option<String>,
    },
}

/// A message that is neither a job nor a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Neither `workflow` nor `definition`.
    #[error("the job names no workflow: give `workflow` (a registered name) or `definition` (a whole workflow)")]
    NoTarget,
    /// Both `workflow` and `definition`.
    #[error("the job has both `workflow` and `definition`: give one of them")]
    TwoTargets,
    /// `definition` is neither text nor object.
    #[error("`definition` must be a text of YAML or an object")]
    Definition,
    /// A command without `id`.
    #[error("the command names no run: give `id`")]
    NoRun,
    /// A field that does not belong there.
    #[error("`{0}` does not belong in a {1}")]
    Misplaced(&'static str, &'static str),
}

impl TryFrom<Message> for Submission {
    type Error = Unclear;

    fn try_from(message: Message) -> Result<Self, Unclear> {
        match message.command {
            Some(command) => message.into_command(command).map(Self::Command),
            None => message.into_job().map(Self::Job),
        }
    }
}

impl Message {
    fn into_job(self) -> Result<Job, Unclear> {
        if self.reason.is_some() {
            return Err(Unclear::Misplaced("reason", "job"));
        }
        let target = match (self.workflow, self.definition) {
            (Some(name), None) => Target::Name(name),
            (None, Some(definition)) => Target::Source(source_of(&definition)?),
            (None, None) => return Err(Unclear::NoTarget),
            (Some(_), Some(_)) => return Err(Unclear::TwoTargets),
        };
        Ok(Job {
            target,
            parameters: self.parameters.unwrap_or_default(),
            id: self.id,
            labels: self.labels.unwrap_or_default(),
            at: self.at,
            coerce: self.coerce.unwrap_or(false),
        })
    }

    fn into_command(self, command: CommandName) -> Result<Command, Unclear> {
        let misplaced = [
            ("workflow", self.workflow.is_some()),
            ("definition", self.definition.is_some()),
            ("parameters", self.parameters.is_some()),
            ("labels", self.labels.is_some()),
            ("at", self.at.is_some()),
            ("coerce", self.coerce.is_some()),
        ];
        if let Some((field, _)) = misplaced.into_iter().find(|(_, present)| *present) {
            return Err(Unclear::Misplaced(field, "command"));
        }
        let run = self.id.ok_or(Unclear::NoRun)?;
        match command {
            CommandName::Cancel => Ok(Command { run, order: Order::Cancel { reason: self.reason } }),
        }
    }
}

fn source_of(definition: &Json) -> Result<String, Unclear> {
    match definition.as_bytes().first() {
        Some(b'"') => definition.parse().map_err(|_| Unclear::Definition),
        Some(b'{') => Ok(definition.as_str().to_owned()),
        _ => Err(Unclear::Definition),
    }
}

/// What a client is told at its `reply_to`; the AMQP `type` is [`Answer::kind`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The run; absent when a rejected job had none.
    pub id: Option<RunId>,
    /// `accepted`, `rejected`, or the run's terminal status.
    pub status: String,
    /// The run's output, once finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Where the output is when it is larger than a message should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_digest: Option<crate::value::Stored>,
    /// Why the run did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<crate::failure::Failure>,
    /// Everything that is wrong with a rejected job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
    /// The same job was accepted before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

impl Answer {
    /// The AMQP `type`: `accepted`, `rejected` or `finished`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.status.as_str() {
            "accepted" => "accepted",
            "rejected" => "rejected",
            _ => "finished",
        }
    }
}

/// One thing that is wrong with a job or a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable word.
    pub code: String,
    /// What, where and why.
    pub message: String,
    /// `file:line:column`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Submission, String> {
        let message: Message = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Submission::try_from(message).map_err(|error| error.to_string())
    }

    #[test]
    fn jobs_and_commands_are_told_apart() {
        assert!(matches!(read(r#"{"workflow":"a","parameters":{"x":1}}"#), Ok(Submission::Job(_))));
        assert!(matches!(read(r#"{"command":"cancel","id":"r"}"#), Ok(Submission::Command(_))));
        let Ok(Submission::Job(job)) = read(r#"{"definition":{"name":"a","tasks":{}}}"#) else { panic!("a job") };
        assert_eq!(job.target, Target::Source(r#"{"name":"a","tasks":{}}"#.into()));
        let Ok(Submission::Job(job)) = read(r#"{"definition":"name: a\n"}"#) else { panic!("a job") };
        assert_eq!(job.target, Target::Source("name: a\n".into()));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in [
            "{}",
            r#"{"workflow":"a","definition":"b"}"#,
            r#"{"definition":7}"#,
            r#"{"command":"cancel"}"#,
            r#"{"command":"cancel","id":"r","parameters":{}}"#,
            r#"{"command":"explode","id":"r"}"#,
            r#"{"workflow":"a","paramters":{}}"#,
            r#"{"workflow":"A b"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
