//! Runs by HTTP: submitted, listed, shown, followed.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    robot::{NONE, ONE, acted, output},
    site::{Site, views, within},
};

#[tokio::test]
async fn a_job_by_http_is_the_same_as_one_by_queue() {
    let mut site = Site::memory().await;
    let submit = async |body: &Value| {
        let (status, answer) = site.call(Method::POST, "/api/v1/runs", body.to_string()).await;
        (status.as_u16(), answer)
    };
    let job = json!({ "definition": ONE, "id": "r" });
    assert_eq!(submit(&job).await, (201, json!({ "schema": 1, "id": "r", "status": "accepted" })));
    assert_eq!(submit(&job).await.0, 200);
    let (status, problem) = submit(&json!({ "definition": NONE, "id": "r" })).await;
    assert_eq!((status, &problem["code"], &problem["id"]), (409, &json!("id_conflict"), &json!("r")));
    let (status, problem) = submit(&json!({ "workflow": "nobody-knows" })).await;
    assert_eq!((status, &problem["errors"][0]["code"]), (404, &json!("workflow_unknown")));
    let (status, problem) = submit(&json!({ "definition": ONE, "parameters": { "a": 1, "word": 2 } })).await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, 2), "{problem}");
    assert_eq!(submit(&json!({ "command": "cancel", "id": "r" })).await.0, 201);
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.run.as_str(), "r");
}

#[tokio::test]
async fn runs_are_listed_by_what_is_asked() {
    let mut site = Site::memory().await;
    for (id, definition, label) in [("a", NONE, "x"), ("b", ONE, "x"), ("c", ONE, "y")] {
        site.submit(&json!({ "definition": definition, "id": id, "labels": { "l": label } })).await;
        while site.answer().await.1["id"] != id {}
    }
    let list = async |query: &str| {
        let (status, document) = site.get(&format!("/api/v1/runs{query}")).await;
        assert_eq!(status, StatusCode::OK, "{document}");
        let runs = document["runs"].as_array().unwrap().clone();
        let mut ids: Vec<String> = runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids.concat()
    };
    assert_eq!(list("").await, "abc");
    assert_eq!(list("?status=succeeded").await, "a");
    assert_eq!(list("?workflow=one").await, "bc");
    assert_eq!(list("?label=l=x").await, "ab");
    assert_eq!(list("?label=l=x&workflow=one&status=running&since=1h").await, "b");
    assert_eq!(list("?limit=1").await.len(), 1);
    for wrong in ["?status=asleep", "?label=l", "?since=yesterday", "?limit=many", "?colour=red", "?workflow=A%20b"] {
        let (status, problem) = site.get(&format!("/api/v1/runs{wrong}")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("query_invalid")), "{wrong}");
    }
}

#[tokio::test]
async fn events_show_each_view_as_it_comes_and_end_with_the_last() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (work, _delivery) = site.work().await;
    let mut events = site.follow("r").await;
    let mut seen = async || {
        let chunk = within(events.chunk()).await.unwrap()?;
        views(std::str::from_utf8(&chunk).unwrap()).pop()
    };
    assert_eq!(seen().await.unwrap()["tasks"]["say"]["status"], "running", "the first comes at once");
    site.report(&work, acted(&[])).await;
    assert_eq!(seen().await.unwrap()["tasks"]["say"]["status"], "succeeded");
    let (work, _delivery) = site.work().await;
    site.report(&work, output(&json!({ "said": 1 }))).await;
    let last = seen().await.unwrap();
    assert_eq!((&last["status"], &last["output"]), (&json!("succeeded"), &json!({ "said": 1 })));
    assert_eq!(seen().await, None, "and then nothing more");
    assert_eq!(site.ended("r").await, last, "whoever comes late sees the end at once");
}

#[tokio::test]
async fn what_there_is_not_is_not_found() {
    let site = Site::memory().await;
    for path in ["/api/v1/runs/nobody", "/api/v1/runs/nobody/facts", "/api/v1/runs/nobody/events"] {
        let (status, problem) = site.get(path).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("run_unknown")), "{path}");
    }
    let (status, problem) = site.get("/api/v1/runs/no%20spaces").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("id_invalid")));
}

#[tokio::test]
async fn a_stop_ends_what_is_being_followed() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (_work, _delivery) = site.work().await;
    let mut events = site.follow("r").await;
    within(events.chunk()).await.unwrap().unwrap();
    site.stop().await;
    assert!(within(events.chunk()).await.unwrap().is_none());
}
