//! What workers say: duplicates, values that are not there, work that kills, signs of life.

use proto::{
    id::Digest,
    items::ItemSet,
    json::Json,
    outcome::{FromWorker, Heartbeat, ItemsPart, ItemsReport, Listed, Report},
    value::{Stored, ValueRef},
    work::Phase,
};
use queue::Publication;
use serde_json::json;

use crate::{
    robot::{ONE, STORM, acted, acted_with, decide, output, value},
    site::{Site, eventually, pool},
};

/// One of `ONE` that has been sent to a worker.
async fn one(site: &mut Site) -> (proto::work::Work, queue::Delivery) {
    site.submit(&json!({ "definition": ONE, "id": "r" })).await;
    site.work().await
}

#[tokio::test]
async fn an_outcome_counts_once() {
    let mut site = Site::memory().await;
    let (work, _delivery) = one(&mut site).await;
    for _ in 0..3 {
        site.report(&work, acted(&[])).await;
    }
    let (work, _delivery) = site.work().await;
    eventually(async || (site.metric("leveret_duplicates_ignored_total").await == 2.0).then_some(())).await;
    site.report(&work, output(&json!({ "said": 1 }))).await;
    site.report(&work, output(&json!({ "said": 2 }))).await;
    assert_eq!(site.ended("r").await["output"], json!({ "said": 1 }));
    eventually(async || (site.metric("leveret_duplicates_ignored_total").await == 3.0).then_some(())).await;
    assert!(site.work_now().is_none());
}

#[tokio::test]
async fn a_report_that_names_an_absent_value_sends_the_work_again() {
    let mut site = Site::memory().await;
    let (work, delivery) = one(&mut site).await;
    let large = Json::of(&"x".repeat(5_000)).unwrap();
    let stored = Stored::of(large.as_bytes());
    site.report(&work, acted_with(ValueRef::Stored(stored), &[])).await;
    delivery.ack();
    let (again, delivery) = site.work().await;
    assert_eq!(again.key.to_string(), "r/say#1/act.2");
    assert_eq!(again.retries, 0, "it uses up no retry");
    site.call(reqwest::Method::PUT, &format!("/values/{}", stored.digest), large.as_str().to_owned()).await;
    site.report(&again, acted_with(ValueRef::Stored(stored), &[])).await;
    delivery.ack();
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.phase, Phase::Output);
}

#[tokio::test]
async fn a_large_result_is_stored_and_named() {
    let mut site = Site::memory().await;
    let (work, _delivery) = one(&mut site).await;
    let large = json!("y".repeat(3_000));
    site.report(&work, acted_with(ValueRef::Inline(Json::of(&large).unwrap()), &[])).await;
    let (work, _delivery) = site.work().await;
    let digest = Digest::of(large.to_string().as_bytes());
    assert!(serde_json::to_string(&work.manifest).unwrap().contains(&digest.to_string()), "{work:?}");
    assert_eq!(site.get(&format!("/values/{digest}")).await.1, large);
    site.report(&work, Report::Output(proto::outcome::OutputReport { value: value(&large), left_out: vec![] })).await;
    assert_eq!(site.ended("r").await["output"], large, "an output that is not too large is shown whole");
}

#[tokio::test]
async fn work_that_kills_its_workers_fails_its_task() {
    let mut site = Site::memory().await;
    let (work, mut delivery) = one(&mut site).await;
    let key = work.key.clone();
    // The broker gives a message up when it has come back more than 20 times.
    for _ in 0..20 {
        delivery.give_back();
        delivery = site.work().await.1;
    }
    delivery.give_back();
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.phase, Phase::Output, "{key} is not sent again");
    site.report(&work, output(&json!({}))).await;
    let run = site.ended("r").await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("poison")), "{run:#}");
    assert_eq!(run["tasks"]["say"]["status"], "crashed");
}

