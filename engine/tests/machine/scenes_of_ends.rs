//! Scenes of runs that rest, take too long, are cut short, and of what `finally` does then.

use leveret_engine::machine::{Command, Input, Order, Timer, fact::What};
use proto::{
    control::Control,
    failure::Failure,
    id::Instance,
    outcome::{ItemsReport, Next, OutputReport, Report, RunPrepared},
    time::Timestamp,
    work::{RunStatus, Status},
};
use serde_json::json;

use super::stage::{Stage, acted, attempt, key_of, listed, set, value};

const FINALLY: &str = "
tasks: { a: { action: core.echo } }
finally: { action: core.echo, input: { was: '{{ run.status }}' } }";

fn output() -> Report {
    Report::Output(OutputReport { value: value("{}"), left_out: Vec::new() })
}

/// Nothing leaves during a pause, whatever happens; afterwards all of it does.
#[test]
fn a_pause_holds_back_what_follows() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, next: [{ do: c }] }
  b: { action: core.echo, delay: 1m }
  c: { action: core.echo }",
    );
    let told = stage.pause();
    assert!(matches!(told[..], [Command::Broadcast(Control::Pause { .. }), Command::Announce(_)]), "{told:?}");
    assert_eq!(stage.run.status(), RunStatus::Pausing);
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[]));
    assert_eq!(stage.run.status(), RunStatus::Paused);
    stage.ring(Timer::Task(Instance(2)));
    assert_eq!((stage.out().len(), stage.pause().len()), (0, 0));
    stage.feed(Input::Resume);
    assert_eq!(stage.out(), ["run/b#2/act.1", "run/c#3/act.1"]);
    assert_eq!(stage.run.status(), RunStatus::Running);
}

/// Nobody can have done it, whatever somebody says.
#[test]
fn work_that_is_held_back_is_not_answered() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, next: [{ do: b }] }, b: { action: core.echo } }");
    stage.pause();
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[]));
    assert_eq!(stage.report("run/b#2/act.1", acted(Status::Succeeded, &[], &[])), []);
    stage.feed(Input::Resume);
    assert_eq!(stage.out(), ["run/b#2/act.1"]);
}

/// A cancel wins over a pause, a pause over a failure.
#[test]
fn a_failure_waits_for_the_resume_and_a_cancel_does_not() {
    let failed = || {
        let mut stage = Stage::of("tasks: { a: { action: core.echo } }");
        stage.pause();
        stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
        assert_eq!(stage.run.status(), RunStatus::Paused);
        stage
    };
    let mut stage = failed();
    stage.feed(Input::Resume);
    assert_eq!(stage.run.status(), RunStatus::Failed);
    let mut stage = failed();
    stage.cancel();
    assert_eq!(stage.run.status(), RunStatus::Canceled);
}

/// The output was handed back during a pause: the cancel that ends the pause must send it.
#[test]
fn a_cancel_sends_the_output_that_a_pause_held_back() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo } }\noutput: { o: '{{ task.a.result }}' }");
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    stage.pause();
    stage.report("run/-/output.1", Report::HandedBack);
    assert_eq!(stage.run.status(), RunStatus::Paused);
    assert!(stage.cancel().contains(&Command::Dispatch(key_of("run/-/output.2"))));
    stage.report("run/-/output.2", output());
    assert_eq!(stage.run.status(), RunStatus::Canceled);
}

#[test]
fn a_cancel_before_the_start_takes_the_timer_away() {
    let at = Timestamp::from_millis(2_000_000);
    let mut stage = Stage::accepting("tasks: { a: { action: core.echo } }", |mut accepted| {
        accepted.start_at = Some(at);
        accepted
    });
    assert_eq!(stage.commands.last(), Some(&Command::Arm(Timer::Start, at)));
    stage.cancel();
    assert_eq!(stage.run.status(), RunStatus::Canceled);
    assert!(stage.armed().is_empty());
}

