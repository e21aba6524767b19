//! Jobs by queue: accepted once, answered, refused with every reason.

use queue::Publication;
use serde_json::json;

use crate::{
    robot::{NONE, ONE, acted, output},
    site::Site,
};

#[tokio::test]
async fn a_job_is_accepted_carried_out_and_answered() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": ONE, "id": "r", "parameters": { "word": "you" } })).await;
    let (properties, accepted) = site.answer().await;
    assert_eq!(properties.kind.as_deref(), Some("accepted"));
    assert_eq!(properties.correlation_id.as_deref(), Some("mine"));
    assert_eq!(accepted, json!({ "schema": 1, "id": "r", "status": "accepted" }));

    let (work, delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/say#1/act.1");
    assert_eq!(delivery.properties.message_id.as_deref(), Some("r/say#1/act.1"));
    site.report(&work, acted(&[])).await;
    let (work, _delivery) = site.work().await;
    assert_eq!(work.key.to_string(), "r/-/output.1");
    site.report(&work, output(&json!({ "said": "you" }))).await;

    let (properties, finished) = site.answer().await;
    assert_eq!(properties.kind.as_deref(), Some("finished"));
    assert_eq!(properties.correlation_id.as_deref(), Some("mine"));
    assert!(properties.message_id.is_some());
    assert_eq!(finished, json!({ "schema": 1, "id": "r", "status": "succeeded", "output": { "said": "you" } }));
    assert_eq!(site.metric("leveret_runs_started_total").await, 1.0);
    let series = r#"leveret_runs_finished_total{status="succeeded",workflow="one"}"#;
    assert_eq!(site.metric(series).await, 1.0);
}

#[tokio::test]
async fn a_job_that_needs_no_worker_is_answered_once() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": NONE, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    assert_eq!(site.answer().await.1["output"], json!({ "done": true }));
    // Whatever else was sent for it would be here before the next job's answer.
    site.submit(&json!({ "definition": NONE, "id": "s" })).await;
    assert_eq!(site.answer().await.1["id"], "s");
}

#[tokio::test]
async fn the_same_job_again_is_the_same_run() {
    let mut site = Site::memory().await;
    let job = json!({ "definition": ONE, "id": "r" });
    site.submit(&job).await;
    let (first, _) = site.answer().await;
    site.submit(&job).await;
    let (again, answer) = site.answer().await;
    assert_eq!(answer, json!({ "schema": 1, "id": "r", "status": "accepted", "duplicate": true }));
    assert_ne!(first.message_id, again.message_id, "the two say different things");
    let (work, _delivery) = site.work().await;
    assert!(site.work_now().is_none(), "one run, one piece of work");

    site.report(&work, acted(&[])).await;
    let (work, _delivery) = site.work().await;
    site.report(&work, output(&json!({ "said": 1 }))).await;
    assert_eq!(site.answer().await.1["status"], "succeeded");
    site.submit(&job).await;
    assert_eq!(site.answer().await.1["duplicate"], true);
    let (_, finished) = site.answer().await;
    assert_eq!(finished["output"], json!({ "said": 1 }), "whoever comes late is told the end");
    assert_eq!(site.metric("leveret_runs_started_total").await, 1.0);
    assert_eq!(site.metric("leveret_duplicates_ignored_total").await, 2.0);
}

#[tokio::test]
async fn another_job_under_the_same_id_is_refused() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": NONE, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    assert_eq!(site.answer().await.1["status"], "succeeded");
    site.submit(&json!({ "definition": NONE, "id": "r", "labels": { "a": "b" } })).await;
    let (properties, answer) = site.answer().await;
    assert_eq!(properties.kind.as_deref(), Some("rejected"));
    assert_eq!(answer["errors"][0]["code"], "id_conflict");
    assert_eq!(site.rejected().await.properties.headers["reason"], "id_conflict");
}

