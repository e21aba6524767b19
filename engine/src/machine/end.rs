//! How a task ends: what its transitions start, which joins it reaches, and whether the run fails by it.

use std::collections::BTreeMap;

use proto::{
    failure::Failure,
    id::{Instance, KeyName},
    limits::TASKS_MAX,
    outcome::Settlement,
    value::ValueRef,
    work::Status,
};

use super::{
    News, Turn,
    evolve::json_of,
    fact::{Arrival, Ended, Start, Starts, Unsettled, What},
    start::is_plain,
};
use crate::spec::{Join, Target, Task, TaskIndex, When};

/// How often `do: retry` starts a task again that has no `retry.count`.
const RETRIES_DEFAULT: u32 = 3;

/// A task's end, before what follows from it is known.
pub(super) struct Ending {
    pub status: Status,
    pub failure: Option<Failure>,
    pub result: Option<ValueRef>,
    pub error: Option<ValueRef>,
}

/// What follows from a task's end.
enum Follows {
    Targets(Vec<Target>),
    /// The run fails.
    Failure(Failure),
}

impl Ending {
    /// An end without a result of an action.
    pub(super) fn bare(status: Status, failure: Option<Failure>) -> Self {
        let error = failure.as_ref().map(error_value);
        Self { status, failure, result: None, error }
    }

    /// The end of a task that would be tried again if its run went on. A success that is to be repeated is none.
    pub(super) fn cut_short(self) -> Self {
        match self.status {
            Status::Succeeded => {
                let failure = Failure::new("not_started", "the run ended before this was tried again");
                Self { result: self.result, ..Self::bare(Status::Canceled, Some(failure)) }
            }
            Status::Failed | Status::TimedOut | Status::Crashed | Status::Canceled => self,
        }
    }
}

/// Why a task was dropped.
pub(super) fn not_begun() -> Failure {
    Failure::new("not_started", "the run ended before this began")
}

/// What templates read as `error` of a failure that has no more than code and message.
pub(super) fn error_value(failure: &Failure) -> ValueRef {
    let fields = BTreeMap::from([("code", &failure.code), ("message", &failure.message)]);
    // Never by digest: nobody would store the bytes.
    ValueRef::Inline(json_of(&fields))
}

