//! A context in three designs, side by side in one run: Leveret's, the one that it began with, and plain copies.
//!
//! What is timed of Leveret is what a worker does: [`evaluate::input`] for the input of a task, which a clone of the scope
//! with its item goes into, [`Program::evaluate`] for an expression alone, and [`engine::context::Context`] for what a
//! scheduler does with a branch. Benchmarks are named as their rows in the table are; `leveret_benches::micro` collects
//! them.

mod branch;
mod deep;
mod heap;
mod seed;

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use criterion::{Bencher, BenchmarkGroup, Criterion, criterion_group, measurement::WallTime};
use engine::{evaluate, program::Program, snapshot::Scope, spec::TaskIndex, value::Value};
use leveret_benches::{
    micro::{self, GROUP, SIZES},
    shapes::{self, Payload, RESULT_BYTES},
};
use proto::{json::Json, value::ValueRef};
use serde_json::json;

use crate::{deep::Deep, seed::Seed};

/// Leveret's side: a program, and the scope that a worker has before it goes through the items.
struct Ours {
    program: Program,
    scope: Scope,
}

impl Ours {
    fn of(payload: &Payload, input: &serde_json::Value) -> Self {
        Self { program: shapes::program(input, &json!({})), scope: shapes::scope(&payload.snapshot()) }
    }

    /// The input of one item, from the clone of the scope on.
    fn item(&self, n: u32) -> Value {
        let (item, index) = shapes::item(n);
        self.input(&self.scope.clone().with_item(item, index))
    }

    fn input(&self, scope: &Scope) -> Value {
        evaluate::input(&self.program, TaskIndex(0), scope).expect("the template is right")
    }
}

/// The input of each item where items are rendered: one text, of the item and of one field of the context.
fn address() -> serde_json::Value {
    json!({ "address": "{{ item }}:{{ parameters.port }}" })
}

/// The same item in the design of the seed.
fn seed_item(seed: &Seed, n: u32) -> serde_json::Value {
    let mut seed = seed.clone();
    seed.set_item(n.into(), n as usize);
    seed.render_json(&address())
}

/// Of the samples of a benchmark, for its interval: Criterion's hundred thousand take longer than some of what is measured.
const RESAMPLES: usize = 10_000;

type Group<'c> = BenchmarkGroup<'c, WallTime>;

/// Benchmarks of up to some hundred microseconds.
fn group(criterion: &mut Criterion) -> Group<'_> {
    let mut group = criterion.benchmark_group(GROUP);
    group.sample_size(20).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    group
}

/// Benchmarks of milliseconds.
fn slow(criterion: &mut Criterion) -> Group<'_> {
    let mut group = criterion.benchmark_group(GROUP);
    group.sample_size(10).warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(500));
    group
}

/// Clones of contexts that hold more and more.
fn clones(criterion: &mut Criterion) {
    // The least that sharing anything between threads can cost.
    let bare = Arc::new(0_u64);
    group(criterion).bench_function("clone.arc.bare", |bench| bench.iter(|| black_box(&bare).clone()));
    for results in [0, 10, 50, 100, 500] {
        clone_each(criterion, "clone", results, &Payload::of_results(results));
    }
    for variables in [10, 50, 100] {
        clone_each(criterion, "variables", variables, &Payload::of_variables(variables));
    }
}

fn clone_each(criterion: &mut Criterion, what: &str, count: usize, payload: &Payload) {
    let snapshot = payload.snapshot();
    let (scope, seed, deep) = (shapes::scope(&snapshot), Seed::of(payload), Deep::of(payload));
    let mut group = group(criterion);
    if what == "clone" {
        // What is cloned for each item: a snapshot is cloned once for a task.
        group.bench_function(format!("scope.leveret.{count}"), |bench| bench.iter(|| black_box(&scope).clone()));
    }
    group.bench_function(format!("{what}.leveret.{count}"), |bench| bench.iter(|| black_box(&snapshot).clone()));
    group.bench_function(format!("{what}.seed.{count}"), |bench| bench.iter(|| black_box(&seed).clone()));
    group.finish();
    slow(criterion).bench_function(format!("{what}.deep.{count}"), |bench| bench.iter(|| black_box(&deep).clone()));
}

