//! The actions that touch nothing, and the registry's check of inputs.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use leveret_worker::action::{Action, Call, Error, registry::Actions};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{call, code, run, run_in};

#[tokio::test]
async fn the_plain_ones_do_what_they_say() {
    assert_eq!(run("core.noop", Value::Null).await, Ok(Value::Null));
    assert_eq!(run("core.echo", json!({ "message": [1, { "a": null }] })).await, Ok(json!([1, { "a": null }])));
    assert_eq!(run("core.echo", json!({ "message": null })).await, Ok(Value::Null));
    assert_eq!(run("core.fail", json!({ "message": "no" })).await, Err(Error::new("failed", "no")));
    assert_eq!(run("core.assert", json!({ "that": true })).await, Ok(Value::Null));
    let failed = run("core.assert", json!({ "that": false, "message": "too few" })).await;
    assert_eq!(failed, Err(Error::new("assertion_failed", "too few")));
    assert_eq!(run("template.render", json!({ "template": { "a": 1 } })).await, Ok(json!({ "a": 1 })));
}

#[tokio::test(start_paused = true)]
async fn sleep_takes_its_time() {
    for (input, seconds) in
        [(json!({ "seconds": 90 }), 90), (json!({ "seconds": "2m" }), 120), (json!({ "duration": "1m5s" }), 65)]
    {
        let began = Instant::now();
        // The clock is paused and leaps: the deadline of `run` would leap in front of it.
        let outcome = Actions::builtin().run("core.sleep", input, &call()).await;
        assert_eq!(outcome, Ok(Value::Null));
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn sleep_ends_when_it_is_canceled() {
    let call = call();
    let actions = Actions::builtin();
    let sleeping = run_in(&actions, "core.sleep", json!({ "seconds": 3600 }), &call);
    let (outcome, ()) = tokio::join!(sleeping, async { call.cancel.cancel() });
    assert_eq!(code(outcome), "canceled");
    assert_eq!(code(actions.run("core.noop", Value::Null, &call).await), "canceled", "it does not even begin");
}

#[tokio::test]
async fn all_problems_of_an_input_come_at_once() {
    let input = json!({ "argv": [], "cwd": 7, "sdtin": "x", "env": { "A": ["hunter2"] } });
    let error = run("shell.run", input).await.expect_err("invalid");
    assert_eq!(error.code, "input_invalid");
    assert_eq!(error.result["problems"].as_array().map(Vec::len), Some(4), "{error}");
    for part in ["input.argv: ", "input.cwd: ", "input.env.A: ", "input: unknown key sdtin; known are argv, cwd, env"] {
        assert!(error.message.contains(part), "{part} in {error}");
    }
    assert!(!error.to_string().contains("hunter2"), "no value is shown: {error}");
}

#[tokio::test]
async fn what_a_schema_cannot_say_is_checked_too() {
    assert_eq!(code(run("core.sleep", json!({})).await), "input_invalid");
    assert_eq!(code(run("core.sleep", json!({ "seconds": 1, "duration": "1s" })).await), "input_invalid");
    assert_eq!(code(run("core.sleep", json!({ "duration": "soon" })).await), "input_invalid");
    assert_eq!(code(run("core.noop", json!({ "a": 1 })).await), "input_invalid");
    assert_eq!(code(run("core.assert", json!({ "that": "yes" })).await), "input_invalid");
    assert_eq!(code(run("core.nope", Value::Null).await), "action_unknown");
}

#[test]
fn the_registry_knows_all_that_are_built_in() {
    let actions = Actions::builtin();
    let expected = [
        ("core.assert", &["message", "that"][..]),
        ("core.echo", &["message"]),
        ("core.fail", &["message"]),
        ("core.noop", &[]),
        ("core.sleep", &["duration", "seconds"]),
        ("file.read_lines", &["batch", "max_lines", "path", "skip_blank"]),
        ("file.write", &["append", "content", "mode", "path"]),
        (
            "http.request",
            &["body", "expect_status", "follow", "headers", "json", "method", "query", "timeout", "tls", "url"],
        ),
        ("process.plugin", &["argv", "cwd", "env", "input"]),
        ("shell.run", &["argv", "cwd", "env", "script", "stdin", "stdout_json"]),
        ("template.render", &["path", "template"]),
    ];
    assert!(actions.names().eq(expected.iter().map(|(name, _)| *name)), "{actions:?}");
    for (name, keys) in expected {
        let action = actions.get(name).expect("named");
        let schema = action.input_schema();
        let mut known: Vec<_> = schema["properties"].as_object().expect("a map").keys().collect();
        known.sort();
        assert_eq!(known, keys, "{name}");
        jsonschema::draft202012::meta::validate(&action.input_schema()).unwrap_or_else(|e| panic!("{name}: {e}"));
        jsonschema::draft202012::meta::validate(&action.output_schema()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// An action of a stranger, with the schema that it is given.
struct Stranger(Value);

impl Action for Stranger {
    fn name(&self) -> &str {
        "core.echo"
    }

    fn input_schema(&self) -> Value {
        self.0.clone()
    }

    fn output_schema(&self) -> Value {
        json!(true)
    }

    fn run<'a>(&'a self, _: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async { Ok(json!(call.key)) })
    }
}

#[tokio::test]
async fn strangers_add_actions_and_take_the_place_of_ours() {
    let actions = Actions::builtin().with(Arc::new(Stranger(json!({ "type": "object" })))).expect("valid");
    assert_eq!(run_in(&actions, "core.echo", Value::Null, &call()).await, Ok(json!("run-1/probe#1[0]")));
    let refused = Actions::none().with(Arc::new(Stranger(json!({ "type": "objet" }))));
    assert!(refused.expect_err("no schema").to_string().contains("core.echo"));
}
