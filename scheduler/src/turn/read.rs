//! From inputs to what is to be done about them. Decodes and sorts; decides nothing about runs.

use engine::machine::{self, Signal, Timer, again::Again, fact::ReplyTo};
use proto::{
    codec,
    failure::Failure,
    id::{Digest, RunId, ScheduleName, WorkflowName},
    job::{Answer, Command, Job, Order, Rerun, Submission, Target},
    limits::ITEMS_MAX,
    outcome::{FromWorker, Heartbeat, Listed, Outcome, Report},
    topology::Topology,
    value::ValueRef,
    work::WorkKey,
};
use queue::Delivery;
use tokio::sync::oneshot;

use super::{Change, Changed};
use crate::{
    call::Refusal,
    intake::{self, Rejection},
    intern,
};

/// One thing for a turn to handle.
#[derive(Debug)]
pub(crate) enum Input {
    /// From the jobs queue.
    Job(Delivery),
    /// From a shard's outcomes queue.
    Outcome(Delivery),
    /// From the queue of what the broker gave up.
    Dead(Delivery),
    /// A job or command by HTTP.
    Submit(bytes::Bytes, oneshot::Sender<Result<Answer, Refusal>>),
    /// A command by HTTP.
    Command(Command, oneshot::Sender<Result<Answer, Refusal>>),
    /// What is to become of a schedule, by HTTP.
    Schedule(Change, oneshot::Sender<Changed>),
    /// From this process itself.
    Own(Own),
}

/// What nobody sends again: a turn that fails gives it back to the desk.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    /// A timer rang.
    Timer(RunId, Timer),
    /// Ticks of this schedule are due, or those that waited may go on.
    Tick(ScheduleName),
    /// The machine goes on by itself.
    Continue(RunId),
    /// The items of this work are not to be had, so that no worker will ever see it.
    Lost(WorkKey),
    /// It is this run's turn among those that exclude each other.
    Admit(RunId),
}

impl Input {
    pub(super) fn own(&self) -> Option<Own> {
        match self {
            Self::Own(own) => Some(own.clone()),
            Self::Job(_)
            | Self::Outcome(_)
            | Self::Dead(_)
            | Self::Submit(..)
            | Self::Command(..)
            | Self::Schedule(..) => None,
        }
    }

    /// Tells whoever waits that no turn is to be had now. What came by queue goes back there.
    pub(crate) fn turn_away(self) {
        match self {
            Self::Submit(_, asker) | Self::Command(_, asker) => {
                // Whoever asked may have hung up.
                let _ = asker.send(Err(Refusal::Unavailable));
            }
            Self::Schedule(_, asker) => {
                let _ = asker.send(Changed::Unavailable);
            }
            Self::Job(_) | Self::Outcome(_) | Self::Dead(_) | Self::Own(_) => {}
        }
    }
}

/// Where an input came from, to be told once the commit stands.
#[derive(Debug)]
pub(super) enum Source {
    Delivery(Origin, Box<Delivery>),
    Call(oneshot::Sender<Result<Answer, Refusal>>),
    Own,
}

/// The queue that a delivery came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Jobs,
    Outcomes,
    Dead,
}

/// An input, understood.
#[derive(Debug)]
pub(super) enum Todo {
    /// A job for this run.
    Accept { run: RunId, job: Box<Job>, reply: Option<ReplyTo>, source: Source },
    /// Something that happened to a run; `named` are values that it says are stored.
    Step { run: RunId, input: machine::Input, named: Vec<Digest>, source: Source },
    /// A person's order, which wants an answer.
    Order { run: RunId, input: machine::Input, reply: Option<ReplyTo>, source: Source },
    /// A person wants a run done again, as the new run `run`.
    Rerun { run: RunId, of: RunId, again: Again, reply: Option<ReplyTo>, source: Source },
    /// What cannot be read or accepted.
    Refuse { rejection: Rejection, reply: Option<ReplyTo>, source: Source },
    /// Ticks of a schedule are due.
    Tick { schedule: ScheduleName },
    /// A schedule is to be another one.
    Change { change: Change, asker: oneshot::Sender<Changed> },
    /// A worker is alive.
    Beat { heartbeat: Heartbeat, source: Source },
    /// Work that cannot be written; its row goes.
    Lost { key: WorkKey },
}

