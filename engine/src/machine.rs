//! The state machine of a run: what happened goes in, facts and commands come out.
//!
//! [`step`] never awaits, reads no clock, draws no randomness and cannot fail: time comes in as [`Now`], evaluated
//! outcomes come in decided, bad luck goes out as a fact. Facts are stored; commands are done after the commit; and
//! [`replay`] of the facts gives the run again. An input that no longer applies gives an empty step.
//!
//! Parts, in reading order: [`fact`] is what can happen, [`run`] and `live` what it amounts to, `evolve` how one becomes
//! the other, `admit` how a run begins, `decide` what follows from an outcome, `start` how tasks begin, `signal` how they
//! wait, `call` how they run children, `claim` how they are begun once at the most, `end` how they end, `items` and [`fanout`] how a task with items goes on, `hold`
//! how work is held back, `close` how a run ends, `again` how it is done again, `view` and `manifest` what others
//! get to see of it, and [`explain`] what a task was given and from where.

pub mod fact;
pub mod fanout;
pub mod run;

pub mod again;
pub mod explain;

mod admit;
mod call;
mod claim;
mod close;
mod decide;
mod end;
mod evolve;
mod hold;
mod items;
mod live;
mod manifest;
mod signal;
mod start;
mod view;

use proto::{
    control::Control,
    failure::Failure,
    id::{Digest, Instance, KeyName, RunId, TaskName},
    outcome::{Claim, Report},
    time::Timestamp,
    value::ValueRef,
    work::{RunStatus, WorkKey},
};

use self::{
    decide::{answered, due, give_up},
    fact::{Accepted, Fact, Parent, What},
    start::pass,
};
pub use self::{manifest::Brief, run::Run, view::Load};
use crate::spec::Workflow;

/// Something that concerns a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A worker's report on a piece of work.
    Report(WorkKey, Report),
    /// The broker gave up delivering a piece of work: it kills workers, or none could take it.
    Undeliverable(WorkKey),
    /// A timer went off.
    Timer(Timer),
    /// Someone asks for the end.
    Cancel {
        /// Why, for people.
        reason: Option<String>,
    },
    /// Someone asks for a rest.
    Pause {
        /// Why, for people.
        reason: Option<String>,
    },
    /// The rest is over.
    Resume,
    /// A signal came.
    Signal(Signal),
    /// A worker asks whether it may begin what must not be begun twice.
    Claim(Claim),
    /// A child run ended.
    ChildEnded(ChildEnd),
    /// It is this run's turn among those that exclude each other.
    Admit,
    /// The machine said [`Command::Continue`].
    Continue,
}

/// A signal for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its name.
    pub name: KeyName,
    /// By which it is told from another; the same twice is one. Without one, each is another.
    pub id: Option<String>,
    /// What it says.
    pub payload: ValueRef,
}

/// How a child run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildEnd {
    /// Whose child it was.
    pub parent: Parent,
    /// The child.
    pub run: RunId,
    /// Succeeded, failed or canceled.
    pub status: RunStatus,
    /// Its output.
    pub output: ValueRef,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
}

/// What a parent tells its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End.
    Cancel,
    /// Rest.
    Pause,
    /// Go on.
    Resume,
}

/// What a run waits for; each has at most one due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// A task's delay, back-off, or the next retry among its items.
    Task(Instance),
    /// A cancel that workers are told of again.
    Cancel,
    /// The start time of the run.
    Start,
    /// The end of the run's time.
    Deadline,
}

/// The outer world, as a step may know it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time.
    pub at: Timestamp,
    /// Ranges of one fan-out that may be with the broker at once, so that a big run does not stand in front of others; and
    /// items in them, where that is more than [`FLIGHTS_FREE`] ranges.
    pub flights_max: usize,
}

/// Ranges of one fan-out that may be with the broker however many items they hold. A worker runs one range in many slots, so
/// more ranges keep more slots busy only while they hold few items; and each is two messages that other runs wait behind.
pub const FLIGHTS_FREE: usize = 64;

/// What a step decides.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// To be stored.
    pub facts: Vec<Fact>,
    /// To be done once they are.
    pub commands: Vec<Command>,
}

