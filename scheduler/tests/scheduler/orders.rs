//! What people order of runs besides a cancel: signals, a rest, going on, doing it again; and runs that wait for their
//! time or their turn.

use proto::outcome::Report;
use serde_json::{Value, json};

use crate::{
    robot::{ONE, acted, output},
    site::{Site, eventually},
};

const WAITS: &str = r#"
name: waits
tasks:
  ask: { wait_for: { signal: go }, action: core.echo, input: { message: "{{ signal.go }}" }, next: [{ do: again }] }
  again: { wait_for: { signal: go }, action: core.echo, input: { message: "{{ signal.go }}" } }
"#;

const ALONE: &str = r#"
name: alone
parameters: { key: { type: string } }
exclusive: [key]
tasks: { say: { action: core.echo, input: { message: "{{ parameters.key }}" } } }
"#;

async fn submit(site: &mut Site, body: Value) {
    site.submit(&body).await;
    let (_, answer) = site.answer().await;
    assert_eq!(answer["status"], "accepted", "{answer}");
}

/// What is answered to an order. Ends of runs are told in between.
async fn order(site: &mut Site, body: Value) -> Value {
    site.submit(&body).await;
    loop {
        let (properties, answer) = site.answer().await;
        if properties.kind.as_deref() != Some("finished") {
            return answer;
        }
    }
}

#[tokio::test]
async fn signals_come_early_or_late_and_each_is_used_once() {
    let mut site = Site::memory().await;
    submit(&mut site, json!({ "definition": WAITS, "id": "r" })).await;
    let large = "x".repeat(5_000);
    let signal = json!({ "command": "signal", "id": "r", "name": "go", "payload": large, "signal_id": "1" });
    assert_eq!(order(&mut site, signal.clone()).await["status"], "accepted");
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/ask#1/act.1");
    assert_eq!(order(&mut site, signal).await["status"], "accepted", "the same again changes nothing");
    site.report(&work, acted(&[0])).await;
    eventually(async || (site.show("r").await["tasks"]["again"]["status"] == "waiting").then_some(())).await;
    order(&mut site, json!({ "command": "signal", "id": "r", "name": "go", "payload": 2, "signal_id": "2" })).await;
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/again#2/act.1");
    site.report(&work, acted(&[])).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
    let late = order(&mut site, json!({ "command": "signal", "id": "r", "name": "go" })).await;
    assert_eq!((&late["status"], &late["errors"][0]["code"]), (&json!("rejected"), &json!("run_ended")));
}

#[tokio::test]
async fn a_run_takes_so_many_signals_and_no_more() {
    let mut site = Site::memory().await;
    submit(&mut site, json!({ "definition": WAITS, "id": "r" })).await;
    for _ in 0..proto::limits::SIGNALS_MAX {
        site.submit(&json!({ "command": "signal", "id": "r", "name": "other" })).await;
    }
    for _ in 0..proto::limits::SIGNALS_MAX {
        assert_eq!(site.answer().await.1["status"], "accepted");
    }
    let refused = order(&mut site, json!({ "command": "signal", "id": "r", "name": "other" })).await;
    assert_eq!(refused["errors"][0]["code"], "too_many_signals");
}

#[tokio::test]
async fn a_run_rests_and_goes_on_also_when_its_scheduler_died_meanwhile() {
    let mut site = Site::sqlite().await;
    let two = ONE.replace(
        "retry: { count: 5 } }",
        "next: [{ do: then }] }\n  then: { action: core.echo, input: { message: 1 } }",
    );
    submit(&mut site, json!({ "definition": two, "id": "r" })).await;
    let (work, delivery) = site.work().await;
    assert_eq!(order(&mut site, json!({ "command": "pause", "id": "r" })).await["status"], "accepted");
    assert_eq!(site.show("r").await["status"], "pausing");
    site.report(&work, acted(&[0])).await;
    delivery.ack();
    eventually(async || (site.show("r").await["status"] == "paused").then_some(())).await;
    assert!(site.work_now().is_none());
    site.kill().await;
    site.start().await;
    assert_eq!(site.show("r").await["status"], "paused");
    assert!(site.work_now().is_none());
    assert_eq!(order(&mut site, json!({ "command": "resume", "id": "r" })).await["status"], "accepted");
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/then#2/act.1");
    site.report(&work, acted(&[])).await;
    let (work, _delivery) = site.work().await;
    site.report(&work, output(&json!({}))).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
}

