//! What is defined where: a forward data-flow over the transitions, to a fixed point.
//!
//! A branch sees what it started from, how its own tasks ended and what they published; a join sees what the branches
//! bring that it waits for. So of every key it is known, at every task, whether it is surely there, maybe, or never.

use std::collections::{BTreeSet, HashMap};

use super::{
    Lint,
    exclusion::{Conditions, by_source},
    graph::{Edge, Graph},
    reads::{self, Moment, Subject},
    statuses::Statuses,
};
use crate::{
    spec::{DurationField, Join, Pool, Target, Task, TaskIndex, WaitFor, Workflow},
    template::scan::Path,
};

/// The most bits that are kept. Larger workflows are not looked at: the limit is at 4,000 tasks with 10,000 keys.
const BITS_MAX: usize = 40_000_000;

/// Something that a template may read of its branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    /// `workflow.<name>`.
    Workflow(&'a str),
    /// That a task has ended, and not by waiting in vain: with that go its `result`, `attempts` and `item_errors`.
    Ended(TaskIndex),
    /// `task.<name>.error`: that it has ended, and not well.
    Error(TaskIndex),
    /// `signal.<name>`: that a task has received it.
    Signal(&'a str),
}

/// How well a key is known at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Sure,
    Maybe,
    Never,
}

/// A set of keys, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keys(Vec<u64>);

/// What is known at some place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    sure: Keys,
    maybe: Keys,
}

/// The keys that some template reads, and what is known of them at every task.
#[derive(Debug)]
pub(super) struct Flow<'a> {
    workflow: &'a Workflow,
    graph: &'a Graph,
    conditions: &'a Conditions,
    tasks: HashMap<&'a str, TaskIndex>,
    numbers: HashMap<Key<'a>, usize>,
    /// What each transition takes for granted by asking for it in `when`.
    assumed: HashMap<(TaskIndex, usize), Vec<usize>>,
    /// At the start of each task; `None` for one that never starts.
    starts: Vec<Option<Known>>,
    /// When the run is over.
    end: Option<Known>,
}

impl Keys {
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn has(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 == 1
    }

    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine &= theirs);
    }

    fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }
}

impl Known {
    fn insert(&mut self, number: usize, presence: Presence) {
        match presence {
            Presence::Sure => {
                self.sure.insert(number);
                self.maybe.insert(number);
            }
            Presence::Maybe => self.maybe.insert(number),
            Presence::Never => {
                self.sure.remove(number);
                self.maybe.remove(number);
            }
        }
    }

    /// What is known where one of two ways was taken.
    fn either(mut self, other: &Self) -> Self {
        self.sure.and(&other.sure);
        self.maybe.or(&other.maybe);
        self
    }
}

impl<'a> Flow<'a> {
    /// `None` when the workflow is too large to be looked at.
    pub(super) fn of(lint: &'a Lint<'a>) -> Option<Self> {
        let Lint { workflow, graph, conditions, reads, .. } = lint;
        let mut flow = Self {
            workflow: *workflow,
            graph,
            conditions,
            tasks: workflow.indexed().map(|(index, task)| (task.name.as_str(), index)).collect(),
            numbers: HashMap::new(),
            assumed: HashMap::new(),
            starts: vec![None; workflow.tasks.len()],
            end: None,
        };
        for read in reads {
            for path in read.paths() {
                flow.number(read.moment, path);
            }
        }
        if flow.numbers.len().saturating_mul(workflow.tasks.len()) > BITS_MAX {
            return None;
        }
        flow.settle();
        flow.end = Some(flow.over());
        Some(flow)
    }

    /// The task called `name`.
    pub(super) fn task(&self, name: &str) -> Option<TaskIndex> {
        self.tasks.get(name).copied()
    }

    /// Numbers what must be there for `path` to be defined. Of a task all, as a condition may ask for its status.
    fn number(&mut self, moment: Moment, path: &'a Path) {
        let keys = match reads::subject(path) {
            Subject::Workflow(name) => vec![Key::Workflow(name)],
            Subject::Task(name, _) => {
                self.task(name).map(|task| vec![Key::Ended(task), Key::Error(task)]).unwrap_or_default()
            }
            Subject::Signal(name) => vec![Key::Signal(name)],
            Subject::Parameter(_) | Subject::Run(_) | Subject::Error(_) | Subject::Whole(_) | Subject::Other => {
                Vec::new()
            }
        };
        for key in keys {
            let next = self.numbers.len();
            let number = *self.numbers.entry(key).or_insert(next);
            if let Moment::When(task, at) = moment {
                self.assumed.entry((task, at)).or_default().push(number);
            }
        }
    }

    fn settle(&mut self) {
        let ranked = |task: TaskIndex| (self.graph.rank(task), task);
        let mut open: BTreeSet<(usize, TaskIndex)> = self.workflow.entries.iter().copied().map(ranked).collect();
        while let Some((_, task)) = open.pop_first() {
            let start = self.start(task);
            let known = &mut self.starts[usize::from(task.0)];
            if known.as_ref() != Some(&start) {
                *known = Some(start);
                open.extend(self.graph.outbound(task).iter().map(|edge| ranked(edge.to)));
                open.extend(self.workflow.task(task).says_retry().then(|| ranked(task)));
            }
        }
    }

