//! Orders by HTTP, and what they do: pause and resume, signals, reruns; and what a run has come to know.

use proto::{
    id::Digest,
    items::ItemSet,
    outcome::{ItemsReport, Report},
    value::{Stored, ValueRef},
    work::Phase,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    robot::{ONE, acted, acted_with, listed, output, value},
    site::Site,
};

const GATE: &str = r#"
name: gate
parameters: { word: { type: string, default: hello } }
tasks:
  ask:
    wait_for: { signal: approved }
    action: core.echo
    input: { message: "{{ signal.approved.by }}" }
output: { by: "{{ task.ask.result }}" }
"#;

const FAN: &str = r#"
name: fan
parameters: { list: { type: array } }
tasks:
  fan:
    action: core.echo
    with_items: "{{ parameters.list }}"
    input: { message: "{{ item }}" }
    tolerate: 100%
output: { count: "{{ task.fan.result | length }}" }
"#;

async fn post(site: &Site, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    site.call(Method::POST, &format!("/api/v1/runs/{path}"), body).await
}

#[tokio::test]
async fn a_run_rests_and_goes_on() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (work, delivery) = site.work().await;
    let (status, answer) = post(&site, "r/pause", json!({ "reason": "lunch" })).await;
    assert_eq!((status, &answer["status"]), (StatusCode::ACCEPTED, &json!("accepted")), "{answer}");
    assert_eq!(site.show("r").await["status"], "pausing");
    site.report(&work, acted(&[])).await;
    delivery.ack();
    crate::site::eventually(async || (site.show("r").await["status"] == "paused").then_some(())).await;
    assert!(site.work_now().is_none(), "nothing is sent while it rests");
    assert_eq!(post(&site, "r/resume", Value::Null).await.0, StatusCode::ACCEPTED);
    let (work, _delivery) = site.work().await;
    site.report(&work, output(&json!({ "said": 1 }))).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
    for order in ["pause", "resume", "signals/go"] {
        let (status, problem) = post(&site, &format!("r/{order}"), Value::Null).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("run_ended")), "{order}");
        let (status, problem) = post(&site, &format!("nobody/{order}"), Value::Null).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("run_unknown")), "{order}");
    }
    assert_eq!(post(&site, "r/pause", json!({ "why": "x" })).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_signal_is_waited_for_and_seen() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": GATE, "id": "r", "labels": { "team": "ops" } })).await;
    site.submit(&json!({ "definition": ONE, "id": "other" })).await;
    let (_other, _delivery) = site.work().await;
    let waiting = async |query: &str| {
        let (_, document) = site.get(&format!("/api/v1/runs?waiting=true{query}")).await;
        document["runs"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(waiting("&label=team=ops").await, ["r"]);
    assert_eq!(waiting("&workflow=one").await, Vec::<Value>::new());
    let task = site.show("r").await["tasks"]["ask"].clone();
    assert_eq!((&task["status"], &task["waiting_for"]), (&json!("waiting"), &json!("approved")));
    for _ in 0..2 {
        let (status, _) = post(&site, "r/signals/approved?id=ticket-17", json!({ "by": "ada" })).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    let signals = site.get("/api/v1/runs/r/facts").await.1.to_string().matches("signaled").count();
    assert_eq!(signals, 1, "the same signal twice is one");
    let (_, context) = site.get("/api/v1/runs/r/context").await;
    let expected = json!({
        "schema": 1, "parameters": { "word": "hello" }, "workflow": {},
        "signal": { "approved": { "by": "ada" } }, "task": {},
    });
    assert_eq!(context, expected, "of a branch that lives, too");
    let (status, problem) = site.call(Method::POST, "/api/v1/runs/r/signals/approved", "{").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("json_invalid")));
    assert_eq!(post(&site, "r/signals/no%20name", Value::Null).await.0, StatusCode::BAD_REQUEST);

    let (work, _delivery) = site.work().await;
    site.report(&work, acted_with(value(&json!("ada")), &[])).await;
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.phase, Phase::Output);
    site.report(&work, output(&json!({ "by": "ada" }))).await;
    site.ended("r").await;
    let (_, context) = site.get("/api/v1/runs/r/context").await;
    assert_eq!(context["task"]["ask"], json!({ "attempts": 1, "result": "ada", "status": "succeeded" }));
    let (_, timeline) = site.get("/api/v1/runs/r/timeline").await;
    let ask = &timeline["tasks"][0];
    assert_eq!(
        (&ask["task"], &ask["status"], timeline["tasks"].as_array().unwrap().len()),
        (&json!("ask"), &json!("succeeded"), 1)
    );
    assert!(ask["started_at"].as_str() <= ask["ended_at"].as_str() && timeline["finished_at"].is_string());
}

