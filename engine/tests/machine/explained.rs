//! What a start of a task was given, told from its history.

use leveret_engine::{
    machine::{
        Input, Signal, Timer,
        explain::{Asked, Explained, explain},
    },
    program::ReadPath,
};
use proto::{
    explain::{Cause, Read, Source},
    failure::Failure,
    id::{Attempt, Instance, ItemIndex},
    items::ItemSet,
    outcome::{ItemsReport, Next, Report},
    value::ValueRef,
    work::Status,
};

use super::stage::{Stage, acted, attempt, done, listed, set, value, vars};

fn told(stage: &Stage, task: &str, instance: Option<u32>, item: Option<u32>, paths: &[&str]) -> Option<Explained> {
    let reads: Vec<ReadPath> = paths.iter().map(|path| ReadPath { path: (*path).to_owned(), required: true }).collect();
    let task = stage.spec.find(&task.parse().expect("valid")).expect("the scene has it");
    let asked = Asked { task, instance: instance.map(Instance), item: item.map(ItemIndex) };
    explain(&stage.spec, &stage.facts, asked, &reads)
}

fn cause(task: &str, instance: u32) -> Cause {
    Cause { task: task.parse().expect("valid"), instance: Instance(instance) }
}

/// Every path with its value and where it came from.
fn sources(told: &Explained) -> Vec<(&str, Option<String>, Option<Source>)> {
    let line = |read: &Read| {
        let value = read.value.as_ref().map(|value| match value {
            ValueRef::Inline(json) => json.as_str().to_owned(),
            other => format!("{} bytes", other.bytes()),
        });
        (value, read.source.as_ref().map(|origin| origin.from.clone()))
    };
    told.given.paths.iter().map(|read| (read.path.as_str(), line(read))).map(|(path, (v, s))| (path, v, s)).collect()
}

