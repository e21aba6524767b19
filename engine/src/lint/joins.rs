//! Joins that no run can satisfy, and branches that write over each other where they join.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Lint,
    exclusion::{self, Condition, Conditions, by_source},
    graph::Edge,
    warn,
};
use crate::{
    diagnostic::Diagnostics,
    spec::{Join, Task, TaskIndex},
};

/// Among more sources it is not tried which can arrive together: their subsets are too many.
const SOURCES_MAX: usize = 12;

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    let conditions = Conditions::of(lint.workflow, &lint.graph);
    let writes = Writes::of(lint);
    for (index, task) in lint.workflow.indexed().filter(|(index, _)| lint.graph.is_reached(*index)) {
        let Some(join) = task.join else { continue };
        let needed = match join {
            Join::All => task.inbound.len(),
            Join::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        };
        let live = lint.graph.inbound(index).iter().copied().filter(|edge| lint.graph.is_reached(edge.from));
        let sources: Vec<Source> = by_source(&live.collect::<Vec<_>>())
            .into_iter()
            .map(|edges| Source { condition: conditions.of_any(&edges).unwrap_or_default(), edges })
            .collect();
        match unsatisfied(lint, &sources, needed) {
            Some(reason) => {
                let message = format!("the join of `{}` is never satisfied: {reason}", task.name);
                let help = "`join: 1` goes on with the first that arrives; without `join` the task starts for each";
                warn(found, "join_never_satisfied", lint.places.task(index).at("join").value(), message, help);
            }
            None if needed > 1 => writes.check(lint, task, &sources, found),
            None => {}
        }
    }
}

/// A task that leads to a join.
struct Source {
    edges: Vec<Edge>,
    condition: Condition,
}

impl Source {
    fn task(&self) -> TaskIndex {
        self.edges[0].from
    }
}

/// Why so many of `sources` never arrive in one run.
fn unsatisfied(lint: &Lint<'_>, sources: &[Source], needed: usize) -> Option<String> {
    let name = |task: TaskIndex| &lint.workflow.task(task).name;
    if sources.len() < needed {
        return Some(format!("it waits for {needed} tasks, and only {} ever lead here", sources.len()));
    }
    let excluded = |one: &Source, other: &Source| one.condition.excludes(&other.condition);
    let pairs = sources.iter().enumerate().flat_map(|(at, one)| sources[..at].iter().map(move |other| (other, one)));
    let (one, other, decider) = pairs.filter_map(|(one, other)| Some((one, other, excluded(one, other)?))).next()?;
    let told = format!(
        "`{}` and `{}` never run both, which is decided by how `{}` ends",
        name(one.task()),
        name(other.task()),
        name(decider)
    );
    if needed == sources.len() {
        return Some(told);
    }
    if sources.len() > SOURCES_MAX {
        return None;
    }
    let arrive = |set: u32| {
        let chosen: Vec<&Source> =
            sources.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, source)| source).collect();
        chosen.iter().enumerate().all(|(at, one)| chosen[..at].iter().all(|other| excluded(one, other).is_none()))
    };
    let is_possible = (0..1u32 << sources.len()).any(|set| set.count_ones() as usize == needed && arrive(set));
    (!is_possible).then_some(told)
}

/// An entry of `publish`: the task, its transition, the key.
type Write<'w> = (TaskIndex, usize, &'w str);

/// For each task, which write of each key its branch has seen last.
struct Writes<'w>(Vec<BTreeMap<&'w str, BTreeSet<Write<'w>>>>);

