//! What a script says: how actions end, what happens on the way, and what is expected.

use std::{collections::BTreeMap, fmt, time::Duration};

use proto::{
    failure::Failure,
    id::{KeyName, TaskName, WorkflowName},
    json::Json,
    time::Timestamp,
    value::ValueRef,
    work::{RunStatus, Status},
};

use crate::duration;

/// A script, checked against the workflow that it is for: [`crate::parse::script()`] reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Values of the workflow's parameters, defaults included.
    pub parameters: Vec<(KeyName, Json)>,
    /// `run.labels`.
    pub labels: BTreeMap<String, String>,
    /// `env.*`.
    pub env: BTreeMap<String, String>,
    /// `secrets.*`.
    pub secrets: BTreeMap<String, String>,
    /// When the run is accepted, by the clock of the rehearsal.
    pub now: Timestamp,
    /// It begins no sooner than then.
    pub start_at: Option<Timestamp>,
    /// What its context begins with, by path.
    pub imported: BTreeMap<String, ValueRef>,
    /// How it goes.
    pub take: Take,
}

/// How a run goes: once for the script, and once for each time that it is run again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Take {
    /// What happens in the run itself.
    pub part: Part,
    /// What happens in its child runs, by their workflow.
    pub children: BTreeMap<WorkflowName, Part>,
    /// What is expected of it.
    pub expect: Expect,
    /// What becomes of it when it is run again.
    pub rerun: Option<Box<Rerun>>,
}

/// What happens in the runs of one workflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// By task, in the order of dispatch. When they are used up, actions succeed with null. A task that runs a workflow
    /// and is named here runs no child: it ends as this says.
    pub outcomes: BTreeMap<TaskName, Vec<Scripted>>,
    /// What happens from outside to each run, in the order of the file where several happen at one moment.
    pub events: Vec<Event>,
}

/// An entry of `outcomes`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scripted {
    /// One attempt of a task without items.
    Attempt(Cue),
    /// The final outcomes of the items of one start of a task, from the first item on.
    Items(Vec<Cue>),
}

/// How an attempt or an item ends, and after how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// How.
    pub end: End,
    /// How long it takes.
    pub takes: Duration,
}

/// How an action ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It succeeds with this result.
    Result(Json),
    /// It does not succeed.
    Failure {
        /// Failed, timed out or canceled.
        status: Status,
        /// What templates read as `error.code` and `error.message`.
        failure: Failure,
        /// The action's result, which is also `error.details`.
        result: Json,
    },
    /// It kills its worker, again and again, until the broker gives it up: `crashed`.
    Crash,
}

/// Something that happens to the run from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// What.
    pub act: Act,
}

/// A moment in a run. Each comes once, the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The run was accepted and nothing of it has begun.
    Start,
    /// So long after it was accepted, after all else that comes then.
    Clock(Duration),
    /// Work of the task is on its way, and no worker has begun it.
    Before(TaskName),
    /// A worker has begun the task's action.
    During(TaskName),
    /// The task has ended, and what follows from that has not begun.
    After(TaskName),
}

/// What someone outside does to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Cancels it.
    Cancel {
        /// Why.
        reason: Option<String>,
    },
    /// Pauses it.
    Pause {
        /// Why.
        reason: Option<String>,
    },
    /// Lets it go on.
    Resume,
    /// Sends it a signal.
    Signal {
        /// Which.
        name: KeyName,
        /// By which a repeated one is known.
        id: Option<String>,
        /// What comes along.
        payload: Json,
    },
}

/// What is expected. What is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// The run's status.
    pub status: Option<RunStatus>,
    /// [`super::Outcome::order`].
    pub order: Option<Vec<TaskName>>,
    /// The whole output.
    pub output: Option<Json>,
    /// Some of `workflow.*`.
    pub published: BTreeMap<KeyName, Json>,
    /// Why the run did not succeed.
    pub error: Option<ExpectedError>,
    /// Inputs of some tasks.
    pub inputs: BTreeMap<TaskName, Json>,
    /// The status of some tasks.
    pub tasks: BTreeMap<TaskName, TaskStatus>,
    /// Attempts of some tasks: of the last start of each.
    pub attempts: BTreeMap<TaskName, u32>,
    /// Child runs, by their workflow.
    pub children: BTreeMap<WorkflowName, ExpectedChildren>,
    /// The code by which the rerun is refused.
    pub refused: Option<String>,
}

/// What is expected of the child runs of one workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedChildren {
    /// How many there are.
    pub runs: Option<usize>,
    /// How they ended, in the order in which they started.
    pub statuses: Option<Vec<RunStatus>>,
    /// [`super::Children::order`].
    pub order: Option<Vec<TaskName>>,
}

/// What is expected of a run's error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedError {
    /// Its code.
    pub code: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// The task where it happened.
    pub task: Option<TaskName>,
}

/// A task at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// It was never started.
    NotRun,
    /// It waits: the run has not ended.
    Waiting,
    /// It runs: the run has not ended.
    Running,
    /// It ended.
    Ended(Status),
}

/// The run, run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rerun {
    /// From where on.
    pub from: RerunFrom,
    /// How the new run goes.
    pub take: Take,
}

/// From where on a run is run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RerunFrom {
    /// The tasks that failed.
    Failed,
    /// Of those with items only the items that failed.
    FailedItems,
    /// This task.
    Task(TaskName),
}

impl Cue {
    /// An end that comes at once.
    #[must_use]
    pub fn at_once(end: End) -> Self {
        Self { end, takes: Duration::ZERO }
    }
}

impl Default for Cue {
    /// Success with null.
    fn default() -> Self {
        Self::at_once(End::Result(Json::null()))
    }
}

impl TaskStatus {
    /// Every status, as a script says it.
    pub const ALL: [Self; 8] = [
        Self::NotRun,
        Self::Waiting,
        Self::Running,
        Self::Ended(Status::Succeeded),
        Self::Ended(Status::Failed),
        Self::Ended(Status::TimedOut),
        Self::Ended(Status::Crashed),
        Self::Ended(Status::Canceled),
    ];

    /// The word that users read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => crate::snapshot::NOT_RUN,
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ended(status) => status.as_str(),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("at start"),
            Self::Clock(after) => write!(f, "at {}", duration::format(*after)),
            Self::Before(task) => write!(f, "before {task}"),
            Self::During(task) => write!(f, "during {task}"),
            Self::After(task) => write!(f, "after {task}"),
        }
    }
}
