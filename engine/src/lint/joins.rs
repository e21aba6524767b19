//! Joins that no run can satisfy.

use super::{
    Lint,
    conflicts::Writes,
    exclusion::{Condition, by_source},
    graph::Edge,
    warn,
};
use crate::{
    diagnostic::Diagnostics,
    spec::{Join, TaskIndex},
};

/// Among more sources it is not tried which can arrive together: their subsets are too many.
const SOURCES_MAX: usize = 12;

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
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
            .map(|edges| Source { condition: lint.conditions.of_any(&edges).unwrap_or_default(), edges })
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
pub(super) struct Source {
    pub(super) edges: Vec<Edge>,
    pub(super) condition: Condition,
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
