//! Scenes of signals, bounds, retries by `do: retry`, and child runs.

use std::collections::BTreeMap;

use leveret_engine::machine::{
    ChildEnd, Command, Input, Timer,
    fact::{Fact, Parent, What},
};
use proto::{
    failure::Failure,
    id::{Digest, Instance, ItemIndex, RunId},
    limits::NESTING_MAX,
    outcome::{Called, ItemsReport, Listed, Next, Report, Settlement},
    value::Stored,
    work::{RunStatus, Status},
};
use serde_json::json;

use super::stage::{Stage, acted, attempt, done, key_of, listed, set, value};

/// A place below a run `around`.
pub fn parent(depth: u8, timeout_ms: Option<u64>) -> Parent {
    let (run, task) = ("around".parse().expect("valid"), "outer".parse().expect("valid"));
    Parent { run, task, instance: Instance(1), serial: 1, item: None, depth, timeout_ms }
}

/// A run whose tasks may call the workflow `sub`.
pub fn calling(yaml: &str) -> Stage {
    calling_at(yaml, None)
}

fn calling_at(yaml: &str, parent: Option<Parent>) -> Stage {
    Stage::accepting(yaml, |mut accepted| {
        let sub = Stored { digest: Digest::of(b"sub"), bytes: 3 };
        accepted.children = BTreeMap::from([("sub".parse().expect("valid"), sub)]);
        accepted.parent = parent;
        accepted
    })
}

/// How the child that `serial` has started for `item` of the first task ends.
pub fn ended(serial: u32, item: Option<u32>, code: Option<&str>) -> Input {
    let item = item.map(ItemIndex);
    let run: RunId = "run".parse().expect("valid");
    let child = run.child(Instance(1), serial, item);
    let task = "a".parse().expect("valid");
    Input::ChildEnded(ChildEnd {
        parent: Parent { run, task, instance: Instance(1), serial, item, depth: 1, timeout_ms: None },
        run: child,
        status: if code.is_none() { RunStatus::Succeeded } else { RunStatus::Failed },
        output: value("{\"n\":7}"),
        failure: code.map(|code| Failure::new(code, "told to")),
    })
}

#[test]
fn signals_are_used_once_and_in_order() {
    let wait = "{ action: core.echo, wait_for: { signal: go } }";
    let mut stage = Stage::of(&format!("tasks: {{ a: {wait}, b: {wait}, c: {wait} }}"));
    stage.signal("go", Some("1"), "1");
    assert_eq!(stage.signal("go", Some("1"), "2"), []);
    stage.signal("other", Some("2"), "3");
    stage.signal("go", None, "4");
    assert_eq!(stage.out(), ["run/a#1/act.1", "run/b#2/act.1"]);
    assert_eq!(stage.sees("run/a#1/act.1", "signal.go"), json!(1));
    assert_eq!(stage.sees("run/b#2/act.1", "signal.go"), json!(4));
}

#[test]
fn a_signal_that_nobody_sends_times_out() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, wait_for: { signal: go, timeout: 1m } } }");
    stage.ring(Timer::Task(Instance(1)));
    assert_eq!(stage.shows("a"), ("timed_out".into(), 0, Some("timed_out".into())));
    assert_eq!(stage.signal("go", None, "1"), []);
}

/// It has reached the run: that the run rests is not its fault.
#[test]
fn a_signal_that_came_during_a_pause_came_in_time() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, wait_for: { signal: go, timeout: 1m } } }");
    stage.pause();
    stage.signal("go", None, "1");
    assert_eq!(stage.out(), [""; 0]);
    stage.ring(Timer::Task(Instance(1)));
    stage.feed(Input::Resume);
    assert_eq!(stage.out(), ["run/a#1/act.1"]);
}

/// Both begin in one step, and both signals are there.
#[test]
fn tasks_that_find_their_signals_have_no_timers() {
    let wait = "{ action: core.echo, wait_for: { signal: go, timeout: 1m } }";
    let mut stage =
        Stage::of(&format!("tasks: {{ s: {{ action: core.echo, next: [{{ do: [a, b] }}] }}, a: {wait}, b: {wait} }}"));
    stage.signal("go", None, "1");
    stage.signal("go", None, "2");
    stage.report("run/s#1/act.1", acted(Status::Succeeded, &[0], &[]));
    assert_eq!(stage.out(), ["run/a#2/act.1", "run/b#3/act.1"]);
    assert!(stage.armed().is_empty(), "{:?}", stage.armed());
}

