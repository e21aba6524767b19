//! What the HTTP side asks of the loop.

use bytes::Bytes;
use engine::context::Context;
use proto::{
    id::{RunId, TaskName},
    job::{Answer, Command, Problem},
    value::ValueRef,
    view,
};
use tokio::sync::oneshot;

use crate::{
    desk::WatchAnswer,
    store::Filter,
    turn::{Change, Changed},
};

/// One question, and where its answer goes. An asker that has gone away is no concern of the loop's.
#[derive(Debug)]
pub(crate) enum Call {
    /// Run a job, or carry out a command, as it stands in an HTTP body.
    Submit { body: Bytes, answer: oneshot::Sender<Result<Answer, Refusal>> },
    /// Carry out a command.
    Command { command: Command, answer: oneshot::Sender<Result<Answer, Refusal>> },
    /// Make, change or remove a schedule.
    Schedule { change: Change, answer: oneshot::Sender<Changed> },
    /// Show a live run.
    View { run: RunId, answer: oneshot::Sender<Option<view::Run>> },
    /// Everything that a live run has come to know.
    Context { run: RunId, answer: oneshot::Sender<Option<Context>> },
    /// The errors of items of a live run, by task: of all, or of one.
    Failed { run: RunId, task: Option<TaskName>, answer: oneshot::Sender<Option<Vec<(TaskName, ValueRef)>>> },
    /// Live runs that wait for a signal, newest first.
    Waiting { filter: Filter, answer: oneshot::Sender<Vec<view::Summary>> },
    /// Follow a live run.
    Watch { run: RunId, answer: WatchAnswer },
    /// Bring the gauges up to date.
    Gauges { answer: oneshot::Sender<()> },
}

/// Why a call was not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Something is wrong with it.
    Problems { id: Option<RunId>, problems: Vec<Problem> },
    /// There is no such run.
    NoRun(RunId),
    /// The store does not answer: try again.
    Unavailable,
}
