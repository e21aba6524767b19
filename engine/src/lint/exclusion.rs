//! Which tasks never run both: one starts when another task succeeds, say, and the other when it fails.
//!
//! Of every task it is known which outcomes of tasks before it led there. That says something only of tasks that run
//! once at most: one in a loop may succeed now and fail later.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    graph::{Edge, Graph},
    statuses::Statuses,
};
use crate::spec::{Join, TaskIndex, Workflow};

/// In larger workflows nothing is taken for excluded: the work grows with the square of the tasks.
pub(super) const TASKS_MAX: usize = 1_000;

/// With which outcomes of tasks that run once something happens; with any, of a task that is not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition(BTreeMap<TaskIndex, Statuses>);

/// The condition under which each task starts.
#[derive(Debug)]
pub(super) struct Conditions {
    once: BTreeSet<TaskIndex>,
    /// `None` until a way to it was found.
    starts: Vec<Option<Condition>>,
}

impl Condition {
    fn both(mut self, other: &Self) -> Self {
        for (task, statuses) in &other.0 {
            let known = self.0.entry(*task).or_insert(Statuses::ALL);
            *known = known.and(*statuses);
        }
        self
    }

    fn either(self, other: &Self) -> Self {
        let merged = self.0.into_iter().filter_map(|(task, statuses)| Some((task, statuses.or(*other.0.get(&task)?))));
        Self(merged.collect())
    }

    /// Whether both cannot hold in one run; if so, the task that decides it.
    pub(super) fn excludes(&self, other: &Self) -> Option<TaskIndex> {
        let mut shared = self.0.iter().filter_map(|(task, statuses)| Some((task, statuses, other.0.get(task)?)));
        shared.find(|(_, left, right)| !left.overlaps(**right)).map(|(task, _, _)| *task)
    }
}

impl Conditions {
    pub(super) fn of(workflow: &Workflow, graph: &Graph) -> Self {
        let mut conditions = Self { once: BTreeSet::new(), starts: vec![None; workflow.tasks.len()] };
        if workflow.tasks.len() > TASKS_MAX {
            return conditions;
        }
        conditions.find_once(workflow, graph);
        loop {
            let mut has_changed = false;
            for index in graph.order().iter().copied().filter(|index| graph.is_reached(*index)) {
                let task = workflow.task(index);
                let start = match task.inbound.is_empty() {
                    true => Some(Condition::default()),
                    false => conditions.start(graph.inbound(index), task.join),
                };
                let known = &mut conditions.starts[usize::from(index.0)];
                has_changed |= *known != start;
                *known = start;
            }
            if !has_changed {
                return conditions;
            }
        }
    }

    /// Whether `task` starts at most once in a run, as far as is known.
    pub(super) fn is_once(&self, task: TaskIndex) -> bool {
        self.once.contains(&task)
    }

    /// The condition under which `edge` is taken; `None` when it never is.
    pub(super) fn of_edge(&self, edge: &Edge) -> Option<Condition> {
        let mut condition = self.starts[usize::from(edge.from.0)].clone()?;
        if self.once.contains(&edge.from) {
            condition.0.insert(edge.from, edge.may);
        }
        Some(condition)
    }

    /// The condition under which one of `edges` is taken.
    pub(super) fn of_any(&self, edges: &[Edge]) -> Option<Condition> {
        edges.iter().filter_map(|edge| self.of_edge(edge)).reduce(|left, right| left.either(&right))
    }

    fn start(&self, inbound: &[Edge], join: Option<Join>) -> Option<Condition> {
        match join {
            // Until a way to each was found, none to the join was. So conditions only ever grow weaker, and this ends.
            Some(Join::All) => {
                let sources: Option<Vec<Condition>> =
                    by_source(inbound).iter().map(|edges| self.of_any(edges)).collect();
                sources?.into_iter().reduce(|left, right| left.both(&right))
            }
            Some(Join::Count(_)) | None => self.of_any(inbound),
        }
    }

    /// Finds the tasks that start at most once in a run. None of a loop is found, as each waits for the one before.
    fn find_once(&mut self, workflow: &Workflow, graph: &Graph) {
        loop {
            let before = self.once.len();
            for index in graph.order().iter().copied() {
                let task = workflow.task(index);
                let sources = by_source(graph.inbound(index));
                let is_single = |edges: &Vec<Edge>| {
                    self.once.contains(&edges[0].from)
                        && edges
                            .iter()
                            .enumerate()
                            .all(|(at, edge)| edges[..at].iter().all(|other| !edge.may.overlaps(other.may)))
                };
                // A join has a pass for each time that its inbound tasks arrive; without one every arrival counts.
                let is_bounded = (sources.len() <= 1 || task.join.is_some()) && !task.says_retry();
                if is_bounded && sources.iter().all(is_single) {
                    self.once.insert(index);
                }
            }
            if self.once.len() == before {
                return;
            }
        }
    }
}

/// `edges`, apart by the task from which they come.
pub(super) fn by_source(edges: &[Edge]) -> Vec<Vec<Edge>> {
    let mut sources: BTreeMap<TaskIndex, Vec<Edge>> = BTreeMap::new();
    for edge in edges {
        sources.entry(edge.from).or_default().push(*edge);
    }
    sources.into_values().collect()
}
