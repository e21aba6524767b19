//! `secrets.*` and `env.*`: who can read them, and that no secret leaves the worker.

use std::collections::BTreeMap;

use proto::{
    outcome::Acted,
    work::{Phase, Status},
};
use serde_json::json;

use super::stage::{Plan, Stage};

const DEFINITION: &str = r#"
name: w
tasks:
  echo:
    action: core.echo
    input: { message: { plain: "{{ secrets.token }}", within: "Bearer {{ secrets.token }}!", file: "{{ secrets.key }}", short: "{{ secrets.pin }}" } }
    next: [{ publish: { copy: "{{ result.within }}" } }]
  fails:
    action: shell.run
    input: { script: "echo $TOKEN; echo $TOKEN >&2; exit 3", env: { TOKEN: "{{ secrets.token }}" } }
    next: [{ when: "'***' in error.message" }]
  other: { action: core.echo, input: { message: "hunter22 is only a word here" } }
  missing: { action: core.echo, input: { message: "{{ secrets.nobody }}" } }
  each: { action: core.echo, input: { message: "{{ secrets[item] }}" }, with_items: [token] }
  env: { action: core.echo, input: { message: ["{{ env.REGION }}", "{{ env.HOME | default(value='none') }}"] } }
  env_refused: { action: core.echo, input: { message: "{{ env.HOME }}" } }
"#;

/// A worker with the secrets `token`, `pin` and `key`, the last in a file of the folder that comes back too.
async fn stage() -> (Stage, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), "line 1\nline 2\n").expect("written");
    let variables =
        [("LEVERET_SECRET_TOKEN", "hunter22"), ("LEVERET_SECRET_PIN", "123"), ("REGION", "eu-1"), ("HOME", "/root")];
    let environment: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let plan = Plan {
        environment,
        env_allow: vec!["REGION".to_owned(), "ABSENT".to_owned()],
        secrets_dir: Some(folder.path().to_owned()),
        ..Plan::default()
    };
    (Stage::set(DEFINITION, plan).await, folder)
}

async fn acted(stage: &mut Stage, task: &str) -> Acted {
    let work = stage.task(task, Phase::Act);
    let acted = stage.acted(&work).await;
    let code = acted.failure.as_ref().map_or("", |failed| &failed.failure.code);
    assert_ne!(code, "value_unreadable", "{acted:?}");
    acted
}

#[tokio::test]
async fn secrets_reach_the_action_and_are_masked_in_results() {
    let (mut stage, folder) = stage().await;
    let echoed = acted(&mut stage, "echo").await;
    let masked = json!({ "plain": "***", "within": "Bearer ***!", "file": "***", "short": "123" });
    assert_eq!(stage.read(&echoed.result), masked);
    assert!(!format!("{echoed:?}").contains("hunter22"), "{echoed:?}");
    // A file is read anew.
    std::fs::write(folder.path().join("key"), "later").expect("written");
    let echoed = acted(&mut stage, "echo").await;
    assert_eq!(stage.read(&echoed.result)["file"], "***");
    std::fs::remove_file(folder.path().join("key")).expect("removed");
    let echoed = acted(&mut stage, "echo").await;
    assert_eq!(echoed.failure.expect("no such secret").failure.code, "template_error");
    stage.drain_clean().await;
}

#[tokio::test]
async fn secrets_are_masked_in_errors() {
    let (mut stage, _folder) = stage().await;
    let failed = acted(&mut stage, "fails").await;
    assert_eq!(failed.status, Status::Failed);
    assert!(!format!("{failed:?}").contains("hunter22"), "{failed:?}");
    let error = stage.read(&failed.failure.expect("failed").error);
    assert_eq!((&error["details"]["stdout"], &error["details"]["stderr"]), (&json!("***\n"), &json!("***\n")));
    assert_eq!(error["message"], "the script exited with 3: ***");
    stage.drain_clean().await;
}

#[tokio::test]
async fn only_tasks_that_read_a_secret_have_it() {
    let (mut stage, _folder) = stage().await;
    let other = acted(&mut stage, "other").await;
    assert_eq!(stage.read(&other.result), json!("hunter22 is only a word here"));
    let missing = acted(&mut stage, "missing").await;
    assert_eq!(missing.failure.expect("failed").failure.code, "template_error");
    stage.drain_clean().await;
}

#[tokio::test]
async fn items_may_compute_which_secret_they_read() {
    let (mut stage, _folder) = stage().await;
    stage.send(&stage.range("each", &[json!("token"), json!("pin"), json!("nobody")])).await;
    let report = stage.items().await;
    assert_eq!(stage.read(report.results.as_ref().expect("results")), json!(["***", "123"]));
    assert_eq!(report.failure.expect("one is missing").code, "template_error");
    stage.drain_clean().await;
}

#[tokio::test]
async fn only_allowed_variables_can_be_read() {
    let (mut stage, _folder) = stage().await;
    let env = acted(&mut stage, "env").await;
    assert_eq!(stage.read(&env.result), json!(["eu-1", "none"]));
    let refused = acted(&mut stage, "env_refused").await;
    assert_eq!(refused.failure.expect("failed").failure.code, "template_error");
    stage.drain_clean().await;
}