#[tokio::test]
async fn a_rerun_is_a_run_of_its_own() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (_work, delivery) = site.work().await;
    let (status, problem) = post(&site, "r/rerun", Value::Null).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("run_not_finished")));
    delivery.ack();
    post(&site, "r/cancel", Value::Null).await;
    site.report(&_work, acted(&[])).await;
    let (work, _delivery) = site.work().await;
    site.report(&work, output(&json!({}))).await;
    site.ended("r").await;

    let again = json!({ "from": "say", "new_id": "r2" });
    let (status, answer) = post(&site, "r/rerun", again.clone()).await;
    assert_eq!((status, &answer["id"]), (StatusCode::CREATED, &json!("r2")), "{answer}");
    assert_eq!(post(&site, "r/rerun", again).await.0, StatusCode::OK, "the same order again changes nothing");
    assert_eq!(post(&site, "r/rerun", json!({ "failed_items": true, "new_id": "r2" })).await.0, StatusCode::CONFLICT);
    let run = site.show("r2").await;
    assert_eq!((&run["ancestor"], &run["status"]), (&json!("r"), &json!("running")));
    for (body, status, code) in [
        (json!({ "from": "nobody" }), 422, "task_unknown"),
        (json!({ "from": "say", "failed_items": true }), 400, "submission_invalid"),
        (json!({ "form": "say" }), 400, "json_invalid"),
        (json!({ "from": "say", "new_id": "a~b" }), 422, "id_invalid"),
    ] {
        let (found, problem) = post(&site, "r/rerun", body).await;
        assert_eq!((found.as_u16(), &problem["code"]), (status, &json!(code)));
    }
}

#[tokio::test]
async fn items_that_failed_are_listed_page_by_page() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": FAN, "id": "r" })).await;
    let mut shown_live = false;
    loop {
        let (work, delivery) = site.work().await;
        let report = match work.key.phase {
            Phase::Items => listed(250),
            Phase::Act => {
                let range = work.range.as_ref().expect("items");
                let failed: ItemSet = range.items.iter().filter(|item| item.0 != 7).collect();
                let succeeded: ItemSet = range.items.iter().filter(|item| item.0 == 7).collect();
                let errors: Vec<Value> = failed
                    .iter()
                    .map(|item| json!({ "index": item, "item": item, "error": { "code": "no" } }))
                    .collect();
                Report::Items(ItemsReport {
                    results: (!succeeded.is_empty()).then(|| value(&json!(["fine"]))),
                    errors: Some(value(&json!(errors))),
                    failed,
                    succeeded,
                    ..ItemsReport::default()
                })
            }
            _ => break,
        };
        shown_live |= site.get("/api/v1/runs/r/items?task=fan").await.1["total"].as_u64() > Some(0);
        site.report(&work, report).await;
        delivery.ack();
    }
    let items = async |query: &str| site.get(&format!("/api/v1/runs/r/items{query}")).await;
    assert!(shown_live, "failures are shown while the others still run");
    let (_, document) = items("?status=failed").await;
    assert_eq!((&document["total"], &document["page"]), (&json!(249), &json!(1)));
    let index = |document: &Value, at: usize| document["items"][at]["index"].clone();
    assert_eq!((index(&document, 6), index(&document, 7)), (json!(6), json!(8)));
    assert_eq!(document["items"][0], json!({ "task": "fan", "index": 0, "item": 0, "error": { "code": "no" } }));
    let (_, last) = items("?page=3").await;
    assert_eq!((last["items"].as_array().unwrap().len(), index(&last, 48)), (49, json!(249)));
    assert_eq!(items("?page=9").await.1["items"], json!([]));
    assert_eq!(items("?task=nobody").await.1["total"], 0);
    for wrong in ["?status=succeeded", "?page=x", "?colour=red"] {
        assert_eq!(items(wrong).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let (_, context) = site.get("/api/v1/runs/r/context").await;
    let result = context["task"]["fan"]["result"].as_array().expect("a list");
    assert_eq!((result.len(), &result[7], &result[8]), (250, &json!("fine"), &json!(null)));
    assert_eq!(context["task"]["fan"]["item_errors"].as_array().expect("a list").len(), 249);
}

#[tokio::test]
async fn a_context_that_is_too_large_is_not_put_together() {
    let mut site = Site::memory().await;
    let text = "\"far\"";
    let digest = Digest::of(text.as_bytes());
    assert_eq!(site.call(Method::PUT, &format!("/values/{digest}"), text).await.0, StatusCode::NO_CONTENT);
    for (id, bytes, expected) in
        [("small", 5, StatusCode::OK), ("large", 64 * 1024 * 1024, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        site.submit(&json!({ "definition": ONE, "id": id })).await;
        let (work, delivery) = site.work().await;
        site.report(&work, acted_with(ValueRef::Stored(Stored { digest, bytes }), &[])).await;
        delivery.ack();
        let (_output, delivery) = site.work().await;
        delivery.ack();
        let (status, document) = site.get(&format!("/api/v1/runs/{id}/context")).await;
        assert_eq!(status, expected, "{document}");
        match expected {
            StatusCode::OK => assert_eq!(document["task"]["say"]["result"], "far"),
            _ => assert_eq!(document["code"], "context_too_large"),
        }
    }
}