impl<'w> Writes<'w> {
    fn of(lint: &Lint<'w>) -> Self {
        let workflow = lint.workflow;
        let mut writes = Self(vec![BTreeMap::new(); workflow.tasks.len()]);
        if workflow.tasks.len() > exclusion::TASKS_MAX || !workflow.tasks.iter().any(|task| task.join.is_some()) {
            return writes;
        }
        let mut open: BTreeSet<TaskIndex> = workflow.indexed().map(|(index, _)| index).collect();
        while let Some(index) = open.pop_first() {
            let mut seen: BTreeMap<&str, BTreeSet<Write<'_>>> = BTreeMap::new();
            for edge in lint.graph.inbound(index) {
                for (key, last) in writes.along(lint, edge) {
                    seen.entry(key).or_default().extend(last);
                }
            }
            if writes.0[usize::from(index.0)] != seen {
                writes.0[usize::from(index.0)] = seen;
                open.extend(lint.graph.outbound(index).iter().map(|edge| edge.to));
            }
        }
        writes
    }

    /// The last writes at the end of `edge`.
    fn along(&self, lint: &Lint<'w>, edge: &Edge) -> BTreeMap<&'w str, BTreeSet<Write<'w>>> {
        let mut last = self.0[usize::from(edge.from.0)].clone();
        let workflow = lint.workflow;
        for (at, transition) in workflow.task(edge.from).next.iter().enumerate() {
            let may = super::statuses::may(&transition.when);
            let is_sure = at == edge.at || super::statuses::must(&transition.when).includes(edge.may);
            if !is_sure && !may.overlaps(edge.may) {
                continue;
            }
            for (key, _) in &transition.publish {
                let known = last.entry(key.as_str()).or_default();
                if is_sure {
                    known.clear();
                }
                known.insert((edge.from, at, key.as_str()));
            }
        }
        last
    }

    /// Tells keys that two of `sources` bring, each from a write of its own.
    fn check(&self, lint: &Lint<'w>, join: &Task, sources: &[Source], found: &mut Diagnostics) {
        let brought: Vec<BTreeSet<Write<'_>>> = sources
            .iter()
            .map(|source| {
                source.edges.iter().flat_map(|edge| self.along(lint, edge)).flat_map(|(_, last)| last).collect()
            })
            .collect();
        let mut told: BTreeSet<&str> = BTreeSet::new();
        for (at, one) in sources.iter().enumerate() {
            for (before, other) in sources[..at].iter().enumerate() {
                if one.condition.excludes(&other.condition).is_some() {
                    continue;
                }
                for (left, right) in conflicts(lint, &brought[before], &brought[at]) {
                    if told.insert(left.2) {
                        tell(lint, join, left, right, found);
                    }
                }
            }
        }
    }
}

/// Writes of one key on two sides, neither of which has seen the other.
fn conflicts<'w>(
    lint: &Lint<'w>,
    left: &BTreeSet<Write<'w>>,
    right: &BTreeSet<Write<'w>>,
) -> Vec<(Write<'w>, Write<'w>)> {
    let is_apart = |one: &Write<'_>, other: &Write<'_>| {
        one.2 == other.2 && one.0 != other.0 && !lint.graph.leads(one.0, other.0) && !lint.graph.leads(other.0, one.0)
    };
    let pairs = left.difference(right).flat_map(|one| right.difference(left).map(move |other| (*one, *other)));
    pairs.filter(|(one, other)| is_apart(one, other)).collect()
}

fn tell(lint: &Lint<'_>, join: &Task, left: Write<'_>, right: Write<'_>, found: &mut Diagnostics) {
    let place = |(task, at, key): Write<'_>| lint.transition(task, at).at("publish").at(key).key();
    let (first, second) = (lint.workflow.task(left.0), lint.workflow.task(right.0));
    let key = left.2;
    let message = format!(
        "`{}` joins branches in which `{}` (line {}) and `{}` both publish `{key}`: the one that ends later wins",
        join.name,
        first.name,
        found.position(place(left)).0,
        second.name,
    );
    let help = format!(
        "publish two keys, such as `{key}_{}` and `{key}_{}`, and put them together behind the join",
        first.name, second.name
    );
    warn(found, "publish_conflict", place(right), message, help);
}