#[tokio::test]
async fn a_run_that_failed_is_done_again_from_where_it_failed() {
    let mut site = Site::sqlite().await;
    let two = ONE.replace(
        "retry: { count: 5 } }",
        "next: [{ when: succeeded(), do: then }] }\n  then: { action: core.echo, input: { message: 1 } }",
    );
    submit(&mut site, json!({ "definition": two, "id": "r" })).await;
    let early = order(&mut site, json!({ "command": "rerun", "id": "r" })).await;
    assert_eq!(early["errors"][0]["code"], "run_not_finished");
    let (work, _delivery) = site.work().await;
    site.report(&work, acted(&[0])).await;
    let (work, _delivery) = site.work().await;
    site.report(&work, Report::Unable(proto::failure::Failure::new("template_error", "no"))).await;
    let (work, _delivery) = site.work().await;
    site.report(&work, output(&json!({}))).await;
    assert_eq!(site.ended("r").await["status"], "failed");
    let again = json!({ "command": "rerun", "id": "r", "new_id": "r2" });
    let answer = order(&mut site, again.clone()).await;
    assert_eq!((&answer["status"], &answer["id"]), (&json!("accepted"), &json!("r2")));
    assert_eq!(order(&mut site, again).await["duplicate"], true, "the same order is one rerun");
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r2/then#2/act.1", "what succeeded is not done again");
    site.kill().await;
    site.start().await;
    site.report(&work, acted(&[])).await;
    let last = loop {
        let (work, delivery) = site.work().await;
        delivery.ack();
        if work.key.to_string() == "r2/-/output.1" {
            break work;
        }
    };
    site.report(&last, output(&json!({}))).await;
    let run = site.ended("r2").await;
    assert_eq!((&run["status"], &run["tasks"]["say"]["status"]), (&json!("succeeded"), &json!("succeeded")));
    site.submit(&json!({ "command": "rerun", "id": "r", "from": "say", "new_id": "r2" })).await;
    // What was answered before the restart may come once more.
    let other = loop {
        let (properties, answer) = site.answer().await;
        if properties.kind.as_deref() == Some("rejected") {
            break answer;
        }
    };
    assert_eq!(other["errors"][0]["code"], "id_conflict");
}

#[tokio::test]
async fn runs_that_exclude_each_other_go_in_order_also_after_a_restart() {
    let mut site = Site::sqlite().await;
    for (id, key) in [("a", "x"), ("b", "x"), ("c", "x"), ("other", "y")] {
        submit(&mut site, json!({ "definition": ALONE, "id": id, "parameters": { "key": key } })).await;
    }
    let mut first = Vec::new();
    for _ in 0..2 {
        first.push(site.work().await.0);
    }
    first.sort_by_key(|work| work.key.to_string());
    assert_eq!(first.iter().map(|work| work.key.run.as_str()).collect::<Vec<_>>(), ["a", "other"]);
    assert_eq!(site.show("b").await["status"], "queued");
    site.kill().await;
    site.start().await;
    order(&mut site, json!({ "command": "cancel", "id": "b" })).await;
    assert_eq!(site.ended("b").await["status"], "canceled", "one that waits can be cancelled");
    site.report(&first[0], acted(&[])).await;
    assert_eq!(site.ended("a").await["status"], "succeeded");
    let next = loop {
        let (work, delivery) = site.work().await;
        delivery.ack();
        if work.key.run.as_str() == "c" {
            break work;
        }
    };
    site.report(&next, acted(&[])).await;
    assert_eq!(site.ended("c").await["status"], "succeeded");
}

#[tokio::test]
async fn a_run_waits_for_its_time() {
    let mut site = Site::sqlite().await;
    let now = proto::time::Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let due = now.plus(std::time::Duration::from_millis(400));
    submit(&mut site, json!({ "definition": ONE, "id": "r", "at": due.to_string() })).await;
    assert_eq!(site.show("r").await["status"], "queued");
    assert!(site.work_now().is_none());
    site.kill().await;
    site.start().await;
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/say#1/act.1");
    assert!(work.dispatched_at >= due, "{} before {due}", work.dispatched_at);
}
