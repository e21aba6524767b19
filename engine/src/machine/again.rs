//! How a run is done again: its history up to the tasks that are to run again becomes that of a new run.
//!
//! What is kept is copied fact by fact. What descended from a task that runs again is left out, and so is everything
//! about the end. What a rerun needs besides is in the facts already: nothing is evaluated, nothing is asked.

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    failure::Failure,
    id::{Instance, RunId, TaskName},
    time::Timestamp,
    work::Status,
};

use super::{
    Command, News, Now, Run, Step, Timer, Turn,
    fact::{Accepted, Arrival, Ended, Entry, Fact, ReplyTo, Start, Unsettled, What},
    live::{At, Live},
    replay,
    start::pass,
};
use crate::spec::{TaskIndex, Workflow};

/// What of a run is done again. Whatever had not come to its end is, in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// The tasks that failed and that nothing handled.
    Failed,
    /// The same; of tasks with items, only the items that did not succeed.
    FailedItems,
    /// The last start of this task, and all that came after it.
    From(TaskName),
}

/// The new run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Its id.
    pub run: RunId,
    /// Who is told of its end.
    pub reply: Option<ReplyTo>,
}

/// Makes a new run of one that has ended.
///
/// # Errors
/// `run_not_finished`, `child_run` for the child of another run, `task_unknown`, `task_not_run`, `nothing_to_rerun`.
pub fn rerun(spec: &Workflow, history: &[Fact], heir: Heir, again: &Again, now: Now) -> Result<(Run, Step), Failure> {
    let old = replay(spec, history).filter(|run| run.finished().is_some());
    let old = old.ok_or_else(|| Failure::new("run_not_finished", "the run has not ended: cancel it first, or wait"))?;
    if let Some(parent) = old.parent() {
        let message = format!("the run is a child of {}: rerun that one", parent.run);
        return Err(Failure::new("child_run", message));
    }
    let lineage = Lineage::of(spec, history);
    let plan = Plan::of(spec, &lineage, again)?;
    let facts = plan.copy(spec, &old, history, heir, now);
    let mut run = replay(spec, &facts).expect("the first fact accepts it");
    let mut turn = Turn { spec, run: &mut run, now, step: Step { facts, commands: Vec::new() } };
    turn.take_up();
    let step = turn.step;
    Ok((run, step))
}

/// Which start of a task came from which, and how each ended.
#[derive(Default)]
struct Lineage {
    tasks: BTreeMap<Instance, TaskIndex>,
    /// Of each start, those whose end led to it.
    parents: BTreeMap<Instance, BTreeSet<Instance>>,
    ends: BTreeMap<Instance, Outcome>,
    /// The task whose end made the run fail.
    cause: Option<Instance>,
    /// The start of the task of `finally`.
    finale: Option<Instance>,
}

/// How a start of a task ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// While the run went on: its transitions were followed.
    Followed,
    /// With success, when the run was closing: its transitions were not followed.
    Unfollowed,
    /// Without success, when the run was closing, or before it began.
    Undone,
}

impl Lineage {
    fn of(spec: &Workflow, history: &[Fact]) -> Self {
        let mut lineage = Self::default();
        let mut passes: BTreeMap<(TaskIndex, u32), BTreeSet<Instance>> = BTreeMap::new();
        let mut is_closing = false;
        let mut last_ended = None;
        for fact in history {
            match &fact.what {
                What::Begun { starts, .. } => starts.iter().for_each(|start| lineage.start(start, BTreeSet::new())),
                What::Ended(ended) => {
                    lineage.end(ended, is_closing, &mut passes);
                    last_ended = Some(ended.instance);
                }
                What::Failing { dropped, failure, .. } => {
                    // The end that fails a run is the fact before. One that leaves a join unsatisfied does not: the
                    // failure is that of the join then. One that takes too long as it fails says so once more.
                    if !is_closing {
                        let name = |instance: &Instance| &spec.task(lineage.tasks[instance]).name;
                        lineage.cause = last_ended.filter(|last| failure.task.as_ref() == Some(name(last)));
                    }
                    is_closing = true;
                    lineage.ends.extend(dropped.iter().map(|instance| (*instance, Outcome::Undone)));
                }
                What::Canceling { dropped, .. } => {
                    is_closing = true;
                    lineage.ends.extend(dropped.iter().map(|instance| (*instance, Outcome::Undone)));
                }
                What::Accepted(_)
                | What::Due
                | What::Admitted
                | What::Prepared { .. }
                | What::Entered { .. }
                | What::Released { .. }
                | What::Signaled { .. }
                | What::Received { .. }
                | What::Claimed { .. }
                | What::Called { .. }
                | What::ItemEnded(_)
                | What::Listed { .. }
                | What::Ranged { .. }
                | What::Reported { .. }
                | What::Woken { .. }
                | What::Retrying { .. }
                | What::Returned { .. }
                | What::Reopened { .. }
                | What::Settling(_)
                | What::Pausing { .. }
                | What::Resuming
                | What::Concluding
                | What::Finished { .. } => last_ended = None,
                What::Finalizing { start, .. } => lineage.finale = Some(start.instance),
            }
        }
        lineage
    }

