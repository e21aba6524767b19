//! Jobs and commands: what clients put on the jobs queue or post over HTTP, and what they are answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{KeyName, RunId, TaskName, WorkflowName},
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
    /// Why, for people (`cancel`, `pause`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The name of a signal (`signal`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<KeyName>,
    /// What a signal says; `null` when absent (`signal`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
    /// By which a signal is told from another, else by the message's `message_id`: the same twice is one (`signal`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_id: Option<String>,
    /// The task from which to run again (`rerun`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TaskName>,
    /// Of tasks with items, only those that did not succeed are run again (`rerun`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_items: Option<bool>,
    /// The id of the new run, else the message's `message_id`, else a fresh one (`rerun`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_id: Option<RunId>,
    /// What the run's context begins with: `{parameters, workflow, task, signal}` as exported from another run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Json>,
}

/// Orders for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandName {
    /// End it now.
    Cancel,
    /// Begin nothing more until it is resumed.
    Pause,
    /// Go on.
    Resume,
    /// Tell it something that it waits for, or will.
    Signal,
    /// Do it, or what failed of it, again as a new run.
    Rerun,
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
    /// What its context begins with.
    pub context: Option<Json>,
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
    /// Begin nothing more until the run is resumed.
    Pause {
        /// Why, for people.
        reason: Option<String>,
    },
    /// Go on.
    Resume,
    /// Tell it something.
    Signal {
        /// The signal's name.
        name: KeyName,
        /// What it says.
        payload: Json,
        /// By which it is told from another.
        id: Option<String>,
    },
    /// Do it again as a new run.
    Rerun {
        /// Which of it.
        scope: Rerun,
        /// The id of the new run.
        new_id: Option<RunId>,
    },
}

/// What of a run is done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// The tasks that failed.
    Failed,
    /// The same; of tasks with items, only the items that did not succeed.
    FailedItems,
    /// The last start of this task, and all that came after it.
    From(TaskName),
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
    /// A signal without `name`.
    #[error("the signal has no `name`")]
    NoSignal,
    /// Both `from` and `failed_items`.
    #[error("the rerun has both `from` and `failed_items`: give one of them")]
    TwoScopes,
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
        self.refuse(&self.of_commands(), "job")?;
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
            context: self.context,
        })
    }

    fn of_commands(&self) -> [(&'static str, bool); 7] {
        [
            ("reason", self.reason.is_some()),
            ("name", self.name.is_some()),
            ("payload", self.payload.is_some()),
            ("signal_id", self.signal_id.is_some()),
            ("from", self.from.is_some()),
            ("failed_items", self.failed_items.is_some()),
            ("new_id", self.new_id.is_some()),
        ]
    }

    fn refuse(&self, fields: &[(&'static str, bool)], what: &'static str) -> Result<(), Unclear> {
        match fields.iter().find(|(_, is_there)| *is_there) {
            Some((field, _)) => Err(Unclear::Misplaced(field, what)),
            None => Ok(()),
        }
    }

    fn into_command(self, command: CommandName) -> Result<Command, Unclear> {
        let of_jobs = [
            ("workflow", self.workflow.is_some()),
            ("definition", self.definition.is_some()),
            ("parameters", self.parameters.is_some()),
            ("labels", self.labels.is_some()),
            ("at", self.at.is_some()),
            ("coerce", self.coerce.is_some()),
            ("context", self.context.is_some()),
        ];
        self.refuse(&of_jobs, "command")?;
        let own: &[&str] = match command {
            CommandName::Cancel | CommandName::Pause => &["reason"],
            CommandName::Resume => &[],
            CommandName::Signal => &["name", "payload", "signal_id"],
            CommandName::Rerun => &["from", "failed_items", "new_id"],
        };
        let mut others = self.of_commands().to_vec();
        others.retain(|(field, _)| !own.contains(field));
        self.refuse(&others, "command of this kind")?;
        let run = self.id.ok_or(Unclear::NoRun)?;
        let order = match command {
            CommandName::Cancel => Order::Cancel { reason: self.reason },
            CommandName::Pause => Order::Pause { reason: self.reason },
            CommandName::Resume => Order::Resume,
            CommandName::Signal => Order::Signal {
                name: self.name.ok_or(Unclear::NoSignal)?,
                payload: self.payload.unwrap_or_else(Json::null),
                id: self.signal_id,
            },
            CommandName::Rerun => {
                let scope = match (self.from, self.failed_items.unwrap_or(false)) {
                    (Some(_), true) => return Err(Unclear::TwoScopes),
                    (Some(task), false) => Rerun::From(task),
                    (None, true) => Rerun::FailedItems,
                    (None, false) => Rerun::Failed,
                };
                Order::Rerun { scope, new_id: self.new_id }
            }
        };
        Ok(Command { run, order })
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
        for text in [
            r#"{"command":"pause","id":"r","reason":"x"}"#,
            r#"{"command":"resume","id":"r"}"#,
            r#"{"command":"signal","id":"r","name":"go","payload":{"by":"me"}}"#,
            r#"{"command":"rerun","id":"r","from":"a"}"#,
            r#"{"command":"rerun","id":"r","failed_items":true,"new_id":"r2"}"#,
        ] {
            assert!(matches!(read(text), Ok(Submission::Command(_))), "{text}");
        }
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
            r#"{"command":"resume","id":"r","reason":"x"}"#,
            r#"{"command":"signal","id":"r"}"#,
            r#"{"command":"rerun","id":"r","from":"a","failed_items":true}"#,
            r#"{"workflow":"a","name":"x"}"#,
            r#"{"workflow":"a","paramters":{}}"#,
            r#"{"workflow":"A b"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
