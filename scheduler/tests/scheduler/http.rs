//! Values, workflows, health and metrics.

use proto::{id::Digest, limits::VALUE_BYTES_MAX};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    robot::{NONE, ONE},
    site::{Site, within},
};

#[tokio::test]
async fn values_are_kept_by_their_digest() {
    let site = Site::memory().await;
    let path = |digest: Digest| format!("/values/{digest}");
    let bytes = "v".repeat(200_000);
    let digest = Digest::of(bytes.as_bytes());
    let (status, problem) = site.get(&path(digest)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("value_unknown")));
    for _ in 0..2 {
        assert_eq!(site.call(Method::PUT, &path(digest), bytes.clone()).await.0, StatusCode::NO_CONTENT);
    }
    assert_eq!(site.get(&path(digest)).await, (StatusCode::OK, json!(bytes)));
    let (status, problem) = site.call(Method::PUT, &path(Digest::of(b"other")), bytes).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("digest_mismatch")));
    assert_eq!(site.get(&path(Digest::of(b"other"))).await.0, StatusCode::NOT_FOUND);
    let (status, problem) = site.get("/values/nonsense").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("digest_invalid")));
    let long = vec![b'1'; VALUE_BYTES_MAX + 1];
    let (status, problem) = site.call(Method::PUT, &path(digest), long).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("value_too_large")));
}

#[tokio::test]
async fn too_many_values_on_their_way_are_asked_to_come_again() {
    let site = Site::memory().await;
    let path = format!("/values/{}", Digest::of(b"x"));
    // Senders that have begun and do not go on: each holds one of the 64 places.
    let mut senders = Vec::new();
    for _ in 0..64 {
        let address = site.url("").trim_start_matches("http://").to_owned();
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        // Told to go on once its place is taken and its body is read.
        let mut told = [0; 25];
        within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut told)).await.unwrap();
        assert!(told.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&told));
        senders.push(stream);
    }
    let response = within(reqwest::get(site.url(&path))).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    drop(senders);
    crate::site::eventually(async || (site.get(&path).await.0 == StatusCode::NOT_FOUND).then_some(())).await;
}

#[tokio::test]
async fn workflows_are_registered_checked_and_run_by_name() {
    let mut site = Site::memory().await;
    let (status, registered) = site.call(Method::PUT, "/api/v1/workflows/none", NONE).await;
    assert_eq!((status, &registered["name"]), (StatusCode::OK, &json!("none")));
    assert_eq!(site.get("/api/v1/workflows/none").await.1, json!(NONE));
    assert_eq!(site.get("/api/v1/workflows").await.1["workflows"][0]["digest"], registered["digest"]);
    site.submit(&json!({ "workflow": "none" })).await;
    let (_, accepted) = site.answer().await;
    assert_eq!(accepted["status"], "accepted", "{accepted}");

    let code = async |method, path: &str, body: String| {
        let (status, problem) = site.call(method, path, body).await;
        (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    };
    let long = "x".repeat(400_000);
    let put = Method::PUT;
    let get = Method::GET;
    assert_eq!(code(put.clone(), "/api/v1/workflows/other", NONE.into()).await, (400, "name_mismatch".into()));
    assert_eq!(code(put.clone(), "/api/v1/workflows/x", "tasks: 7".into()).await.0, 422);
    assert_eq!(code(put, "/api/v1/workflows/x", long.clone()).await, (413, "submission_too_large".into()));
    assert_eq!(code(get.clone(), "/api/v1/workflows/x", String::new()).await, (404, "workflow_unknown".into()));
    assert_eq!(code(get.clone(), "/api/v1/workflows/X", String::new()).await, (400, "name_invalid".into()));
    assert_eq!(code(Method::POST, "/api/v1/runs", long).await, (413, "submission_too_large".into()));
    assert_eq!(code(get, "/nowhere", String::new()).await, (404, "route_unknown".into()));
}

#[tokio::test]
async fn health_and_metrics_need_nobody() {
    let mut site = Site::memory().await;
    assert_eq!(site.get("/livez").await.0, StatusCode::OK);
    assert_eq!(site.get("/readyz").await.0, StatusCode::OK);
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    let (_work, _delivery) = site.work().await;
    for (series, value) in [
        (r#"leveret_runs_active{status="running"}"#, 1.0),
        (r#"leveret_work_seconds_queued{pool="default"}"#, 1.0),
        (r#"leveret_items_in_flight{pool="default"}"#, 1.0),
        (r#"leveret_broker_connected{role="publish"}"#, 1.0),
        ("leveret_shards_owned", 1.0),
        ("leveret_turn_inputs_count", 1.0),
    ] {
        assert_eq!(site.metric(series).await, value, "{series}");
    }
    assert!(site.metric("leveret_turn_commit_seconds_count").await >= 1.0);
}
