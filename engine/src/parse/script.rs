//! A script for [`crate::rehearsal`]: how actions end, what happens on the way, what is expected.

mod expect;
mod outcomes;
mod take;

use std::{collections::BTreeMap, time::Duration};

use proto::{
    id::{KeyName, TaskName},
    json::Json,
    time::Timestamp,
    value::ValueRef,
    view::ContextDocument,
};

use super::{
    keys::listed,
    load,
    reader::Reader,
    yaml::{Content, Entry, Number, Yaml, quoted},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    duration,
    parameters::{self, Coerce},
    rehearsal::script::Script,
    spec::{Span, Task, Workflow},
};

const SCRIPT: [&str; 13] = [
    "parameters",
    "context",
    "labels",
    "env",
    "secrets",
    "now",
    "at",
    "outcomes",
    "signals",
    "events",
    "children",
    "expect",
    "rerun",
];

/// When a run is accepted whose script does not say: the first moment of 2026.
const NOW_MS: i64 = 1_767_225_600_000;

/// Reads the script in `source`, which messages call `file`, for a run of `workflow` that may run `children`.
///
/// # Errors
/// Every error of the file, in file order.
pub(super) fn read(
    source: &str,
    file: &str,
    workflow: &Workflow,
    children: &[&Workflow],
) -> Result<Script, Diagnostics> {
    let mut diagnostics = Diagnostics::new(file, source);
    let yaml = load::load(source, &mut diagnostics);
    let script = yaml.map(|yaml| {
        let known = std::iter::once(workflow).chain(children.iter().copied()).collect();
        ScriptReader { reader: Reader::new(&mut diagnostics), workflow, known }.script(&yaml)
    });
    diagnostics.sort();
    match script {
        Some(script) if !diagnostics.has_errors() => Ok(script),
        Some(_) | None => Err(diagnostics),
    }
}

/// Reads the parts of a script, and checks the names in it.
struct ScriptReader<'a> {
    reader: Reader<'a>,
    /// Whose tasks are meant.
    workflow: &'a Workflow,
    /// The workflow that is rehearsed, and all that may be run as children.
    known: Vec<&'a Workflow>,
}

/// A map of a script.
struct Map<'y> {
    /// Such as `expect`; empty for the whole script.
    path: String,
    span: Span,
    entries: &'y [Entry],
}