impl Turn<'_> {
    /// Ends a task whose transitions no worker has asked: at once when that needs no evaluation, else by a worker.
    pub(super) fn end_unasked(&mut self, instance: Instance, ending: Ending) {
        let task = self.spec.task(self.run.live[&instance].task);
        match self.run.is_closed(instance) || is_plain(task) {
            true => self.end_plainly(instance, ending),
            false => self.settle(instance, ending),
        }
    }

    /// Has a worker ask what follows from an end.
    pub(super) fn settle(&mut self, instance: Instance, ending: Ending) {
        let Ending { status, failure, result, error } = ending;
        self.record(What::Settling(Box::new(Unsettled { instance, status, failure, result, error })));
        self.dispatch(instance);
    }

    /// Ends a task whose transitions depend on nothing but its status, or no longer matter.
    pub(super) fn end_plainly(&mut self, instance: Instance, ending: Ending) {
        let task = self.spec.task(self.run.live[&instance].task);
        let fires = |when: &When| match when {
            When::Outcome(test) => test.holds(ending.status),
            When::Expression(_) => false,
        };
        let fired = (0u16..).zip(&task.next).filter(|(_, next)| fires(&next.when)).map(|(at, _)| at).collect();
        self.end(instance, ending, Settlement { fired, ..Settlement::default() });
    }

    /// Ends a task: its branch goes on as its transitions say, or the run begins to fail.
    pub(super) fn end(&mut self, instance: Instance, ending: Ending, settlement: Settlement) {
        let task = self.spec.task(self.run.live[&instance].task);
        let fired = settlement.fired.iter().filter_map(|&at| task.next.get(usize::from(at)));
        let targets: Vec<Target> = fired.flat_map(|next| next.targets.iter().copied()).collect();
        let again = self.run.live[&instance].again;
        let retries = settlement.retries.or_else(|| literal_retries(task)).unwrap_or(RETRIES_DEFAULT);
        let unhandled = match unhandled(task, &ending, &targets) {
            None if again >= retries && targets.contains(&Target::Retry) => Some(retried_in_vain(task, &ending, again)),
            other => other,
        };
        let follows = match unhandled {
            Some(failure) => Follows::Failure(failure),
            None => Follows::Targets(targets),
        };
        self.end_with(instance, ending, settlement.published, follows);
    }

    /// Ends a task whose transitions could not be asked: the run fails there, and says what the task had failed by.
    pub(super) fn end_unable(&mut self, instance: Instance, ending: Ending, mut unable: Failure) {
        if let Some(Failure { code, message, .. }) = &ending.failure {
            unable.message.push_str(&format!("; the task itself had failed: {code}: {message}"));
        }
        self.end_with(instance, ending, BTreeMap::new(), Follows::Failure(unable));
    }

    fn end_with(
        &mut self,
        instance: Instance,
        ending: Ending,
        published: BTreeMap<KeyName, ValueRef>,
        follows: Follows,
    ) {
        let index = self.run.live[&instance].task;
        let name = self.spec.task(index).name.clone();
        let is_finale = self.spec.finally == Some(index);
        let (starts, arrivals, failure) = match follows {
            // What becomes of the task of `finally` changes nothing.
            _ if is_finale || self.run.is_closed(instance) => (Starts::new(), Vec::new(), None),
            Follows::Failure(failure) => (Starts::new(), Vec::new(), Some(failure)),
            Follows::Targets(targets) => match self.follow(instance, &targets) {
                Ok((starts, arrivals)) => (starts, arrivals, None),
                Err(failure) => (Starts::new(), Vec::new(), Some(failure)),
            },
        };
        let mut new: Vec<Start> =
            starts.iter().cloned().chain(arrivals.iter().filter_map(|arrival| arrival.starts.clone())).collect();
        // They are numbered in file order, joins among them.
        new.sort_by_key(|start| start.instance);
        self.announce(News::TaskEnded(name.clone(), ending.status, ending.failure.clone()));
        self.record(What::Ended(Box::new(Ended {
            instance,
            status: ending.status,
            failure: ending.failure,
            result: ending.result,
            error: ending.error,
            published,
            starts,
            arrivals,
        })));
        match failure {
            Some(failure) => self.fail(failure.at(&name)),
            None => self.began(&new),
        }
    }

    /// What a branch that leaves `from` starts and which joins it reaches; or that there are too many tasks.
    fn follow(&self, instance: Instance, targets: &[Target]) -> Result<(Starts, Vec<Arrival>), Failure> {
        let (mut starts, mut arrivals) = (Starts::new(), Vec::<Arrival>::new());
        let mut next = self.run.instances;
        let (from, again) = (self.run.live[&instance].task, self.run.live[&instance].again);
        for target in targets {
            let to = match *target {
                Target::Task(to) => to,
                Target::Retry => {
                    starts.push(Start { again: again + 1, ..self.draft_start(from, &mut next) });
                    continue;
                }
                Target::Noop | Target::Continue | Target::Fail => continue,
            };
            match self.spec.task(to).join {
                None => starts.push(self.draft_start(to, &mut next)),
                Some(join) => {
                    let earlier = arrivals.iter().filter(|arrival| arrival.join == to).count();
                    arrivals.push(self.draft_arrival(from, to, join, earlier, &mut next));
                }
            }
        }
        if next > TASKS_MAX {
            let message = format!("the run has started {TASKS_MAX} tasks: does a loop of it never end?");
            return Err(Failure::new("too_many_tasks", message));
        }
        Ok((starts, arrivals))
    }

    fn draft_arrival(&self, from: TaskIndex, to: TaskIndex, join: Join, earlier: usize, next: &mut u32) -> Arrival {
        let state = self.run.state(to);
        let before = state.arrivals.get(&from).copied().unwrap_or(0);
        let pass = before + u32::try_from(earlier).expect("a file has few transitions") + 1;
        let needed = match join {
            Join::All => self.spec.task(to).inbound.len(),
            Join::Count(count) => count as usize,
        };
        let (arrived, is_started) =
            state.passes.get(&pass).map_or((0, false), |pass| (pass.arrived.len(), pass.is_started));
        let completes = !is_started && arrived + 1 >= needed;
        Arrival { join: to, pass, starts: completes.then(|| self.draft_start(to, next)) }
    }
}

/// `retry.count`, where it needs no evaluation.
fn literal_retries(task: &Task) -> Option<u32> {
    task.retry.as_ref()?.count.literal()?.parse().ok()
}

fn retried_in_vain(task: &Task, ending: &Ending, again: u32) -> Failure {
    let told = || {
        let message = format!("`do: retry` has started {} {again} times again, as often as it may", task.name);
        Failure::new("retries_exhausted", message)
    };
    ending.failure.clone().unwrap_or_else(told)
}

/// Why the run fails by this end, if it does.
fn unhandled(task: &Task, ending: &Ending, targets: &[Target]) -> Option<Failure> {
    let is_handled = ending.status == Status::Succeeded || targets.iter().any(|target| *target != Target::Continue);
    if targets.contains(&Target::Fail) {
        let told = || Failure::new("fail", format!("a transition of {} says `fail`", task.name));
        return Some(ending.failure.clone().unwrap_or_else(told));
    }
    let unexplained = || Failure::new(ending.status.as_str(), "the task did not succeed");
    (!is_handled).then(|| ending.failure.clone().unwrap_or_else(unexplained))
}
