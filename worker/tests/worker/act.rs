//! Tasks without items: one attempt, and what follows.

use std::time::Duration;

use proto::{
    control::Control,
    outcome::{Acted, Next, Report},
    value::ValueRef,
    work::{Phase, Status, Work},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::stage::{RUN, Stage, manifest};

/// A workflow of one task `t`.
fn task(yaml: &str) -> String {
    let indented: String = yaml.lines().map(|line| format!("    {}\n", line.trim_start_matches("| "))).collect();
    format!("name: w\nparameters: {{ x: {{}}, y: {{}} }}\ntasks:\n  t:\n{indented}")
}

async fn acted_with(yaml: &str, parameters: Value) -> (Stage, Acted) {
    let mut stage = Stage::new(&task(yaml)).await;
    let work = Work { manifest: manifest(parameters), ..stage.task("t", Phase::Act) };
    let acted = stage.acted(&work).await;
    (stage, acted)
}

fn code(acted: &Acted) -> &str {
    acted.failure.as_ref().map_or("none", |failed| failed.failure.code.as_str())
}

fn fired(acted: &Acted) -> &[u16] {
    match &acted.next {
        Next::Settled(settlement) => &settlement.fired,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn types_are_kept_from_input_to_publish() {
    let yaml = r#"action: core.echo
input: { message: { number: "{{ parameters.x }}", text: "{{ parameters.x }}!", list: ["{{ parameters.y }}"] } }
next:
  - when: succeeded() and result.number == 7
    publish: { n: "{{ result.number + 1 }}", whole: "{{ result }}", later: "{{ workflow.n * 2 }}" }
  - when: failed()
  - publish: { n: 1.5 }"#;
    let (stage, acted) = acted_with(yaml, json!({ "parameters.x": 7, "parameters.y": { "k": [null, true] } })).await;
    let result = json!({ "number": 7, "text": "7!", "list": [{ "k": [null, true] }] });
    assert_eq!((acted.status, stage.read(&acted.result)), (Status::Succeeded, result.clone()));
    assert_eq!((code(&acted), fired(&acted)), ("none", [0, 2].as_slice()));
    let Next::Settled(settlement) = &acted.next else { panic!("settled") };
    let published: Value = settlement
        .published
        .iter()
        .map(|(name, value)| (name.to_string(), stage.read(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(published, json!({ "n": 1.5, "whole": result, "later": 16 }));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_large_result_goes_by_put_and_is_read_here_without_a_fetch() {
    let yaml = r#"action: test.big
input: { bytes: 300000 }
next:
  - publish: { copy: "{{ result }}" }"#;
    let (mut stage, acted) = acted_with(yaml, json!({})).await;
    let ValueRef::Stored(stored) = acted.result else { panic!("{:?}", acted.result) };
    assert_eq!(stage.read(&acted.result), json!("x".repeat(300_000)));
    let Next::Settled(settlement) = &acted.next else { panic!("settled") };
    assert_eq!(settlement.published.values().next(), Some(&acted.result));
    // The value is back as a parameter of the next task.
    let mut work = stage.task("t", Phase::Act);
    work.manifest = proto::manifest::ManifestRef::Inline([("parameters.x".into(), acted.result.clone())].into());
    stage.acted(&work).await;
    assert_eq!(stage.values.fetches(stored), 0, "this worker made it");
    stage.drain_clean().await;
}

#[tokio::test]
async fn an_input_against_the_schema_fails_the_attempt() {
    let yaml =
        "action: core.sleep\ninput: { seconds: [1], minutes: 5 }\nnext: [{ when: failed() }, { when: succeeded() }]";
    let (stage, acted) = acted_with(yaml, json!({})).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::Failed, "input_invalid", [0].as_slice()));
    let error = stage.read(&acted.failure.as_ref().expect("failed").error);
    assert_eq!(error["details"]["problems"].as_array().map(Vec::len), Some(2), "{error}");
    stage.drain_clean().await;
}

#[tokio::test]
async fn an_unknown_action_fails_the_attempt() {
    let (stage, acted) = acted_with("action: no.such\nnext: [{ when: failed() }]", json!({})).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::Failed, "action_unknown", [0].as_slice()));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_template_error_in_an_input_is_a_failure_that_transitions_see() {
    let yaml = r#"action: core.echo
input: { message: "{{ parameters.x.typo }}" }
next:
  - when: error.code == 'template_error'
    publish: { why: "{{ error.message }}" }"#;
    let (stage, acted) = acted_with(yaml, json!({ "parameters.x": {} })).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::Failed, "template_error", [0].as_slice()));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_transition_that_cannot_be_asked_is_told_beside_the_result() {
    for (when, expected) in [("result.typo == 1", "template_error"), ("result", "when_not_boolean")] {
        let yaml = format!("action: core.echo\ninput: {{ message: {{ a: 1 }} }}\nnext: [{{ when: \"{when}\" }}]");
        let (stage, acted) = acted_with(&yaml, json!({})).await;
        assert_eq!((acted.status, stage.read(&acted.result)), (Status::Succeeded, json!({ "a": 1 })));
        let Next::Unable(failure) = &acted.next else { panic!("{:?}", acted.next) };
        assert_eq!(failure.code, expected);
        stage.drain_clean().await;
    }
}

#[tokio::test]
async fn retries_are_decided_here() {
    let yaml = r#"action: core.echo
input: { message: "{{ parameters.x }}" }
retry: { count: 2, delay: 10s, backoff: linear, jitter: false, when: "failed() or result != 'ready'" }
next: [{ when: succeeded() }, { when: failed() }]"#;
    let mut stage = Stage::new(&task(yaml)).await;
    let work = |x: &str, retries| Work {
        manifest: manifest(json!({ "parameters.x": x })),
        retries,
        ..stage.task("t", Phase::Act)
    };
    let (first, second, last, ready) = (work("no", 0), work("no", 1), work("no", 2), work("ready", 1));
    for (work, delay_ms) in [(first, 10_000), (second, 20_000)] {
        let acted = stage.acted(&work).await;
        assert_eq!((acted.status, acted.next), (Status::Succeeded, Next::Retry { delay_ms }));
    }
    let acted = stage.acted(&last).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::Failed, "retries_exhausted", [1].as_slice()));
    assert_eq!(stage.read(&acted.result), json!("no"), "the result is kept");
    let acted = stage.acted(&ready).await;
    assert_eq!((acted.status, fired(&acted)), (Status::Succeeded, [0].as_slice()));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_retry_condition_that_is_no_boolean_fails_the_attempt() {
    let yaml =
        "action: core.echo\ninput: { message: 5 }\nretry: { count: 2, when: result }\nnext: [{ when: failed() }]";
    let (stage, acted) = acted_with(yaml, json!({})).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::Failed, "when_not_boolean", [0].as_slice()));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_timeout_stops_the_action_and_keeps_what_it_had() {
    let yaml = "action: test.gate\ntimeout: 100ms\nnext: [{ when: timed_out() }, { when: succeeded() }]";
    let (stage, acted) = acted_with(yaml, json!({})).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::TimedOut, "timed_out", [0].as_slice()));
    assert_eq!(stage.read(&acted.result), json!({ "so": "far" }));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_panic_costs_the_attempt_and_nothing_else() {
    let yaml = "action: test.panic\ninput: { of: mine }\nnext: [{ when: failed() }]";
    let (stage, acted) = acted_with(yaml, json!({})).await;
    assert_eq!((acted.status, code(&acted), fired(&acted)), (Status::Failed, "action_panicked", [0].as_slice()));
    let failure = &acted.failure.as_ref().expect("failed").failure;
    assert_eq!(failure.message, "the action panicked: by \"mine\"");
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_result_too_deep_for_any_message_fails_the_attempt() {
    for (depth, expected) in [(100, "none"), (112, "none"), (113, "json_too_deep"), (127, "json_too_deep")] {
        let (stage, acted) = acted_with(&format!("action: test.deep\ninput: {{ depth: {depth} }}"), json!({})).await;
        assert_eq!(code(&acted), expected, "{depth}");
        stage.drain_clean().await;
    }
}

#[tokio::test]
async fn a_cancel_ends_a_shell_at_once() {
    let mut stage = Stage::new(&task("action: shell.run\ninput: { argv: [sleep, 600] }\nnext: [{ when: true }]")).await;
    let work = stage.task("t", Phase::Act);
    stage.send(&work).await;
    // Its heartbeat says that it runs.
    while stage.heartbeat().await.running != [work.key.clone()] {}
    let begun = Instant::now();
    stage.tell(&Control::Cancel { run: RUN.parse().expect("valid"), through: proto::id::Instance(1) }).await;
    let Report::Acted(acted) = stage.outcome().await.report else { panic!("acted") };
    assert_eq!((acted.status, code(&acted)), (Status::Canceled, "canceled"));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    stage.drain_clean().await;
}

#[tokio::test]
async fn what_is_skipped_is_handed_back_and_what_runs_goes_on() {
    let mut stage = Stage::with_slots(&task("action: test.gate\nnext: [{ when: true }]"), 1).await;
    let (one, two) = (stage.task("t", Phase::Act), stage.task("t", Phase::Settle));
    stage.send(&one).await;
    stage.gate.entered(1).await;
    stage.tell(&Control::Skip { run: RUN.parse().expect("valid"), through: proto::id::Instance(1) }).await;
    stage.send(&two).await;
    // Once the second was begun, nothing of it could be handed back: the slot is taken until here.
    stage.gate.let_go(1);
    let (first, second) = (stage.outcome().await, stage.outcome().await);
    assert!(matches!(first.report, Report::Acted(acted) if acted.status == Status::Succeeded));
    assert_eq!((second.key, second.report), (two.key, Report::HandedBack));
    // The run's own work is wanted to the end.
    let output = stage.work(None, Phase::Output);
    assert!(matches!(stage.report(&output).await, Report::Output(_)));
    stage.drain_clean().await;
}
