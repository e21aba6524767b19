//! What one item costs beside contexts of 10 KB, 1 MB and 5 MB: clone, lay the item over, evaluate.
//!
//! The seed's claim was a clone of some 100 ns; what counts is the whole way to a rendered input.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engine::{
    evaluate,
    snapshot::{Scope, Snapshot},
    spec::TaskIndex,
    value::Value,
};
use leveret_benches::shapes::{self, Payload};
use serde_json::json;

/// Results of some 10 KB that lie in a context of each size.
const SIZES: [(&str, usize); 3] = [("10KB", 1), ("1MB", 100), ("5MB", 500)];
fn per_item(criterion: &mut Criterion) {
    for (name, results) in SIZES {
        beside(criterion, name, &Payload::of_results(results).snapshot());
    }
}

fn beside(criterion: &mut Criterion, size: &str, snapshot: &Snapshot) {
    let mut group = criterion.benchmark_group(size);
    group.bench_function("snapshot clone", |bench| bench.iter(|| black_box(snapshot).clone()));
    let base = shapes::scope(snapshot);
    let item = || shapes::item(7);
    group.bench_function("scope", |bench| bench.iter(|| Scope::new(black_box(snapshot))));
    group.bench_function("scope clone and item", |bench| {
        bench.iter(|| {
            let (item, index) = item();
            black_box(&base).clone().with_item(item, index)
        });
    });
    for (name, input) in [
        ("a path", json!({ "a": "{{ task.t0.result }}" })),
        ("an expression", json!({ "a": "{{ task.t0.result[index].id == item }}" })),
        ("a text", json!({ "a": "https://{{ item }}:{{ parameters.port }}/healthz" })),
        ("three", json!({ "a": "{{ task.t0.result }}", "b": "{{ item }}", "c": "{{ item }}:{{ parameters.port }}" })),
    ] {
        let program = shapes::program(&input, &json!({}));
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
    let payload = Payload::of_results(100);
    let value = Value::from_json(format!("[{}]", payload.results.join(",")).as_bytes()).expect("a payload is JSON");
    let json = value.to_json().expect("finite");
    let mut group = criterion.benchmark_group("1MB of JSON");
    group.sample_size(10);
    group.bench_function("read", |bench| bench.iter_with_large_drop(|| Value::from_json(json.as_bytes())));
    group.bench_function("write", |bench| {
        bench.iter_batched(|| value.clone(), |value| value.to_json(), BatchSize::LargeInput)
    });
    group.bench_function("heap bytes", |bench| bench.iter(|| black_box(&value).heap_bytes()));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300));
    targets = per_item, conversions
}
criterion_main!(benches);
