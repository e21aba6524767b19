//! `process.plugin` with real processes, which keep the rules or do not.

use std::time::Duration;

use leveret_worker::action::{
    Call, Error,
    plugin::{Run, Settings},
};
use serde_json::{Value, json};

use crate::{
    call, code, run, run_as,
    shell::{Lifeline, cancel_once_up},
};

/// What the script answers to `input`.
async fn plugin(script: &str, input: Value) -> Result<Value, Error> {
    run("process.plugin", json!({ "argv": ["sh", "-c", script], "input": input })).await
}

/// How the script fails.
async fn failing(script: &str) -> Error {
    plugin(script, Value::Null).await.expect_err(script)
}

const ECHO: &str = r#"read -r request; printf '{"status": "succeeded", "result": %s}' "$request""#;

#[tokio::test]
async fn the_request_says_what_it_is_for() {
    let input = json!({ "hosts": ["a", "ü\n"], "limit": 18_446_744_073_709_551_615_u64 });
    let request = plugin(ECHO, input.clone()).await.expect("answers");
    let expected = json!({
        "schema": 1,
        "key": "run-1/probe#1[0]",
        "run": "run-1",
        "task": "probe",
        "attempt": 1,
        "item": 0,
        "input": input,
        "deadline": "2026-11-30T00:53:20.123Z",
    });
    assert_eq!(request, expected);
    let alone = Call { item: None, ..call() };
    let request = run_as(Run::default(), json!({ "argv": ["sh", "-c", ECHO] }), &alone).await.expect("answers");
    assert_eq!((request.get("item"), &request["input"]), (None, &Value::Null));
}

#[tokio::test]
async fn arguments_environment_and_folder_are_those_of_the_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let script =
        r#"printf '{"status": "succeeded", "result": ["%s", "%s", "%s", "%s"]}' "$1" "$A" "$LEVERET_KEY" "$(pwd -P)""#;
    let input = json!({ "argv": ["sh", "-c", script, "sh", 5], "env": { "A": true }, "cwd": folder.path() });
    let result = run("process.plugin", input).await.expect("answers");
    let path = folder.path().canonicalize().expect("exists");
    assert_eq!(result, json!(["5", "true", "run-1/probe#1[0]", path]));
}

#[tokio::test]
async fn a_failure_is_the_plugins_own_with_what_it_said() {
    let script = r#"
        echo '::progress 10::' >&2
        echo 'looking for room' >&2
        echo '{"status": "failed", "error": {"code": "disk_full", "message": "no room", "details": [1]}}'"#;
    let error = failing(script).await;
    assert_eq!((error.code.as_str(), error.message.as_str()), ("disk_full", "no room"));
    let shown = json!({
        "exit_code": 0,
        "stderr": "looking for room\n",
        "stderr_truncated": false,
        "details": [1],
    });
    assert_eq!(error.result, shown);
}

#[tokio::test]
async fn every_bad_end_has_its_code() {
    let answer = r#"echo '{"status": "succeeded"}'"#;
    for (script, code, message) in [
        (
            format!("{answer}; echo first >&2; echo 'no such host' >&2; exit 3"),
            "plugin_exit",
            "exited with 3: no such host",
        ),
        (format!("{answer}; kill -9 $$"), "plugin_exit", "was ended by SIGKILL (9)"),
        ("true".to_owned(), "plugin_response", "is empty"),
        ("echo done".to_owned(), "plugin_response", "is not JSON"),
        (format!("{answer}; {answer}"), "plugin_response", "is followed by something else"),
        ("echo '{\"status\": \"fine\"}'".to_owned(), "plugin_response", "unknown variant `fine`"),
        ("echo '{\"status\": \"failed\"}'".to_owned(), "plugin_response", "has no `error`"),
    ] {
        let error = failing(&script).await;
        assert_eq!(error.code, code, "{script}");
        assert!(error.message.contains(message), "{script}: {error}");
        assert!(error.result["exit_code"].is_number() || script.contains("kill"), "{script}: {}", error.result);
    }
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").expect("written");
    for (input, message) in [
        (json!({ "argv": ["/no/such/plugin"] }), "cannot run /no/such/plugin: it is not there"),
        (json!({ "argv": ["no-such-plugin-anywhere"] }), "it is not there"),
        (json!({ "argv": [plain] }), "it is not an executable file; `chmod +x`"),
        (json!({ "argv": [folder.path()] }), "it is not an executable file"),
        (json!({ "argv": ["sh"], "cwd": "/no/such" }), "cwd /no/such is not a folder"),
    ] {
        let error = run("process.plugin", input.clone()).await.expect_err("it cannot");
        assert_eq!(error.code, "spawn_failed", "{input}");
        assert!(error.message.contains(message), "{input}: {error}");
    }
    for input in [json!({}), json!({ "argv": [] }), json!({ "argv": ["a"], "stdin": "" }), json!({ "argv": "a" })] {
        assert_eq!(code(run("process.plugin", input.clone()).await), "input_invalid", "{input}");
    }
}

#[tokio::test]
async fn large_requests_and_responses_deadlock_nobody() {
    let text = "0123456789abcdef".repeat(256 * 1024);
    let request = plugin(ECHO, json!(text)).await.expect("both ways");
    assert_eq!(request["input"].as_str().map(str::len), Some(text.len()));
    let unread = plugin(r#"echo '{"status": "succeeded"}'"#, json!(text)).await;
    assert_eq!(unread, Ok(Value::Null), "nobody need read the request");
    let chatty = r#"head -c 3000000 /dev/zero | tr '\0' 'x' >&2; echo >&2; echo late >&2; exit 1"#;
    let error = failing(chatty).await;
    let kept = error.result["stderr"].as_str().map(str::len).expect("a text");
    assert!(kept <= 64 * 1024 && error.result["stderr_truncated"] == true, "{kept}");
    assert!(error.message.ends_with("exited with 1: late"), "{error}");
}

#[tokio::test]
async fn a_response_is_bounded() {
    let action = Run::new(Settings { response_bytes_max: 40, ..Settings::default() });
    let script = r#"echo '{"status": "succeeded", "result": "0123456789"}'"#;
    let error = run_as(action, json!({ "argv": ["sh", "-c", script] }), &call()).await.expect_err("too large");
    assert_eq!(error.code, "plugin_response");
    assert!(error.message.contains("has more than 40 bytes"), "{error}");
}

#[tokio::test]
async fn a_cancel_ends_the_whole_group() {
    let impatient =
        Settings { grace: Duration::from_millis(300), linger: Duration::from_millis(100), ..Settings::default() };
    let lifeline = Lifeline::new();
    let script = lifeline.text("trap '' TERM; echo begun >&2; sleep 20 & true", "sleep 20");
    let input = json!({ "argv": ["sh", "-c", script] });
    let error = cancel_once_up(Run::new(impatient), &lifeline, input).await;
    assert_eq!((error.code.as_str(), &error.result["stderr"]), ("canceled", &json!("begun\n")));
}
