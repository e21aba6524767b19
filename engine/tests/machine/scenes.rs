//! Single scenes that are worth their own name: most of them were bugs once.

use leveret_engine::machine::{Command, Input, News, fact::What};
use proto::{
    items::ItemSet,
    limits::{ITEMS_MAX, RANGE_BYTES_MAX, TASKS_MAX},
    outcome::{ItemsReport, Listed, Next, OutputReport, Report},
    time::Timestamp,
    value::ValueRef,
    work::{RunStatus, Status},
};
use serde_json::json;

use super::stage::{Stage, acted, attempt, done, key_of, listed, set, value};

const FORK_AND_JOIN: &str = "
tasks:
  a: { action: core.echo, next: [{ publish: { x: '{{ result }}' }, do: c }] }
  b: { action: core.echo, next: [{ when: succeeded(), do: c }] }
  c: { action: core.echo, join: all }
output: { x: '{{ workflow.x }}', b: '{{ task.b.status }}' }";

#[test]
fn a_join_of_a_branch_that_never_comes_fails_the_run() {
    let mut stage = Stage::of(&FORK_AND_JOIN.replace("when: succeeded()", "when: 'result == 1'"));
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[("x", "1")]));
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[], &[]));
    let failure = stage.run.failure().expect("it fails");
    assert_eq!(failure.code, "join_unsatisfied");
    assert!(failure.message.ends_with("never by b"), "{}", failure.message);
    assert_eq!(stage.out(), ["run/-/output.1"]);
}

#[test]
fn empty_tasks_need_no_worker() {
    let stage = Stage::of(
        "
tasks:
  a: { next: [{ do: [b, c] }] }
  b: { next: [{ do: d }] }
  c: { next: [{ do: d }] }
  d: { join: all }",
    );
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
    assert_eq!(stage.shows("d"), ("succeeded".into(), 1, None));
}

/// It has come to nothing, which is something that a template may ask for.
#[test]
fn the_result_of_an_empty_task_is_null() {
    let stage = Stage::of("tasks: { a: { next: [{ do: b }] }, b: { action: core.echo } }");
    let manifest = stage.run.manifest(&stage.spec, &key_of("run/b#2/act.1"), ["task.a.result"]);
    assert_eq!(manifest.get("task.a.result"), Some(&ValueRef::null()));
}

/// What a branch has published is for the output also when the branch waits at a join as the run fails.
#[test]
fn the_output_of_a_failed_run_sees_branches_that_wait_at_a_join() {
    let mut stage = Stage::of(FORK_AND_JOIN);
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[("x", "1")]));
    stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
    assert_eq!(stage.out(), ["run/-/output.1"]);
    assert_eq!(stage.sees("run/-/output.1", "workflow.x"), json!(1));
    assert_eq!(stage.sees("run/-/output.1", "task.b.status"), json!("failed"));
    assert_eq!(stage.sees("run/-/output.1", "task.c.status"), json!("not_run"));
}

/// Items that are done when a run closes stay done, also when the others only wait for their retry.
#[test]
fn a_cancel_keeps_the_results_of_items_that_are_done() {
    let mut stage = Stage::of(
        "
tasks: { a: { action: core.echo, with_items: [1, 2], retry: { count: 3, delay: 1m } } }
output: { a: '{{ task.a.result }}' }",
    );
    stage.report("run/a#1/items.1", listed(&[(2, 10)]));
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    let retried = ItemsReport { retry: vec![(60_000, set(&[1]))], ..ItemsReport::default() };
    stage.report("run/a#1/act.3", Report::Items(retried));
    let commands = stage.feed(Input::Cancel { reason: Some("enough".into()) });
    assert!(commands.iter().any(|command| matches!(command, Command::Disarm(_))), "{commands:?}");
    assert_eq!(stage.sees("run/-/output.1", "task.a.result"), json!([0, null]));
    assert_eq!(stage.shows("a"), ("canceled".into(), 1, Some("canceled".into())));
    let output = OutputReport { value: value("{}"), left_out: Vec::new() };
    stage.report("run/-/output.1", Report::Output(output));
    assert_eq!(stage.run.status(), RunStatus::Canceled);
    assert_eq!(stage.run.failure().expect("a reason").message, "enough");
}

#[test]
fn a_task_between_two_attempts_ends_with_its_last_when_the_run_closes() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, retry: { count: 3, delay: 1m } }
  b: { action: core.echo }
output: { a: '{{ task.a.status }}' }",
    );
    stage.report("run/a#1/act.1", attempt(Status::TimedOut, Next::Retry { delay_ms: 60_000 }));
    stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
    assert_eq!(stage.shows("a"), ("timed_out".into(), 1, Some("test".into())));
    assert_eq!(stage.sees("run/-/output.1", "task.a.status"), json!("timed_out"));
}