const FLOW: &str = "\
vars: { v: \"{{ 1 + 1 }}\" }
tasks:
  one: { action: a, next: [{ publish: { n: \"{{ result }}\", m: 3 }, do: two }] }
  two:
    action: b
    wait_for: { signal: go }
    retry: { count: 3, delay: 1s }
    next: [{ when: failed(), do: two }, { when: succeeded(), do: end }]
  end: { action: c }
";

fn flow() -> Stage {
    let mut stage = Stage::of(FLOW);
    stage.report("run/-/prepare.1", vars(vec![("v".parse().expect("valid"), value("2"))]));
    stage.now = stage.now.plus(std::time::Duration::from_secs(1));
    stage.report("run/one#1/act.1", acted(Status::Succeeded, &[0], &[("m", "3"), ("n", "7")]));
    stage
}

#[test]
fn each_value_is_traced_to_the_fact_that_wrote_it() {
    let mut stage = flow();
    let paths = ["workflow", "task.one.result", "task.end.status", "signal.go", "task.end.result"];
    let waiting = told(&stage, "two", None, None, &paths).expect("it has started");
    assert_eq!((waiting.given.outcome.status.as_str(), waiting.given.sent_at), ("waiting", None));
    assert_eq!(waiting.given.after, Some(cause("one", 1)));
    stage.feed(Input::Signal(Signal { name: "go".parse().expect("valid"), id: None, payload: value("\"now\"") }));
    let given = told(&stage, "two", None, None, &paths).expect("it has started");
    assert_eq!((given.given.sent_at, given.given.attempt), (Some(stage.now), Attempt(1)));
    let published = || Some(Source::Published(cause("one", 1)));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        sources(&given),
        [
            ("workflow.m", text("3"), published()),
            ("workflow.n", text("7"), published()),
            ("workflow.v", text("2"), Some(Source::Var)),
            ("task.one.result", text("7"), Some(Source::Ended(cause("one", 1)))),
            ("task.end.status", text("\"not_run\""), None),
            ("signal.go", text("\"now\""), Some(Source::Signal)),
            ("task.end.result", None, None),
        ]
    );
    assert_eq!(given.given.paths[0].within.as_deref(), Some("workflow"));
    assert_eq!(given.given.paths[0].source.as_ref().expect("there").at, stage.now);
    assert_ne!(given.given.paths[2].source.as_ref().expect("there").at, stage.now);
}

#[test]
fn an_earlier_start_is_told_as_it_was() {
    let mut stage = flow();
    for _ in 0..2 {
        stage.feed(Input::Signal(Signal { name: "go".parse().expect("valid"), id: None, payload: value("1") }));
    }
    let failed = || Next::Retry { delay_ms: 1_000 };
    stage.report("run/two#2/act.1", attempt(Status::Failed, failed()));
    let between = told(&stage, "two", None, None, &[]).expect("it has started").given;
    assert_eq!((between.outcome.status.as_str(), between.outcome.retried.len()), ("waiting", 1));
    assert_eq!(between.outcome.error.expect("why").code, "test");
    stage.now = stage.now.plus(std::time::Duration::from_secs(1));
    stage.feed(Input::Timer(Timer::Task(Instance(2))));
    stage.report("run/two#2/act.2", acted(Status::Failed, &[0], &[]));
    let paths = ["task.two.status"];
    let first = told(&stage, "two", Some(2), None, &paths).expect("it has started");
    assert_eq!(first.given.instances, [Instance(2), Instance(3)]);
    assert_eq!((first.given.attempt, first.given.outcome.status.as_str()), (Attempt(2), "failed"));
    assert_eq!(sources(&first), [("task.two.status", Some("\"not_run\"".to_owned()), None)]);
    let second = told(&stage, "two", None, None, &paths).expect("it has started");
    assert_eq!((second.given.instance, second.given.after.clone()), (Instance(3), Some(cause("two", 2))));
    let ended = Some(Source::Ended(cause("two", 2)));
    assert_eq!(sources(&second), [("task.two.status", Some("\"failed\"".to_owned()), ended)]);
    // No such start, one of another task, and a task that has not begun.
    for (task, instance) in [("two", Some(9)), ("two", Some(1)), ("end", None)] {
        assert_eq!(told(&stage, task, instance, None, &[]), None, "{task} {instance:?}");
    }
}

#[test]
fn an_item_is_found_with_what_became_of_it() {
    let mut stage = Stage::of("tasks: { each: { action: a, with_items: \"{{ [1] }}\", tolerate: 9 } }");
    stage.report("run/each#1/items.1", listed(&[(2, 8), (4, 8)]));
    let status = |stage: &Stage, item: u32| {
        let told = told(stage, "each", None, Some(item), &[]).expect("it has started");
        let place = told.item_value.and_then(|element| element.at);
        let item = told.given.item.expect("asked for");
        (item.status, place, told.item_error.map(|element| element.at))
    };
    let of = |text: &str, place, error| (text.to_owned(), place, error);
    assert_eq!(status(&stage, 3), of("running", Some(1), None));
    let first = stage.out()[0].clone();
    stage.report(&first, Report::Items(done(&[0])));
    let out = stage.out();
    let failed = ItemsReport {
        failed: set(&[1]),
        errors: Some(value(r#"[{"index":1}]"#)),
        failure: Some(Failure::new("x", "x")),
        ..ItemsReport::default()
    };
    stage.report(&out[0], Report::Items(failed));
    let given = told(&stage, "each", None, Some(9), &[]).expect("it has started");
    assert_eq!((given.given.items, given.item_value), (Some(6), None));
    assert_eq!(status(&stage, 0), of("succeeded", Some(0), None));
    assert_eq!(status(&stage, 1), of("failed", Some(1), Some(Some(0))));
    let handed = ItemsReport { handed_back: ItemSet::run(2, 1), ..ItemsReport::default() };
    stage.report(&out[1], Report::Items(handed));
    assert_eq!(status(&stage, 2).1, Some(0));
}

/// What left was that start's own, when it did, whatever started or was tried again beside it.
#[test]
fn a_start_is_told_from_what_goes_on_beside_it() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo }
  b: { action: core.echo, retry: { count: 2 }, next: [{ do: c }] }
  c: { action: core.echo }
  d: { action: core.echo, delay: 1s }",
    );
    let begun = stage.now;
    stage.now = stage.now.plus(std::time::Duration::from_secs(1));
    stage.feed(Input::Timer(Timer::Task(Instance(3))));
    stage.report("run/b#2/act.1", attempt(Status::Failed, Next::Retry { delay_ms: 0 }));
    stage.report("run/b#2/act.2", acted(Status::Succeeded, &[0], &[]));
    let a = told(&stage, "a", None, None, &["task.b.s"]).expect("it has started").given;
    assert_eq!((a.sent_at, a.attempt, a.outcome.retried.len()), (Some(begun), Attempt(1), 0));
    assert_eq!(
        a.paths.iter().map(|read| (read.path.as_str(), read.value.is_some())).collect::<Vec<_>>(),
        [("task.b.s", false)]
    );
    let b = told(&stage, "b", None, None, &[]).expect("it has started").given;
    assert_eq!((b.sent_at, b.attempt, b.outcome.retried.len()), (Some(stage.now), Attempt(2), 1));
}

#[test]
fn an_item_is_told_from_others_and_from_those_of_another_task() {
    let each = "{ action: core.echo, with_items: [1], retry: { count: 2 } }";
    let mut stage = Stage::of(&format!("tasks: {{ a: {each}, b: {each} }}"));
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&[(9, 8)]));
    let begun = stage.now;
    stage.now = stage.now.plus(std::time::Duration::from_secs(1));
    stage.report("run/b#2/items.1", listed(&[(9, 8)]));
    let sent = |stage: &Stage, task: &str, item| {
        let given = told(stage, task, None, Some(item), &[]).expect("it has started").given;
        (given.sent_at, given.attempt)
    };
    assert_eq!(sent(&stage, "a", 0), (Some(begun), Attempt(1)));
    assert_eq!(sent(&stage, "a", 1), (None, Attempt(1)));
    stage.report("run/b#2/act.2", Report::Items(ItemsReport { retry: vec![(0, set(&[0]))], ..ItemsReport::default() }));
    stage.feed(Input::Timer(Timer::Task(Instance(2))));
    stage.report("run/b#2/act.3", Report::Items(done(&[1, 2])));
    assert_eq!(sent(&stage, "b", 0), (Some(stage.now), Attempt(2)));
    assert_eq!(sent(&stage, "a", 0), (Some(begun), Attempt(1)));
}

/// What the run was accepted with: a default, what the client gave, what came from another run.
#[test]
fn what_a_run_was_accepted_with_is_traced() {
    let yaml = "parameters: { p: { default: 5 }, q: {} }\ntasks: { a: { action: core.echo } }";
    let ancestor: proto::id::RunId = "before".parse().expect("valid");
    let stage = Stage::accepting(yaml, |mut accepted| {
        let name = |name: &str| name.parse().expect("valid");
        accepted.parameters = vec![(name("p"), value("5")), (name("q"), value("5"))];
        accepted.imported = [("workflow.i".to_owned(), value("1"))].into();
        accepted.ancestor = Some(ancestor.clone());
        accepted
    });
    let given = told(&stage, "a", None, None, &["workflow.i", "parameters.p", "parameters.q"]).expect("it has started");
    let sources: Vec<Option<Source>> = sources(&given).into_iter().map(|(_, _, source)| source).collect();
    let imported = Source::Imported { run: Some(ancestor) };
    assert_eq!(sources, [Some(imported), Some(Source::Default), Some(Source::Parameter)]);
}
