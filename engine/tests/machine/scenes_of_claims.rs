//! Scenes of work that must not be begun twice: whoever claims it first may begin.

use leveret_engine::machine::{Command, Input};
use proto::{
    SCHEMA,
    control::Control,
    outcome::{Claim, ItemsReport, Report},
    work::{RunStatus, Status},
};

use super::stage::{Stage, acted, done, key_of, listed, set};

const TASK: &str = "tasks: { a: { action: core.echo, on_lost: fail }, b: { action: core.echo } }";
const ITEMS: &str =
    "tasks: { a: { action: core.echo, on_lost: fail, with_items: [1], tolerate: 9 }, b: { action: core.echo } }";

/// Whoever claims `key` as `nonce` is told who may begin; nobody may where that is empty.
fn claims(stage: &mut Stage, key: &str, nonce: &str, redelivered: bool) -> String {
    let claim = Claim { schema: SCHEMA, key: key_of(key), nonce: nonce.to_owned(), redelivered };
    let told = stage.feed(Input::Claim(claim)).into_iter().find_map(|command| match command {
        Command::Broadcast(Control::Claimed { key: of, nonce }) => Some((of, nonce)),
        _ => None,
    });
    let (of, holder) = told.expect("whoever claims is answered");
    assert_eq!(of, key_of(key));
    holder
}

/// A run with one piece of work that is claimed, of a task or of an item.
fn both() -> [(Stage, &'static str); 2] {
    let mut items = Stage::of(ITEMS);
    items.flights_max = 1;
    items.report("run/a#1/items.1", listed(&[(3, 10)]));
    [(Stage::of(TASK), "run/a#1/act.1"), (items, "run/a#1/act.2")]
}

#[test]
fn who_claims_first_may_begin_and_nobody_else() {
    for (mut stage, key) in both() {
        assert_eq!(claims(&mut stage, key, "one", false), "one");
        let facts = stage.facts.len();
        assert_eq!(claims(&mut stage, key, "one", false), "one", "the answer may have been lost");
        assert_eq!(claims(&mut stage, key, "one", true), "one");
        assert_eq!(claims(&mut stage, key, "two", false), "one");
        assert_eq!((stage.facts.len(), stage.run.status()), (facts, RunStatus::Running));
        assert!(stage.out().contains(&key.to_owned()));
    }
}

/// It comes to a second worker because the first one lost it, which had begun.
#[test]
fn what_was_begun_and_comes_to_another_worker_has_crashed() {
    for (mut stage, key) in both() {
        claims(&mut stage, key, "one", false);
        assert_eq!(claims(&mut stage, key, "two", true), "");
        assert!(!stage.out().contains(&key.to_owned()));
    }
    let [(mut task, key), (mut items, range)] = both();
    for stage in [(&mut task, key), (&mut items, range)] {
        claims(stage.0, stage.1, "one", false);
        claims(stage.0, stage.1, "two", true);
    }
    assert_eq!(task.shows("a"), ("crashed".into(), 1, Some("lost".into())));
    let counts = items.run.view(&items.spec).tasks[&"a".parse().expect("valid")].items.expect("items");
    assert_eq!((counts.failed, items.shows("a").0.as_str()), (1, "running"));
}

/// Delivered a second time and begun by nobody: that is no loss.
#[test]
fn what_nobody_had_begun_may_be_begun_by_the_second() {
    for (mut stage, key) in both() {
        assert_eq!(claims(&mut stage, key, "two", true), "two");
    }
}

/// It goes out under a new key, which nobody has claimed.
#[test]
fn what_is_handed_back_may_be_claimed_anew() {
    let [(mut task, key), (mut items, range)] = both();
    claims(&mut task, key, "one", false);
    task.report(key, Report::HandedBack);
    assert_eq!(claims(&mut task, key, "one", false), "", "that work is not wanted any more");
    assert_eq!(claims(&mut task, "run/a#1/act.2", "two", true), "two");
    claims(&mut items, range, "one", false);
    items.report(range, Report::Items(ItemsReport { handed_back: set(&[0]), ..ItemsReport::default() }));
    assert_eq!(claims(&mut items, "run/a#1/act.3", "two", true), "two");
    items.report("run/a#1/act.3", Report::Items(done(&[0])));
    assert_eq!(claims(&mut items, "run/a#1/act.4", "three", true), "three");
}

/// Nothing begins in a run that closes; what has begun goes on.
#[test]
fn nothing_is_begun_in_a_run_that_closes() {
    for (mut stage, key) in both() {
        stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
        assert_eq!(claims(&mut stage, key, "one", false), "");
        assert_eq!((stage.run.status(), stage.shows("a").2.as_deref()), (RunStatus::Failed, Some("not_started")));
    }
    for (mut stage, key) in both() {
        claims(&mut stage, key, "one", false);
        stage.report("run/b#2/act.1", acted(Status::Failed, &[], &[]));
        assert_eq!(claims(&mut stage, key, "one", false), "one");
        assert_eq!(stage.run.status(), RunStatus::Running);
    }
}
