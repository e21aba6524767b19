//! What a task hands to its action or to its child run, as far as the file says it, against the schema of what that
//! takes.

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Map, Value};

use super::{Actions, Lint, listed, warn};
use crate::{
    diagnostic::Diagnostics,
    parse::{places::Spot, suggest},
    spec::{Call, Node, Task},
};

/// A value with something in the place of each template.
struct Sketch {
    value: Value,
    /// JSON pointers of templates whose values nobody knows.
    unknown: Vec<String>,
    /// JSON pointers of those that give some text.
    texts: Vec<String>,
}

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    if lint.actions.is_empty() {
        return;
    }
    for (index, task) in lint.workflow.indexed() {
        let spot = lint.places.task(index);
        let Some(action) = task.action() else { continue };
        match lint.actions.get(action) {
            Some(schema) => check_input(task, action, schema, spot, found),
            None => check_name(lint.actions, action, spot, found),
        }
    }
}

fn check_name(actions: &Actions, action: &str, spot: Spot<'_>, found: &mut Diagnostics) {
    let message = format!("no action `{action}` is built in");
    let help = match suggest(action, actions.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? If a worker of your own has it, say `--action {action}`"),
        None => format!(
            "if a worker of your own has it, say `--action {action}`; known are {}",
            listed(actions.keys().map(String::as_str))
        ),
    };
    warn(found, "unknown_action", spot.at("action").value(), message, help);
}

/// Holds the input of `task` against the schema of what it runs, which is called `callee`.
pub(super) fn check_input(task: &Task, callee: &str, schema: &Value, spot: Spot<'_>, found: &mut Diagnostics) {
    // A schema that is none is the matter of who wrote it.
    let Ok(validator) = jsonschema::draft202012::new(schema) else { return };
    let mut sketch = Sketch { value: Value::Null, unknown: Vec::new(), texts: Vec::new() };
    sketch.value = sketch.of(&task.input.node, "");
    for error in validator.iter_errors(&sketch.value).filter(|error| sketch.is_sure(error)) {
        tell(task, callee, schema, &error, spot, found);
    }
}

impl Sketch {
    fn of(&mut self, node: &Node, pointer: &str) -> Value {
        match node {
            Node::Literal(json) => serde_json::from_str(json.as_str()).unwrap_or(Value::Null),
            Node::Template(text) if is_text(&text.source) => {
                self.texts.push(pointer.to_owned());
                Value::String(String::new())
            }
            Node::Template(_) | Node::Expression(_) => {
                self.unknown.push(pointer.to_owned());
                Value::Null
            }
            Node::List(nodes) => {
                nodes.iter().enumerate().map(|(at, node)| self.of(node, &format!("{pointer}/{at}"))).collect()
            }
            Node::Map(entries) => {
                let entry = |(key, node): &(String, Node)| {
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    (key.clone(), self.of(node, &format!("{pointer}/{escaped}")))
                };
                Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
        }
    }

    /// Whether `error` stands, whatever the templates give.
    fn is_sure(&self, error: &ValidationError<'_>) -> bool {
        let at = error.instance_path().as_str();
        let is_below =
            |pointer: &String| pointer.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let is_at = |pointer: &String| pointer == at;
        match error.kind() {
            // What keys a map has, and that it is one, the file says itself.
            ValidationErrorKind::AdditionalProperties { .. } | ValidationErrorKind::Required { .. } => true,
            ValidationErrorKind::Type { .. } => !self.unknown.iter().any(is_at),
            _ => !self.unknown.iter().chain(&self.texts).any(is_below),
        }
    }
}

/// Whether a template has something around its expression, so that it gives a text.
fn is_text(source: &str) -> bool {
    let trimmed = source.trim();
    !(trimmed.starts_with("{{") && trimmed.ends_with("}}"))
}

fn tell(
    task: &Task,
    callee: &str,
    schema: &Value,
    error: &ValidationError<'_>,
    spot: Spot<'_>,
    found: &mut Diagnostics,
) {
    let (called, code) = match &task.call {
        Call::Action(_) => ("action", "input_invalid"),
        Call::Workflow(_) => ("workflow", "parameters_invalid"),
    };
    let would_fail = format!("the task would fail with `{code}`");
    let pointer = error.instance_path().as_str();
    let input = spot.at("input");
    let segments = || pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    let place = segments().fold(input, |spot, segment| spot.at(&segment));
    let name: String =
        segments().fold(format!("tasks.{}.input", task.name), |name, segment| format!("{name}.{segment}"));
    let schema_here = segments().fold(schema, |schema, segment| &schema["properties"][segment]);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known: Vec<&str> =
                schema_here["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
            for key in unexpected {
                let help = match (suggest(key, known.iter().copied()), known.is_empty()) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, false) => format!("it takes {}", listed(known.iter().copied())),
                    (None, true) => "it takes no input".to_owned(),
                };
                let message = format!("`{callee}` takes no `{key}` in `{name}`");
                warn(found, "unknown_input", place.at(key).key(), message, help);
            }
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let message = format!("`{callee}` needs `{key}` in `{name}`");
            let at = if input.is_there() { place.key() } else { spot.at(called).value() };
            warn(found, "missing_input", at, message, format!("add `{key}: …`"));
        }
        ValidationErrorKind::Type { kind } => {
            let kinds: Vec<&str> = match kind {
                TypeKind::Single(kind) => vec![named(kind.as_str())],
                TypeKind::Multiple(kinds) => kinds.iter().map(|kind| named(kind.as_str())).collect(),
            };
            let message = format!("`{name}` must be {}, not {}", kinds.join(" or "), described(error.instance()));
            warn(found, "wrong_input", place.value(), message, would_fail);
        }
        _ => warn(found, "wrong_input", place.value(), format!("`{name}`: {error}"), would_fail),
    }
}

/// A type of JSON Schema in the words of the language.
fn named(kind: &str) -> &str {
    match kind {
        "boolean" => "a boolean",
        "number" => "a number",
        "integer" => "a whole number",
        "string" => "a text",
        "array" => "a list",
        "object" => "a map",
        other => other,
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