    fn start(&self, index: TaskIndex) -> Known {
        let inbound = self.graph.inbound(index);
        let any =
            |edges: &[Edge]| edges.iter().filter_map(|edge| self.along(edge)).reduce(|one, other| one.either(&other));
        let joined = match self.workflow.task(index).join {
            None => any(inbound),
            Some(join) => {
                let sources = by_source(inbound);
                let needed = match join {
                    Join::All => sources.len(),
                    Join::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
                };
                let arrived: Vec<Known> = sources.iter().filter_map(|edges| any(edges)).collect();
                self.joined(&arrived, sources.len(), needed)
            }
        };
        let first = joined.unwrap_or_else(|| self.vars());
        self.retried(index).fold(first, |known, again| known.either(&again))
    }

    /// What `task` has when a transition of its own has started it again.
    fn retried(&self, task: TaskIndex) -> impl Iterator<Item = Known> {
        let next = self.workflow.task(task).next.iter().enumerate();
        let is_retry = move |at: usize| !self.graph.may(task, at).is_empty();
        next.filter(move |(at, next)| next.targets.contains(&Target::Retry) && is_retry(*at))
            .filter_map(move |(at, _)| self.behind(task, at))
    }

    /// Of several branches a join has all that `needed` of them must bring, whichever they are.
    fn joined(&self, arrived: &[Known], sources: usize, needed: usize) -> Option<Known> {
        let mut known = arrived.iter().cloned().reduce(|one, other| one.either(&other))?;
        // Ways that were not looked at yet take nothing away: they count as if they brought everything.
        if arrived.len() < needed {
            known.sure.0.fill(u64::MAX);
        } else if needed == sources {
            arrived.iter().for_each(|one| known.sure.or(&one.sure));
        } else {
            for number in 0..self.numbers.len() {
                // Those that arrive cannot all be among the ones that lack it.
                if arrived.iter().filter(|known| !known.sure.has(number)).count() < needed {
                    known.sure.insert(number);
                }
            }
        }
        self.forget_ends(arrived, &mut known);
        Some(known)
    }