#[test]
fn a_run_of_an_exclusive_workflow_waits_for_its_time_and_then_for_its_turn() {
    let mut stage = Stage::accepting("exclusive: [p]\nparameters: { p: {} }\ntasks: { a: {} }", |mut accepted| {
        accepted.start_at = Some(Timestamp::from_millis(2_000_000));
        accepted
    });
    assert_eq!(stage.feed(Input::Admit), []);
    assert!(matches!(stage.ring(Timer::Start)[..], [Command::Enqueue(_)]));
    assert_eq!((stage.run.status(), stage.run.is_in_line()), (RunStatus::Queued, true));
    stage.feed(Input::Admit);
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
}

#[test]
fn a_run_that_takes_too_long_stops_what_runs_and_drops_the_rest() {
    let mut stage = Stage::of("timeout: 1m\ntasks: { a: { action: core.echo }, b: { action: core.echo, delay: 1h } }");
    let told = stage.ring(Timer::Deadline);
    let through = Instance(2);
    assert!(told.contains(&Command::Broadcast(Control::Cancel { run: "run".parse().expect("valid"), through })));
    assert_eq!(stage.shows("b"), ("canceled".into(), 0, Some("not_started".into())));
    stage.report("run/a#1/act.1", acted(Status::Canceled, &[], &[]));
    assert_eq!((stage.run.status(), stage.code()), (RunStatus::Failed, "timed_out"));
    assert!(stage.armed().is_empty());
}

/// It would rest for ever: its time is over all the same.
#[test]
fn a_run_that_rests_as_it_fails_takes_no_longer_than_it_may() {
    let mut stage = Stage::of("timeout: 1m\ntasks: { a: { action: core.echo } }");
    stage.pause();
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    stage.ring(Timer::Deadline);
    assert_eq!((stage.run.status(), stage.code()), (RunStatus::Failed, "test"));
}

#[test]
fn what_a_failing_run_still_does_is_stopped_when_its_time_is_over() {
    let mut stage = Stage::of("timeout: 1m\ntasks: { a: { action: core.echo }, b: { action: core.echo } }");
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    let told = stage.ring(Timer::Deadline);
    assert!(matches!(told[..], [Command::Broadcast(Control::Cancel { .. }), ..]), "{told:?}");
    assert_eq!(stage.code(), "test");
}

#[test]
fn the_output_of_a_run_that_rests_may_take_too_long_and_then_finally_runs() {
    let mut stage = Stage::of(&format!("timeout: 1m\noutput: {{ o: '{{{{ task.a.result }}}}' }}{FINALLY}"));
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    stage.pause();
    stage.ring(Timer::Deadline);
    assert_eq!(stage.out(), ["run/finally#2/act.1"]);
    assert_eq!(stage.run.info().status, RunStatus::Failed);
    assert_eq!(stage.run.info().error.expect("why").code, "timed_out");
}

/// Nothing rests any more in a run that is stopped: it would never end.
#[test]
fn a_pause_of_a_run_that_took_too_long_changes_nothing() {
    let mut stage = Stage::of("timeout: 1m\ntasks: { a: { action: core.echo } }");
    stage.ring(Timer::Deadline);
    assert_eq!(stage.pause(), []);
}

#[test]
fn a_deadline_that_rings_again_changes_nothing() {
    let mut stage = Stage::of("timeout: 1m\ntasks: { a: { delay: 1h } }\noutput: { o: '{{ run.id }}' }");
    stage.ring(Timer::Deadline);
    assert_eq!(stage.out(), ["run/-/output.1"]);
    assert_eq!(stage.feed(Input::Timer(Timer::Deadline)), []);
}

#[test]
fn a_deadline_that_rings_early_in_finally_is_not_set_again() {
    let mut stage = Stage::of(&format!("timeout: 1m{FINALLY}"));
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    assert_eq!(stage.feed(Input::Timer(Timer::Deadline)), []);
}

