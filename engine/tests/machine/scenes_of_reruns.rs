//! Scenes of runs that are done again.

use std::time::Duration;

use leveret_engine::machine::{
    Command, Input, News, Timer,
    again::{Again, Heir, rerun},
    fact::{Accepted, ReplyTo, What},
};
use proto::{
    id::Instance,
    outcome::{Called, ItemsReport, Report, RunPrepared},
    time::Timestamp,
    work::{RunStatus, Status},
};
use serde_json::json;

use super::{
    scenes_of_calls::{calling, ended, parent},
    stage::{Stage, acted, done, listed, set, value},
};

/// A second after the run of `stage` has ended it is to be done again, by a run that others wait for.
fn asked_again(stage: &Stage, again: &Again) -> Result<Stage, String> {
    let reply = Some(ReplyTo { queue: "answers".into(), correlation_id: None });
    let heir = Heir { run: "heir".parse().expect("valid"), reply };
    let later =
        Stage { spec: stage.spec.clone(), run: stage.run.clone(), facts: Vec::new(), commands: Vec::new(), ..*stage };
    let now = later.now.plus(Duration::from_secs(1));
    let later = Stage { now, ..later };
    let (run, step) = rerun(&stage.spec, &stage.facts, heir, again, later.world()).map_err(|failure| failure.code)?;
    Ok(Stage { run, facts: step.facts, commands: step.commands, ..later })
}

/// The run that does the run of `stage` again.
pub fn done_again(stage: &Stage, again: &Again) -> Stage {
    asked_again(stage, again).unwrap_or_else(|code| panic!("{code}"))
}

fn from(task: &str) -> Again {
    Again::From(task.parse().expect("valid"))
}

/// A run that is stopped because it takes too long, when it has failed already, says a second time that it fails. What it
/// failed by is what it said first.
#[test]
fn what_failed_before_the_time_was_over_is_done_again() {
    let mut stage = Stage::of(
        "timeout: 1m\ntasks: { a: { action: core.echo }, b: { action: core.echo }, c: { action: core.echo } }",
    );
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[], &[]));
    stage.ring(Timer::Deadline);
    stage.report("run/c#3/act.1", acted(Status::Canceled, &[], &[]));
    assert_eq!((stage.run.status(), stage.code()), (RunStatus::Failed, "test"));
    let failings = stage.facts.iter().filter(|fact| matches!(fact.what, What::Failing { .. }));
    assert_eq!(failings.count(), 2);
    let heir = done_again(&stage, &Again::Failed);
    assert_eq!(heir.out(), ["heir/a#1/act.1", "heir/b#2/settle.2", "heir/c#3/act.1"]);
}

#[test]
fn a_run_that_is_done_again_is_another_run_and_begins_at_once() {
    let start = Timestamp::from_millis(2_000_000);
    let mut stage = Stage::accepting("tasks: { a: { action: core.echo } }", |accepted| Accepted {
        start_at: Some(start),
        reply: Some(ReplyTo { queue: "elsewhere".into(), correlation_id: None }),
        ..accepted
    });
    stage.ring(Timer::Start);
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    let heir = done_again(&stage, &Again::Failed);
    assert_eq!(
        (heir.run.id().as_str(), heir.run.ancestor(), heir.run.status()),
        ("heir", Some(stage.run.id()), RunStatus::Running)
    );
    assert_eq!(heir.run.reply().expect("somebody waits").queue, "answers");
    assert_eq!((heir.run.started_at(), heir.run.is_scheduled()), (heir.now, false));
    let What::Accepted(accepted) = &heir.facts[0].what else { panic!("{:?}", heir.facts[0]) };
    assert_eq!(accepted.start_at, None);
    let started = Command::Announce(News::TaskStarted("a".parse().expect("valid")));
    assert_eq!(heir.commands.iter().filter(|command| **command == started).count(), 1);
    assert!(heir.commands.contains(&Command::Announce(News::Run)));
}