/// Clones for items, each with its item, beside 100 results. A copy of all for each of 1,000 items takes seconds: the
/// table multiplies what 100 take.
fn items(criterion: &mut Criterion) {
    let payload = Payload::of_results(100);
    let scope = shapes::scope(&payload.snapshot());
    let (seed, deep) = (Seed::of(&payload), Deep::of(&payload));
    for count in [10, 100, 1_000] {
        let mut group = group(criterion);
        group.bench_function(format!("items.leveret.{count}"), |bench| {
            bench.iter(|| {
                for n in 0..count {
                    let (item, index) = shapes::item(n);
                    black_box(black_box(&scope).clone().with_item(item, index));
                }
            });
        });
        group.bench_function(format!("items.seed.{count}"), |bench| {
            bench.iter(|| {
                for n in 0..count {
                    let mut clone = black_box(&seed).clone();
                    clone.set_item(n.into(), n as usize);
                    black_box(clone);
                }
            });
        });
    }
    for count in [10, 100] {
        slow(criterion).bench_function(format!("items.deep.{count}"), |bench| {
            bench.iter(|| {
                for n in 0..count {
                    let mut clone = black_box(&deep).clone();
                    clone.set_item(n.into(), n as usize);
                    black_box(clone);
                }
            });
        });
    }
}