#[tokio::test]
async fn an_outcome_that_the_broker_gave_up_fails_its_task() {
    let mut site = Site::memory().await;
    let (work, _delivery) = one(&mut site).await;
    let outcome =
        proto::outcome::Outcome { schema: 1, key: work.key.clone(), worker: "w".parse().unwrap(), report: acted(&[]) };
    let body = proto::codec::encode(&FromWorker::Outcome(Box::new(outcome)));
    let given_up = Publication { message_id: Some(format!("{}.0", work.key)), ..dead(&site, body) };
    site.client.publish(given_up).await.unwrap();
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.phase, Phase::Output);
    let stray = Publication { message_id: Some("stray".into()), ..dead(&site, b"{}".to_vec()) };
    site.client.publish(stray).await.unwrap();
    let kept = site.rejected().await;
    assert_eq!(kept.properties.headers["reason"], "undeliverable");
    assert_eq!(kept.properties.headers["source"], site.topology.dead_queue());
}

fn dead(site: &Site, body: Vec<u8>) -> Publication {
    Publication::new(site.topology.dead_exchange(), "0", body)
}

#[tokio::test]
async fn what_is_no_outcome_is_kept() {
    let mut site = Site::memory().await;
    let nonsense = Publication::new(site.topology.outcomes_exchange(), "0", "nonsense");
    site.client.publish(nonsense).await.unwrap();
    let kept = site.rejected().await;
    assert_eq!(kept.properties.headers["reason"], "json_invalid");
    assert_eq!(kept.properties.headers["source"], site.topology.outcomes_queue(proto::id::Shard(0)));
}

#[tokio::test]
async fn workers_are_counted_while_they_live() {
    let site = Site::memory().await;
    for worker in ["a", "b", "a"] {
        let heartbeat = Heartbeat {
            schema: 1,
            worker: worker.parse().unwrap(),
            pools: vec![pool("default"), pool("gpu")],
            slots: 4,
            running: Vec::new(),
        };
        site.tell(&FromWorker::Heartbeat(heartbeat)).await;
    }
    let series = r#"leveret_pool_workers{pool="gpu"}"#;
    eventually(async || (site.metric(series).await == 2.0).then_some(())).await;
}

#[tokio::test]
async fn a_list_that_makes_no_sense_fails_its_task_and_nothing_else() {
    let parts = |count: u32, offsets: serde_json::Value| {
        let part = ItemsPart { count, values: value(&json!([1, 2])), offsets: value(&offsets), item_bytes_max: 1 };
        Report::Listed(Listed { parts: vec![part], concurrency: None, tolerate: 0 })
    };
    let cases = [
        ("empty", parts(0, json!([1])), "items_invalid"),
        ("many", parts(4_000_000_000, json!([])), "too_many_items"),
        ("offsets", parts(2, json!([1, 900, 901])), "items_failed"),
        ("text", parts(2, json!("none")), "items_failed"),
    ];
    let mut site = Site::memory().await;
    for (id, listed, code) in cases {
        let definition = STORM.replace("delay: 10ms\n    input", "input");
        site.submit(&json!({ "definition": definition, "id": id, "parameters": { "list": [] } })).await;
        let run = site
            .work_off(id, |work| match work.key.phase {
                Phase::Items => listed.clone(),
                Phase::Settle => Report::Settled(Default::default()),
                Phase::Prepare | Phase::Act | Phase::Output => decide(work),
            })
            .await;
        assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!(code)), "{run:#}");
    }
}

#[tokio::test]
async fn a_range_reported_twice_counts_each_item_once() {
    let mut site = Site::memory().await;
    let definition = STORM.replace("delay: 10ms\n    input", "input");
    site.submit(&json!({ "definition": definition, "id": "r", "parameters": { "list": [] } })).await;
    let doubled = |work: &proto::work::Work| match (&work.range, work.retries) {
        (Some(range), 1..) => Report::Items(ItemsReport {
            succeeded: range.items.clone(),
            // An item that is in two sets, or in none of this range: both contradict themselves.
            failed: ItemSet::run(0, 1),
            ..ItemsReport::default()
        }),
        _ => decide(work),
    };
    let (work, delivery) = loop {
        let (work, delivery) = site.work().await;
        if work.retries == 1 && work.range.is_some() {
            break (work, delivery);
        }
        site.report(&work, decide(&work)).await;
        delivery.ack();
    };
    site.report(&work, doubled(&work)).await;
    site.report(&work, decide(&work)).await;
    site.report(&work, decide(&work)).await;
    delivery.ack();
    let run = site.work_off("r", decide).await;
    crate::robot::check_storm(&run);
    crate::robot::check_items_once(&site.get("/api/v1/runs/r/facts").await.1);
}
