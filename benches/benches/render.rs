//! What one item costs beside contexts of 10 KB, 1 MB and 5 MB: clone, lay the item over, evaluate.
//!
//! The seed's claim was a clone of some 100 ns; what counts is the whole way to a rendered input.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engine::{
    evaluate,
    program::Program,
    snapshot::{Scope, Snapshot},
    spec::{Call, Field, Items, Node, OnItemError, OnLost, Pool, SiteId, Span, Task, TaskIndex, Text, Workflow},
    value::Value,
};
use proto::{id::ItemIndex, json::Json};

/// Results of some 10 KB that lie in a context of each size.
const SIZES: [(&str, usize); 3] = [("10KB", 1), ("1MB", 100), ("5MB", 500)];
/// Tasks of the workflow: as many as the largest context has results.
const TASKS: usize = 500;

/// A structured result of some 10 KB.
fn result() -> Value {
    let row = |n: usize| {
        format!(r#"{{"id":{n},"name":"host-{n:05}","ok":true,"note":"a text of more than twenty-one bytes"}}"#)
    };
    let rows: Vec<String> = (0..125).map(row).collect();
    Value::from_json(format!("[{}]", rows.join(",")).as_bytes()).expect("valid JSON")
}

fn snapshot(results: usize) -> Snapshot {
    let results = (0..results).map(|n| (format!("task.t{n}.result"), result()));
    Snapshot::build(results.chain([("parameters.port".to_owned(), Value::from_u64(443))]))
}

/// A workflow of one task with items, whose input is `input`.
fn program(input: &[(&str, &str)]) -> Program {
    let text = |source: &str| Text { source: source.to_owned(), span: Span::default() };
    let entries = input.iter().map(|(key, source)| ((*key).to_owned(), Node::Template(text(source)))).collect();
    let field = |site, node| Field { site: SiteId(site), name: "tasks.t0.input".to_owned(), node };
    let task = |n: usize, input, items| Task {
        name: format!("t{n}").parse().expect("valid"),
        span: Span::default(),
        call: Call::Action("core.noop".to_owned()),
        wait_for: None,
        on_lost: OnLost::Retry,
        input,
        pool: Pool::Named("default".parse().expect("valid")),
        join: None,
        items,
        retry: None,
        timeout: None,
        delay: None,
        next: Vec::new(),
        inbound: Vec::new(),
    };
    let empty = || Node::Literal(Json::canonical(b"[]").expect("valid"));
    let on_error = OnItemError::Continue;
    let items = Items { list: field(1, empty()), concurrency: None, tolerate: None, on_error };
    let mut tasks = vec![task(0, field(0, Node::Map(entries)), Some(items))];
    tasks.extend((1..TASKS).map(|n| task(n, field(u32::try_from(n).expect("few") + 1, empty()), None)));
    let sites = u32::try_from(TASKS).expect("few") + 1;
    Program::from_workflow(Workflow {
        name: "bench".parse().expect("valid"),
        version: None,
        description: None,
        parameters: Vec::new(),
        vars: Vec::new(),
        tasks,
        entries: Vec::new(),
        output: Vec::new(),
        timeout: None,
        concurrency: None,
        exclusive: Vec::new(),
        finally: None,
        sites,
    })
    .expect("the templates are right")
}

fn per_item(criterion: &mut Criterion) {
    for (name, results) in SIZES {
        beside(criterion, name, &snapshot(results));
    }
}

fn beside(criterion: &mut Criterion, size: &str, snapshot: &Snapshot) {
    let mut group = criterion.benchmark_group(size);
    group.bench_function("snapshot clone", |bench| bench.iter(|| black_box(snapshot).clone()));
    let base = Scope::new(snapshot);
    let item = || (Value::from_u64(7), ItemIndex(7));
    group.bench_function("scope", |bench| bench.iter(|| Scope::new(black_box(snapshot))));
    group.bench_function("scope clone and item", |bench| {
        bench.iter(|| {
            let (item, index) = item();
            black_box(&base).clone().with_item(item, index)
        });
    });
    for (name, input) in [
        ("a path", &[("a", "{{ task.t0.result }}")][..]),
        ("an expression", &[("a", "{{ task.t0.result[index].id == item }}")]),
        ("a text", &[("a", "https://{{ item }}:{{ parameters.port }}/healthz")]),
        ("three", &[("a", "{{ task.t0.result }}"), ("b", "{{ item }}"), ("c", "{{ item }}:{{ parameters.port }}")]),
    ] {
        let program = program(input);
        let scope = {
            let (item, index) = item();
            base.clone().with_item(item, index)
        };
        group.bench_function(format!("evaluate {name}"), |bench| {
            bench.iter(|| evaluate::input(&program, TaskIndex(0), black_box(&scope)));
        });
        group.bench_function(format!("clone, item, evaluate {name}"), |bench| {
            bench.iter(|| {
                let (item, index) = item();
                evaluate::input(&program, TaskIndex(0), &black_box(&base).clone().with_item(item, index))
            });
        });
    }
    group.finish();
}

fn conversions(criterion: &mut Criterion) {
    let value = Value::from_list((0..100).map(|_| result()).collect());
    let json = value.to_json().expect("finite");
    let mut group = criterion.benchmark_group("1MB of JSON");
    group.sample_size(20);
    group.bench_function("read", |bench| bench.iter_with_large_drop(|| Value::from_json(json.as_bytes())));
    group.bench_function("write", |bench| {
        bench.iter_batched(|| value.clone(), |value| value.to_json(), BatchSize::LargeInput)
    });
    group.bench_function("heap bytes", |bench| bench.iter(|| black_box(&value).heap_bytes()));
    group.finish();
}

criterion_group!(benches, per_item, conversions);
criterion_main!(benches);
