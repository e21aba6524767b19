//! Who starts whom, and with which outcomes.

use std::collections::VecDeque;

use super::statuses::{self, Statuses};
use crate::spec::{Target, Task, TaskIndex, When, Workflow};

/// A transition of one task to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: TaskIndex,
    pub(super) to: TaskIndex,
    /// Position of the transition in `next` of the first.
    pub(super) at: usize,
    /// With which outcomes of the first it may be taken. Never none.
    pub(super) may: Statuses,
    /// With which outcomes it surely is.
    pub(super) must: Statuses,
}

/// The transitions of a workflow that can be taken.
#[derive(Debug)]
pub(super) struct Graph {
    /// Of every transition of every task the outcomes with which it may be taken, and with which it surely is.
    outcomes: Vec<Vec<(Statuses, Statuses)>>,
    inbound: Vec<Vec<Edge>>,
    outbound: Vec<Vec<Edge>>,
    reached: Vec<bool>,
    /// For each task a number that it shares with the tasks of its loops.
    component: Vec<usize>,
    in_loop: Vec<bool>,
    /// Every task, each after those that lead to it, loops aside.
    order: Vec<TaskIndex>,
    /// Where in it each task stands.
    ranks: Vec<usize>,
}

impl Graph {
    pub(super) fn of(workflow: &Workflow) -> Self {
        let count = workflow.tasks.len();
        let mut inbound = vec![Vec::new(); count];
        let mut outbound = vec![Vec::new(); count];
        let of_when = |when: &When| (statuses::may(when), statuses::must(when));
        let outcomes: Vec<Vec<_>> = workflow
            .tasks
            .iter()
            .map(|task| task.next.iter().map(|transition| of_when(&transition.when)).collect())
            .collect();
        for (from, task) in workflow.indexed() {
            for edge in edges(from, task, &outcomes[usize::from(from.0)]) {
                inbound[usize::from(edge.to.0)].push(edge);
                outbound[usize::from(from.0)].push(edge);
            }
        }
        let reached = reached(&outbound, &workflow.entries);
        let order = order(&outbound);
        let mut ranks = vec![0; count];
        order.iter().enumerate().for_each(|(rank, task)| ranks[*task] = rank);
        let component = components(&order, &inbound);
        let mut sizes = vec![0usize; count];
        component.iter().for_each(|component| sizes[*component] += 1);
        let is_own_target = |at: usize| outbound[at].iter().any(|edge| usize::from(edge.to.0) == at);
        let in_loop = (0..count).map(|at| sizes[component[at]] > 1 || is_own_target(at)).collect();
        let indices: Vec<TaskIndex> = workflow.indexed().map(|(index, _)| index).collect();
        let order = order.into_iter().map(|at| indices[at]).collect();
        Self { outcomes, inbound, outbound, reached, component, in_loop, order, ranks }
    }

    /// The outcomes of `task` with which its transition at `at` may be taken.
    pub(super) fn may(&self, task: TaskIndex, at: usize) -> Statuses {
        self.outcomes[usize::from(task.0)][at].0
    }

    /// The outcomes of `task` with which its transition at `at` surely is taken.
    pub(super) fn must(&self, task: TaskIndex, at: usize) -> Statuses {
        self.outcomes[usize::from(task.0)][at].1
    }

    /// The transitions to `task`.
    pub(super) fn inbound(&self, task: TaskIndex) -> &[Edge] {
        &self.inbound[usize::from(task.0)]
    }

    /// The transitions from `task`, in file order.
    pub(super) fn outbound(&self, task: TaskIndex) -> &[Edge] {
        &self.outbound[usize::from(task.0)]
    }

    /// Every task, each after those that lead to it, loops aside: what goes over them in this order ends soon.
    pub(super) fn order(&self) -> &[TaskIndex] {
        &self.order
    }

    /// Where in [`Graph::order`] `task` stands.
    pub(super) fn rank(&self, task: TaskIndex) -> usize {
        self.ranks[usize::from(task.0)]
    }

    /// Whether `task` may ever start.
    pub(super) fn is_reached(&self, task: TaskIndex) -> bool {
        self.reached[usize::from(task.0)]
    }

    /// Whether `task` can lead back to itself.
    pub(super) fn is_in_loop(&self, task: TaskIndex) -> bool {
        self.in_loop[usize::from(task.0)]
    }

    /// Whether a loop goes through both tasks, or they are one.
    pub(super) fn is_same_loop(&self, one: TaskIndex, other: TaskIndex) -> bool {
        self.component[usize::from(one.0)] == self.component[usize::from(other.0)]
    }

    /// For each task, whether there is a way to it from `task`.
    pub(super) fn reached_from(&self, task: TaskIndex) -> Vec<bool> {
        reached(&self.outbound, &[task])
    }
}

fn edges(from: TaskIndex, task: &Task, outcomes: &[(Statuses, Statuses)]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for ((at, transition), (may, must)) in task.next.iter().enumerate().zip(outcomes.iter().copied()) {
        if may.is_empty() {
            continue;
        }
        for target in &transition.targets {
            match target {
                Target::Task(to) => edges.push(Edge { from, to: *to, at, may, must }),
                Target::Noop | Target::Continue | Target::Fail | Target::Retry => {}
            }
        }
    }
    edges
}

fn reached(outbound: &[Vec<Edge>], from: &[TaskIndex]) -> Vec<bool> {
    let mut reached = vec![false; outbound.len()];
    let mut open: VecDeque<usize> = from.iter().map(|task| usize::from(task.0)).collect();
    open.iter().for_each(|task| reached[*task] = true);
    while let Some(task) = open.pop_front() {
        for edge in &outbound[task] {
            let to = usize::from(edge.to.0);
            if !std::mem::replace(&mut reached[to], true) {
                open.push_back(to);
            }
        }
    }
    reached
}

/// The tasks in reverse postorder. No recursion, as a file may hold a chain of ten thousand.
fn order(outbound: &[Vec<Edge>]) -> Vec<usize> {
    let mut finished = Vec::with_capacity(outbound.len());
    let mut seen = vec![false; outbound.len()];
    for root in 0..outbound.len() {
        if std::mem::replace(&mut seen[root], true) {
            continue;
        }
        let mut open = vec![(root, 0)];
        while let Some((task, next)) = open.last_mut() {
            match outbound[*task].get(*next).map(|edge| usize::from(edge.to.0)) {
                Some(to) => {
                    *next += 1;
                    if !std::mem::replace(&mut seen[to], true) {
                        open.push((to, 0));
                    }
                }
                None => {
                    finished.push(*task);
                    open.pop();
                }
            }
        }
    }
    finished.reverse();
    finished
}

/// The strongly connected components, by Kosaraju: each is named by one of its tasks.
fn components(order: &[usize], inbound: &[Vec<Edge>]) -> Vec<usize> {
    let mut component = vec![usize::MAX; order.len()];
    for root in order {
        let mut open = vec![*root];
        while let Some(task) = open.pop() {
            if component[task] == usize::MAX {
                component[task] = *root;
                open.extend(inbound[task].iter().map(|edge| usize::from(edge.from.0)));
            }
        }
    }
    component
}
