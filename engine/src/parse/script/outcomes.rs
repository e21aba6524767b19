//! `outcomes` of a script: how the attempts of each task end.

use std::{collections::BTreeMap, time::Duration};

use proto::{failure::Failure, id::TaskName, json::Json, work::Status};

use super::{Map, ScriptReader};
use crate::{
    parse::yaml::{Content, Entry, Yaml},
    rehearsal::script::{Cue, End, Scripted},
};

const ATTEMPT: [&str; 4] = ["status", "result", "error", "takes"];
const ITEMS: [&str; 1] = ["items"];
const ERROR: [&str; 3] = ["code", "message", "details"];

const STATUSES: [(&str, Status); 5] = [
    ("succeeded", Status::Succeeded),
    ("failed", Status::Failed),
    ("timed_out", Status::TimedOut),
    ("crashed", Status::Crashed),
    ("canceled", Status::Canceled),
];

/// What an entry says of why it failed.
#[derive(Default)]
struct Reason {
    code: Option<String>,
    message: Option<String>,
    details: Option<Json>,
}

impl ScriptReader<'_> {
    pub(super) fn outcomes(&mut self, map: &Map<'_>) -> BTreeMap<TaskName, Vec<Scripted>> {
        let Some(yaml) = map.value("outcomes") else { return BTreeMap::new() };
        let path = map.name("outcomes");
        let mut outcomes = BTreeMap::new();
        for Entry { key, key_span, value } in self.reader.map(&path, yaml) {
            let entries = self.list(&format!("{path}.{key}"), value);
            let Some(task) = self.task(key, *key_span) else { continue };
            let (name, has_items) = (task.name.clone(), task.items.is_some());
            let read = entries.into_iter().map(|(path, yaml)| match has_items {
                true => self.items(&path, yaml),
                false => self.attempt(&path, yaml),
            });
            outcomes.insert(name, read.collect());
        }
        outcomes
    }

    fn attempt(&mut self, path: &str, yaml: &Yaml) -> Scripted {
        if let Content::Map(entries) = &yaml.content
            && let Some(items) = entries.iter().find(|entry| entry.key == "items")
        {
            let message = format!("`{path}.items`: the task has no `with_items`");
            self.reader.refuse("items_misplaced", items.key_span, message, "give `status`, `result` or `error`");
            return Scripted::Attempt(Cue::default());
        }
        Scripted::Attempt(self.cue(path, yaml))
    }

    fn items(&mut self, path: &str, yaml: &Yaml) -> Scripted {
        if let Content::Map(entries) = &yaml.content
            && entries.iter().all(|entry| ATTEMPT.contains(&entry.key.as_str()))
        {
            let message = format!("`{path}`: the task has `with_items`, and each of its items ends by itself");
            let help = "give `items`, a list with an outcome for each";
            self.reader.refuse("items_missing", yaml.span, message, help);
            return Scripted::Items(Vec::new());
        }
        let map = self.map(path, yaml, &ITEMS);
        let items = map.value("items").map(|yaml| self.list(&map.name("items"), yaml)).unwrap_or_default();
        Scripted::Items(items.into_iter().map(|(path, yaml)| self.cue(&path, yaml)).collect())
    }

    fn cue(&mut self, path: &str, yaml: &Yaml) -> Cue {
        let map = self.map(path, yaml, &ATTEMPT);
        let takes = map.value("takes").and_then(|yaml| self.duration(&map.name("takes"), yaml));
        Cue { end: self.end(&map), takes: takes.unwrap_or(Duration::ZERO) }
    }

    fn end(&mut self, map: &Map<'_>) -> End {
        let status = map.value("status").and_then(|yaml| self.reader.choice(&map.name("status"), yaml, &STATUSES));
        let result = map.value("result").map(|yaml| self.json(yaml));
        let reason = map.value("error").map(|yaml| self.reason(&map.name("error"), yaml));
        let default = if reason.is_some() { Status::Failed } else { Status::Succeeded };
        match status.unwrap_or(default) {
            Status::Succeeded => {
                if reason.is_some() {
                    let message = format!("`{}` does not belong to a success", map.name("error"));
                    self.reader.refuse("error_misplaced", map.span, message, "leave it out, or give another `status`");
                }
                End::Result(result.unwrap_or_else(Json::null))
            }
            Status::Crashed => {
                if reason.is_some() || result.is_some() {
                    let message = format!("`{}`: who crashes says nothing", map.path);
                    self.reader.refuse("error_misplaced", map.span, message, "leave out `result` and `error`");
                }
                End::Crash
            }
            status @ (Status::Failed | Status::TimedOut | Status::Canceled) => {
                let reason = reason.unwrap_or_default();
                if reason.details.is_some() && result.is_some() {
                    let message = format!("`{}` has both `result` and `error.details`, which are one", map.path);
                    self.reader.refuse("details_twice", map.span, message, "give one of them");
                }
                let result = result.or(reason.details).unwrap_or_else(Json::null);
                let code = reason.code.unwrap_or_else(|| status.as_str().to_owned());
                let message = reason.message.unwrap_or_else(|| message_of(status).to_owned());
                End::Failure { status, failure: Failure::new(code, message), result }
            }
        }
    }

    fn reason(&mut self, path: &str, yaml: &Yaml) -> Reason {
        if let Content::Text(message) = &yaml.content {
            return Reason { message: Some(message.clone()), ..Reason::default() };
        }
        let map = self.map(path, yaml, &ERROR);
        let text = |this: &mut Self, key: &str| {
            map.value(key).and_then(|yaml| this.reader.text(&map.name(key), yaml)).map(str::to_owned)
        };
        let (code, message) = (text(self, "code"), text(self, "message"));
        Reason { code, message, details: map.value("details").map(|yaml| self.json(yaml)) }
    }
}

fn message_of(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "took longer than its timeout",
        Status::Canceled => "the run was cancelled",
        Status::Succeeded | Status::Failed | Status::Crashed => "the script says so",
    }
}