impl<'y> Map<'y> {
    fn entry(&self, key: &str) -> Option<&'y Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn value(&self, key: &str) -> Option<&'y Yaml> {
        self.entry(key).map(|entry| &entry.value)
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> ScriptReader<'a> {
    fn script(&mut self, yaml: &Yaml) -> Script {
        let map = self.map("", yaml, &SCRIPT);
        let text_map = |this: &mut Self, key| map.value(key).map(|yaml| this.texts(key, yaml)).unwrap_or_default();
        let now = map.value("now").and_then(|yaml| self.time("now", yaml));
        let start_at = map.value("at").and_then(|yaml| self.time("at", yaml));
        let context = map.value("context").map(|yaml| self.context(yaml)).unwrap_or_default();
        Script {
            parameters: self.parameters(&map, context.parameters.clone()),
            labels: text_map(self, "labels"),
            env: text_map(self, "env"),
            secrets: text_map(self, "secrets"),
            now: now.unwrap_or(Timestamp::from_millis(NOW_MS)),
            start_at,
            imported: imported(context),
            take: self.take(&map),
        }
    }

    fn context(&mut self, yaml: &Yaml) -> ContextDocument {
        let refuse = |this: &mut Self, error: &dyn std::fmt::Display| {
            let message = format!("`context` cannot be read: {error}");
            let help = "it has `parameters`, `workflow`, `signal` and `task`, as `leveret get --context` shows them";
            this.reader.refuse("context_invalid", yaml.span, message, help);
            ContextDocument::default()
        };
        self.json(yaml).parse().unwrap_or_else(|error: serde_json::Error| refuse(self, &error))
    }

    /// The values of the parameters: those given, else those of the context, else their defaults.
    fn parameters(&mut self, map: &Map<'_>, context: BTreeMap<String, Json>) -> Vec<(KeyName, Json)> {
        let yaml = map.value("parameters");
        let entries = yaml.map(|yaml| self.reader.map("parameters", yaml)).unwrap_or_default();
        let is_known = |name: &String| self.workflow.parameters.iter().any(|known| known.name.as_str() == name);
        let mut given: BTreeMap<String, Json> = context.into_iter().filter(|(name, _)| is_known(name)).collect();
        given.extend(entries.iter().map(|entry| (entry.key.clone(), self.json(&entry.value))).collect::<Vec<_>>());
        let problems = match parameters::check(self.workflow, given, Coerce::AsGiven) {
            Ok(values) => return values,
            Err(problems) => problems,
        };
        for problem in problems {
            let is_about = |entry: &&Entry| {
                problem.message.contains(&format!("`{}", entry.key)) || problem.message.contains(&quoted(&entry.key))
            };
            let about = entries.iter().find(is_about).map(|entry| entry.key_span);
            let span = about.or(map.entry("parameters").map(|entry| entry.key_span)).unwrap_or(map.span);
            let error = Diagnostic::error("parameter_invalid", span, problem.message);
            self.reader.push(match problem.help {
                Some(help) => error.with_help(help),
                None => error,
            });
        }
        Vec::new()
    }

    /// A map with no other keys than `keys`.
    fn map<'y>(&mut self, path: &str, yaml: &'y Yaml, keys: &[&str]) -> Map<'y> {
        let shown = if path.is_empty() { "a script" } else { path };
        let map = Map { path: path.to_owned(), span: yaml.span, entries: self.reader.map(shown, yaml) };
        for entry in map.entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            let help = self.reader.did_you_mean(&entry.key, keys);
            let help = help.unwrap_or_else(|| format!("{shown} has the keys {}", listed(keys)));
            let message = format!("unknown key {} in {shown}", quoted(&entry.key));
            self.reader.refuse("unknown_key", entry.key_span, message, help);
        }
        map
    }

    /// The values of a list, each with its path.
    fn list<'y>(&mut self, path: &str, yaml: &'y Yaml) -> Vec<(String, &'y Yaml)> {
        let values = self.reader.list(path, yaml);
        values.iter().enumerate().map(|(at, value)| (format!("{path}[{at}]"), value)).collect()
    }

    /// What stands under a key that must be there.
    fn required<'y>(&mut self, map: &Map<'y>, key: &str) -> Option<&'y Yaml> {
        let value = map.value(key);
        if value.is_none() {
            let message = format!("`{}` is missing", map.name(key));
            self.reader.push(Diagnostic::error("key_missing", map.span, message));
        }
        value
    }

    /// The workflow called `name`, among those that may be run.
    fn known(&mut self, name: &str, span: Span) -> Option<&'a Workflow> {
        let found = self.known.iter().copied().find(|workflow| workflow.name.as_str() == name);
        if found.is_none() {
            let names: Vec<&str> = self.known.iter().map(|workflow| workflow.name.as_str()).collect();
            let help = self.reader.did_you_mean(name, &names);
            let help = help.unwrap_or_else(|| format!("there are {}", listed(&names)));
            self.reader.refuse("unknown_workflow", span, format!("no workflow {} was given", quoted(name)), help);
        }
        found
    }

    /// The task that `yaml` names.
    fn task_name(&mut self, path: &str, yaml: &Yaml) -> Option<TaskName> {
        let text = self.reader.text(path, yaml)?;
        self.task(text, yaml.span).map(|task| task.name.clone())
    }

    /// The task called `name`: a name with a typing mistake is never ignored.
    fn task(&mut self, name: &str, span: Span) -> Option<&Task> {
        let workflow = self.workflow;
        let found = workflow.tasks.iter().find(|task| task.name.as_str() == name);
        if found.is_none() {
            let names: Vec<&str> = workflow.tasks.iter().map(|task| task.name.as_str()).collect();
            let help = self.reader.did_you_mean(name, &names);
            let help = help.unwrap_or_else(|| format!("`{}` has {}", workflow.name, listed(&names)));
            let message = format!("the workflow has no task {}", quoted(name));
            self.reader.refuse("unknown_task", span, message, help);
        }
        found
    }

    /// What stands under each task that `yaml` names.
    fn by_task<T>(
        &mut self,
        path: &str,
        yaml: &Yaml,
        mut read: impl FnMut(&mut Self, &str, &Yaml) -> Option<T>,
    ) -> BTreeMap<TaskName, T> {
        let mut found = BTreeMap::new();
        for entry in self.reader.map(path, yaml) {
            let task = self.task(&entry.key, entry.key_span).map(|task| task.name.clone());
            let value = read(self, &format!("{path}.{}", entry.key), &entry.value);
            found.extend(task.zip(value));
        }
        found
    }

    fn key_name(&mut self, path: &str, yaml: &Yaml) -> Option<KeyName> {
        let text = self.reader.text(path, yaml)?;
        self.reader.name(text, yaml.span)
    }

    fn texts(&mut self, path: &str, yaml: &Yaml) -> BTreeMap<String, String> {
        let entries = self.reader.map(path, yaml);
        let text = |entry: &Entry| {
            let text = self.reader.text(&format!("{path}.{}", entry.key), &entry.value)?;
            Some((entry.key.clone(), text.to_owned()))
        };
        entries.iter().filter_map(text).collect()
    }

    fn time(&mut self, path: &str, yaml: &Yaml) -> Option<Timestamp> {
        let text = self.reader.text(path, yaml)?;
        let time = text.parse().ok();
        if time.is_none() {
            let message = format!("`{path}` is no time: {}", quoted(text));
            self.reader.refuse("wrong_type", yaml.span, message, "such as `2026-01-31T12:00:00Z`");
        }
        time
    }

    fn duration(&mut self, path: &str, yaml: &Yaml) -> Option<Duration> {
        // What is rounded are numbers of more than 53 bits, and such durations are refused.
        #[allow(clippy::cast_precision_loss)]
        let read = match &yaml.content {
            Content::Text(text) => duration::parse(text),
            Content::Number(Number::Signed(seconds)) => duration::from_seconds(*seconds as f64),
            Content::Number(Number::Unsigned(seconds)) => duration::from_seconds(*seconds as f64),
            Content::Number(Number::Float(seconds)) => duration::from_seconds(*seconds),
            Content::Null | Content::Bool(_) | Content::List(_) | Content::Map(_) => {
                self.reader.refuse_type(path, "a duration such as `1m30s`", yaml);
                return None;
            }
        };
        let refuse = |error: duration::Error| {
            self.reader.push(Diagnostic::error("duration_invalid", yaml.span, format!("`{path}`: {error}")));
        };
        read.map_err(refuse).ok()
    }

    fn json(&mut self, yaml: &Yaml) -> Json {
        let json = serde_json::to_vec(yaml).ok().and_then(|text| Json::canonical(&text).ok());
        json.unwrap_or_else(|| {
            self.reader.push(Diagnostic::error("json_invalid", yaml.span, "this is no acceptable JSON"));
            Json::null()
        })
    }
}

/// What a context says besides parameters, by path.
fn imported(context: ContextDocument) -> BTreeMap<String, ValueRef> {
    let mut imported = BTreeMap::new();
    for (root, values) in [("workflow", context.workflow), ("signal", context.signal)] {
        imported.extend(values.into_iter().map(|(key, json)| (format!("{root}.{key}"), ValueRef::Inline(json))));
    }
    for (task, fields) in context.task {
        let path = |field: String| format!("task.{task}.{field}");
        imported.extend(fields.into_iter().map(|(field, json)| (path(field), ValueRef::Inline(json))));
    }
    imported
}
