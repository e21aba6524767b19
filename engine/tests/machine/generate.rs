//! Random workflows.

use proptest::prelude::*;

use super::flow::{Condition, Delay, Edge, Entrance, Flow, JoinKind, Kind, Limit, Step, To, Wait};

/// Workflows of up to seven tasks. Edges lead forward, but for some that lead back as long as the run may go round.
pub fn flows() -> impl Strategy<Value = Flow> {
    (1usize..=7).prop_flat_map(|count| {
        let steps: Vec<_> = (0..count).map(|at| step(at, count)).collect();
        let finale = prop::option::weighted(0.25, step(count, count));
        let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.3));
        (steps, finale, flags, limit(), timeout(), entrance()).prop_map(
            |(mut steps, finale, (vars, output), limit, timeout, entrance)| {
                let has_finale = finale.is_some();
                steps.extend(finale.map(|step| Step { joins: None, next: Vec::new(), ..step }));
                tidy(Flow { steps, finale: has_finale, vars, output, limit, timeout, entrance })
            },
        )
    })
}

/// Takes away loops without an entry, joins of nothing or of too many, and what the parser would refuse.
fn tidy(mut flow: Flow) -> Flow {
    let forward = |flow: &Flow, to: usize| flow.inbound(to).iter().any(|from| *from < to);
    let reached: Vec<bool> = (0..flow.steps.len()).map(|at| forward(&flow, at)).collect();
    for (at, step) in flow.steps.iter_mut().enumerate() {
        step.calls &= !matches!(step.kind, Kind::Empty);
        step.counts &= !step.calls && step.is_retried();
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

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        4 => Just(Limit::None),
        2 => (1u32..6).prop_map(Limit::Known),
        1 => Just(Limit::Evaluated),
    ]
}

fn timeout() -> impl Strategy<Value = Delay> {
    prop_oneof![
        6 => Just(Delay::None),
        2 => (0u64..6).prop_map(|tens| Delay::Known(tens * 10)),
        1 => Just(Delay::Evaluated),
    ]
}

fn entrance() -> impl Strategy<Value = Entrance> {
    let start_in = prop::option::weighted(0.15, (0u64..3).prop_map(|tens| tens * 10));
    let timeout = prop::option::weighted(0.3, (1u64..6).prop_map(|tens| tens * 10));
    let depth = prop_oneof![3 => Just(1u8), 1 => Just(15), 1 => Just(16)];
    let parent = prop::option::weighted(0.2, (depth, timeout));
    (start_in, prop::bool::weighted(0.15), parent).prop_map(|(start_in, exclusive, parent)| Entrance {
        start_in,
        exclusive,
        parent,
    })
}

fn step(at: usize, count: usize) -> impl Strategy<Value = Step> {
    let items = (0u32..40, prop::option::of(1u32..6), 0u32..3, prop::bool::weighted(0.3));
    let kind = prop_oneof![
        4 => Just(Kind::Plain),
        2 => Just(Kind::Empty),
        3 => items.prop_map(|(count, concurrency, tolerate, stops)| Kind::Items { count, concurrency, tolerate, stops }),
    ];
    let joins = prop_oneof![
        2 => Just(None),
        2 => Just(Some(JoinKind::All)),
        1 => (1u32..4).prop_map(|count| Some(JoinKind::Count(count))),
    ];
    let wait = (0u8..2, delay()).prop_map(|(signal, limit)| Wait { signal, limit });
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.05), prop::bool::weighted(0.1));
    let next = prop::collection::vec(edge(at, count), 0..3);
    (kind, prop::option::weighted(0.15, wait), delay(), 0u32..3, joins, next, flags).prop_map(
        |(kind, wait, delay, retries, joins, next, (calls, pool, counts))| Step {
            kind,
            calls,
            wait,
            delay,
            pool,
            retries,
            counts,
            joins,
            next,
        },
    )
}

fn delay() -> impl Strategy<Value = Delay> {
    prop_oneof![
        8 => Just(Delay::None),
        1 => (0u64..3).prop_map(|ms| Delay::Known(ms * 10)),
        1 => Just(Delay::Evaluated),
    ]
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
        1 => Just(To::Retry),
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
