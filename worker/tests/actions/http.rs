//! `http.request` against a real server on the loopback.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, RawQuery},
    http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Redirect},
    routing::{any, get},
};
use leveret_worker::action::{
    Call, Error,
    http::{BODY_BYTES_MAX, Proxy, Request},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use crate::{call, code, run_as, within};

/// A server that ends with the test.
struct Server {
    base: String,
    asked: Arc<Notify>,
    peers: Arc<Mutex<BTreeSet<SocketAddr>>>,
    _serving: JoinSet<()>,
}

async fn echo(method: Method, query: RawQuery, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let body = String::from_utf8_lossy(&body);
    let seen = json!({
        "method": method.as_str(), "query": query.0, "body": body,
        "kind": text("content-type"), "a": text("x-a"), "agent": text("user-agent"),
    });
    ([("x-twice", "1"), ("x-once", "2")], [("x-twice", "3")].map(|header| header), Json(seen)).into_response()
}

async fn endless() -> impl IntoResponse {
    let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4096])));
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(chunks))
}

async fn start() -> Server {
    let (asked, peers) = (Arc::new(Notify::new()), Arc::new(Mutex::new(BTreeSet::new())));
    let hang = {
        let asked = asked.clone();
        move || async move {
            asked.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let who = {
        let peers = peers.clone();
        move |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
            peers.lock().expect("unpoisoned").insert(peer);
        }
    };
    let router = Router::new()
        .route("/echo", any(echo))
        .route("/teapot", get(|| async { (StatusCode::IM_A_TEAPOT, Json(json!({ "why": "short and stout" }))) }))
        .route("/bad-json", get(|| async { ([(CONTENT_TYPE, "application/json")], "{") }))
        .route("/huge-number", get(|| async { ([(CONTENT_TYPE, "application/problem+json")], "[1e999]") }))
        .route("/moved", get(|| async { Redirect::temporary("/echo") }))
        .route("/round", get(|| async { Redirect::temporary("/round") }))
        .route("/endless", get(endless))
        .route("/hang", get(hang))
        .route("/who", get(who))
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.expect("serves") });
    Server { base, asked, peers, _serving: serving }
}

async fn ask(input: Value) -> Result<Value, Error> {
    run_as(Request::new(Proxy::None), input, &call()).await
}