/// What its parent gives it bounds a child, whatever it says of itself.
#[test]
fn an_evaluated_timeout_is_no_longer_than_what_the_parent_gives() {
    let mut stage =
        Stage::accepting("timeout: '{{ 60 * 60 }}'\ntasks: { a: { action: core.echo } }", |mut accepted| {
            accepted.parent = Some(super::scenes_of_calls::parent(1, Some(1_000)));
            accepted
        });
    let prepared = RunPrepared { timeout_ms: Some(3_600_000), ..RunPrepared::default() };
    stage.report("run/-/prepare.1", Report::RunPrepared(prepared));
    stage.ring(Timer::Deadline);
    assert_eq!((stage.now, stage.code()), (Timestamp::from_millis(1_001_000), "timed_out"));
}

#[test]
fn finally_runs_once_at_every_end_and_sees_it() {
    for (how, status) in [("succeeds", "succeeded"), ("fails", "failed"), ("is cancelled", "canceled")] {
        let mut stage = Stage::of(FINALLY);
        match how {
            "succeeds" => stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[])),
            "fails" => stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[])),
            _ => {
                stage.cancel();
                stage.report("run/a#1/act.1", Report::HandedBack)
            }
        };
        assert_eq!(stage.out(), ["run/finally#2/act.1"]);
        assert_eq!(stage.run.info().status.as_str(), status);
        stage.report("run/finally#2/act.1", acted(Status::Failed, &[], &[]));
        assert_eq!(stage.run.status().as_str(), status);
    }
}

#[test]
fn a_cancel_stops_finally_and_the_run_ends_as_it_was_to_end() {
    let mut stage = Stage::of(FINALLY);
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    let told = stage.cancel();
    assert!(matches!(told[..], [Command::Broadcast(Control::Cancel { through: Instance(2), .. }), ..]), "{told:?}");
    assert_eq!(stage.cancel(), []);
    stage.report("run/finally#2/act.1", acted(Status::Canceled, &[], &[]));
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
    assert_eq!(stage.shows("finally").0, "canceled");
}

#[test]
fn a_signal_reaches_finally_of_a_failed_run() {
    let mut stage =
        Stage::of("tasks: { a: { action: core.echo } }\nfinally: { action: core.echo, wait_for: { signal: go } }");
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    assert_eq!(stage.out(), [""; 0]);
    stage.signal("go", None, "1");
    assert_eq!(stage.sees("run/finally#2/act.1", "signal.go"), json!(1));
    assert_eq!(stage.out(), ["run/finally#2/act.1"]);
}

/// The run was cancelled, its `finally` was not: items that fail there have failed.
#[test]
fn items_of_finally_fail_by_themselves_in_a_cancelled_run() {
    let mut stage =
        Stage::of("tasks: { a: { delay: 1h } }\nfinally: { action: core.echo, with_items: [1], retry: { count: 1 } }");
    stage.cancel();
    stage.report("run/finally#2/items.1", listed(&[(1, 10)]));
    let retried = ItemsReport { retry: vec![(0, set(&[0]))], ..ItemsReport::default() };
    stage.report("run/finally#2/act.2", Report::Items(retried));
    stage.ring(Timer::Task(Instance(2)));
    stage.report("run/finally#2/act.3", Report::Unable(Failure::new("absent", "no such action")));
    assert_eq!(stage.shows("finally"), ("failed".into(), 1, Some("items_failed".into())));
    assert_eq!(stage.run.status(), RunStatus::Canceled);
}

#[test]
fn a_finally_that_cannot_be_settled_fails_nothing() {
    let mut stage = Stage::of(FINALLY);
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    let unable = Next::Unable(Failure::new("template_error", "no such name"));
    stage.report("run/finally#2/act.1", attempt(Status::Succeeded, unable));
    assert_eq!(stage.run.status(), RunStatus::Succeeded);
    assert!(!stage.facts.iter().any(|fact| matches!(fact.what, What::Failing { .. })));
}