/// A poll that found nothing yet has not succeeded, though its last attempt did.
#[test]
fn a_poll_that_a_cancel_cuts_short_has_not_succeeded() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, retry: { count: 3, when: 'result == 1' } } }");
    stage.feed(Input::Cancel { reason: None });
    stage.report("run/a#1/act.1", attempt(Status::Succeeded, Next::Retry { delay_ms: 0 }));
    assert_eq!(stage.shows("a"), ("canceled".into(), 1, Some("not_started".into())));
}

#[test]
fn a_fan_out_that_a_failure_cuts_short_does_not_say_that_items_failed() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, with_items: [1, 2, 3] }
  b: { action: core.echo }",
    );
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&[(3, 10)]));
    stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    assert_eq!(stage.run.status(), RunStatus::Failed);
    assert_eq!(stage.shows("a"), ("canceled".into(), 1, Some("not_started".into())));
}

#[test]
fn a_failure_before_the_cancel_is_told_beside_it() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo }, b: { action: core.echo } }");
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    stage.feed(Input::Cancel { reason: Some("enough".into()) });
    stage.report("run/b#2/act.1", Report::HandedBack);
    assert_eq!(stage.run.status(), RunStatus::Canceled);
    assert_eq!(stage.run.failure().expect("it failed").code, "test");
}

#[test]
fn work_that_is_handed_back_untouched_is_no_attempt() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo } }");
    stage.report("run/a#1/act.1", Report::HandedBack);
    assert_eq!(stage.out(), ["run/a#1/act.2"]);
    assert_eq!(stage.run.brief(&stage.spec, &key_of("run/a#1/act.2")).expect("wanted").attempt.0, 1);
}

#[test]
fn an_endless_loop_starts_as_many_tasks_as_it_may_and_no_more() {
    let mut stage = Stage::of(
        "
tasks:
  a: { next: [{ do: b }] }
  b: { next: [{ do: [b, c] }] }
  c: {}",
    );
    stage.run_on();
    assert_eq!(stage.run.failure().expect("it fails").code, "too_many_tasks");
    let started = stage.commands.iter().filter(|command| matches!(command, Command::Announce(News::TaskStarted(_))));
    let started = started.count();
    assert!((TASKS_MAX as usize - 1..=TASKS_MAX as usize).contains(&started), "{started}");
}

/// One turn for every turn asked for: a report in between must not make two of one.
#[test]
fn a_run_asks_to_go_on_once_at_a_time() {
    let mut stage = Stage::of(
        "
tasks:
  a: { next: [{ do: b }] }
  b: { next: [{ do: b }] }
  c: { action: core.echo, next: [{ do: noop }] }",
    );
    assert_eq!(stage.commands.iter().filter(|command| **command == Command::Continue).count(), 1);
    let commands = stage.report("run/c#2/act.1", acted(Status::Succeeded, &[0], &[]));
    assert!(!commands.contains(&Command::Continue));
    assert!(stage.feed(Input::Continue).contains(&Command::Continue));
}

#[test]
fn a_run_with_vars_asks_to_go_on_once() {
    let mut stage = Stage::of(
        "
vars: { v: '{{ now() }}' }
tasks: { a: { next: [{ do: b }] }, b: { next: [{ do: b }] } }",
    );
    let commands = stage.report("run/-/prepare.1", super::stage::vars(vec![("v".parse().expect("valid"), value("1"))]));
    assert_eq!(commands.iter().filter(|command| **command == Command::Continue).count(), 1);
}

#[test]
fn a_new_run_is_announced_once() {
    let stage = Stage::of("tasks: { a: { action: core.echo } }");
    let news = stage.commands.iter().filter(|command| **command == Command::Announce(News::Run));
    assert_eq!(news.count(), 1);
}

/// A value by digest must be stored by someone; nobody stores what the machine makes.
#[test]
fn values_that_the_machine_makes_are_never_by_digest() {
    let long = "x".repeat(3_000);
    let mut stage = Stage::of(&format!(
        "
vars: {{ v: {long} }}
tasks: {{ a: {{ action: core.echo, with_items: [1] }} }}
output: {{ o: {long} }}"
    ));
    let failure = proto::failure::Failure::new("long", long);
    stage.report("run/a#1/items.1", Report::Unable(failure));
    assert_eq!(stage.run.status(), RunStatus::Failed);
    for fact in &stage.facts {
        let is_definition = matches!(fact.what, What::Accepted(_));
        fact.each_stored(&mut |stored| assert!(is_definition, "{stored:?} in {fact:?}"));
    }
}