#[test]
fn tasks_and_items_of_a_run_share_its_concurrency() {
    let mut stage = Stage::of(
        "
concurrency: 2
tasks:
  a: { action: core.echo, with_items: [1] }
  b: { action: core.echo }
  c: { action: core.echo }",
    );
    stage.report("run/a#1/items.1", listed(&[(9, 10)]));
    assert_eq!(stage.out(), ["run/b#2/act.1", "run/c#3/act.1"]);
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[], &[]));
    assert_eq!(stage.out(), ["run/a#1/act.2", "run/c#3/act.1"]);
}

/// Items would take every place that comes free, and a task would never get one.
#[test]
fn a_task_that_waits_for_room_goes_before_items() {
    let mut stage = Stage::of(
        "
concurrency: 1
tasks:
  a: { action: core.echo, with_items: [1] }
  b: { action: core.echo, delay: 1m }",
    );
    stage.report("run/a#1/items.1", listed(&[(9, 10)]));
    stage.ring(Timer::Task(Instance(2)));
    assert_eq!(stage.out(), ["run/a#1/act.2"]);
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    assert_eq!(stage.out(), ["run/b#2/act.1"]);
}

#[test]
fn a_task_says_retry_three_times_if_it_does_not_say_how_often() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, next: [{ do: retry }] } }");
    for instance in 1..=4 {
        stage.report(&format!("run/a#{instance}/act.1"), acted(Status::Succeeded, &[0], &[]));
    }
    assert_eq!((stage.run.status(), stage.code()), (RunStatus::Failed, "retries_exhausted"));
}

#[test]
fn a_task_that_was_retried_in_vain_fails_the_run_with_its_own_failure() {
    let mut stage =
        Stage::of("tasks: { a: { action: core.echo, retry: { count: 1 }, next: [{ when: failed(), do: retry }] } }");
    for instance in 1..=2 {
        assert_eq!(stage.run.status(), RunStatus::Running);
        stage.report(&format!("run/a#{instance}/act.1"), acted(Status::Failed, &[0], &[]));
    }
    assert_eq!((stage.run.status(), stage.code()), (RunStatus::Failed, "test"));
}

/// What undoes a failure may lead back to it: each way round, `retry` counts anew.
#[test]
fn a_rollback_leads_back_to_the_task() {
    let mut stage = Stage::of(
        "
tasks:
  go: { next: [{ do: a }] }
  a: { action: core.echo, retry: { count: 1 }, next: [{ when: 'failed() and attempt == 1', do: retry }, { when: failed(), do: undo }] }
  undo: { action: core.echo, next: [{ do: a }] }",
    );
    let failed =
        |fired| attempt(Status::Failed, Next::Settled(Settlement { fired: vec![fired], ..Settlement::default() }));
    stage.report("run/a#2/act.1", failed(0));
    stage.report("run/a#3/act.1", failed(1));
    stage.report("run/undo#4/act.1", acted(Status::Succeeded, &[0], &[]));
    stage.report("run/a#5/act.1", failed(0));
    assert_eq!(stage.out(), ["run/a#6/act.1"]);
    stage.report("run/a#6/act.1", acted(Status::Succeeded, &[], &[]));
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
}

#[test]
fn no_item_begins_once_too_many_have_failed() {
    let mut stage = Stage::of(
        "
tasks: { a: { action: core.echo, with_items: [1], on_item_error: stop } }
output: { o: '{{ task.a.item_errors }}' }",
    );
    let Report::Listed(list) = listed(&[(3, 10)]) else { unreachable!("it is a list") };
    stage.report("run/a#1/items.1", Report::Listed(Listed { concurrency: Some(1), ..list }));
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    stage.report("run/a#1/act.3", Report::Unable(Failure::new("absent", "no such action")));
    let never = json!({ "error": { "code": "not_started" }, "index": 2, "item": null });
    let absent = json!({ "error": { "code": "absent" }, "index": 1, "item": null });
    assert_eq!(stage.sees("run/-/output.1", "task.a.item_errors"), json!([absent, never]));
}

