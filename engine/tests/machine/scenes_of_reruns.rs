//! Scenes of runs that are done again.

use leveret_engine::machine::{
    Timer,
    again::{Again, Heir, rerun},
    fact::What,
};
use proto::work::{RunStatus, Status};

use super::stage::{Stage, acted};

/// The run that does the run of `stage` again.
fn done_again(stage: &Stage, again: &Again) -> Stage {
    let heir = Heir { run: "heir".parse().expect("valid"), reply: None };
    let now = stage.world();
    let made = rerun(&stage.spec, &stage.facts, heir, again, now);
    let (run, step) = made.unwrap_or_else(|failure| panic!("{failure:?}"));
    Stage { spec: stage.spec.clone(), run, facts: step.facts, commands: step.commands, ..*stage }
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
