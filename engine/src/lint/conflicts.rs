//! Branches that write over each other where they join.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lint, exclusion, graph::Edge, joins::Source, warn};
use crate::{
    diagnostic::Diagnostics,
    spec::{Task, TaskIndex},
};

/// An entry of `publish`: the task, and which of its transitions.
type Write = (TaskIndex, usize);

/// The last writes of each key that more than one task publishes.
type Last<'w> = BTreeMap<&'w str, BTreeSet<Write>>;

/// Which writes the branch of each task has seen last.
pub(super) struct Writes<'w> {
    contested: BTreeSet<&'w str>,
    seen: Vec<Last<'w>>,
    /// Where each task leads that publishes a contested key.
    leads: BTreeMap<TaskIndex, Vec<bool>>,
}

impl<'w> Writes<'w> {
    pub(super) fn of(lint: &Lint<'w>) -> Self {
        let workflow = lint.workflow;
        let seen = vec![Last::new(); workflow.tasks.len()];
        let mut writes = Self { contested: BTreeSet::new(), seen, leads: BTreeMap::new() };
        if workflow.tasks.len() > exclusion::TASKS_MAX || !workflow.tasks.iter().any(|task| task.join.is_some()) {
            return writes;
        }
        for (key, tasks) in contested(lint) {
            writes.contested.insert(key);
            for task in tasks {
                writes.leads.entry(task).or_insert_with(|| lint.graph.reached_from(task));
            }
        }
        let ranked = |task: TaskIndex| (lint.graph.rank(task), task);
        let mut open: BTreeSet<(usize, TaskIndex)> =
            writes.leads.keys().flat_map(|task| lint.graph.outbound(*task)).map(|edge| ranked(edge.to)).collect();
        while let Some((_, index)) = open.pop_first() {
            let mut seen = Last::new();
            for edge in lint.graph.inbound(index) {
                for (key, last) in writes.along(lint, edge) {
                    seen.entry(key).or_default().extend(last);
                }
            }
            let known = &mut writes.seen[usize::from(index.0)];
            if *known != seen {
                *known = seen;
                open.extend(lint.graph.outbound(index).iter().map(|edge| ranked(edge.to)));
            }
        }
        writes
    }

    /// The last writes at the end of `edge`.
    fn along(&self, lint: &Lint<'w>, edge: &Edge) -> Last<'w> {
        let mut last = self.seen[usize::from(edge.from.0)].clone();
        for (at, transition) in lint.workflow.task(edge.from).next.iter().enumerate() {
            let is_sure = at == edge.at || lint.graph.must(edge.from, at).includes(edge.may);
            if !is_sure && !lint.graph.may(edge.from, at).overlaps(edge.may) {
                continue;
            }
            let keys = transition.publish.iter().map(|(key, _)| key.as_str());
            for key in keys.filter(|key| self.contested.contains(key)) {
                let known = last.entry(key).or_default();
                if is_sure {
                    known.clear();
                }
                known.insert((edge.from, at));
            }
        }
        last
    }

    /// Tells keys that two of `sources` bring to `join`, each from a write of its own.
    pub(super) fn check(&self, lint: &Lint<'w>, join: &Task, sources: &[Source], found: &mut Diagnostics) {
        let brought: Vec<Last<'_>> = sources.iter().map(|source| self.brought(lint, source)).collect();
        for key in &self.contested {
            let bringing: Vec<usize> = (0..sources.len()).filter(|at| brought[*at].contains_key(key)).collect();
            let pairs = bringing
                .iter()
                .enumerate()
                .flat_map(|(at, one)| bringing[..at].iter().map(move |other| (*other, *one)));
            let meet =
                |(one, other): &(usize, usize)| sources[*one].condition.excludes(&sources[*other].condition).is_none();
            let conflict =
                pairs.filter(meet).find_map(|(one, other)| self.conflict(&brought[one][key], &brought[other][key]));
            if let Some((left, right)) = conflict {
                tell(lint, join, key, [left, right], found);
            }
        }
    }

    /// Two writes of one key, neither of which has seen the other.
    fn conflict(&self, left: &BTreeSet<Write>, right: &BTreeSet<Write>) -> Option<(Write, Write)> {
        let leads = |from: TaskIndex, to: TaskIndex| self.leads[&from][usize::from(to.0)];
        let is_apart =
            |(one, other): &(Write, Write)| one.0 != other.0 && !leads(one.0, other.0) && !leads(other.0, one.0);
        left.difference(right).flat_map(|one| right.difference(left).map(move |other| (*one, *other))).find(is_apart)
    }

    fn brought(&self, lint: &Lint<'w>, source: &Source) -> Last<'w> {
        let mut brought = Last::new();
        for (key, last) in source.edges.iter().flat_map(|edge| self.along(lint, edge)) {
            brought.entry(key).or_default().extend(last);
        }
        brought
    }
}

/// The keys that more than one task publishes, with these tasks.
fn contested<'w>(lint: &Lint<'w>) -> BTreeMap<&'w str, BTreeSet<TaskIndex>> {
    let mut publishers: BTreeMap<&str, BTreeSet<TaskIndex>> = BTreeMap::new();
    for (index, task) in lint.workflow.indexed() {
        for (key, _) in task.next.iter().flat_map(|transition| &transition.publish) {
            publishers.entry(key.as_str()).or_default().insert(index);
        }
    }
    publishers.retain(|_, tasks| tasks.len() > 1);
    publishers
}

fn tell(lint: &Lint<'_>, join: &Task, key: &str, [left, right]: [Write; 2], found: &mut Diagnostics) {
    let place = |(task, at): Write| lint.transition(task, at).at("publish").at(key).key();
    let (first, second) = (&lint.workflow.task(left.0).name, &lint.workflow.task(right.0).name);
    let message = format!(
        "`{}` joins branches in which `{first}` (line {}) and `{second}` both publish `{key}`: the one that ends later wins",
        join.name,
        found.position(place(left)).0,
    );
    let help = format!(
        "publish two keys, such as `{key}_{first}` and `{key}_{second}`, and put them together behind the join"
    );
    warn(found, "publish_conflict", place(right), message, help);
}
