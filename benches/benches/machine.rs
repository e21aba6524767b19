//! What the state machine costs: steps along a chain, a fan-out in ranges, and a history replayed.

use std::{hint::black_box, time::Duration};

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use engine::{
    machine::{self, fact::Fact},
    spec::Workflow,
};
use leveret_benches::play::{Play, chain, fan_out, rounds};

fn chains(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    group.sample_size(10);
    for tasks in [100, 1_000, 10_000] {
        let spec = chain(tasks);
        group.throughput(Throughput::Elements(u64::from(tasks)));
        group.bench_function(format!("{tasks} tasks"), |bench| {
            bench.iter_batched_ref(
                || Play::start(&spec, 0, 0),
                |play| assert_eq!(play.finish(), u64::from(tasks)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn fan_outs(criterion: &mut Criterion) {
    let spec = fan_out();
    let mut group = criterion.benchmark_group("fan-out");
    group.sample_size(10);
    for items in [1_000, 10_000, 100_000] {
        group.throughput(Throughput::Elements(u64::from(items)));
        group.bench_function(format!("{items} items"), |bench| {
            bench.iter_batched_ref(|| Play::start(&spec, items, 50), Play::finish, BatchSize::LargeInput);
        });
    }
    // Slow items travel alone: as many steps as items.
    for items in [1_000, 10_000, 100_000] {
        group.throughput(Throughput::Elements(u64::from(items)));
        group.bench_function(format!("{items} slow items, a step each"), |bench| {
            bench.iter_batched_ref(|| Play::start(&spec, items, 1_000_000), Play::finish, BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// Histories of 100,000 facts: of slow items, which travel alone and leave two each, and of two tasks that start each
/// other again and again.
fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10);
    let items = fan_out();
    replayed(&mut group, "fan-out", &items, &Play::history(&items, 50_000, 1_000_000));
    let rounds = rounds();
    replayed(&mut group, "loop", &rounds, &Play::history(&rounds, 0, 0));
    group.finish();
}

fn replayed(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, spec: &Workflow, facts: &[Fact]) {
    let stored: Vec<Vec<u8>> = facts.iter().map(proto::codec::encode).collect();
    group.throughput(Throughput::Elements(facts.len() as u64));
    group.bench_function(format!("{} facts of a {name}", facts.len()), |bench| {
        bench.iter_with_large_drop(|| machine::replay(spec, black_box(facts)).expect("it begins with the job"));
    });
    group.bench_function(format!("{} facts of a {name}, decoded first", facts.len()), |bench| {
        bench.iter_with_large_drop(|| {
            let facts: Vec<Fact> =
                stored.iter().map(|fact| proto::codec::decode(fact).expect("written just now")).collect();
            machine::replay(spec, &facts).expect("it begins with the job")
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    targets = chains, fan_outs, replay
}
criterion_main!(benches);