#[test]
fn a_child_runs_for_a_task_and_its_output_is_the_result() {
    let mut stage = calling("tasks: { a: { workflow: sub } }\noutput: { o: '{{ task.a.result.n }}' }");
    let commands = stage.report("run/a#1/act.1", Report::Called(Called::default()));
    let [Command::Spawn(accepted)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((accepted.run.as_str(), accepted.workflow.as_str()), ("run~1.1", "sub"));
    assert_eq!(accepted.parent.as_ref().expect("a parent").depth, 1);
    stage.feed(ended(1, None, None));
    assert_eq!(stage.sees("run/-/output.1", "task.a.result"), json!({ "n": 7 }));
    assert_eq!(stage.feed(ended(1, None, None)), []);
}

#[test]
fn a_child_that_failed_is_started_again_as_retry_says() {
    let mut stage = calling("tasks: { a: { workflow: sub, retry: { count: 1 } } }");
    stage.report("run/a#1/act.1", Report::Called(Called::default()));
    stage.feed(ended(1, None, Some("bad")));
    let key = key_of("run/a#1/settle.2");
    let ended_as = stage.run.brief(&stage.spec, &key).expect("wanted").ended.expect("it ended");
    assert!(ended_as.asks_retry);
    stage.report("run/a#1/settle.2", attempt(Status::Failed, Next::Retry { delay_ms: 0 }));
    let commands = stage.report("run/a#1/act.3", Report::Called(Called::default()));
    assert!(matches!(&commands[..], [Command::Spawn(again)] if again.run.as_str() == "run~1.3"), "{commands:?}");
    assert_eq!(stage.feed(ended(1, None, None)), []);
    stage.feed(ended(3, None, None));
    stage.report("run/a#1/settle.4", acted(Status::Succeeded, &[], &[]));
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
}

/// Children are started for these.
pub fn called(items: &[u32]) -> ItemsReport {
    let called = items.iter().map(|item| (ItemIndex(*item), Called::default())).collect();
    ItemsReport { called, ..ItemsReport::default() }
}

/// Every item of the range fails by it, and the task with the last.
#[test]
fn items_that_are_nested_too_deep_fail_their_task() {
    let yaml = "tasks: { a: { workflow: sub, with_items: [1] } }";
    let mut stage = calling_at(yaml, Some(parent(NESTING_MAX, None)));
    stage.report("run/a#1/items.1", listed(&[(1, 10)]));
    stage.report("run/a#1/act.2", Report::Items(called(&[0])));
    assert_eq!(stage.shows("a"), ("failed".into(), 1, Some("items_failed".into())));
    assert_eq!(stage.run.status(), RunStatus::Failed);
}

/// The range came twice. Of what the second worker says only the failure is news, and the run closes meanwhile.
#[test]
fn a_call_that_does_not_count_takes_nothing_back() {
    let mut stage = calling("tasks: { a: { workflow: sub, with_items: [1], tolerate: 1 }, b: { action: core.echo } }");
    stage.report("run/a#1/items.1", listed(&[(3, 10)]));
    stage.report("run/a#1/act.2", Report::Items(called(&[0])));
    stage.report("run/a#1/act.3", Report::Items(called(&[1])));
    stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
    let last = stage.out().pop().expect("a range is out");
    let errors = value(r#"[{"error":{"code":"x"},"index":2,"item":3}]"#);
    let report = ItemsReport { failed: set(&[2]), errors: Some(errors), ..called(&[0]) };
    stage.report(&last, Report::Items(report));
    let items = stage.run.view(&stage.spec).tasks[&"a".parse().expect("valid")].items.expect("items");
    assert_eq!((items.failed, items.running), (1, 2));
}

/// The bound was reached: what fails from then on is not tried again, and nobody waits for it.
#[test]
fn no_child_is_started_again_once_too_many_have_failed() {
    let mut stage = calling(
        "tasks: { a: { workflow: sub, with_items: [1], on_item_error: stop, tolerate: 0, retry: { count: 1, delay: 1m } } }",
    );
    stage.report("run/a#1/items.1", listed(&[(3, 10)]));
    for item in 0..3 {
        stage.report(&format!("run/a#1/act.{}", item + 2), Report::Items(called(&[item])));
    }
    stage.feed(ended(2, Some(0), Some("bad")));
    stage.ring(Timer::Task(Instance(1)));
    stage.report("run/a#1/act.5", Report::Items(called(&[0])));
    stage.feed(ended(5, Some(0), Some("bad")));
    stage.feed(ended(3, Some(1), Some("bad")));
    assert!(stage.armed().is_empty(), "{:?}", stage.armed());
    stage.feed(ended(4, Some(2), None));
    assert_eq!(stage.shows("a"), ("failed".into(), 1, Some("items_failed".into())));
}

/// The same child would be started twice, which nothing could tell apart.
#[test]
fn an_item_is_called_once_by_a_report() {
    let mut stage = calling("tasks: { a: { workflow: sub, with_items: [1] } }");
    stage.report("run/a#1/items.1", listed(&[(2, 10)]));
    assert_eq!(stage.report("run/a#1/act.2", Report::Items(called(&[0, 0]))), []);
    assert_eq!(stage.report("run/a#1/act.2", Report::Items(called(&[0]))).len(), 1);
}

/// What else a report of calls says is a fact only if it says something, and of a range of which something is left.
#[test]
fn a_report_of_calls_is_one_fact() {
    let mut stage = calling("tasks: { a: { workflow: sub, with_items: [1] } }");
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&[(5, 10)]));
    stage.report("run/a#1/act.2", Report::Items(ItemsReport { busy_us: 5, ..called(&[0]) }));
    let facts = stage.facts.len();
    stage.report("run/a#1/act.3", Report::Items(called(&[1])));
    assert!(matches!(stage.facts[facts..], [Fact { what: What::Called { .. }, .. }]), "{:?}", &stage.facts[facts..]);
    assert!(!stage.facts.iter().any(|fact| matches!(fact.what, What::Reported { .. })));
}

