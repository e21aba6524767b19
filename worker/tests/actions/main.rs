//! The built-in actions, with real processes, files and HTTP servers.

mod basic;
mod file;
mod http;
mod pages;
mod plugin;
mod shell;

use std::{sync::Arc, time::Duration};

use leveret_worker::action::{Action, Call, Error, registry::Actions};
use proto::id::{Attempt, ItemIndex};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(15);

fn call() -> Call {
    Call {
        key: "run-1/probe#1[0]".to_owned(),
        run: "run-1".parse().expect("valid"),
        task: "probe".parse().expect("valid"),
        attempt: Attempt(1),
        item: Some(ItemIndex(0)),
        deadline: "2026-11-30T00:53:20.123Z".parse().expect("valid"),
        cancel: CancellationToken::new(),
    }
}

/// Runs a built-in action and holds a result against the action's own schema.
async fn run(name: &str, input: Value) -> Result<Value, Error> {
    run_in(&Actions::builtin(), name, input, &call()).await
}

/// Runs `action` in the place of the built-in one.
async fn run_as(action: impl Action, input: Value, call: &Call) -> Result<Value, Error> {
    let name = action.name().to_owned();
    let actions = Actions::none().with(Arc::new(action)).expect("a valid schema");
    run_in(&actions, &name, input, call).await
}

async fn run_in(actions: &Actions, name: &str, input: Value, call: &Call) -> Result<Value, Error> {
    let outcome = within(actions.run(name, input, call)).await;
    if let Ok(result) = &outcome {
        let schema = actions.get(name).expect("it ran").output_schema();
        jsonschema::validate(&schema, result).unwrap_or_else(|error| panic!("{name}: {error}: {result}"));
    }
    outcome
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("in time")
}

fn code(outcome: Result<Value, Error>) -> String {
    outcome.expect_err("an error").code
}
