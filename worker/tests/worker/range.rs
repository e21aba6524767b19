//! Ranges of items.

use proto::{
    control::Control,
    outcome::ItemsReport,
    value::ValueRef,
    work::{Phase, Work},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::stage::{RUN, Stage, indices, manifest};

/// A workflow whose task `t` runs `action` for each item.
fn each(rest: &str) -> String {
    let indented: String = rest.lines().map(|line| format!("    {line}\n")).collect();
    format!("name: w\nparameters: {{ x: {{}} }}\ntasks:\n  t:\n    with_items: \"{{{{ parameters.x }}}}\"\n{indented}")
}

fn numbers(count: u64) -> Vec<Value> {
    (0..count).map(Value::from).collect()
}

async fn reported(yaml: &str, slots: u32, items: &[Value]) -> (Stage, ItemsReport) {
    let mut stage = Stage::with_slots(&each(yaml), slots).await;
    stage.send(&stage.range("t", items)).await;
    let report = stage.items().await;
    (stage, report)
}

fn results(stage: &Stage, report: &ItemsReport) -> Value {
    stage.read(report.results.as_ref().expect("results"))
}

const GATE: &str = "action: test.gate\ninput: { i: \"{{ index }}\" }";

#[tokio::test]
async fn items_and_indices_are_laid_over_the_snapshot() {
    let yaml = "action: core.echo\ninput: { message: [\"{{ item.n }}\", \"{{ index }}\", \"{{ parameters.x }}\"] }";
    let mut stage = Stage::with_slots(&each(yaml), 2).await;
    let mut work = Work {
        manifest: manifest(json!({ "parameters.x": "shared" })),
        ..stage.range("t", &[json!({ "n": "a" }), json!({ "n": "b" })])
    };
    work.range.as_mut().expect("a range").items = [4, 9].map(proto::id::ItemIndex).into_iter().collect();
    stage.send(&work).await;
    let report = stage.items().await;
    assert_eq!(indices(&report.succeeded), [4, 9]);
    assert_eq!(results(&stage, &report), json!([["a", 4, "shared"], ["b", 9, "shared"]]));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_range_borrows_idle_slots_and_no_more() {
    let mut stage = Stage::with_slots(&each(GATE), 3).await;
    stage.send(&stage.range("t", &numbers(20))).await;
    stage.gate.entered(3).await;
    stage.gate.let_go(20);
    let mut done = 0;
    while done < 20 {
        let report = stage.items().await;
        done += report.succeeded.len() + report.handed_back.len();
    }
    assert_eq!(stage.gate.most_inside(), 3);
    stage.drain_clean().await;
}

#[tokio::test]
async fn two_ranges_share_the_slots() {
    let mut stage = Stage::with_slots(&each(GATE), 2).await;
    let one = stage.range("t", &numbers(3));
    let mut two = one.clone();
    two.key.serial = 2;
    stage.send(&one).await;
    stage.gate.entered(2).await;
    stage.send(&two).await;
    stage.gate.let_go(6);
    let mut done = 0;
    while done < 6 {
        let report = stage.items().await;
        done += report.succeeded.len() + report.handed_back.len();
    }
    assert_eq!(stage.gate.most_inside(), 2);
    // Every permit came back: two more run at once.
    stage.send(&Work { key: proto::work::WorkKey { serial: 3, ..one.key.clone() }, ..one.clone() }).await;
    let before = stage.gate.times_entered();
    stage.gate.entered(before + 2).await;
    stage.gate.let_go(3);
    let mut last = 0;
    while last < 3 {
        let report = stage.items().await;
        last += report.succeeded.len() + report.handed_back.len();
    }
    stage.drain_clean().await;
}

#[tokio::test]
async fn results_stand_in_item_order_whatever_ends_first() {
    let mut stage = Stage::with_slots(&each("action: test.turn\ninput: { n: \"{{ item }}\" }"), 8).await;
    stage.gate.go_backwards_from(7);
    stage.send(&stage.range("t", &numbers(8))).await;
    let report = stage.items().await;
    assert_eq!(indices(&report.succeeded), (0..8).collect::<Vec<_>>());
    let expected: Vec<_> = (0..8).map(|n| json!({ "n": n })).collect();
    assert_eq!(results(&stage, &report), json!(expected));
    stage.drain_clean().await;
}

#[tokio::test]
async fn after_a_second_what_is_not_begun_is_handed_back() {
    let mut stage = Stage::with_slots(&each(GATE), 2).await;
    let begun = Instant::now();
    stage.send(&stage.range("t", &numbers(5))).await;
    let report = stage.items().await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((report.succeeded.len(), indices(&report.handed_back)), (0, vec![2, 3, 4]));
    // One of the two ends: that is reported while the other one runs on.
    stage.gate.let_go(1);
    let report = stage.items().await;
    assert_eq!((report.succeeded.len(), report.handed_back.len()), (1, 0));
    stage.gate.let_go(1);
    let report = stage.items().await;
    assert_eq!((report.succeeded.len(), report.handed_back.len()), (1, 0));
    assert_eq!(stage.gate.times_entered(), 2, "what was handed back was not begun");
    stage.drain_clean().await;
}

#[tokio::test]
async fn failures_and_retries_are_sorted_out_and_retries_grouped() {
    let yaml = r#"action: core.assert
input: { that: "{{ item % 2 == 0 }}", message: "odd" }
retry: { count: 1, delay: 5s, jitter: false }"#;
    let (mut stage, report) = reported(yaml, 4, &numbers(5)).await;
    assert_eq!((indices(&report.succeeded), report.failed.len()), (vec![0, 2, 4], 0));
    let retry: Vec<_> = report.retry.iter().map(|(delay_ms, items)| (*delay_ms, indices(items))).collect();
    assert_eq!(retry, [(5_000, vec![1, 3])]);
    assert_eq!(results(&stage, &report), json!([null, null, null]));
    let last = Work { retries: 1, ..stage.range("t", &numbers(2)) };
    stage.send(&last).await;
    let report = stage.items().await;
    assert_eq!((indices(&report.succeeded), indices(&report.failed)), (vec![0], vec![1]));
    let error = json!({ "code": "assertion_failed", "details": null, "message": "odd" });
    assert_eq!(stage.read(report.errors.as_ref().expect("errors")), json!([{ "error": error, "index": 1, "item": 1 }]));
    assert_eq!(report.failure.expect("the first").code, "assertion_failed");
    stage.drain_clean().await;
}

#[tokio::test]
async fn one_item_that_panics_or_cannot_be_told_spoils_no_other() {
    for (action, expected) in [("test.panic", "action_panicked"), ("test.deep", "json_too_deep")] {
        let yaml = format!(
            "action: {action}\ninput: {{ of: 1, depth: \"{{{{ 113 + item }}}}\" }}\nretry: {{ count: 0, when: \"item == 9\" }}"
        );
        let (stage, report) = reported(&yaml, 2, &numbers(3)).await;
        assert_eq!((report.succeeded.len(), indices(&report.failed)), (0, vec![0, 1, 2]), "{action}");
        assert_eq!(report.failure.expect("the first").code, expected);
        stage.drain_clean().await;
    }
    let yaml = "action: test.deep\ninput: { depth: \"{{ 111 + item }}\" }";
    let (stage, report) = reported(yaml, 2, &numbers(3)).await;
    assert_eq!((indices(&report.succeeded), indices(&report.failed)), (vec![0, 1], vec![2]));
    stage.drain_clean().await;
}

#[tokio::test]
async fn large_results_are_reported_early() {
    // One slot: two large items, then one that waits, then one that is not begun.
    let mut stage = Stage::with_slots(&each("action: test.some\ninput: { bytes: \"{{ item }}\" }"), 1).await;
    let items = [2_300_000, 2_300_000, 0, 0].map(Value::from);
    stage.send(&stage.range("t", &items)).await;
    let report = stage.items().await;
    assert_eq!((indices(&report.succeeded), report.handed_back.len()), (vec![0, 1], 0));
    assert!(matches!(report.results, Some(ValueRef::Stored(_))));
    stage.gate.let_go(2);
    let mut done = 0;
    while done < 2 {
        let report = stage.items().await;
        done += report.succeeded.len() + report.handed_back.len();
    }
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_cancel_ends_what_runs_and_hands_back_the_rest() {
    let mut stage = Stage::with_slots(&each(GATE), 2).await;
    stage.send(&stage.range("t", &numbers(4))).await;
    stage.gate.entered(2).await;
    stage.tell(&Control::Cancel { run: RUN.parse().expect("valid"), through: proto::id::Instance(1) }).await;
    let (mut failed, mut handed_back, mut code) = (Vec::new(), Vec::new(), None);
    while failed.len() + handed_back.len() < 4 {
        let report = stage.items().await;
        failed.extend(indices(&report.failed));
        handed_back.extend(indices(&report.handed_back));
        code = code.or(report.failure.map(|failure| failure.code));
    }
    failed.sort_unstable();
    assert_eq!((failed, handed_back, code.as_deref()), (vec![0, 1], vec![2, 3], Some("canceled")));
    // Whatever of the run comes later is handed back whole.
    let mut later = stage.range("t", &numbers(2));
    later.key.serial = 2;
    stage.send(&later).await;
    assert_eq!(indices(&stage.items().await.handed_back), [0, 1]);
    assert_eq!(stage.gate.times_entered(), 2);
    stage.drain_clean().await;
}

#[tokio::test]
async fn items_that_are_no_list_or_too_few_fail() {
    let mut stage = Stage::with_slots(&each(GATE), 2).await;
    for values in [json!([1]), json!({ "a": 1 })] {
        let mut work = stage.range("t", &numbers(2));
        work.range.as_mut().expect("a range").values = proto::json::Json::of(&values).expect("JSON");
        stage.send(&work).await;
        let report = stage.items().await;
        assert_eq!(indices(&report.failed), [0, 1]);
        assert_eq!(report.failure.expect("why").code, "items_unreadable");
    }
    let work = Work { manifest: manifest(json!({})), ..stage.task("t", Phase::Settle) };
    stage.report(&work).await;
    stage.drain_clean().await;
}
