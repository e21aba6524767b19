//! Child runs: accepted with their parent's commit, ended into it, reached by what is ordered of it.

use leveret_scheduler::store::memory::Fault;
use proto::{
    json::Json,
    outcome::{Called, ItemsReport, Listed, Report},
    value::{Stored, ValueRef},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    robot::{NONE, acted_with, listed, value},
    site::{Site, eventually},
};

const PARENT: &str = r#"
name: parent
tasks:
  call: { workflow: child, next: [{ when: succeeded(), do: done }] }
  done: { action: core.echo, input: { message: 1 } }
"#;

const CHILD: &str = r#"
name: child
parameters: { word: { type: string, default: hello } }
tasks:
  say: { action: core.echo, input: { message: "{{ parameters.word }}" } }
"#;

const EACH: &str = r#"
name: parent
tasks:
  call: { workflow: child, with_items: [1, 2, 3], tolerate: 1 }
"#;

async fn register(site: &Site, name: &str, source: &str) {
    let (status, answer) = site.call(Method::PUT, &format!("/api/v1/workflows/{name}"), source.to_owned()).await;
    assert!(status.is_success(), "{answer}");
}

async fn submit(site: &mut Site, definition: &str) {
    site.submit(&json!({ "definition": definition, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
}

fn called(word: &str) -> Called {
    Called { parameters: vec![("word".parse().unwrap(), ValueRef::Inline(Json::of(word).unwrap()))], timeout_ms: None }
}

/// Answers the one piece of work that is there.
async fn answer(site: &mut Site, key: &str, report: Report) {
    let (work, delivery) = site.work().await;
    assert_eq!(work.key.to_string(), key);
    site.report(&work, report).await;
    delivery.ack();
}

#[tokio::test]
async fn a_child_runs_for_its_task() {
    let mut site = Site::memory().await;
    register(&site, "child", CHILD).await;
    submit(&mut site, PARENT).await;
    let (work, delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/call#1/act.1");
    assert_eq!(work.child, Some(Stored::of(CHILD.as_bytes())), "pinned");
    site.report(&work, Report::Called(called("large".repeat(1_000).as_str()))).await;
    delivery.ack();
    let (work, delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r~1.1/say#1/act.1");
    site.report(&work, acted_with(value(&json!("said")), &[])).await;
    delivery.ack();
    answer(&mut site, "r/done#2/act.1", acted_with(value(&json!(1)), &[])).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
    let child = site.show("r~1.1").await;
    assert_eq!((&child["status"], &child["workflow"]), (&json!("succeeded"), &json!("child")));
}

#[tokio::test]
async fn a_run_keeps_what_was_registered_when_it_was_accepted() {
    let mut site = Site::memory().await;
    let old = "name: parent\ntasks:\n  first: { action: core.echo, input: { message: 1 }, next: [{ do: call }] }\n  call: { workflow: child }\n";
    register(&site, "parent", old).await;
    register(&site, "child", CHILD).await;
    site.submit(&json!({ "workflow": "parent", "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    register(&site, "parent", &PARENT.replace("done", "other")).await;
    register(&site, "child", &CHILD.replace("hello", "good bye")).await;
    let (work, delivery) = site.work().await;
    assert_eq!((work.key.to_string().as_str(), work.definition), ("r/first#1/act.1", Stored::of(old.as_bytes())));
    site.report(&work, acted_with(value(&json!(1)), &[0])).await;
    delivery.ack();
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/call#2/act.1");
    assert_eq!((work.definition, work.child), (Stored::of(old.as_bytes()), Some(Stored::of(CHILD.as_bytes()))));
}

#[tokio::test]
async fn children_of_items_are_counted_one_by_one_and_a_crash_changes_nothing() {
    let mut site = Site::sqlite().await;
    register(&site, "child", CHILD).await;
    submit(&mut site, EACH).await;
    let Report::Listed(listed) = listed(3) else { panic!("a list") };
    answer(&mut site, "r/call#1/items.1", Report::Listed(Listed { tolerate: 1, ..listed })).await;
    let mut children = Vec::new();
    while children.len() < 3 {
        let (work, delivery) = site.work().await;
        match &work.range {
            Some(range) => {
                let called = range.items.iter().map(|item| (item, called("x"))).collect();
                site.report(&work, Report::Items(ItemsReport { called, ..ItemsReport::default() })).await;
            }
            None => children.push(work),
        }
        delivery.ack();
    }
    site.kill().await;
    site.start().await;
    let (last, others) = children.split_last().unwrap();
    for work in others {
        site.report(work, acted_with(value(&json!("said")), &[])).await;
    }
    site.report(last, Report::Unable(proto::failure::Failure::new("template_error", "no"))).await;
    let run = site.ended("r").await;
    let counts = json!({ "total": 3, "succeeded": 2, "failed": 1, "running": 0 });
    assert_eq!((&run["status"], &run["tasks"]["call"]["items"]), (&json!("succeeded"), &counts), "{run:#}");
}

#[tokio::test]
async fn a_cancel_reaches_the_children_of_children() {
    let mut site = Site::memory().await;
    register(&site, "child", CHILD).await;
    register(&site, "middle", "name: middle\ntasks: { call: { workflow: child } }\n").await;
    submit(&mut site, "name: top\ntasks: { call: { workflow: middle } }\n").await;
    answer(&mut site, "r/call#1/act.1", Report::Called(Called::default())).await;
    answer(&mut site, "r~1.1/call#1/act.1", Report::Called(called("x"))).await;
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r~1.1~1.1/say#1/act.1");
    let (status, _) = site.call(Method::POST, "/api/v1/runs/r/cancel", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    for run in ["r", "r~1.1", "r~1.1~1.1"] {
        assert_eq!(site.show(run).await["status"], "canceling", "{run}");
    }
    site.report(&work, Report::HandedBack).await;
    for run in ["r", "r~1.1", "r~1.1~1.1"] {
        assert_eq!(site.ended(run).await["status"], "canceled", "{run}");
    }
}

#[tokio::test]
async fn a_workflow_that_is_not_there_is_told_before_anything_runs() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": PARENT, "id": "r" })).await;
    let (_, answer) = site.answer().await;
    assert_eq!((&answer["status"], &answer["errors"][0]["code"]), (&json!("rejected"), &json!("workflow_unknown")));
}

#[tokio::test]
async fn a_child_that_nobody_is_needed_for_ends_in_the_same_turn() {
    let mut site = Site::memory().await;
    register(&site, "child", &NONE.replace("name: none", "name: child")).await;
    submit(&mut site, PARENT).await;
    answer(&mut site, "r/call#1/act.1", Report::Called(Called::default())).await;
    answer(&mut site, "r/done#2/act.1", acted_with(value(&json!(1)), &[])).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
}

#[tokio::test]
async fn a_turn_that_fails_forgets_the_child_too() {
    let mut site = Site::memory().await;
    register(&site, "child", CHILD).await;
    submit(&mut site, PARENT).await;
    let (work, delivery) = site.work().await;
    site.faults().fail_next_commit(Fault::Before);
    site.report(&work, Report::Called(called("x"))).await;
    delivery.ack();
    let (work, delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r~1.1/say#1/act.1");
    site.report(&work, acted_with(value(&json!("said")), &[])).await;
    delivery.ack();
    answer(&mut site, "r/done#2/act.1", acted_with(value(&json!(1)), &[])).await;
    let run = site.ended("r").await;
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let started: f64 = eventually(async || Some(site.metric("leveret_runs_started_total").await)).await;
    assert!(started >= 2.0);
}