#[test]
fn what_cannot_be_done_again_says_why() {
    let told = |stage: &Stage, again: &Again| asked_again(stage, again).err();
    let mut stage =
        Stage::of("tasks: { a: { action: core.echo, next: [{ when: failed(), do: b }] }, b: { action: core.echo } }");
    assert_eq!(told(&stage, &Again::Failed).as_deref(), Some("run_not_finished"));
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[], &[]));
    assert_eq!(told(&stage, &Again::Failed).as_deref(), Some("nothing_to_rerun"));
    assert_eq!(told(&stage, &from("b")).as_deref(), Some("task_not_run"));
    assert_eq!(told(&stage, &from("c")).as_deref(), Some("task_unknown"));
    let mut child = Stage::accepting("tasks: { a: { action: core.echo } }", |accepted| Accepted {
        parent: Some(parent(1, None)),
        ..accepted
    });
    child.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    assert_eq!(told(&child, &Again::Failed).as_deref(), Some("child_run"));
}

/// What waits in front of a task that runs again is waited for again, and nothing of what came before is.
#[test]
fn a_delay_of_what_runs_again_begins_anew() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, delay: 10s, next: [{ do: b }] }
  b: { action: core.echo, delay: 10s }
  c: { action: core.echo, wait_for: { signal: go, timeout: 20s } }",
    );
    stage.ring(Timer::Task(Instance(1)));
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[]));
    stage.cancel();
    let heir = done_again(&stage, &Again::Failed);
    let armed: Vec<&Command> = heir.commands.iter().filter(|command| matches!(command, Command::Arm(..))).collect();
    let due = |seconds| heir.now.plus(Duration::from_secs(seconds));
    let (c, b) = (Command::Arm(Timer::Task(Instance(2)), due(20)), Command::Arm(Timer::Task(Instance(3)), due(10)));
    assert_eq!(armed, [&c, &b]);
    assert_eq!(heir.shows("a"), ("succeeded".into(), 1, None));
    let begun = |stage: &Stage| {
        let starts = stage.facts.iter().find_map(|fact| match &fact.what {
            What::Begun { starts, .. } => Some(starts[0].clone()),
            _ => None,
        });
        starts.expect("it has begun")
    };
    assert_eq!(begun(&heir), begun(&stage), "what was waited for is not waited for again");
}

/// The time of a run that is done again counts from when that begins, also when its length had to be evaluated.
#[test]
fn the_time_of_a_run_that_is_done_again_begins_anew() {
    for (timeout, is_evaluated) in [("1m", false), ("'{{ 60 }}'", true)] {
        let mut stage = Stage::of(&format!("timeout: {timeout}\ntasks: {{ a: {{ action: core.echo }} }}"));
        if is_evaluated {
            let prepared = RunPrepared { timeout_ms: Some(60_000), ..RunPrepared::default() };
            stage.now = stage.now.plus(Duration::from_secs(5));
            stage.report("run/-/prepare.1", Report::RunPrepared(prepared));
        }
        stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
        let mut heir = done_again(&stage, &Again::Failed);
        let due = heir.now.plus(Duration::from_secs(60));
        assert!(heir.commands.contains(&Command::Arm(Timer::Deadline, due)), "{timeout}: {:?}", heir.commands);
        heir.ring(Timer::Deadline);
        assert_eq!(heir.code(), "timed_out");
    }
}

/// A join that some branches had reached is reached by them still; by one that runs again it is not.
#[test]
fn a_join_waits_for_the_branch_that_runs_again() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, next: [{ publish: { x: '{{ result }}' }, do: j }] }
  b: { action: core.echo, next: [{ do: j }] }
  c: { action: core.echo, next: [{ when: succeeded(), do: noop }] }
  j: { action: core.echo, join: all, input: { x: '{{ workflow.x }}' } }",
    );
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[("x", "5")]));
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[0], &[]));
    stage.report("run/j#4/act.1", acted(Status::Succeeded, &[], &[]));
    stage.report("run/c#3/act.1", acted(Status::Failed, &[], &[]));
    assert_eq!(done_again(&stage, &Again::Failed).out(), ["heir/c#3/act.1"]);
    let mut heir = done_again(&stage, &from("b"));
    assert_eq!(heir.out(), ["heir/b#2/act.1", "heir/c#3/act.1"]);
    assert_eq!(heir.shows("j").0, "not_run");
    heir.report("heir/b#2/act.1", acted(Status::Succeeded, &[0], &[]));
    let joined = heir.out().into_iter().find(|key| key.contains("/j#")).expect("the join is reached");
    assert_eq!(heir.sees(&joined, "workflow.x"), json!(5));
}