/// Renderings beside a small context: ten variables, some parameters, and one result of 1 KB.
fn renders(criterion: &mut Criterion) {
    let mut payload = Payload { results: vec![shapes::rows(1024)], ..Payload::of_variables(10) };
    payload.parameters =
        vec![("port", "443".into()), ("user", r#""ada""#.into()), ("host", r#""north.example""#.into())];
    let (mut seed, mut deep) = (Seed::of(&payload), Deep::of(&payload));
    seed.set_item(7.into(), 7);
    deep.set_item(7.into(), 7);
    let complex = |variables: &str, result: &str| {
        json!({
            "url": format!("https://{{{{ parameters.host }}}}:{{{{ parameters.port }}}}/{{{{ {variables}.v3 }}}}"),
            "body": {
                "title": format!("{{{{ parameters.user | upper }}}} asks {{{{ {result}[0].name }}}}"),
                "text": format!("{{% if {result}[1].ok %}}{{{{ {result}[1].note }}}}{{% else %}}no{{% endif %}}: {{{{ item }}}}"),
            },
        })
    };
    let simple = json!({ "text": "Hello {{ parameters.user }}!" });
    for (name, ours, theirs) in [
        ("simple", simple.clone(), simple),
        ("complex", complex("workflow", "task.t0.result"), complex("variables", "task.t0")),
    ] {
        let ours = Ours::of(&payload, &ours);
        let (item, index) = shapes::item(7);
        let scope = ours.scope.clone().with_item(item, index);
        assert_eq!(
            ours.input(&scope).to_serde().expect("finite"),
            seed.render_json(&theirs),
            "both render the same text"
        );
        let mut group = group(criterion);
        group.bench_function(format!("render.leveret.{name}"), |bench| bench.iter(|| ours.input(black_box(&scope))));
        group.bench_function(format!("render.seed.{name}"), |bench| bench.iter(|| seed.render_json(&theirs)));
        group.bench_function(format!("render.deep.{name}"), |bench| bench.iter(|| deep.render_json(&theirs)));
    }
}

/// Clone, item and rendering beside contexts of several sizes.
fn rendered_items(criterion: &mut Criterion) {
    for (bytes, results, result_bytes) in
        [(1_024, 1, 1_024), (102_400, 10, RESULT_BYTES), (1_048_576, 100, RESULT_BYTES), (5_242_880, 500, RESULT_BYTES)]
    {
        let payload = Payload::of(results, result_bytes);
        let (ours, seed) = (Ours::of(&payload, &address()), Seed::of(&payload));
        assert_eq!(ours.item(7).to_serde().expect("finite"), seed_item(&seed, 7), "both render the same text");
        group(criterion)
            .bench_function(format!("leveret.item.{bytes}"), |bench| bench.iter(|| ours.item(black_box(7))));
        slow(criterion).bench_function(format!("seed.item.{bytes}"), |bench| bench.iter(|| seed_item(&seed, 7)));
    }
    for (name, results) in SIZES {
        let ours = Ours::of(&Payload::of_results(results), &address());
        let mut group = group(criterion);
        group.sample_size(30).measurement_time(Duration::from_secs(1));
        group.bench_function(format!("thousand.leveret.{name}"), |bench| {
            bench.iter(|| (0..1_000).for_each(|n| drop(black_box(ours.item(n)))));
        });
    }
}

/// One field of one large result, and one expression alone.
fn reads(criterion: &mut Criterion) {
    let field = |root: &str| json!({ "status": format!("{{{{ {root}.status }}}}") });
    let text = format!(r#"{{"body":"{}","status":200}}"#, "x".repeat(300_000));
    let structured = format!(r#"{{"body":{},"status":200}}"#, shapes::rows(300_000));
    for (name, result) in [("field", text), ("rows", structured)] {
        let payload = Payload { results: vec![result], ..Payload::of_results(0) };
        let (ours, seed) = (Ours::of(&payload, &field("task.t0.result")), Seed::of(&payload));
        let mut group = group(criterion);
        group.bench_function(format!("{name}.leveret"), |bench| bench.iter(|| ours.input(black_box(&ours.scope))));
        group.bench_function(format!("{name}.seed"), |bench| bench.iter(|| seed.render_json(&field("task.t0"))));
    }
    let output = json!({
        "path": "{{ task.t7.result }}",
        "expression": "{{ task.t7.result[3].id == 3 }}",
        // Too much for what is read without Tera.
        "sum": "{{ task.t7.result[3].id + 1 }}",
    });
    let program = shapes::program(&json!({}), &output);
    let scope = shapes::scope(&Payload::of_results(100).snapshot());
    for (key, field) in &program.workflow().output {
        let id = match key.as_str() {
            "expression" => "typed.leveret.1MB".to_owned(),
            other => format!("typed.leveret.{other}"),
        };
        group(criterion).bench_function(id, |bench| bench.iter(|| program.evaluate(black_box(field), &scope)));
    }
    for (name, results) in [("1MB", 100), ("5MB", 500)] {
        let payload = Payload::of_results(results);
        slow(criterion).bench_function(format!("miss.leveret.{name}"), |bench| {
            bench.iter_with_large_drop(|| payload.snapshot());
        });
    }
}

/// What becomes of a context beside being read: publishing into it, and taking it from one run to another.
fn branches(criterion: &mut Criterion) {
    let published = json!({ "status": "done", "count": 3 });
    let value = Arc::new(ValueRef::of(Json::of(&published).expect("JSON")));
    for results in [100, 500] {
        let payload = Payload::of_results(results);
        let ((context, _), seed, deep) = (branch::of(&payload), Seed::of(&payload), Deep::of(&payload));
        let mut group = group(criterion);
        group.bench_function(format!("publish.leveret.{results}"), |bench| {
            bench.iter(|| branch::published(black_box(&context), &value));
        });
        group.bench_function(format!("publish.seed.{results}"), |bench| {
            bench.iter(|| {
                let later = black_box(&seed).clone();
                later.publish("published", published.clone());
                later
            });
        });
        group.finish();
        slow(criterion).bench_function(format!("publish.deep.{results}"), |bench| {
            bench.iter(|| {
                let mut later = black_box(&deep).clone();
                later.publish("published", published.clone());
                later
            });
        });
    }
    let payload = Payload::of_results(100);
    let ((context, kept), seed) = (branch::of(&payload), Seed::of(&payload));
    let program = shapes::program(&json!({}), &json!({}));
    let (ours, theirs) = (branch::export(&context, &kept), seed.export());
    let imported = branch::import(program.workflow(), &ours);
    assert_eq!(imported.bytes(), context.bytes(), "what was exported can be imported");
    let mut group = slow(criterion);
    group.bench_function("export.leveret.1MB", |bench| bench.iter(|| branch::export(&context, &kept)));
    group.bench_function("export.seed.1MB", |bench| bench.iter(|| seed.export()));
    group.bench_function("import.leveret.1MB", |bench| bench.iter(|| branch::import(program.workflow(), &ours)));
    group.bench_function("import.seed.1MB", |bench| bench.iter_with_large_drop(|| Seed::import(&theirs)));
}

/// Clones beside 100 results, from two threads at once.
fn threads(criterion: &mut Criterion) {
    let payload = Payload::of_results(100);
    let (snapshot, seed, deep) = (payload.snapshot(), Seed::of(&payload), Deep::of(&payload));
    let mut group = group(criterion);
    group.bench_function("threads.leveret.2", |bench| at_once(bench, &snapshot));
    group.bench_function("threads.seed.2", |bench| at_once(bench, &seed));
    group.finish();
    slow(criterion).bench_function("threads.deep.2", |bench| at_once(bench, &deep));
}

/// What a clone takes each of two threads that clone the same value.
fn at_once(bench: &mut Bencher<'_>, value: &(impl Clone + Sync)) {
    bench.iter_custom(|clones| {
        let begin = Barrier::new(2);
        let cloned = || {
            begin.wait();
            let begun = Instant::now();
            (0..clones).for_each(|_| drop(black_box(black_box(value).clone())));
            begun.elapsed()
        };
        thread::scope(|scope| {
            let other = scope.spawn(cloned);
            cloned().max(other.join().expect("a clone does not panic"))
        })
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().nresamples(RESAMPLES).output_directory(&micro::criterion());
    targets = clones, items, renders, rendered_items, reads, branches, threads
}

fn main() {
    benches();
    heap::write();
    Criterion::default().configure_from_args().final_summary();
}
