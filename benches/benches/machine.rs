//! What the state machine costs: steps along a chain, a fan-out in ranges, and a history replayed.

use std::{collections::VecDeque, hint::black_box};

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use engine::{
    machine::{
        self, Command, Input, Now, Run, Step,
        fact::{Accepted, Fact},
    },
    parse::parse,
    spec::{Target, TaskIndex, Workflow},
};
use proto::{
    id::Digest,
    outcome::{Acted, ItemsPart, ItemsReport, Listed, Next, Report, Settlement},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{Phase, Status, WorkKey},
};

/// Items of one part of a list: some 100 bytes each fill its 1 MiB.
const PART_ITEMS: u32 = 10_000;

/// A run, and the work that it has sent and nobody has answered.
struct Play<'a> {
    spec: &'a Workflow,
    run: Run,
    work: VecDeque<WorkKey>,
    /// What happened, where somebody wants it. A scheduler writes it down and lets go of it.
    facts: Option<Vec<Fact>>,
    items: u32,
    /// What each item seems to take: ranges are sized by it.
    item_us: u64,
}

impl<'a> Play<'a> {
    fn start(spec: &'a Workflow, items: u32, item_us: u64) -> Self {
        let (run, step) = machine::accept(spec, accepted(spec), now());
        let mut play = Self { spec, run, work: VecDeque::new(), facts: None, items, item_us };
        play.take(step);
        play
    }

    /// The history of a whole run.
    fn history(spec: &'a Workflow, items: u32, item_us: u64) -> Vec<Fact> {
        let mut play = Self::start(spec, items, item_us);
        let accepted = machine::accept(spec, accepted(spec), now()).1.facts;
        play.facts = Some(accepted);
        play.finish();
        play.facts.unwrap_or_default()
    }

    /// Answers all work until the run has ended, and gives back how many steps that took.
    fn finish(&mut self) -> u64 {
        let mut steps = 0;
        while let Some(key) = self.work.pop_front() {
            let report = self.report(&key);
            let step = machine::step(self.spec, &mut self.run, Input::Report(key, report), now());
            self.take(step);
            steps += 1;
        }
        assert!(self.run.finished().is_some(), "nothing is left to answer, and the run has not ended");
        steps
    }

    fn take(&mut self, step: Step) {
        if let Some(facts) = &mut self.facts {
            facts.extend(step.facts);
        }
        for command in step.commands {
            match command {
                Command::Dispatch(key) => self.work.push_back(key),
                Command::Arm(..)
                | Command::Disarm(_)
                | Command::Broadcast(_)
                | Command::Announce(_)
                | Command::Spawn(_)
                | Command::Child(..)
                | Command::Parent(_)
                | Command::Enqueue(_)
                | Command::Continue => {}
            }
        }
    }

    fn report(&self, key: &WorkKey) -> Report {
        match key.phase {
            Phase::Items => Report::Listed(listed(self.items)),
            Phase::Act => match self.run.brief(self.spec, key).and_then(|brief| brief.range) {
                Some((items, _)) => Report::Items(ItemsReport {
                    succeeded: items.clone(),
                    results: Some(ValueRef::Stored(Stored { digest: Digest::of(b"results"), bytes: 4_096 })),
                    busy_us: u64::from(items.len()) * self.item_us,
                    ..ItemsReport::default()
                }),
                None => Report::Acted(Acted {
                    status: Status::Succeeded,
                    result: ValueRef::null(),
                    failure: None,
                    next: Next::Settled(Settlement { fired: vec![0], ..Settlement::default() }),
                    busy_ms: 1,
                }),
            },
            Phase::Prepare | Phase::Settle | Phase::Output => panic!("{key}: this workflow evaluates nothing there"),
        }
    }
}

fn accepted(spec: &Workflow) -> Accepted {
    let definition = Stored { digest: Digest::of(b"bench"), bytes: 5 };
    Accepted::of("bench".parse().expect("valid"), spec.name.clone(), definition)
}

fn now() -> Now {
    Now { at: Timestamp::from_millis(1_796_000_000_000), flights_max: 64 }
}

fn listed(items: u32) -> Listed {
    let stored = |bytes| ValueRef::Stored(Stored { digest: Digest::of(b"part"), bytes });
    let part = |count| ItemsPart { count, values: stored(1 << 20), offsets: stored(60_000), item_bytes_max: 100 };
    let counts = (0..items).step_by(PART_ITEMS as usize).map(|first| (items - first).min(PART_ITEMS));
    Listed { parts: counts.map(part).collect(), concurrency: None, tolerate: 0 }
}

fn workflow(source: &str) -> Workflow {
    parse(source, "bench.yaml").unwrap_or_else(|problems| panic!("{problems:?}")).0
}

/// Tasks that follow each other. Made of one that was parsed: the file of ten thousand would be larger than one may be.
fn chain(tasks: u16) -> Workflow {
    let mut spec = workflow("name: chain\ntasks:\n  t0: { action: core.echo, next: [{ do: t1 }] }\n  t1: {}\n");
    let pattern = spec.tasks[0].clone();
    spec.tasks = (0..tasks)
        .map(|at| {
            let mut task = pattern.clone();
            task.name = format!("t{at}").parse().expect("a name");
            task.inbound = at.checked_sub(1).map(TaskIndex).into_iter().collect();
            task.next[0].targets = vec![if at + 1 < tasks { Target::Task(TaskIndex(at + 1)) } else { Target::Noop }];
            task
        })
        .collect();
    spec
}

fn fan_out() -> Workflow {
    workflow("name: fanout\ntasks:\n  each: { action: core.echo, with_items: '{{ range(end=9) }}' }\n")
}

fn chains(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    group.sample_size(20);
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
    group.sample_size(20);
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
    group.sample_size(20);
    let items = fan_out();
    replayed(&mut group, "fan-out", &items, &Play::history(&items, 50_000, 1_000_000));
    let rounds = workflow(
        "name: rounds\ntasks:\n  start: { next: [{ do: a }] }\n  a: { action: core.echo, next: [{ do: b }] }\n  b: { action: core.echo, next: [{ do: a }] }\n",
    );
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

criterion_group!(benches, chains, fan_outs, replay);
criterion_main!(benches);
