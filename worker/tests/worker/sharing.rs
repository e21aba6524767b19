//! What is read is fetched once and shared, however many read it.

use std::collections::BTreeMap;

use proto::{
    manifest::ManifestRef,
    value::{Stored, ValueRef},
    work::{Phase, Status, Work},
};
use serde_json::{Value, json};

use super::{metrics::scrape, stage::Stage};

const DEFINITION: &str = r#"
name: w
parameters: { big: {} }
tasks:
  t: { action: core.echo, input: { message: "{{ parameters.big | length }}" } }
  each:
    action: core.echo
    input: { message: "{{ parameters.big[item] }}" }
    with_items: "{{ parameters.big }}"
"#;

/// A context of about `bytes`, and a manifest that names it, both stored.
fn context(stage: &Stage, bytes: usize) -> (Stored, Stored) {
    let entries: Vec<_> = (0..bytes / 100).map(|n| format!("{n:098}")).collect();
    let value = stage.values.put(serde_json::to_vec(&entries).expect("JSON"));
    let manifest = BTreeMap::from([("parameters.big", ValueRef::Stored(value))]);
    (value, stage.values.put(serde_json::to_vec(&manifest).expect("JSON")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_need_the_same_fetch_it_once() {
    let mut stage = Stage::with_slots(DEFINITION, 16).await;
    let (value, manifest) = context(&stage, 500_000);
    let template = Work { manifest: ManifestRef::Stored(manifest), ..stage.task("t", Phase::Act) };
    for serial in 1..=64 {
        let mut work = template.clone();
        work.key.serial = serial;
        stage.send(&work).await;
    }
    for _ in 0..64 {
        let proto::outcome::Report::Acted(acted) = stage.outcome().await.report else { panic!("acted") };
        assert_eq!((acted.status, stage.read(&acted.result)), (Status::Succeeded, json!(5_000)));
    }
    let fetches = [template.definition, manifest, value].map(|stored| stage.values.fetches(stored));
    assert_eq!(fetches, [1, 1, 1]);
    let metrics = scrape(&stage).await;
    assert_eq!(metrics["leveret_snapshot_cache_misses_total"], 1.0);
    assert_eq!(metrics["leveret_snapshot_cache_hits_total"], 63.0);
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_thousand_items_share_one_snapshot_of_any_size() {
    for bytes in [100_000, 2_000_000] {
        let mut stage = Stage::with_slots(DEFINITION, 8).await;
        let (value, manifest) = context(&stage, bytes);
        let items: Vec<Value> = (0..1_000).map(Value::from).collect();
        let work = Work { manifest: ManifestRef::Stored(manifest), ..stage.range("each", &items) };
        let mut done = 0;
        stage.send(&work).await;
        while done < 1_000 {
            let report = stage.items().await;
            assert_eq!((report.failed.len(), report.failure), (0, None));
            done += report.succeeded.len() + report.handed_back.len();
        }
        let once = work.definition.bytes + value.bytes + manifest.bytes;
        assert_eq!(stage.values.fetched_bytes(), once, "a context of {bytes} bytes went over the wire once");
        assert_eq!(scrape(&stage).await["leveret_snapshot_cache_misses_total"], 1.0);
        stage.drain_clean().await;
    }
}