impl Todo {
    /// The runs that must be looked up for it.
    pub(super) fn runs(&self) -> impl Iterator<Item = &RunId> {
        let (one, other) = match self {
            Self::Accept { run, .. } | Self::Step { run, .. } | Self::Order { run, .. } => (Some(run), None),
            Self::Rerun { run, of, .. } => (Some(run), Some(of)),
            Self::Lost { key } => (Some(&key.run), None),
            Self::Refuse { .. } | Self::Tick { .. } | Self::Change { .. } | Self::Beat { .. } => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// The workflow that it names, as registered now.
    pub(super) fn workflow(&self) -> Option<&WorkflowName> {
        match self {
            Self::Accept { job, .. } => match &job.target {
                Target::Name(name) => Some(name),
                Target::Source(_) => None,
            },
            Self::Step { .. }
            | Self::Order { .. }
            | Self::Rerun { .. }
            | Self::Refuse { .. }
            | Self::Tick { .. }
            | Self::Change { .. }
            | Self::Beat { .. }
            | Self::Lost { .. } => None,
        }
    }

    /// The schedule that may start runs by it.
    pub(super) fn schedule(&self) -> Option<&ScheduleName> {
        match self {
            Self::Tick { schedule } => Some(schedule),
            Self::Accept { .. }
            | Self::Step { .. }
            | Self::Order { .. }
            | Self::Rerun { .. }
            | Self::Refuse { .. }
            | Self::Change { .. }
            | Self::Beat { .. }
            | Self::Lost { .. } => None,
        }
    }
}

/// Reads one input. Values that come with it are put into `found`.
pub(super) fn read(input: Input, topology: &Topology, found: &mut intern::Found) -> Todo {
    match input {
        Input::Job(delivery) => job(delivery, topology, found),
        Input::Outcome(delivery) => outcome(delivery, found),
        Input::Dead(delivery) => dead(delivery, topology),
        Input::Submit(body, asker) => submission(&body, None, Ok(None), Source::Call(asker), found),
        Input::Command(command, asker) => order(command, None, None, Source::Call(asker), found),
        Input::Schedule(change, asker) => Todo::Change { change, asker },
        Input::Own(Own::Tick(schedule)) => Todo::Tick { schedule },
        Input::Own(Own::Timer(run, timer)) => own(run, machine::Input::Timer(timer)),
        Input::Own(Own::Continue(run)) => own(run, machine::Input::Continue),
        Input::Own(Own::Admit(run)) => own(run, machine::Input::Admit),
        Input::Own(Own::Lost(key)) => Todo::Lost { key },
    }
}

fn own(run: RunId, input: machine::Input) -> Todo {
    Todo::Step { run, input, named: Vec::new(), source: Source::Own }
}

fn job(delivery: Delivery, topology: &Topology, found: &mut intern::Found) -> Todo {
    let reply = reply_of(&delivery, topology);
    let message_id = delivery.properties.message_id.clone();
    let body = delivery.body.clone();
    submission(&body, message_id.as_deref(), reply, Source::Delivery(Origin::Jobs, Box::new(delivery)), found)
}

fn submission(
    body: &[u8],
    message_id: Option<&str>,
    reply: Result<Option<ReplyTo>, Rejection>,
    source: Source,
    found: &mut intern::Found,
) -> Todo {
    let reply = match reply {
        Ok(reply) => reply,
        Err(rejection) => return Todo::Refuse { rejection, reply: None, source },
    };
    match intake::read(body) {
        Ok(Submission::Job(job)) => match intake::run_id(&job, message_id) {
            Ok(run) => Todo::Accept { run, job: Box::new(job), reply, source },
            Err(rejection) => Todo::Refuse { rejection, reply, source },
        },
        Ok(Submission::Command(command)) => order(command, message_id, reply, source, found),
        Err(rejection) => Todo::Refuse { rejection, reply, source },
    }
}

fn order(
    command: Command,
    message_id: Option<&str>,
    reply: Option<ReplyTo>,
    source: Source,
    found: &mut intern::Found,
) -> Todo {
    let Command { run, order } = command;
    let input = match order {
        Order::Cancel { reason } => machine::Input::Cancel { reason },
        Order::Pause { reason } => machine::Input::Pause { reason },
        Order::Resume => machine::Input::Resume,
        Order::Signal { name, payload, id } => {
            let mut payload = ValueRef::Inline(payload);
            found.value(&mut payload);
            let id = id.or_else(|| message_id.map(str::to_owned));
            machine::Input::Signal(Signal { name, id, payload })
        }
        Order::Rerun { scope, new_id } => {
            let again = match scope {
                Rerun::Failed => Again::Failed,
                Rerun::FailedItems => Again::FailedItems,
                Rerun::From(task) => Again::From(task),
            };
            return match intake::chosen(new_id.as_ref(), message_id) {
                Ok(new) => Todo::Rerun { run: new, of: run, again, reply, source },
                Err(rejection) => Todo::Refuse { rejection, reply, source },
            };
        }
    };
    Todo::Order { run, input, reply, source }
}

fn outcome(delivery: Delivery, found: &mut intern::Found) -> Todo {
    let message = codec::decode::<FromWorker>(&delivery.body);
    let source = Source::Delivery(Origin::Outcomes, Box::new(delivery));
    match message {
        Ok(FromWorker::Outcome(outcome)) => {
            let Outcome { key, mut report, .. } = *outcome;
            if let Report::Listed(listed) = &report
                && let Err(failure) = sound(listed)
            {
                report = Report::Unable(failure);
            }
            let before = found.named.len();
            intern::report(&mut report, found);
            let named = found.named[before..].to_vec();
            Todo::Step { run: key.run.clone(), input: machine::Input::Report(key, report), named, source }
        }
        Ok(FromWorker::Heartbeat(heartbeat)) => Todo::Beat { heartbeat, source },
        Ok(FromWorker::Claim(claim)) => {
            let run = claim.key.run.clone();
            Todo::Step { run, input: machine::Input::Claim(claim), named: Vec::new(), source }
        }
        Err(error) => {
            let rejection = Rejection::new(error.code(), format!("no outcome: {error}"));
            Todo::Refuse { rejection, reply: None, source }
        }
    }
}

/// Checks what the machine counts on and a worker of another make may get wrong.
fn sound(listed: &Listed) -> Result<(), Failure> {
    let total: u64 = listed.parts.iter().map(|part| u64::from(part.count)).sum();
    if total > u64::from(ITEMS_MAX) {
        return Err(Failure::new("too_many_items", format!("{total} items are more than {ITEMS_MAX}")));
    }
    if listed.parts.iter().any(|part| part.count == 0) {
        return Err(Failure::new("items_invalid", "the worker reported a part of the list without items"));
    }
    Ok(())
}

/// Work that the broker gave up is told to its run, and so is a report on work that could not be taken in again and
/// again. Reports that came in one message with that one were taken in before: nobody waits for their work any more. Anything else that it gave up is answered and kept for a person.
fn dead(delivery: Delivery, topology: &Topology) -> Todo {
    let by_id = delivery.properties.message_id.as_deref().and_then(|id| id.parse::<WorkKey>().ok());
    let key = by_id.or_else(|| match codec::decode::<FromWorker>(&delivery.body) {
        Ok(FromWorker::Outcome(outcome)) => Some(outcome.key),
        Ok(FromWorker::Heartbeat(_) | FromWorker::Claim(_)) | Err(_) => None,
    });
    let reply = reply_of(&delivery, topology).unwrap_or_default();
    let source = Source::Delivery(Origin::Dead, Box::new(delivery));
    match key {
        Some(key) => {
            let run = key.run.clone();
            Todo::Step { run, input: machine::Input::Undeliverable(key), named: Vec::new(), source }
        }
        None => {
            let rejection = Rejection::new("undeliverable", "the broker gave up delivering this message");
            Todo::Refuse { rejection, reply, source }
        }
    }
}

fn reply_of(delivery: &Delivery, topology: &Topology) -> Result<Option<ReplyTo>, Rejection> {
    let properties = &delivery.properties;
    intake::reply_to(topology, properties.reply_to.as_deref(), properties.correlation_id.as_deref())
}
