//! What came of a run against what was expected of it.

use std::{collections::BTreeMap, fmt};

use proto::{failure::Failure, id::TaskName, json::Json, work::RunStatus};
use serde::Serialize;
use serde_json::Value;

use super::{
    Children, Outcome, Rerun,
    script::{Expect, ExpectedError, Take},
};

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 300;

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where: `status`, `output.summary`, `inputs.probe[2].url`.
    pub path: String,
    /// What should be there; `None` when nothing should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// What is there; `None` when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub got: Option<Value>,
}

/// Everything in which `outcome` is not as `take` expects, and its rerun likewise.
#[must_use]
pub fn check(outcome: &Outcome, take: &Take) -> Vec<Difference> {
    let mut found = of_run(outcome, &take.expect);
    if let (Some(rerun), Some(scripted)) = (&outcome.rerun, &take.rerun) {
        let refused = scripted.take.expect.refused.as_ref();
        let differences = match rerun.as_ref() {
            Rerun::Refused(failure) if refused == Some(&failure.code) => Vec::new(),
            Rerun::Refused(failure) => {
                vec![of_refusal(refused, Some(format!("{}: {}", failure.code, failure.message)))]
            }
            Rerun::Played(_) if refused.is_some() => vec![of_refusal(refused, None)],
            Rerun::Played(outcome) => check(outcome, &scripted.take),
        };
        let within = |difference: Difference| Difference { path: format!("rerun.{}", difference.path), ..difference };
        found.extend(differences.into_iter().map(within));
    }
    found
}

fn of_refusal(expected: Option<&String>, got: Option<String>) -> Difference {
    Difference { path: "refused".to_owned(), expected: expected.cloned().map(Value::from), got: got.map(Value::from) }
}

fn of_run(outcome: &Outcome, expect: &Expect) -> Vec<Difference> {
    let mut found = Differences(Vec::new());
    let text = |text: &str| Value::String(text.to_owned());
    if let Some(status) = expect.status {
        found.compare("status", &text(status.as_str()), Some(&text(outcome.status.as_str())));
    }
    if let Some(error) = &expect.error {
        found.error(error, outcome.error.as_ref());
    }
    if let Some(order) = &expect.order {
        let names = |order: &[TaskName]| order.iter().map(|task| text(task.as_str())).collect::<Vec<_>>();
        found.list("order", names(order), names(&outcome.order));
    }
    if let Some(output) = &expect.output {
        found.compare("output", &value(output), Some(&value(&outcome.output)));
    }
    found.each("published", &expect.published, |key| outcome.published.get(key).map(value));
    found.each("inputs", &expect.inputs, |task| outcome.inputs.get(task).map(value));
    for (task, status) in &expect.tasks {
        let got = outcome.tasks.get(task).map(|task| text(&task.status));
        found.compare(&format!("tasks.{task}"), &text(status.as_str()), got.as_ref());
    }
    for (task, attempts) in &expect.attempts {
        let got = outcome.tasks.get(task).map(|task| Value::from(task.attempts));
        found.compare(&format!("attempts.{task}"), &Value::from(*attempts), got.as_ref());
    }
    found.children(outcome, expect);
    found.0
}

struct Differences(Vec<Difference>);

impl Differences {
    fn push(&mut self, path: &str, expected: Option<&Value>, got: Option<&Value>) {
        self.0.push(Difference { path: path.to_owned(), expected: expected.cloned(), got: got.cloned() });
    }

    /// Tells each place in which two values differ, by itself.
    fn compare(&mut self, path: &str, expected: &Value, got: Option<&Value>) {
        match (expected, got) {
            (Value::Object(expected), Some(Value::Object(got))) => {
                for (key, value) in expected {
                    self.compare(&format!("{path}.{key}"), value, got.get(key));
                }
                let more = got.iter().filter(|(key, _)| !expected.contains_key(key.as_str()));
                more.for_each(|(key, value)| self.push(&format!("{path}.{key}"), None, Some(value)));
            }
            (Value::Array(expected), Some(Value::Array(got))) if expected.len() == got.len() => {
                for (at, (expected, got)) in expected.iter().zip(got).enumerate() {
                    self.compare(&format!("{path}[{at}]"), expected, Some(got));
                }
            }
            (expected, Some(got)) if is_same(expected, got) => {}
            (expected, got) => self.push(path, Some(expected), got),
        }
    }

    fn children(&mut self, outcome: &Outcome, expect: &Expect) {
        let none = Children::default();
        for (name, expected) in &expect.children {
            let got = outcome.children.get(name).unwrap_or(&none);
            if let Some(runs) = expected.runs {
                let path = format!("children.{name}.runs");
                self.compare(&path, &Value::from(runs), Some(&Value::from(got.statuses.len())));
            }
            if let Some(statuses) = &expected.statuses {
                let words = |list: &[RunStatus]| list.iter().map(|status| Value::from(status.as_str())).collect();
                self.list(&format!("children.{name}.statuses"), words(statuses), words(&got.statuses));
            }
            if let Some(order) = &expected.order {
                let names = |list: &[TaskName]| list.iter().map(|task| Value::from(task.as_str())).collect();
                self.list(&format!("children.{name}.order"), names(order), names(&got.order));
            }
        }
    }

    /// The whole list at once: one task too many shifts all the others.
    fn list(&mut self, path: &str, expected: Vec<Value>, got: Vec<Value>) {
        if expected != got {
            self.push(path, Some(&Value::Array(expected)), Some(&Value::Array(got)));
        }
    }

    fn each<K: Ord + fmt::Display>(
        &mut self,
        name: &str,
        expected: &BTreeMap<K, Json>,
        got: impl Fn(&K) -> Option<Value>,
    ) {
        for (key, expected) in expected {
            self.compare(&format!("{name}.{key}"), &value(expected), got(key).as_ref());
        }
    }

    fn error(&mut self, expected: &ExpectedError, got: Option<&Failure>) {
        let task = expected.task.as_ref().map(|task| task.as_str());
        let got_task = got.and_then(|failure| failure.task.as_ref()).map(|task| task.as_str());
        let fields = [
            ("error.code", expected.code.as_deref(), got.map(|failure| failure.code.as_str())),
            ("error.message", expected.message.as_deref(), got.map(|failure| failure.message.as_str())),
            ("error.task", task, got_task),
        ];
        for (path, expected, got) in fields {
            if let Some(expected) = expected {
                self.compare(path, &Value::from(expected), got.map(Value::from).as_ref());
            }
        }
    }
}

/// `2` and `2.0` are one number.
fn is_same(left: &Value, right: &Value) -> bool {
    let is_float = |value: &Value| value.is_f64();
    match (left.as_f64(), right.as_f64()) {
        (Some(one), Some(other)) if is_float(left) || is_float(right) => one == other,
        _ => left == right,
    }
}

fn value(json: &Json) -> Value {
    json.parse().expect("JSON is JSON")
}

/// In three lines: where, what was expected, what is there.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value.as_ref().map(ToString::to_string) {
            None => "nothing".to_owned(),
            Some(text) => match text.char_indices().nth(SHOWN_CHARS_MAX) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            },
        };
        writeln!(f, "{}", self.path)?;
        writeln!(f, "  expected  {}", shown(&self.expected))?;
        write!(f, "  got       {}", shown(&self.got))
    }
}