/// What closes is not tried again: an item whose child fails then has failed.
#[test]
fn no_child_is_started_again_in_a_run_that_closes() {
    let mut stage = calling(
        "tasks: { a: { workflow: sub, with_items: [1], retry: { count: 3, delay: 1m } }, b: { action: core.echo } }",
    );
    stage.report("run/a#1/items.1", listed(&[(1, 10)]));
    stage.report("run/a#1/act.2", Report::Items(called(&[0])));
    stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
    stage.feed(ended(2, Some(0), Some("bad")));
    assert_eq!(stage.shows("a"), ("failed".into(), 1, Some("items_failed".into())));
}

#[test]
fn a_child_has_the_labels_of_its_run() {
    let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    let sub = Stored { digest: Digest::of(b"sub"), bytes: 3 };
    let mut stage = Stage::accepting("tasks: { a: { workflow: sub } }", |mut accepted| {
        accepted.children = BTreeMap::from([("sub".parse().expect("valid"), sub)]);
        accepted.labels.clone_from(&labels);
        accepted
    });
    let commands = stage.report("run/a#1/act.1", Report::Called(Called::default()));
    let [Command::Spawn(accepted)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(accepted.labels, labels);
}

/// Items that fail together are not tried again together, and neither are equal items of two tasks.
#[test]
fn each_child_is_started_again_at_a_time_of_its_own() {
    let task = "{ workflow: sub, with_items: [1], retry: { count: 1, delay: 1h, jitter: true } }";
    let mut stage = calling(&format!("tasks: {{ a: {task}, b: {task} }}"));
    let mut due = std::collections::BTreeSet::new();
    for (task, instance) in [("a", 1), ("b", 2)] {
        stage.report(&format!("run/{task}#{instance}/items.1"), listed(&[(2, 10)]));
        for item in 0..2 {
            let serial = item + 2;
            stage.report(&format!("run/{task}#{instance}/act.{serial}"), Report::Items(called(&[item])));
            let Input::ChildEnded(mut end) = ended(serial, Some(item), Some("bad")) else { unreachable!("it is one") };
            (end.parent.instance, end.parent.task) = (Instance(instance), task.parse().expect("valid"));
            end.run = stage.run.id().child(Instance(instance), serial, Some(ItemIndex(item)));
            stage.feed(Input::ChildEnded(end));
            let last = stage.facts.iter().rev().find_map(|fact| match &fact.what {
                What::ItemEnded(ended) => ended.until,
                _ => None,
            });
            due.insert(last.expect("it is tried again"));
        }
    }
    assert_eq!(due.len(), 4, "{due:?}");
}