/// Short items in front of long ones must not make a range that no message can hold.
#[test]
fn a_range_fits_in_a_message_whatever_follows_its_first_item() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, with_items: [1] } }");
    let mut parts = vec![(500, 10)];
    parts.extend([(4, 250_000); 100]);
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&parts));
    while let [key] = &stage.out()[..] {
        let (key, items): (_, Vec<u32>) = {
            let brief = stage.run.brief(&stage.spec, &key_of(key)).expect("wanted");
            (key.clone(), brief.range.expect("a range").0.iter().map(|item| item.0).collect())
        };
        let bytes: usize = items.iter().map(|item| if *item < 500 { 10 } else { 250_000 }).sum();
        assert!(bytes <= RANGE_BYTES_MAX, "{bytes} bytes in {key}");
        stage.report(&key, Report::Items(done(&items)));
    }
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
}

/// A worker is not trusted with the machine's memory or with the run's end.
#[test]
fn reports_that_cannot_be_true_do_no_harm() {
    let mut stage = Stage::of(
        "tasks: { a: { action: core.echo, with_items: [1], next: [{ when: failed(), do: b }] }, b: { action: core.echo } }",
    );
    let Report::Listed(list) = listed(&[(2, 0)]) else { unreachable!("it is a list") };
    stage.flights_max = 0;
    stage.report("run/a#1/items.1", Report::Listed(Listed { concurrency: Some(0), ..list }));
    assert_eq!(stage.out(), ["run/a#1/act.2"]);
    let beyond = ItemsReport { succeeded: ItemSet::run(0, u32::MAX - 1), ..ItemsReport::default() };
    assert_eq!(stage.report("run/a#1/act.2", Report::Items(beyond)), []);
    stage.report("run/a#1/act.2", Report::Items(ItemsReport { busy_us: u64::MAX, ..done(&[0]) }));
    stage.report("run/a#1/act.3", Report::Items(ItemsReport { busy_us: u64::MAX, ..done(&[1]) }));
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
}

/// A worker that got a range again may want to retry what the first has done: then nothing is to be waited for.
#[test]
fn a_retry_that_does_not_count_is_not_waited_for() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, with_items: [1], retry: { count: 1 } } }");
    stage.report("run/a#1/items.1", listed(&[(6, 10)]));
    for serial in 2..6 {
        stage.report(&format!("run/a#1/act.{serial}"), Report::Items(done(&[serial - 2])));
    }
    let last = stage.out().pop().expect("a range is out");
    let items: Vec<u32> = {
        let brief = stage.run.brief(&stage.spec, &key_of(&last)).expect("wanted");
        brief.range.expect("a range").0.iter().map(|item| item.0).collect()
    };
    let retried = ItemsReport { retry: vec![(10, set(&[0]))], handed_back: set(&items), ..ItemsReport::default() };
    let commands = stage.report(&last, Report::Items(retried));
    assert!(!commands.iter().any(|command| matches!(command, Command::Arm(..))), "{commands:?}");
}

#[test]
fn a_list_beyond_all_bounds_fails_its_task() {
    let mut stage = Stage::of(
        "tasks: { a: { action: core.echo, with_items: [1], next: [{ when: failed(), do: b }] }, b: { action: core.echo } }",
    );
    stage.report("run/a#1/items.1", listed(&[(u32::MAX, 1), (u32::MAX, 1)]));
    assert_eq!(stage.shows("a"), ("failed".into(), 0, Some("too_many_items".into())));
    assert_eq!(stage.out(), ["run/b#2/act.1"]);
}

#[test]
fn a_list_may_be_as_long_as_the_bound() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, with_items: [1] } }");
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&[(ITEMS_MAX, 1)]));
    assert_eq!(stage.out(), ["run/a#1/act.2"]);
}

#[test]
fn work_that_a_worker_cannot_even_begin_fails_its_task() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo }, b: { action: core.echo, with_items: [1] } }");
    stage.report("run/b#2/items.1", listed(&[(1, 10)]));
    let unable = || Report::Unable(proto::failure::Failure::new("absent", "no such action"));
    stage.report("run/a#1/act.1", unable());
    stage.report("run/b#2/act.2", unable());
    assert_eq!(stage.run.status(), RunStatus::Failed);
    assert_eq!(stage.shows("a"), ("failed".into(), 1, Some("absent".into())));
    assert_eq!(stage.shows("b"), ("failed".into(), 1, Some("items_failed".into())));
    let why = stage.run.view(&stage.spec).tasks[&"b".parse().expect("valid")].error.clone().expect("it failed");
    assert_eq!(why.message, "1 of 1 items failed; the first: absent: no such action");
}

