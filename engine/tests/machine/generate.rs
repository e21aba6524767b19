//! Random workflows.

use proptest::prelude::*;

use super::flow::{Condition, Delay, Edge, Flow, JoinKind, Kind, Step, To};

/// Workflows of up to seven tasks. Edges lead forward, but for some that lead back as long as the run may go round.
pub fn flows() -> impl Strategy<Value = Flow> {
    (1usize..=7).prop_flat_map(|count| {
        let steps: Vec<_> = (0..count).map(|at| step(at, count)).collect();
        (steps, prop::bool::weighted(0.2), prop::bool::weighted(0.3))
            .prop_map(|(steps, vars, output)| tidy(Flow { steps, vars, output }))
    })
}

/// Takes away loops without an entry, and joins of nothing or of too many.
fn tidy(mut flow: Flow) -> Flow {
    let forward = |flow: &Flow, to: usize| flow.inbound(to).iter().any(|from| *from < to);
    let reached: Vec<bool> = (0..flow.steps.len()).map(|at| forward(&flow, at)).collect();
    for (at, step) in flow.steps.iter_mut().enumerate() {
        for to in step.next.iter_mut().flat_map(|edge| &mut edge.to) {
            if matches!(to, To::Task(back) if *back <= at && !reached[*back]) {
                *to = To::Noop;
            }
        }
    }
    for at in 0..flow.steps.len() {
        let inbound = u32::try_from(flow.inbound(at).len()).expect("few tasks");
        let joins = &mut flow.steps[at].joins;
        *joins = match *joins {
            Some(_) if inbound == 0 => None,
            Some(JoinKind::Count(count)) => Some(JoinKind::Count(count.min(inbound))),
            other => other,
        };
    }
    flow
}

fn step(at: usize, count: usize) -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => Just(Kind::Plain),
        2 => Just(Kind::Empty),
        3 => (0u32..40, prop::option::of(1u32..6), 0u32..3)
            .prop_map(|(count, concurrency, tolerate)| Kind::Items { count, concurrency, tolerate }),
    ];
    let delay = prop_oneof![
        8 => Just(Delay::None),
        1 => (0u64..3).prop_map(|ms| Delay::Known(ms * 10)),
        1 => Just(Delay::Evaluated),
    ];
    let joins = prop_oneof![
        2 => Just(None),
        2 => Just(Some(JoinKind::All)),
        1 => (1u32..4).prop_map(|count| Some(JoinKind::Count(count))),
    ];
    let next = prop::collection::vec(edge(at, count), 0..3);
    (kind, delay, 0u32..3, joins, next).prop_map(|(kind, delay, retries, joins, next)| Step {
        kind,
        delay,
        retries,
        joins,
        next,
    })
}

fn edge(at: usize, count: usize) -> impl Strategy<Value = Edge> {
    let when = prop_oneof![
        2 => Just(Condition::Always),
        1 => Just(Condition::Succeeded),
        1 => Just(Condition::Failed),
    ];
    let publish = prop::option::weighted(0.3, 0u8..3);
    let to = prop_oneof![
        12 => (at + 1..count.max(at + 2)).prop_map(move |to| if to < count { To::Task(to) } else { To::Noop }),
        1 => Just(To::Noop),
        1 => Just(To::Continue),
        1 => Just(To::Fail),
    ];
    let forward = (when, prop::bool::weighted(0.2), publish.clone(), prop::collection::vec(to, 1..3))
        .prop_map(|(when, is_asked, publish, to)| Edge { when, is_asked, publish, to });
    let back = (0..=at, publish).prop_map(|(to, publish)| Edge {
        when: Condition::Again,
        is_asked: true,
        publish,
        to: vec![To::Task(to)],
    });
    prop_oneof![6 => forward, 1 => back]
}