/// Something to be done after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Send this work.
    Dispatch(WorkKey),
    /// Set a timer, in place of the one that it may have.
    Arm(Timer, Timestamp),
    /// The timer is no longer needed.
    Disarm(Timer),
    /// Tell every worker.
    Broadcast(Control),
    /// Tell whoever listens.
    Announce(News),
    /// Accept a child run, in the same commit: of the workflow that its definition is.
    Spawn(Box<Accepted>),
    /// Tell a child run.
    Child(RunId, Order),
    /// Tell the parent that this run has ended.
    Parent(Box<ChildEnd>),
    /// Wait for this run's turn among those that exclude each other, and give [`Input::Admit`] when it has come.
    Enqueue(Digest),
    /// Step again, with [`Input::Continue`], after others had their turn.
    Continue,
}

/// What others may want to hear of.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The run's status changed; at its end it is terminal.
    Run,
    /// A task started.
    TaskStarted(TaskName),
    /// A task ended.
    TaskEnded(TaskName, proto::work::Status, Option<Failure>),
}

/// Makes a run from an accepted job. What the workflow itself says of how runs begin is entered into `accepted`.
#[must_use]
pub fn accept(spec: &Workflow, mut accepted: Accepted, now: Now) -> (Run, Step) {
    accepted.prepare = spec.is_prepared();
    accepted.exclusive = admit::exclusive(spec, &accepted);
    let fact = Fact { at: now.at, what: What::Accepted(Box::new(accepted)) };
    let What::Accepted(body) = &fact.what else { unreachable!("made one line above") };
    let mut run = Run::accepted(spec, body, now.at);
    let mut turn = Turn { spec, run: &mut run, now, step: Step { facts: vec![fact], commands: Vec::new() } };
    turn.announce(News::Run);
    turn.accepted();
    pass(&mut turn);
    let step = turn.step;
    (run, step)
}

/// Makes a run again from its facts, the first of which accepted it. `None` when that one is missing.
pub fn replay<'a>(spec: &Workflow, facts: impl IntoIterator<Item = &'a Fact>) -> Option<Run> {
    let mut facts = facts.into_iter();
    let first = facts.next()?;
    let What::Accepted(accepted) = &first.what else {
        return None;
    };
    let mut run = Run::accepted(spec, accepted, first.at);
    facts.for_each(|fact| run.evolve(spec, fact));
    Some(run)
}

/// Decides what follows from `input`.
#[must_use]
pub fn step(spec: &Workflow, run: &mut Run, input: Input, now: Now) -> Step {
    let mut turn = Turn { spec, run, now, step: Step::default() };
    if turn.run.finished().is_none() {
        let before = turn.run.status();
        // The machine has said `Continue` and was not heard yet. To go on here would say it a second time.
        let is_continued = turn.run.has_passing() && input != Input::Continue;
        turn.take(input);
        if !(is_continued && turn.run.has_passing()) {
            pass(&mut turn);
        }
        if turn.run.status() != before {
            turn.announce(News::Run);
        }
    }
    turn.step
}

/// One step under way: each fact is applied as it is recorded, so that what follows is decided on the new state.
struct Turn<'a> {
    spec: &'a Workflow,
    run: &'a mut Run,
    now: Now,
    step: Step,
}

impl Turn<'_> {
    fn take(&mut self, input: Input) {
        match input {
            Input::Report(key, report) => answered(self, &key, report),
            Input::Undeliverable(key) => give_up(self, &key),
            Input::Timer(timer) => due(self, timer),
            Input::Cancel { reason } => self.cancel(reason),
            Input::Pause { reason } => self.pause(reason),
            Input::Resume => self.resume(),
            Input::Signal(signal) => self.signaled(signal),
            Input::Claim(claim) => self.claimed(claim),
            Input::ChildEnded(end) => self.child_ended(end),
            Input::Admit => self.admitted(),
            Input::Continue => {}
        }
    }

    fn record(&mut self, what: What) {
        let fact = Fact { at: self.now.at, what };
        self.run.evolve(self.spec, &fact);
        self.step.facts.push(fact);
    }

    fn command(&mut self, command: Command) {
        self.step.commands.push(command);
    }

    fn announce(&mut self, news: News) {
        self.command(Command::Announce(news));
    }

    /// Sends work of the run itself, unless it is held back.
    fn dispatch_own(&mut self, phase: proto::work::Phase) {
        if !self.run.held_own {
            let key = self.run.own_key(phase);
            self.command(Command::Dispatch(key));
        }
    }

    /// Sends the work that `instance` waits for by its stage, unless it is held back.
    fn dispatch(&mut self, instance: Instance) {
        if self.run.is_held(instance) {
            return;
        }
        let live = &self.run.live[&instance];
        let phase = live.at.phase().expect("the stage was just entered and waits for work");
        let key = self.run.key(&self.spec.task(live.task).name, instance, phase, live.serial);
        self.command(Command::Dispatch(key));
    }
}
