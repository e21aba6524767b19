//! What a worker shows of itself.

use std::{collections::BTreeMap, time::Duration};

use leveret_worker::action::http::{self, Proxy};
use proto::work::Phase;
use tokio::time::Instant;

use super::stage::{Stage, pool};

const NAMES: [&str; 17] = [
    "leveret_action_duration_seconds",
    "leveret_broker_connected",
    "leveret_build_info",
    "leveret_cache_heap_bytes",
    "leveret_context_clones_total",
    "leveret_publish_confirm_seconds",
    "leveret_queue_wait_seconds",
    "leveret_redelivered_total",
    "leveret_render_seconds",
    "leveret_slots",
    "leveret_slots_busy",
    "leveret_snapshot_cache_evictions_total",
    "leveret_snapshot_cache_hits_total",
    "leveret_snapshot_cache_misses_total",
    "leveret_value_fetch_seconds",
    "process_open_fds",
    "process_resident_memory_bytes",
];

async fn get(stage: &Stage, path: &str) -> (u16, String) {
    let addr = stage.worker.http_addr().expect("it serves");
    let client = http::client(Proxy::None).expect("a client");
    let response = client.get(format!("http://{addr}{path}")).send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a text"))
}

/// The samples, by name and labels.
pub async fn scrape(stage: &Stage) -> BTreeMap<String, f64> {
    let (_, text) = get(stage, "/metrics").await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("name and value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    samples.map(sample).collect()
}

#[tokio::test]
async fn every_metric_is_there_and_labels_are_bounded() {
    let tasks: String = (0..20).map(|n| format!("  t{n}: {{ action: no.such_{n} }}\n")).collect();
    let mut stage = Stage::with_slots(&format!("name: w\ntasks:\n{tasks}  g: {{ action: test.gate }}\n"), 7).await;
    for n in 0..20 {
        stage.acted(&stage.task(&format!("t{n}"), Phase::Act)).await;
    }
    stage.send(&stage.task("g", Phase::Act)).await;
    stage.gate.entered(1).await;
    let (_, text) = get(&stage, "/metrics").await;
    for name in NAMES {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is missing:\n{text}");
    }
    let samples = scrape(&stage).await;
    assert_eq!((samples["leveret_slots"], samples["leveret_slots_busy"]), (7.0, 1.0));
    let failed = r#"leveret_action_duration_seconds_count{action="unknown",status="failed"}"#;
    assert_eq!(samples[failed], 20.0);
    stage.gate.let_go(1);
    stage.outcome().await;
    stage.drain_clean().await;
}

#[tokio::test]
async fn health_says_whether_it_takes_work() {
    let stage = Stage::new("name: w\ntasks: { t: { } }").await;
    assert_eq!((get(&stage, "/livez").await.0, get(&stage, "/readyz").await.0), (200, 200));
    stage.worker_queue.clone().close().await;
    let (status, why) = get(&stage, "/readyz").await;
    assert_eq!((get(&stage, "/livez").await.0, status), (200, 503));
    assert!(why.contains("not connected to the broker"), "{why}");
}

#[tokio::test]
async fn the_first_heartbeat_comes_after_a_second() {
    let begun = Instant::now();
    let mut stage = Stage::with_slots("name: w\ntasks: { t: { action: test.gate } }", 5).await;
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    let heartbeat = stage.heartbeat().await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((heartbeat.slots, heartbeat.pools, heartbeat.running), (5, vec![pool()], vec![work.key]));
    tokio::time::pause();
    let first = Instant::now();
    stage.heartbeat().await;
    assert!((4..=5).contains(&first.elapsed().as_secs()), "{:?}", first.elapsed());
    stage.gate.let_go(1);
    stage.outcome().await;
    stage.drain_clean().await;
}