    /// Of a task that runs more than once, a join has the end that came last: another branch may bring one with less.
    fn forget_ends(&self, arrived: &[Known], known: &mut Known) {
        let is_again = |key: &Key<'_>| match key {
            Key::Ended(task) | Key::Error(task) => !self.conditions.is_once(*task),
            Key::Workflow(_) | Key::Signal(_) => false,
        };
        for (key, number) in self.numbers.iter().filter(|(key, _)| is_again(key)) {
            let (Key::Ended(task) | Key::Error(task)) = key else { continue };
            let Some(ended) = self.numbers.get(&Key::Ended(*task)) else { continue };
            if arrived.iter().any(|one| one.maybe.has(*ended) && !one.sure.has(*number)) {
                known.sure.remove(*number);
            }
        }
    }

    /// What is known when a run begins.
    pub(super) fn vars(&self) -> Known {
        let count = self.numbers.len();
        let mut known = Known { sure: Keys::none(count), maybe: Keys::none(count) };
        for (key, _) in &self.workflow.vars {
            self.put(&mut known, Key::Workflow(key.as_str()), Presence::Sure);
        }
        known
    }

    /// What is known at the end of `edge`; `None` before anything is known at its beginning.
    fn along(&self, edge: &Edge) -> Option<Known> {
        self.behind(edge.from, edge.at)
    }

    /// What is known where the transition of `task` at `at` leads.
    fn behind(&self, task: TaskIndex, at: usize) -> Option<Known> {
        let mut known = self.starts[usize::from(task.0)].clone()?;
        let may = self.graph.may(task, at);
        let error = match () {
            () if may == Statuses::SUCCEEDED => Presence::Never,
            () if !may.includes(Statuses::SUCCEEDED) => Presence::Sure,
            () => Presence::Maybe,
        };
        // An end takes the place of an earlier end of the same task.
        self.put(&mut known, Key::Error(task), Presence::Never);
        self.put(&mut known, Key::Error(task), error);
        let result = match waits_in_vain(self.workflow.task(task)).overlaps(may) {
            true => Presence::Maybe,
            false => Presence::Sure,
        };
        self.put(&mut known, Key::Ended(task), Presence::Never);
        self.put(&mut known, Key::Ended(task), result);
        self.receive(&mut known, task, may);
        self.publish(&mut known, task, at, usize::MAX);
        Some(known)
    }

    /// Adds the signal for which `task` has waited, when it ended in one of these ways.
    fn receive(&self, known: &mut Known, task: TaskIndex, ended: Statuses) {
        let spec = self.workflow.task(task);
        let Some(WaitFor { signal, .. }) = &spec.wait_for else { return };
        // It may have failed before it could wait.
        let too_early = if is_prepared(spec) { Statuses::FAILED } else { Statuses::NONE };
        let presence = match ended.overlaps(waits_in_vain(spec).or(too_early)) {
            true => Presence::Maybe,
            false => Presence::Sure,
        };
        self.put(known, Key::Signal(signal.as_str()), presence);
    }

    /// Adds what the transitions of `task` before `until` publish when the one at `at` is taken.
    fn publish(&self, known: &mut Known, task: TaskIndex, at: usize, until: usize) {
        let next = &self.workflow.task(task).next;
        let taken = self.graph.may(task, at);
        for (position, transition) in next.iter().enumerate().take(until) {
            let presence = match () {
                () if position == at || self.graph.must(task, position).includes(taken) => Presence::Sure,
                () if self.graph.may(task, position).overlaps(taken) => Presence::Maybe,
                () => continue,
            };
            for (key, _) in &transition.publish {
                self.put(known, Key::Workflow(key.as_str()), presence);
            }
        }
        for number in self.assumed.get(&(task, at)).into_iter().flatten() {
            known.insert(*number, Presence::Sure);
        }
    }

    fn put(&self, known: &mut Known, key: Key<'a>, presence: Presence) {
        if let Some(number) = self.numbers.get(&key) {
            known.insert(*number, presence);
        }
    }

    /// What is known at `moment`; `None` where nothing is ever evaluated, or too much was asked.
    pub(super) fn at(&self, moment: Moment) -> Option<Known> {
        match moment {
            Moment::Var(_) => None,
            Moment::Before(task) => self.starts[usize::from(task.0)].clone(),
            Moment::Task(task) => {
                let mut known = self.starts[usize::from(task.0)].clone()?;
                self.receive(&mut known, task, Statuses::NONE);
                Some(known)
            }
            Moment::When(task, at) => {
                let mut known = self.starts[usize::from(task.0)].clone()?;
                self.receive(&mut known, task, self.graph.may(task, at));
                Some(known)
            }
            Moment::Publish(task, at, entry) => {
                let mut known = self.starts[usize::from(task.0)].clone()?;
                self.receive(&mut known, task, self.graph.may(task, at));
                self.publish(&mut known, task, at, at);
                let transition = &self.workflow.task(task).next[at];
                for (key, _) in transition.publish.iter().take(entry) {
                    self.put(&mut known, Key::Workflow(key.as_str()), Presence::Sure);
                }
                Some(known)
            }
            Moment::Output => self.end.clone(),
        }
    }

    /// What may be known at the end of a run: all that any task leaves behind, as far as it ran.
    fn over(&self) -> Known {
        let mut known = self.vars();
        for (index, task) in self.workflow.indexed().filter(|(index, _)| self.graph.is_reached(*index)) {
            self.put(&mut known, Key::Ended(index), Presence::Maybe);
            self.put(&mut known, Key::Error(index), Presence::Maybe);
            if let Some(wait_for) = &task.wait_for {
                self.put(&mut known, Key::Signal(wait_for.signal.as_str()), Presence::Maybe);
            }
            let is_live = |at: &usize| !self.graph.may(index, *at).is_empty();
            let live = (0..task.next.len()).filter(is_live);
            for (key, _) in live.flat_map(|at| &task.next[at].publish) {
                self.put(&mut known, Key::Workflow(key.as_str()), Presence::Maybe);
            }
        }
        known
    }

    /// How well `key`, which some template reads, is known there.
    pub(super) fn presence(&self, known: &Known, key: Key<'a>) -> Presence {
        match self.numbers.get(&key) {
            Some(number) if known.sure.has(*number) => Presence::Sure,
            Some(number) if known.maybe.has(*number) => Presence::Maybe,
            Some(_) | None => Presence::Never,
        }
    }

    /// A task from which `index` starts without `key`, where it may also start with it.
    pub(super) fn way_without(&self, index: TaskIndex, key: Key<'a>) -> Option<TaskIndex> {
        let lacks = |edge: &&Edge| self.along(edge).is_some_and(|known| self.presence(&known, key) != Presence::Sure);
        self.graph.inbound(index).iter().find(lacks).map(|edge| edge.from)
    }
}

/// With which outcomes `task` may have ended without anything done, as its signal did not come.
fn waits_in_vain(task: &Task) -> Statuses {
    match &task.wait_for {
        Some(WaitFor { timeout: Some(_), .. }) => Statuses::TIMED_OUT,
        Some(WaitFor { timeout: None, .. }) | None => Statuses::NONE,
    }
}

/// Whether something of `task` is evaluated before it waits, and so may fail.
fn is_prepared(task: &Task) -> bool {
    let is_evaluated = |field: &Option<DurationField>| matches!(field, Some(DurationField::Evaluated(_)));
    matches!(task.pool, Pool::Evaluated(_))
        || is_evaluated(&task.delay)
        || task.wait_for.as_ref().is_some_and(|wait_for| is_evaluated(&wait_for.timeout))
}