    fn start(&mut self, start: &Start, parents: BTreeSet<Instance>) {
        self.tasks.insert(start.instance, start.task);
        self.parents.insert(start.instance, parents);
    }

    fn end(&mut self, ended: &Ended, is_closing: bool, passes: &mut BTreeMap<(TaskIndex, u32), BTreeSet<Instance>>) {
        let outcome = match (is_closing, ended.status) {
            (false, _) => Outcome::Followed,
            (true, Status::Succeeded) => Outcome::Unfollowed,
            (true, Status::Failed | Status::TimedOut | Status::Crashed | Status::Canceled) => Outcome::Undone,
        };
        self.ends.insert(ended.instance, outcome);
        for start in &ended.starts {
            self.start(start, BTreeSet::from([ended.instance]));
        }
        for Arrival { join, pass, starts } in &ended.arrivals {
            let arrived = passes.entry((*join, *pass)).or_default();
            arrived.insert(ended.instance);
            if let Some(start) = starts {
                let parents = arrived.clone();
                self.start(start, parents);
            }
        }
    }

    /// All that came of `roots`, without them.
    fn descendants(&self, roots: &BTreeSet<Instance>) -> BTreeSet<Instance> {
        let mut found: BTreeSet<Instance> = BTreeSet::new();
        // A start has a greater number than those that it came from, so one round finds all.
        for (instance, parents) in &self.parents {
            if parents.iter().any(|parent| roots.contains(parent) || found.contains(parent)) {
                found.insert(*instance);
            }
        }
        found
    }

    fn with(&self, outcome: Outcome) -> impl Iterator<Item = Instance> + '_ {
        self.ends.iter().filter(move |(_, found)| **found == outcome).map(|(instance, _)| *instance)
    }
}

/// What becomes of each start of a task.
struct Plan {
    /// They run again.
    again: BTreeSet<Instance>,
    /// Of these, the ones that keep the items that succeeded.
    items: BTreeSet<Instance>,
    /// They never were.
    gone: BTreeSet<Instance>,
    /// They ended well, and what follows from that is asked again.
    settled: BTreeSet<Instance>,
}

impl Plan {
    fn of(spec: &Workflow, lineage: &Lineage, again: &Again) -> Result<Self, Failure> {
        let mut roots: BTreeSet<Instance> = lineage.with(Outcome::Undone).chain(lineage.cause).collect();
        if let Again::From(name) = again {
            let task = spec.find(name);
            let task =
                task.ok_or_else(|| Failure::new("task_unknown", format!("the workflow has no task `{name}`")))?;
            let last = lineage.tasks.iter().rev().find(|(_, of)| **of == task).map(|(instance, _)| *instance);
            let not_run = || Failure::new("task_not_run", format!("task `{name}` was never started in this run"));
            roots.insert(last.ok_or_else(not_run)?);
        }
        let mut gone = lineage.descendants(&roots);
        // Each run has one of its own.
        gone.extend(lineage.finale);
        let again_set: BTreeSet<Instance> =
            roots.into_iter().filter(|root| !gone.contains(root) && lineage.tasks.contains_key(root)).collect();
        let settled: BTreeSet<Instance> =
            lineage.with(Outcome::Unfollowed).filter(|one| !gone.contains(one) && !again_set.contains(one)).collect();
        if again_set.is_empty() && settled.is_empty() {
            let message = "no task of the run failed: say with `from` which task is to run again";
            return Err(Failure::new("nothing_to_rerun", message));
        }
        let has_items = |one: &Instance| spec.task(lineage.tasks[one]).items.is_some();
        let items = match again {
            Again::FailedItems => again_set.iter().copied().filter(has_items).collect(),
            Again::Failed | Again::From(_) => BTreeSet::new(),
        };
        Ok(Self { again: again_set, items, gone, settled })
    }

