//! What became of an item, told from the history of its run.

use leveret_engine::machine::{
    Input,
    again::Again,
    explain::{Asked, explain},
};
use proto::{
    id::{Instance, ItemIndex},
    outcome::{ItemsReport, Report},
    work::RunStatus,
};

use super::{
    scenes_of_calls::{called, calling, ended},
    scenes_of_reruns::done_again,
    stage::{Stage, done, listed, set, value},
};

/// Where the items of the first task are, in order, and at which place of which list their error is.
fn stories(stage: &Stage, count: u32) -> Vec<(String, Option<Option<u32>>)> {
    let task = stage.spec.find(&"a".parse().expect("valid")).expect("the scene has it");
    let story = |item| {
        let asked = Asked { task, instance: Some(Instance(1)), item: Some(ItemIndex(item)) };
        let told = explain(&stage.spec, &stage.facts, asked, []).expect("it has started");
        let error = told.item_error.map(|element| element.at);
        (told.given.item.expect("asked for").status, error)
    };
    (0..count).map(story).collect()
}

fn are(statuses: &[&str]) -> Vec<(String, Option<Option<u32>>)> {
    statuses.iter().map(|status| ((*status).to_owned(), None)).collect()
}

#[test]
fn an_item_waits_again_when_it_is_tried_again_or_handed_back() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, with_items: [1], retry: { count: 1, delay: 1m } } }");
    stage.report("run/a#1/items.1", listed(&[(4, 10)]));
    stage.report(
        "run/a#1/act.2",
        Report::Items(ItemsReport { retry: vec![(60_000, set(&[0]))], ..ItemsReport::default() }),
    );
    stage.feed(Input::Pause { reason: None });
    stage.report("run/a#1/act.3", Report::Items(ItemsReport { handed_back: set(&[1]), ..ItemsReport::default() }));
    assert_eq!(stories(&stage, 4), are(&["waiting", "waiting", "running", "running"]));
    stage.report("run/a#1/act.4", Report::Items(ItemsReport { retry: vec![(60_000, set(&[2]))], ..done(&[3]) }));
    // The last is not of that range: nothing that is said of it counts.
    assert_eq!(stories(&stage, 4)[2..], are(&["waiting", "running"]));
}

/// Each child tells of its own item.
#[test]
fn an_item_is_where_its_child_is() {
    let mut stage = calling("tasks: { a: { workflow: sub, with_items: [1], tolerate: 9 } }");
    stage.report("run/a#1/items.1", listed(&[(3, 10)]));
    for item in 0..3 {
        let called = called(&[item]);
        stage.report(&format!("run/a#1/act.{}", item + 2), Report::Items(called));
    }
    assert_eq!(stories(&stage, 3), are(&["running", "running", "running"]));
    stage.feed(ended(3, Some(1), Some("bad")));
    stage.feed(ended(4, Some(2), None));
    let told = stories(&stage, 3);
    assert_eq!(told[1], ("failed".to_owned(), Some(None)));
    assert_eq!((&told[0].0[..], &told[2].0[..]), ("running", "succeeded"));
}

/// A run that does the items again that failed: of these, what became of them is open again.
#[test]
fn an_item_that_failed_is_open_again_in_the_run_that_does_it_again() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, with_items: [1], concurrency: 1 } }");
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&[(3, 10)]));
    stage.report("run/a#1/act.2", Report::Items(done(&[0])));
    let errors = Some(value(r#"[{"index":1},{"index":2}]"#));
    stage
        .report("run/a#1/act.3", Report::Items(ItemsReport { failed: set(&[1, 2]), errors, ..ItemsReport::default() }));
    assert_eq!(stage.run.status(), RunStatus::Failed);
    assert_eq!(stories(&stage, 3)[1..], [("failed".to_owned(), Some(Some(0))), ("failed".to_owned(), Some(Some(1)))]);
    let heir = done_again(&stage, &Again::FailedItems);
    assert_eq!(stories(&heir, 3), are(&["succeeded", "running", "running"]));
}
