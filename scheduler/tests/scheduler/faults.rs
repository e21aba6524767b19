//! Commits that fail, or whose answer is lost: at every turn of a run, each thing happens once all the same.

use futures_util::future::join_all;
use leveret_scheduler::store::memory::Fault::{self, After, Before};
use proto::{outcome::Report, work::Work};
use queue::Delivery;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    robot::{ITEMS, NONE, STORM, check_items_once, check_storm, decide},
    site::{Site, eventually, within},
};

fn storm() -> Value {
    let list: Vec<u32> = (0..ITEMS).collect();
    json!({ "definition": STORM, "id": "r", "parameters": { "list": list } })
}

/// Carries out a storm, letting the commit of the `at`-th message fail. `false` when there were not as many.
async fn fails_at(at: usize, fault: Fault) -> bool {
    let mut site = Site::memory().await;
    let mut sent = 0;
    let mut arm = |site: &Site| {
        sent += 1;
        if sent == at {
            site.faults().fail_next_commit(fault);
        }
        sent >= at
    };
    let mut reached = arm(&site);
    site.submit(&storm()).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    loop {
        let (work, delivery) = site.work().await;
        reached |= arm(&site);
        site.report(&work, decide(&work)).await;
        delivery.ack();
        if work.key.task.is_none() {
            break;
        }
    }
    check_storm(&site.ended("r").await);
    check_items_once(&site.get("/api/v1/runs/r/facts").await.1);
    assert_eq!(finished(&mut site).await["output"], json!({ "sum": ITEMS }));
    assert_eq!(site.metric("leveret_runs_started_total").await, if at == 1 && fault == After { 0.0 } else { 1.0 });
    eventually(async || (site.metric("leveret_outbox_unconfirmed").await == 0.0).then_some(())).await;
    reached
}

async fn finished(site: &mut Site) -> Value {
    loop {
        let (_, answer) = site.answer().await;
        match answer["status"].as_str() {
            Some("accepted") => {}
            _ => return answer,
        }
    }
}

#[tokio::test]
async fn a_commit_that_fails_loses_nothing_and_doubles_nothing() {
    for fault in [Before, After] {
        // More than the storm has messages: the last ones find nothing left to spoil.
        let reached = join_all((1..=45).map(|at| fails_at(at, fault))).await;
        assert!(reached[0] && reached[10] && !reached[44], "every message of a storm was spoiled once: {reached:?}");
    }
}

#[tokio::test]
async fn a_job_by_http_is_never_half_accepted() {
    for fault in [Before, After] {
        let site = Site::memory().await;
        site.faults().fail_next_commit(fault);
        let job = json!({ "definition": NONE, "id": "r" }).to_string();
        let (status, problem) = site.call(Method::POST, "/api/v1/runs", job.clone()).await;
        assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
        let again = async || match site.call(Method::POST, "/api/v1/runs", job.clone()).await {
            (StatusCode::SERVICE_UNAVAILABLE, _) => None,
            answered => Some(answered),
        };
        let (status, answer) = eventually(again).await;
        let is_known = fault == After;
        assert_eq!(status, if is_known { StatusCode::OK } else { StatusCode::CREATED });
        assert_eq!(answer["duplicate"], if is_known { json!(true) } else { json!(null) });
        assert_eq!(site.ended("r").await["status"], "succeeded");
    }
}

#[tokio::test]
async fn a_store_that_keeps_failing_uses_up_no_deliveries_and_is_seen() {
    let mut site = Site::memory().await;
    // The turn itself, and then the trials that come before any input is taken again.
    (0..4).for_each(|_| site.faults().fail_next_commit(Before));
    site.submit(&json!({ "definition": NONE, "id": "r" })).await;
    let ready = async |wanted: StatusCode| {
        let (status, text) = site.get("/readyz").await;
        (status == wanted).then_some(text)
    };
    let why = eventually(async || ready(StatusCode::SERVICE_UNAVAILABLE).await).await;
    assert!(why.as_str().unwrap().contains("store"), "{why}");
    assert_eq!(site.get("/livez").await.0, StatusCode::OK, "a store that is down must not restart a fleet");
    assert_eq!(site.get("/api/v1/runs/r").await.0, StatusCode::NOT_FOUND, "it still answers");
    eventually(async || ready(StatusCode::OK).await).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    assert_eq!(site.answer().await.1["status"], "succeeded");
}

#[tokio::test]
async fn whoever_follows_a_run_sees_its_end_through_a_lost_answer() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": crate::robot::ONE, "id": "r" })).await;
    let (work, delivery) = site.work().await;
    site.report(&work, decide(&work)).await;
    delivery.ack();
    let (work, _delivery): (Work, Delivery) = site.work().await;
    let mut events = site.follow("r").await;
    let first = within(events.chunk()).await.unwrap().unwrap();
    assert_eq!(crate::site::views(std::str::from_utf8(&first).unwrap())[0]["status"], "running");
    site.faults().fail_next_commit(After);
    let report: Report = decide(&work);
    site.report(&work, report).await;
    let mut text = String::new();
    while let Some(chunk) = within(events.chunk()).await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(crate::site::views(&text).pop().unwrap()["status"], "succeeded", "{text}");
}