    /// The history of the new run.
    fn copy(&self, spec: &Workflow, old: &Run, history: &[Fact], heir: Heir, now: Now) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut reopened = self.items.clone();
        reopened.retain(|one| {
            history.iter().any(|fact| matches!(fact.what, What::Listed { instance, .. } if instance == *one))
        });
        for fact in history {
            facts.extend(self.kept(spec, old, fact, &heir, &reopened, now).map(|what| Fact { at: now.at, what }));
        }
        facts.extend(reopened.into_iter().map(|instance| Fact { at: now.at, what: What::Reopened { instance } }));
        facts
    }

    fn kept(
        &self,
        spec: &Workflow,
        old: &Run,
        fact: &Fact,
        heir: &Heir,
        reopened: &BTreeSet<Instance>,
        now: Now,
    ) -> Option<What> {
        let restarted = |start: &Start| self.restarted(spec, start, now);
        match &fact.what {
            What::Accepted(accepted) => Some(What::Accepted(Box::new(Accepted {
                run: heir.run.clone(),
                reply: heir.reply.clone(),
                ancestor: Some(old.id().clone()),
                start_at: None,
                ..accepted.as_ref().clone()
            }))),
            What::Begun { vars, deadline, concurrency, starts } => Some(What::Begun {
                vars: vars.clone(),
                deadline: deadline.map(|deadline| now.at.plus(deadline.since(old.begun_at))),
                concurrency: *concurrency,
                starts: starts.iter().map(restarted).collect(),
            }),
            What::Ended(ended) if self.settled.contains(&ended.instance) => Some(What::Settling(Box::new(Unsettled {
                instance: ended.instance,
                status: ended.status,
                failure: ended.failure.clone(),
                result: ended.result.clone(),
                error: ended.error.clone(),
            }))),
            What::Ended(ended) if !self.is_left_out(ended.instance) => {
                Some(What::Ended(Box::new(self.followed(ended, restarted))))
            }
            What::Due | What::Admitted | What::Signaled { .. } => Some(fact.what.clone()),
            What::Failing { .. }
            | What::Canceling { .. }
            | What::Pausing { .. }
            | What::Resuming
            | What::Concluding
            | What::Finalizing { .. }
            | What::Finished { .. }
            | What::Ended(_)
            | What::Returned { instance: None, .. } => None,
            What::ItemEnded(ended) => self.task_fact(fact, ended.instance, reopened),
            What::Prepared { instance, .. }
            | What::Entered { instance, .. }
            | What::Released { instance }
            | What::Received { instance }
            | What::Claimed { instance, .. }
            | What::Called { instance, .. }
            | What::Listed { instance, .. }
            | What::Ranged { instance, .. }
            | What::Reported { instance, .. }
            | What::Woken { instance }
            | What::Retrying { instance, .. }
            | What::Reopened { instance }
            | What::Returned { instance: Some(instance), .. } => self.task_fact(fact, *instance, reopened),
            // Its own end comes later, or is asked again.
            What::Settling(unsettled) => {
                let is_kept = !self.settled.contains(&unsettled.instance) && !self.is_left_out(unsettled.instance);
                is_kept.then(|| fact.what.clone())
            }
        }
    }

    /// A fact about a task before its end, if it is kept.
    fn task_fact(&self, fact: &Fact, instance: Instance, reopened: &BTreeSet<Instance>) -> Option<What> {
        let is_kept = reopened.contains(&instance) || !self.is_left_out(instance);
        is_kept.then(|| fact.what.clone())
    }

    /// An end, with those of its starts that are still there.
    fn followed(&self, ended: &Ended, restarted: impl Fn(&Start) -> Start) -> Ended {
        let is_there = |start: &&Start| !self.gone.contains(&start.instance);
        let arrival = |arrival: &Arrival| Arrival {
            starts: arrival.starts.as_ref().filter(is_there).map(&restarted),
            ..arrival.clone()
        };
        Ended {
            starts: ended.starts.iter().filter(is_there).map(&restarted).collect(),
            arrivals: ended.arrivals.iter().map(arrival).collect(),
            ..ended.clone()
        }
    }

    fn is_left_out(&self, instance: Instance) -> bool {
        self.gone.contains(&instance) || self.again.contains(&instance)
    }

    /// A start that is done again waits anew for as long as it did.
    fn restarted(&self, spec: &Workflow, start: &Start, now: Now) -> Start {
        let stage = match start.stage {
            Entry::Wait(_) | Entry::Delay(_) if self.again.contains(&start.instance) => {
                super::start::first_stage(spec.task(start.task), now.at)
            }
            stage => stage,
        };
        Start { stage, ..start.clone() }
    }
}

impl Turn<'_> {
    /// Sends and arms everything that a run waits for whose history was written just now.
    fn take_up(&mut self) {
        self.announce(News::Run);
        if let Some(deadline) = self.run.deadline {
            self.command(Command::Arm(Timer::Deadline, deadline));
        }
        let live: Vec<_> = self.run.live.iter().map(|(instance, live)| taken_up(*instance, live)).collect();
        for &(instance, due, is_out) in &live {
            let name = self.spec.task(self.run.live[&instance].task).name.clone();
            self.announce(News::TaskStarted(name));
            if let Some(due) = due {
                self.command(Command::Arm(Timer::Task(instance), due));
            }
            if is_out {
                self.dispatch(instance);
            }
        }
        // Last: a fan-out that has nothing left to do ends, and the run may fail by it and drop the others.
        for (instance, ..) in live {
            self.go_on(instance);
        }
        self.receive_all();
        pass(self);
    }
}

fn taken_up(instance: Instance, live: &Live) -> (Instance, Option<Timestamp>, bool) {
    let is_out = match &live.at {
        At::Items(_) => false,
        other => other.phase().is_some(),
    };
    (instance, live.at.due(), is_out)
}
