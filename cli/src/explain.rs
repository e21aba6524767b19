//! What a task was given, with its templates evaluated again here: by the definition that the run has pinned, on the
//! values that it had.
//!
//! Secrets and variables are known to workers alone: a template that reads a secret is not evaluated, and `env` holds
//! placeholders. `text` is what people see of it, `hints` what is to be said of it besides.

mod hints;
pub mod text;

use std::collections::BTreeMap;

use engine::{
    duration,
    program::{Program, Rendered},
    snapshot::{Scope, Snapshot, Stop},
    spec::{DurationField, Field, Pool, Task},
    value::Value,
};
use proto::{
    SCHEMA,
    explain::{ExplainDocument, Given, Read},
    failure::Failure,
    id::{RunId, TaskName},
    json::Json,
    value::ValueRef,
};
use serde::Serialize;

/// What stands in the place of a secret, as in what workers report.
const MASK: &str = "***";

/// What a task was given: the document of `leveret explain -o json`.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// [`SCHEMA`].
    pub schema: u16,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskName,
    /// What the scheduler says of it.
    pub given: Given,
    /// `input`, rendered.
    pub input: Json,
    /// What else templates say of the task, and its durations, rendered.
    pub settings: BTreeMap<&'static str, Json>,
    /// Templates that fail.
    pub failures: Vec<Failure>,
    /// What is to be said besides.
    pub hints: Vec<String>,
}

/// A setting of a task that is shown beside its input.
enum Setting<'a> {
    /// To be evaluated.
    Field(&'a Field),
    /// Known without that.
    Known(String),
}

/// Evaluates what `document` tells of. Blocks for as long as templates take, at the longest until `stop` is set.
pub fn explain(program: &Program, document: ExplainDocument, stop: Stop) -> Option<Explanation> {
    let ExplainDocument { run, task, given, .. } = document;
    let workflow = program.workflow();
    let spec = workflow.task(workflow.find(&task)?);
    let scope = scope(program, spec, &run, &given, stop);
    let omitted: Vec<&Read> = given.paths.iter().filter(|read| read.omitted).collect();
    let mut failures = Vec::new();
    let input = rendered(program, &spec.input, &scope, &omitted, &mut failures);
    let mut settings = BTreeMap::new();
    for (name, setting) in settings_of(spec, given.item.is_none()) {
        let json = match setting {
            Setting::Field(field) => rendered(program, field, &scope, &omitted, &mut failures),
            Setting::Known(text) => json_of(&Value::from_text(&text)),
        };
        settings.insert(name, json);
    }
    let hints = hints::of(program, spec, &given);
    Some(Explanation { schema: SCHEMA, run, task, given, input, settings, failures, hints })
}

/// What the task's templates read.
fn scope(program: &Program, task: &Task, run: &RunId, given: &Given, stop: Stop) -> Scope {
    let entries = given.paths.iter().filter_map(|read| Some((read.path.clone(), inline(read.value.as_ref()?)?)));
    let names = env_names(program, task).into_iter();
    let env = names.map(|name| (name.clone(), Value::from_text(&format!("<env {name} of the worker>"))));
    let scope = Scope::new(&Snapshot::build(entries))
        .with_run(&given.info, run)
        .with_attempt(given.attempt)
        .with_env(env)
        .with_now(given.sent_at.unwrap_or_else(crate::view::now))
        .with_stop(stop);
    match &given.item {
        Some(item) => {
            let value = item.value.as_ref().and_then(inline).unwrap_or_else(Value::null);
            scope.with_item(value, item.index)
        }
        None => scope,
    }
}

/// A value that came along.
fn inline(value: &ValueRef) -> Option<Value> {
    match value {
        ValueRef::Inline(json) => Value::from_json(json.as_bytes()).ok(),
        ValueRef::Stored(_) | ValueRef::List(_) => None,
    }
}

/// The variables that the templates of a task name.
fn env_names(program: &Program, task: &Task) -> Vec<String> {
    let settings = settings_of(task, true);
    let fields = settings.iter().filter_map(|(_, setting)| match setting {
        Setting::Field(field) => Some(*field),
        Setting::Known(_) => None,
    });
    fields.chain([&task.input]).flat_map(|field| program.names_read(field, "env")).collect()
}

/// What a task says beside its input. The list of items is of no interest with one item at hand.
fn settings_of(task: &Task, with_list: bool) -> Vec<(&'static str, Setting<'_>)> {
    let mut settings = Vec::new();
    let items = task.items.as_ref().filter(|_| with_list);
    settings.extend(items.map(|items| ("with_items", Setting::Field(&items.list))));
    let bounds = items.map(|items| [("concurrency", &items.concurrency), ("tolerate", &items.tolerate)]);
    for (name, field) in bounds.into_iter().flatten() {
        settings.extend(field.as_ref().map(|field| (name, Setting::Field(field))));
    }
    if let Pool::Evaluated(field) = &task.pool {
        settings.push(("pool", Setting::Field(field)));
    }
    let wait = task.wait_for.as_ref().and_then(|wait| wait.timeout.as_ref());
    let durations = [("delay", task.delay.as_ref()), ("timeout", task.timeout.as_ref()), ("wait_for.timeout", wait)];
    settings.extend(durations.into_iter().filter_map(|(name, field)| Some((name, duration_of(field?)))));
    if let Some(retry) = &task.retry {
        settings.push(("retry.count", Setting::Field(&retry.count)));
        let delays = [("retry.delay", retry.delay.as_ref()), ("retry.max_delay", retry.max_delay.as_ref())];
        settings.extend(delays.into_iter().filter_map(|(name, field)| Some((name, duration_of(field?)))));
    }
    settings
}

fn duration_of(field: &DurationField) -> Setting<'_> {
    match field {
        DurationField::Known(known) => Setting::Known(duration::format(*known)),
        DurationField::Evaluated(field) => Setting::Field(field),
    }
}

/// What `field` gives, with words in the place of what it does not.
fn rendered(program: &Program, field: &Field, scope: &Scope, omitted: &[&Read], failures: &mut Vec<Failure>) -> Json {
    let paths: Vec<&str> = omitted.iter().map(|read| read.path.as_str()).collect();
    let size_of = |path: &str| omitted.iter().find(|read| read.path == path).map_or(0, |read| read.bytes);
    let value = program.leaves(field, scope, &paths).into_value(&mut |leaf| match leaf {
        Rendered::Secret => Value::from_text(MASK),
        Rendered::OfItem => Value::from_text("<of each item>"),
        Rendered::OfOutcome => Value::from_text("<known after the action>"),
        Rendered::Omitted(path) => {
            Value::from_text(&format!("<needs {path}, whose {} were not fetched>", text::size(size_of(&path))))
        }
        Rendered::Failed(failure) => {
            let first = failure.message.lines().next().unwrap_or_default();
            let words = format!("<{}: {first}>", failure.code);
            failures.push(failure);
            Value::from_text(&words)
        }
        Rendered::Value(_) | Rendered::List(_) | Rendered::Map(_) => Value::null(),
    });
    json_of(&value)
}

fn json_of(value: &Value) -> Json {
    let words = |error: proto::json::Error| Json::of(&format!("<{}: {error}>", error.code()));
    value.to_json().or_else(words).unwrap_or_else(|_| Json::null())
}