#[tokio::test]
async fn what_is_asked_arrives_and_what_is_answered_comes_back() {
    let server = start().await;
    let input = json!({
        "method": "post", "url": format!("{}/echo?a=1", server.base), "headers": { "X-A": 7 },
        "query": { "q": "x y&z", "n": [1, true] }, "json": { "b": null },
    });
    let result = ask(input).await.expect("200");
    assert_eq!(result["status"], 200);
    let seen = &result["json"];
    assert_eq!((&seen["method"], &seen["a"], &seen["body"]), (&json!("POST"), &json!("7"), &json!(r#"{"b":null}"#)));
    assert_eq!((&seen["query"], &seen["kind"]), (&json!("a=1&n=1&n=true&q=x+y%26z"), &json!("application/json")));
    assert!(seen["agent"].as_str().is_some_and(|agent| agent.starts_with("leveret/")));
    assert_eq!(result["headers"]["x-once"], "2");
    assert_eq!(serde_json::from_str::<Value>(result["body"].as_str().expect("a text")).expect("json"), *seen);
    let plain = json!({ "method": "PUT", "url": format!("{}/echo", server.base), "body": "text" });
    let result = ask(plain).await.expect("200");
    assert_eq!((&result["json"]["body"], &result["json"]["kind"]), (&json!("text"), &Value::Null));
    let null = json!({ "method": "PUT", "url": format!("{}/echo", server.base), "json": null });
    assert_eq!(ask(null).await.expect("200")["json"]["body"], "null", "null is a body too");
}

#[tokio::test]
async fn the_status_decides() {
    let server = start().await;
    let url = format!("{}/teapot?token=hunter2", server.base);
    let error = ask(json!({ "url": url })).await.expect_err("418");
    assert_eq!((error.code.as_str(), &error.result["status"]), ("http_status", &json!(418)));
    assert_eq!(error.result["json"]["why"], "short and stout");
    assert!(error.message.contains("/teapot: status 418") && !error.message.contains("hunter2"), "{error}");
    ask(json!({ "url": url, "expect_status": 418 })).await.expect("as expected");
    ask(json!({ "url": url, "expect_status": [200, 418] })).await.expect("as expected");
    let ok = json!({ "url": format!("{}/echo", server.base), "expect_status": [418] });
    assert_eq!(code(ask(ok).await), "http_status", "what is expected is all that is expected");
}

#[tokio::test]
async fn redirects_are_followed_unless_told_otherwise() {
    let server = start().await;
    let url = format!("{}/moved", server.base);
    assert_eq!(ask(json!({ "url": url })).await.expect("200")["json"]["method"], "GET");
    let stopped = ask(json!({ "url": url, "follow": false, "expect_status": 307 })).await.expect("307");
    assert_eq!(stopped["headers"]["location"], "/echo");
    assert_eq!(code(ask(json!({ "url": format!("{}/round", server.base) })).await), "http_redirect");
}

#[tokio::test]
async fn bodies_have_bounds_and_need_not_be_what_they_say() {
    let server = start().await;
    let result = ask(json!({ "url": format!("{}/endless", server.base) })).await.expect("200");
    assert_eq!(result["body"].as_str().map(str::len), Some(BODY_BYTES_MAX));
    assert_eq!((&result["body_truncated"], &result["json"]), (&json!(true), &Value::Null));
    for path in ["bad-json", "huge-number"] {
        let result = ask(json!({ "url": format!("{}/{path}", server.base) })).await.expect("200");
        assert_eq!((&result["json"], &result["body_truncated"]), (&Value::Null, &json!(false)), "{path}");
    }
}

#[tokio::test]
async fn trouble_on_the_way_has_its_codes() {
    let server = start().await;
    let hang = format!("{}/hang", server.base);
    assert_eq!(code(ask(json!({ "url": hang, "timeout": "50ms" })).await), "http_timeout");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let error = ask(json!({ "url": format!("http://me:hunter2@{free}/x") })).await.expect_err("nobody listens");
    assert_eq!(error.code, "http_connect");
    assert!(error.message.contains("refused") && !error.message.contains("hunter2"), "{error}");
    let secure = server.base.replace("http:", "https:");
    assert_eq!(code(ask(json!({ "url": secure })).await), "http_connect", "it does not speak TLS");
    for input in [
        json!({ "url": "ftp://127.0.0.1/x" }),
        json!({ "url": "no url" }),
        json!({ "url": hang, "json": 1, "body": "x" }),
        json!({ "url": hang, "method": "GE T" }),
        json!({ "url": hang, "headers": { "a b": "c" } }),
        json!({ "url": hang, "expect_status": 99 }),
        json!({ "url": hang, "timeout": "soon" }),
        json!({ "url": hang, "tls": { "ca_file": "/no/such" } }),
        json!({ "url": hang, "tls": { "ca_file": "/etc/passwd", "verify": false } }),
    ] {
        assert_eq!(code(ask(input.clone()).await), "input_invalid", "{input}");
    }
}

#[tokio::test]
async fn a_cancel_drops_the_request() {
    let server = start().await;
    let call: Call = call();
    let asking = run_as(Request::new(Proxy::None), json!({ "url": format!("{}/hang", server.base) }), &call);
    let canceling = async {
        within(server.asked.notified()).await;
        call.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(asking, canceling);
    assert_eq!(code(outcome), "canceled");
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = start().await;
    let actions = leveret_worker::action::registry::Actions::none();
    let actions = actions.with(Arc::new(Request::new(Proxy::None))).expect("valid");
    for _ in 0..5 {
        let input = json!({ "url": format!("{}/who", server.base) });
        crate::run_in(&actions, "http.request", input, &call()).await.expect("200");
    }
    assert_eq!(server.peers.lock().expect("unpoisoned").len(), 1);
}