/// A transition may ask for `item_errors` also when the list itself could not be made.
#[test]
fn a_task_whose_list_cannot_be_made_has_no_item_errors() {
    let mut stage = Stage::of(
        "
tasks: { a: { action: core.echo, with_items: [1], next: [{ when: 'failed() and item_errors == []' , do: noop }] } }",
    );
    stage.report("run/a#1/items.1", Report::Unable(proto::failure::Failure::new("items_not_a_list", "no list")));
    assert_eq!(stage.sees("run/a#1/settle.2", "item_errors"), json!([]));
    assert_eq!(stage.sees("run/a#1/settle.2", "error"), json!({ "code": "items_not_a_list" }));
}

/// What a run holds in memory does not grow by going round, though its facts do.
#[test]
fn a_loop_through_a_join_keeps_the_run_small() {
    let mut stage = Stage::of(
        "
tasks:
  a: { next: [{ do: [b, c] }] }
  b: { next: [{ do: d }] }
  c: { next: [{ do: d }] }
  d: { join: all, next: [{ do: [b, c] }] }",
    );
    stage.now = Timestamp::from_millis(1_000_000);
    let mut sizes = Vec::new();
    for _ in 0..20 {
        stage.feed(Input::Continue);
        sizes.push(format!("{:?}", stage.run).len());
    }
    let (first, last) = (sizes[0], sizes[19]);
    assert!(last < first + 1_000, "{sizes:?}");
}

/// The error of a first start must not come back by a branch that has not seen the second.
#[test]
fn an_error_of_an_earlier_start_is_gone_in_a_merge() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, next: [{ when: failed(), do: [a, c] }, { when: 'result == 7', do: c }] }
  go: { action: core.echo, next: [{ do: a }] }
  c: { join: 1 }
output: { e: '{{ task.a.error?.code }}' }",
    );
    stage.report("run/go#1/act.1", acted(Status::Succeeded, &[0], &[]));
    stage.report("run/a#2/act.1", acted(Status::Failed, &[0], &[]));
    let again = stage.out().into_iter().find(|key| key.contains("/a#")).expect("a runs again");
    stage.report(&again, acted(Status::Succeeded, &[], &[]));
    assert_eq!(stage.sees("run/-/output.1", "task.a.status"), json!("succeeded"));
    assert_eq!(stage.sees("run/-/output.1", "task.a.error"), json!(null));
}

#[test]
fn literal_values_reach_the_tasks() {
    let stage = Stage::of("vars: { v: 5 }\ntasks: { a: { action: core.echo } }");
    assert_eq!(stage.sees("run/a#1/act.1", "workflow.v"), json!(5));
    let manifest = stage.run.manifest(&stage.spec, &key_of("run/a#1/act.1"), ["workflow.v"]);
    assert_eq!(manifest["workflow.v"], ValueRef::Inline(value_json("5")));
}

fn value_json(text: &str) -> proto::json::Json {
    proto::json::Json::canonical(text.as_bytes()).expect("JSON")
}

/// Each inbound task's second arrival is for the second pass, also when it comes before the first pass is complete.
#[test]
fn a_branch_that_goes_round_does_not_stand_in_for_itself_at_a_join() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, next: [{ do: j }, { when: 'result == 7', do: a }] }
  b: { action: core.echo, next: [{ do: j }, { when: 'result == 7', do: b }] }
  go: { action: core.echo, next: [{ do: [a, b] }] }
  j: { action: core.echo, join: all }",
    );
    stage.report("run/go#1/act.1", acted(Status::Succeeded, &[0], &[]));
    let out = |stage: &Stage, task: &str| stage.out().into_iter().filter(|key| key.contains(task)).collect::<Vec<_>>();
    for (task, joins) in [("/a#", 0), ("/a#", 0), ("/b#", 1), ("/b#", 2)] {
        let key = out(&stage, task).swap_remove(0);
        stage.report(&key, acted(Status::Succeeded, &[0, 1], &[]));
        assert_eq!(out(&stage, "/j#").len(), joins, "after {key}");
    }
    let passes = stage.facts.iter().filter_map(|fact| match &fact.what {
        What::Ended(ended) => ended.arrivals.first().map(|arrival| arrival.pass),
        _ => None,
    });
    assert_eq!(passes.collect::<Vec<_>>(), [1, 2, 1, 2]);
}

/// Only of a child, whose end is known here, a worker says what follows as if it had been an attempt.
#[test]
fn an_attempt_is_no_answer_to_what_follows_from_an_end() {
    let mut stage = Stage::of(
        "
tasks: { a: { action: core.echo, retry: { count: 1 }, next: [{ when: 'failed() and attempt == 9', do: noop }] } }",
    );
    stage.report("run/a#1/act.1", Report::Unable(proto::failure::Failure::new("absent", "no such action")));
    assert_eq!(stage.out(), ["run/a#1/settle.2"]);
    assert_eq!(stage.report("run/a#1/settle.2", acted(Status::Succeeded, &[], &[])), []);
}