#[test]
fn children_of_a_run_that_rests_rest_too() {
    let mut stage = super::scenes_of_calls::calling("tasks: { a: { workflow: sub }, b: { workflow: sub } }");
    stage.report("run/a#1/act.1", Report::Called(Default::default()));
    let orders = |commands: Vec<Command>| {
        let order = |command: Command| {
            if let Command::Child(child, order) = command { Some((child.to_string(), order)) } else { None }
        };
        commands.into_iter().filter_map(order).collect::<Vec<_>>()
    };
    let child = |name: &str, order| (name.to_owned(), order);
    assert_eq!(orders(stage.pause()), [child("run~1.1", Order::Pause)]);
    let late = stage.report("run/b#2/act.1", Report::Called(Default::default()));
    assert_eq!(orders(late), [child("run~2.1", Order::Pause)]);
    assert_eq!(stage.run.status(), RunStatus::Paused);
    let both = |order| [child("run~1.1", order), child("run~2.1", order)];
    assert_eq!(orders(stage.feed(Input::Resume)), both(Order::Resume));
    assert_eq!(orders(stage.cancel()), both(Order::Cancel));
}

/// Whoever cancelled it has stopped it already, and it ends as cancelled.
#[test]
fn a_deadline_of_a_run_that_was_cancelled_stops_nothing_again() {
    let mut stage = Stage::of("timeout: 1m\ntasks: { a: { action: core.echo } }\noutput: { o: '{{ run.id }}' }");
    stage.cancel();
    assert_eq!(stage.feed(Input::Timer(Timer::Deadline)).len(), 1, "it is not due, and set again");
    assert_eq!(stage.ring(Timer::Deadline), []);
    stage.report("run/a#1/act.1", acted(Status::Canceled, &[], &[]));
    assert_eq!(stage.out(), ["run/-/output.1"]);
    stage.feed(Input::Timer(Timer::Deadline));
    assert_eq!(stage.run.status(), RunStatus::Canceled);
    assert!(!stage.facts.iter().any(|fact| matches!(fact.what, What::Failing { .. })));
}

/// A start time that has not come is waited for, and one that has come is not.
#[test]
fn a_run_waits_for_its_time_and_no_longer() {
    let now = Timestamp::from_millis(1_000_000);
    let accepting = |at: Timestamp| {
        Stage::accepting("tasks: { a: { action: core.echo } }", |mut accepted| {
            accepted.start_at = Some(at);
            accepted
        })
    };
    let stage = accepting(now);
    assert_eq!((stage.out(), stage.facts.len()), (vec!["run/a#1/act.1".to_owned()], 2));
    let later = now.plus(std::time::Duration::from_secs(5));
    let mut stage = accepting(later);
    assert_eq!(stage.feed(Input::Timer(Timer::Start)), [Command::Arm(Timer::Start, later)]);
    assert_eq!(stage.run.status(), RunStatus::Queued);
    stage.ring(Timer::Start);
    assert_eq!(stage.out(), ["run/a#1/act.1"]);
}

/// Late words about work that is over, or that never was, do nothing while the run itself waits for work.
#[test]
fn nothing_but_the_work_of_the_run_itself_is_taken_for_it() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo } }\noutput: { o: '{{ run.id }}' }");
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    stage.report("run/-/output.1", Report::HandedBack);
    assert_eq!(stage.out(), ["run/-/output.2"]);
    for key in ["run/a#1/act.1", "run/a#1/act.2", "run/-/output.1", "run/-/output.3", "run/-/prepare.2"] {
        assert_eq!(stage.report(key, Report::HandedBack), [], "{key}");
        assert_eq!(stage.feed(Input::Undeliverable(key_of(key))), [], "{key}");
    }
    stage.pause();
    stage.report("run/-/output.2", Report::HandedBack);
    assert_eq!(stage.report("run/-/output.3", output()), [], "it was not sent");
    assert_eq!(stage.run.status(), RunStatus::Paused);
}
