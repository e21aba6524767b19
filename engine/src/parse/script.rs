//! A script for [`crate::rehearsal`]: how actions end, what happens on the way, what is expected.

mod expect;
mod outcomes;

use std::{collections::BTreeMap, time::Duration};

use proto::{
    id::{KeyName, TaskName},
    json::Json,
    time::Timestamp,
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
    rehearsal::script::{Act, Event, Moment, Rerun, RerunFrom, Script},
    spec::{Span, Task, Workflow},
};

const SCRIPT: [&str; 10] =
    ["parameters", "labels", "env", "secrets", "now", "outcomes", "signals", "events", "expect", "rerun"];
const SIGNAL: [&str; 3] = ["name", "payload", "after"];
const EVENT: [&str; 6] = ["at", "before", "during", "after", "do", "reason"];
const RERUN: [&str; 4] = ["from", "failed_items", "outcomes", "expect"];

/// When a run is accepted whose script does not say: the first moment of 2026.
const NOW_MS: i64 = 1_767_225_600_000;

/// Reads the script in `source`, which messages call `file`, for a run of `workflow`.
///
/// # Errors
/// Every error of the file, in file order.
pub(super) fn read(source: &str, file: &str, workflow: &Workflow) -> Result<Script, Diagnostics> {
    let mut diagnostics = Diagnostics::new(file, source);
    let yaml = load::load(source, &mut diagnostics);
    let script = yaml.map(|yaml| ScriptReader { reader: Reader::new(&mut diagnostics), workflow }.script(&yaml));
    diagnostics.sort();
    match script {
        Some(script) if !diagnostics.has_errors() => Ok(script),
        Some(_) | None => Err(diagnostics),
    }
}

/// Reads the parts of a script, and checks the names in it.
struct ScriptReader<'a> {
    reader: Reader<'a>,
    workflow: &'a Workflow,
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

impl ScriptReader<'_> {
    fn script(&mut self, yaml: &Yaml) -> Script {
        let map = self.map("", yaml, &SCRIPT);
        let text_map = |this: &mut Self, key| map.value(key).map(|yaml| this.texts(key, yaml)).unwrap_or_default();
        let now = map.value("now").and_then(|yaml| self.time("now", yaml));
        let mut events = map.value("signals").map(|yaml| self.signals(yaml)).unwrap_or_default();
        events.extend(map.value("events").map(|yaml| self.events(yaml)).unwrap_or_default());
        Script {
            parameters: self.parameters(&map),
            labels: text_map(self, "labels"),
            env: text_map(self, "env"),
            secrets: text_map(self, "secrets"),
            now: now.unwrap_or(Timestamp::from_millis(NOW_MS)),
            outcomes: self.outcomes(&map),
            events,
            expect: self.expect(&map),
            rerun: map.entry("rerun").map(|entry| self.rerun(entry)),
        }
    }

    fn parameters(&mut self, map: &Map<'_>) -> Vec<(KeyName, Json)> {
        let yaml = map.value("parameters");
        let entries = yaml.map(|yaml| self.reader.map("parameters", yaml)).unwrap_or_default();
        let given = entries.iter().map(|entry| (entry.key.clone(), self.json(&entry.value))).collect();
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

    fn signals(&mut self, yaml: &Yaml) -> Vec<Event> {
        let mut events = Vec::new();
        for (path, yaml) in self.list("signals", yaml) {
            let map = self.map(&path, yaml, &SIGNAL);
            let at = map.value("after").map(|yaml| self.task_name(&map.name("after"), yaml).map(Moment::After));
            let name = self.required(&map, "name").and_then(|yaml| self.key_name(&map.name("name"), yaml));
            let payload = map.value("payload").map_or_else(Json::null, |yaml| self.json(yaml));
            self.reader.refuse_yet(map.span, &format!("`{path}`"), "no workflow of this version waits for a signal");
            if let (Some(at), Some(name)) = (at.unwrap_or(Some(Moment::Start)), name) {
                events.push(Event { at, act: Act::Signal { name, payload } });
            }
        }
        events
    }

    fn events(&mut self, yaml: &Yaml) -> Vec<Event> {
        let events = self.list("events", yaml);
        events.into_iter().filter_map(|(path, yaml)| self.event(&path, yaml)).collect()
    }

    fn event(&mut self, path: &str, yaml: &Yaml) -> Option<Event> {
        #[derive(Clone, Copy)]
        enum Word {
            Cancel,
            Pause,
            Resume,
        }
        let map = self.map(path, yaml, &EVENT);
        let at = self.moment(&map);
        let reason =
            map.value("reason").and_then(|yaml| self.reader.text(&map.name("reason"), yaml)).map(str::to_owned);
        let words = [("cancel", Word::Cancel), ("pause", Word::Pause), ("resume", Word::Resume)];
        let (name, yaml) = (map.name("do"), self.required(&map, "do")?);
        let act = match self.reader.choice(&name, yaml, &words)? {
            Word::Cancel => Act::Cancel { reason },
            Word::Pause => Act::Pause { reason },
            Word::Resume => Act::Resume,
        };
        if !matches!(act, Act::Cancel { .. }) {
            self.reader.refuse_yet(yaml.span, &format!("this `{name}`"), "`do: cancel` is");
        }
        Some(Event { at: at?, act })
    }

    /// The one key that says when.
    fn moment(&mut self, map: &Map<'_>) -> Option<Moment> {
        let named: Vec<&Entry> = map.entries.iter().filter(|entry| EVENT[..4].contains(&entry.key.as_str())).collect();
        let [entry] = named.as_slice() else {
            let message = format!("`{}` must have one moment, not {}", map.path, named.len());
            self.reader.refuse("moment_unclear", map.span, message, format!("give one of {}", listed(&EVENT[..4])));
            return None;
        };
        let name = map.name(&entry.key);
        if entry.key == "at" {
            return self.reader.choice(&name, &entry.value, &[("start", ())]).map(|()| Moment::Start);
        }
        let task = self.task_name(&name, &entry.value)?;
        Some(match entry.key.as_str() {
            "before" => Moment::Before(task),
            "during" => Moment::During(task),
            _ => Moment::After(task),
        })
    }

    fn rerun(&mut self, entry: &Entry) -> Rerun {
        let map = self.map("rerun", &entry.value, &RERUN);
        self.reader.refuse_yet(entry.key_span, "`rerun`", "write a script for a run of its own");
        let failed_items = map.value("failed_items").and_then(|yaml| self.reader.boolean("rerun.failed_items", yaml));
        let task = map.value("from").and_then(|yaml| self.task_name("rerun.from", yaml));
        let from = match (task, failed_items) {
            (Some(task), _) => RerunFrom::Task(task),
            (None, Some(true)) => RerunFrom::FailedItems,
            (None, Some(false) | None) => RerunFrom::Failed,
        };
        Rerun { from, outcomes: self.outcomes(&map), expect: self.expect(&map) }
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