#[tokio::test]
async fn what_is_wrong_is_told_kept_and_counted() {
    let mut site = Site::memory().await;
    let cases = [
        ("{".to_owned(), "json_invalid"),
        (json!({ "definition": "x".repeat(300_000) }).to_string(), "submission_too_large"),
        ("[".repeat(500), "json_too_deep"),
        (json!({ "workflow": "a", "paramters": {} }).to_string(), "json_invalid"),
        (json!({ "workflow": "nobody-knows" }).to_string(), "workflow_unknown"),
        (json!({ "workflow": "a", "id": "no spaces" }).to_string(), "json_invalid"),
        (json!({ "id": "r" }).to_string(), "submission_invalid"),
        (json!({ "definition": ONE, "context": { "tasks": {} } }).to_string(), "context_invalid"),
        (json!({ "definition": ONE, "id": "r~1.1" }).to_string(), "id_invalid"),
        (json!({ "command": "resume", "id": "nobody" }).to_string(), "run_unknown"),
        (json!({ "command": "rerun", "id": "nobody" }).to_string(), "run_unknown"),
        (json!({ "command": "cancel", "id": "nobody" }).to_string(), "run_unknown"),
    ];
    for (body, code) in &cases {
        let job = Publication { body: body.clone().into(), ..site.job(&json!(null)) };
        site.client.publish(job).await.unwrap();
        let (properties, answer) = site.answer().await;
        assert_eq!(properties.kind.as_deref(), Some("rejected"), "{body}");
        assert_eq!(properties.correlation_id.as_deref(), Some("mine"));
        assert_eq!((&answer["status"], &answer["errors"][0]["code"]), (&json!("rejected"), &json!(code)), "{answer}");
        let kept = site.rejected().await;
        assert_eq!(kept.body, body.as_bytes());
        assert_eq!(kept.properties.headers["reason"], *code);
        assert_eq!(kept.properties.headers["source"], site.topology.jobs_queue());
        assert!(!kept.properties.headers["message"].is_empty());
        kept.ack();
    }
    assert_eq!(site.metric(r#"leveret_rejected_total{reason="json_invalid"}"#).await, 3.0);
    assert_eq!(site.metric("leveret_runs_started_total").await, 0.0);
}

#[tokio::test]
async fn every_problem_is_told_at_once_within_reason() {
    let mut site = Site::memory().await;
    let definition = "name: two\ntasks: { a: { actoin: core.echo, next: [{ do: nowhere }] } }\n";
    site.submit(&json!({ "definition": definition })).await;
    assert!(site.answer().await.1["errors"].as_array().unwrap().len() >= 2);
    let many: serde_json::Map<_, _> = (0..5_000).map(|number| (format!("p{number}"), json!(1))).collect();
    site.submit(&json!({ "definition": ONE, "parameters": many })).await;
    assert!(site.answer().await.1["errors"].as_array().unwrap().len() <= 200, "an answer is a message too");
    site.rejected().await.ack();
    assert!(site.rejected().await.properties.headers["message"].len() <= 2048, "headers share one frame");
}

#[tokio::test]
async fn answers_go_only_where_they_may() {
    let mut site = Site::memory().await;
    let job = Publication { reply_to: Some("someone.elses".into()), ..site.job(&json!({ "definition": NONE })) };
    site.client.publish(job).await.unwrap();
    let kept = site.rejected().await;
    assert_eq!(kept.properties.headers["reason"], "reply_to_refused");
    assert_eq!(site.metric("leveret_runs_started_total").await, 0.0);
}

#[tokio::test]
async fn messages_that_are_refused_do_not_displace_each_other() {
    let mut site = Site::memory().await;
    site.submit(&json!({ "definition": NONE, "id": "r" })).await;
    for label in ["a", "b", "c"] {
        site.submit(&json!({ "definition": NONE, "id": "r", "labels": { "is": label } })).await;
    }
    let mut ids = std::collections::HashSet::new();
    for _ in 0..3 {
        let kept = site.rejected().await;
        assert!(ids.insert(kept.properties.message_id.clone()));
        kept.ack();
    }
}