/// Of items only those that did not succeed; of a task that had not come to its list, all of it.
#[test]
fn items_that_succeeded_are_kept_and_the_others_are_done_again() {
    let yaml = "
tasks:
  a: { action: core.echo, with_items: [1], next: [{ when: succeeded(), do: noop }] }
  b: { action: core.echo, with_items: [1] }";
    let mut stage = Stage::of(yaml);
    stage.report("run/a#1/items.1", listed(&[(3, 10)]));
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    let errors = Some(value("[{\"index\":1}]"));
    stage.report("run/a#1/act.3", Report::Items(ItemsReport { failed: set(&[1]), errors, ..ItemsReport::default() }));
    stage.report("run/a#1/act.4", Report::Items(done(&[2])));
    stage.report("run/b#2/items.1", Report::HandedBack);
    assert_eq!(stage.run.status(), RunStatus::Failed);
    let heir = done_again(&stage, &Again::Failed);
    assert_eq!(heir.out(), ["heir/a#1/items.1", "heir/b#2/items.1"]);
    let mut heir = done_again(&stage, &Again::FailedItems);
    assert_eq!(heir.out(), ["heir/a#1/act.5", "heir/b#2/items.1"]);
    heir.report("heir/a#1/act.5", Report::Items(done(&[1])));
    assert_eq!(heir.shows("a"), ("succeeded".into(), 1, None));
}

/// What ended well as the run closed has ended; what follows from it is asked now.
#[test]
fn what_ended_well_as_the_run_closed_goes_on_from_there() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo }
  b: { action: core.echo, next: [{ when: 'result == 7', do: c }] }
  c: { action: core.echo }
finally: { action: core.echo }",
    );
    stage.report("run/a#1/act.1", acted(Status::Failed, &[], &[]));
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[0], &[]));
    stage.report("run/finally#3/act.1", acted(Status::Failed, &[], &[]));
    let heir = done_again(&stage, &Again::Failed);
    assert_eq!(heir.out(), ["heir/a#1/act.1", "heir/b#2/settle.2"]);
    assert_eq!(heir.sees("heir/b#2/settle.2", "result"), json!(7));
}

/// The children of what is kept are those of the run that is done again.
#[test]
fn a_run_shows_the_children_that_it_has_started_itself() {
    let mut stage = calling("tasks: { a: { workflow: sub }, b: { workflow: sub } }");
    for (key, task, instance, code) in [("run/a#1/act.1", "a", 1, None), ("run/b#2/act.1", "b", 2, Some("bad"))] {
        stage.report(key, Report::Called(Called::default()));
        let Input::ChildEnded(mut end) = ended(1, None, code) else { unreachable!("it is one") };
        (end.parent.instance, end.parent.task) = (Instance(instance), task.parse().expect("valid"));
        end.run = stage.run.id().child(Instance(instance), 1, None);
        stage.feed(Input::ChildEnded(end));
    }
    let children = |stage: &Stage, task: &str| {
        let shown = stage.run.view(&stage.spec).tasks[&task.parse().expect("valid")].children.clone();
        shown.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!((children(&stage, "a"), children(&stage, "b")), (vec!["run~1.1".into()], vec!["run~2.1".into()]));
    let mut heir = done_again(&stage, &Again::Failed);
    heir.now = heir.now.plus(Duration::from_millis(1));
    heir.report("heir/b#2/act.1", Report::Called(Called::default()));
    assert_eq!((children(&heir, "a"), children(&heir, "b")), (vec![], vec!["heir~2.1".into()]));
}

/// It had done all its items when the run closed, and a worker was asked what follows: that is asked again, with them.
#[test]
fn items_that_were_settled_as_the_run_closed_are_settled_again() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, with_items: [1], next: [{ when: 'result == [0]', do: noop }] }
  b: { action: core.echo }",
    );
    stage.report("run/a#1/items.1", listed(&[(1, 10)]));
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    assert_eq!(stage.out(), ["run/a#1/settle.3", "run/b#2/act.1"]);
    stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
    assert_eq!(stage.run.status(), RunStatus::Failed);
    let heir = done_again(&stage, &Again::Failed);
    assert_eq!(heir.out(), ["heir/a#1/settle.3", "heir/b#2/act.1"]);
    assert_eq!(heir.sees("heir/a#1/settle.3", "result"), json!([0]));
}
