//! Transitions that are never taken or change nothing, and loops that never end.

use super::{
    Lint,
    graph::Edge,
    listed,
    statuses::{self, Statuses},
    warn,
};
use crate::{
    diagnostic::Diagnostics,
    spec::{Field, Node, OutcomeTest, Target, Task, TaskIndex, Transition, When},
};

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    for (index, task) in lint.workflow.indexed() {
        for (at, transition) in task.next.iter().enumerate() {
            check_transition(lint, index, at, transition, found);
        }
        check_twice(lint, index, task, found);
        if !lint.graph.is_reached(index) && lint.workflow.finally != Some(index) {
            let message = format!("task `{}` never starts: no transition to it is ever taken", task.name);
            warn(found, "never_starts", task.span, message, "correct the conditions that lead to it, or leave it out");
        }
    }
    check_loops(lint, found);
}

fn check_transition(lint: &Lint<'_>, index: TaskIndex, at: usize, transition: &Transition, found: &mut Diagnostics) {
    let task = &lint.workflow.task(index).name;
    let spot = lint.transition(index, at);
    if statuses::may(&transition.when).is_empty() {
        let (why, help) = match &transition.when {
            When::Outcome(OutcomeTest::Constant(_)) => ("its condition is `false`", "leave the transition out"),
            When::Outcome(_) | When::Expression(_) => {
                ("no outcome fits its condition", "a task has one outcome: `succeeded() and failed()` never holds")
            }
        };
        let message = format!("this transition of `{task}` is never taken: {why}");
        warn(found, "never_taken", spot.at("when").value(), message, help);
    }
    let has_effect = !transition.publish.is_empty() || spot.has("do");
    if !has_effect {
        let message = format!("this transition of `{task}` does nothing: it has neither `do` nor `publish`");
        warn(
            found,
            "no_effect",
            spot.at("when").key(),
            message,
            "add `do` with the task that follows, or leave it out",
        );
    }
}

/// Transitions of one task that repeat each other.
fn check_twice(lint: &Lint<'_>, index: TaskIndex, task: &Task, found: &mut Diagnostics) {
    for (at, transition) in task.next.iter().enumerate() {
        if task.next[..at].iter().any(|earlier| is_same(earlier, transition)) {
            let message = format!("this transition of `{}` stands here twice", task.name);
            let help = "both are taken, and each starts what it names: leave one out";
            warn(found, "duplicate_transition", lint.transition(index, at).key(), message, help);
        }
    }
    let edges = lint.graph.outbound(index);
    for (position, edge) in edges.iter().enumerate() {
        let target = lint.workflow.task(edge.to);
        let starts_both = |other: &&Edge| {
            other.to == edge.to && other.must.overlaps(edge.must) && !is_same(&task.next[other.at], &task.next[edge.at])
        };
        if target.join.is_none() && edges[..position].iter().any(|other| starts_both(&other)) {
            let message =
                format!("`{}` starts `{}` twice: two of its transitions hold at once", task.name, target.name);
            let help = "every transition whose condition holds is taken, not the first alone: let the conditions exclude each other";
            warn(found, "starts_twice", lint.transition(index, edge.at).at("do").value(), message, help);
        }
    }
}

fn is_same(one: &Transition, other: &Transition) -> bool {
    let condition = |when: &When| match when {
        When::Outcome(test) => (Some(test.clone()), None),
        When::Expression(field) => (None, Some(shown(field))),
    };
    let published = |transition: &Transition| -> Vec<_> {
        transition.publish.iter().map(|(key, field)| (key.clone(), shown(field))).collect()
    };
    one.targets == other.targets && condition(&one.when) == condition(&other.when) && published(one) == published(other)
}

/// What a field says, without where it stands.
fn shown(field: &Field) -> String {
    fn node(of: &Node) -> String {
        match of {
            Node::Literal(json) => json.as_str().to_owned(),
            Node::Template(text) | Node::Expression(text) => format!("{:?}", text.source),
            Node::List(nodes) => format!("[{}]", nodes.iter().map(node).collect::<Vec<_>>().join(",")),
            Node::Map(entries) => entries.iter().map(|(key, value)| format!("{key:?}:{},", node(value))).collect(),
        }
    }
    node(&field.node)
}

fn check_loops(lint: &Lint<'_>, found: &mut Diagnostics) {
    let mut told: Vec<TaskIndex> = Vec::new();
    let looping = |index: &TaskIndex| lint.graph.is_in_loop(*index) && lint.graph.is_reached(*index);
    for first in lint.workflow.indexed().map(|(index, _)| index).filter(looping) {
        if told.iter().any(|other| lint.graph.is_same_loop(*other, first)) {
            continue;
        }
        told.push(first);
        let tasks: Vec<TaskIndex> = lint
            .workflow
            .indexed()
            .map(|(index, _)| index)
            .filter(|other| lint.graph.is_same_loop(*other, first))
            .collect();
        if tasks.iter().any(|task| has_exit(lint, *task)) {
            continue;
        }
        let names = listed(tasks.iter().map(|task| lint.workflow.task(*task).name.as_str()));
        let how = match tasks.iter().any(|task| !leaves(lint, *task).is_empty()) {
            true => "ends only when a task of it fails, and the run with it",
            false => "never ends: whatever comes out, it goes on",
        };
        let message = format!("the loop of {names} {how}");
        let help = "give a transition that leads on in the loop a `when` that becomes false";
        warn(found, "endless_loop", lint.workflow.task(first).span, message, help);
    }
}

/// The outcomes of `index` after which its loop does not surely go on.
fn leaves(lint: &Lint<'_>, index: TaskIndex) -> Statuses {
    let within = lint.graph.outbound(index).iter().filter(|edge| lint.graph.is_same_loop(edge.to, index));
    Statuses::ALL.without(within.fold(Statuses::NONE, |all, edge| all.or(edge.must)))
}

/// Whether the loop of `index` may end there. That a run fails by it is no way to leave a loop.
fn has_exit(lint: &Lint<'_>, index: TaskIndex) -> bool {
    let task = lint.workflow.task(index);
    if task.join.is_some() {
        return true;
    }
    let leaves = leaves(lint, index);
    let is_out = |target: &Target| match target {
        Target::Task(to) => !lint.graph.is_same_loop(*to, index),
        Target::Noop | Target::Fail => true,
        // It starts the task again, a bounded number of times.
        Target::Continue | Target::Retry => false,
    };
    leaves.includes(Statuses::SUCCEEDED)
        || task
            .next
            .iter()
            .any(|transition| statuses::may(&transition.when).overlaps(leaves) && transition.targets.iter().any(is_out))
}
