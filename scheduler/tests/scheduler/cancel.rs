//! Cancels, by queue and by HTTP.

use proto::control::Control;
use queue::Source;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    robot::{ONE, STORM, acted},
    site::{Site, within},
};

#[tokio::test]
async fn a_cancel_by_queue_reaches_workers_and_ends_the_run() {
    let mut site = Site::memory().await;
    let mut control = site.client.consume(Source::Control, 10).await.unwrap();
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    let (work, _delivery) = site.work().await;
    site.submit(&json!({ "command": "cancel", "id": "r", "reason": "enough" })).await;
    let (properties, answer) = site.answer().await;
    assert_eq!(properties.kind.as_deref(), Some("accepted"));
    assert_eq!(answer["id"], "r");
    let told = within(control.recv()).await.unwrap();
    let told: Control = proto::codec::decode(&told.body).unwrap();
    assert_eq!(told, Control::Cancel { run: "r".parse().unwrap(), through: proto::id::Instance(1) });
    assert_eq!(site.show("r").await["status"], "canceling");
    site.report(&work, acted(&[])).await;
    let (work, _delivery) = site.work().await;
    site.report(&work, crate::robot::output(&json!({}))).await;
    assert_eq!(site.answer().await.1["status"], "canceled");
}

#[tokio::test]
async fn a_cancel_by_http_drops_what_has_not_begun() {
    let mut site = Site::memory().await;
    let slow = STORM.replace("delay: 10ms\n    input", "delay: 1h\n    input");
    site.submit(&json!({ "definition": slow, "id": "r", "parameters": { "list": [] } })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    let (status, answer) = site.call(Method::POST, "/api/v1/runs/r/cancel", r#"{"reason":"x"}"#).await;
    assert_eq!((status, &answer["id"]), (StatusCode::ACCEPTED, &json!("r")));
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/-/output.1");
    site.report(&work, crate::robot::output(&json!({}))).await;
    assert_eq!(site.ended("r").await["status"], "canceled");
    assert_eq!(site.metric("leveret_timers_pending").await, 0.0);

    let (status, _) = site.call(Method::POST, "/api/v1/runs/r/cancel", "").await;
    assert_eq!(status, StatusCode::ACCEPTED, "a second time changes nothing");
    let (status, problem) = site.call(Method::POST, "/api/v1/runs/nobody/cancel", "").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("run_unknown")));
    let (status, problem) = site.call(Method::POST, "/api/v1/runs/r/cancel", "{").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("json_invalid")));
}
