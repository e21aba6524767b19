//! `expect` of a script.

use std::collections::BTreeMap;

use proto::{
    id::{KeyName, TaskName, WorkflowName},
    json::Json,
    work::RunStatus,
};

use super::{Map, ScriptReader};
use crate::{
    parse::{reader::as_count, yaml::Yaml},
    rehearsal::script::{Expect, ExpectedChildren, ExpectedError, TaskStatus},
};

const EXPECT: [&str; 9] =
    ["status", "order", "output", "published", "error", "inputs", "tasks", "attempts", "children"];
/// A rerun can be refused besides.
const EXPECT_AGAIN: [&str; 10] =
    ["status", "order", "output", "published", "error", "inputs", "tasks", "attempts", "children", "refused"];
const CHILDREN: [&str; 3] = ["runs", "statuses", "order"];
const ERROR: [&str; 3] = ["code", "message", "task"];

impl ScriptReader<'_> {
    pub(super) fn expect(&mut self, map: &Map<'_>) -> Expect {
        let Some(yaml) = map.value("expect") else { return Expect::default() };
        let keys: &[&str] = if map.path.is_empty() { &EXPECT } else { &EXPECT_AGAIN };
        let map = self.map(&map.name("expect"), yaml, keys);
        let statuses = RunStatus::ALL.map(|status| (status.as_str(), status));
        let status = map.value("status");
        Expect {
            status: status.and_then(|yaml| self.reader.choice(&map.name("status"), yaml, &statuses)),
            order: map.value("order").map(|yaml| self.order(&map.name("order"), yaml)),
            output: map.value("output").map(|yaml| self.json(yaml)),
            published: self.published(&map),
            error: map.value("error").map(|yaml| self.error(&map.name("error"), yaml)),
            inputs: self.each(&map, "inputs", |this, _, yaml| Some(this.json(yaml))),
            tasks: self.each(&map, "tasks", |this, path, yaml| {
                this.reader.choice(path, yaml, &TaskStatus::ALL.map(|status| (status.as_str(), status)))
            }),
            attempts: self.each(&map, "attempts", |this, path, yaml| this.count(path, yaml)),
            children: map.value("children").map(|yaml| self.children(&map.name("children"), yaml)).unwrap_or_default(),
            refused: map
                .value("refused")
                .and_then(|yaml| self.reader.text(&map.name("refused"), yaml))
                .map(str::to_owned),
        }
    }

    fn count(&mut self, path: &str, yaml: &Yaml) -> Option<u32> {
        let count = as_count(yaml);
        if count.is_none() {
            self.reader.refuse_type(path, "a whole number", yaml);
        }
        count
    }

    fn children(&mut self, path: &str, yaml: &Yaml) -> BTreeMap<WorkflowName, ExpectedChildren> {
        let mut found = BTreeMap::new();
        for entry in self.reader.map(path, yaml) {
            let Some(child) = self.known(&entry.key, entry.key_span) else { continue };
            let outer = std::mem::replace(&mut self.workflow, child);
            let map = self.map(&format!("{path}.{}", entry.key), &entry.value, &CHILDREN);
            let runs = map.value("runs").and_then(|yaml| self.count(&map.name("runs"), yaml));
            let expected = ExpectedChildren {
                runs: runs.map(|runs| runs as usize),
                statuses: map.value("statuses").map(|yaml| self.statuses(&map.name("statuses"), yaml)),
                order: map.value("order").map(|yaml| self.order(&map.name("order"), yaml)),
            };
            self.workflow = outer;
            found.insert(child.name.clone(), expected);
        }
        found
    }

    fn statuses(&mut self, path: &str, yaml: &Yaml) -> Vec<RunStatus> {
        let words = RunStatus::ALL.map(|status| (status.as_str(), status));
        let list = self.list(path, yaml);
        list.into_iter().filter_map(|(path, yaml)| self.reader.choice(&path, yaml, &words)).collect()
    }

    fn each<T>(
        &mut self,
        map: &Map<'_>,
        key: &str,
        read: impl FnMut(&mut Self, &str, &Yaml) -> Option<T>,
    ) -> BTreeMap<TaskName, T> {
        map.value(key).map(|yaml| self.by_task(&map.name(key), yaml, read)).unwrap_or_default()
    }

    fn order(&mut self, path: &str, yaml: &Yaml) -> Vec<TaskName> {
        self.list(path, yaml).into_iter().filter_map(|(path, yaml)| self.task_name(&path, yaml)).collect()
    }

    fn published(&mut self, map: &Map<'_>) -> BTreeMap<KeyName, Json> {
        let entries = map.value("published").map(|yaml| self.reader.map(&map.name("published"), yaml));
        let read = |entry: &super::Entry| {
            let key = self.reader.name(&entry.key, entry.key_span)?;
            Some((key, self.json(&entry.value)))
        };
        entries.unwrap_or_default().iter().filter_map(read).collect()
    }

    fn error(&mut self, path: &str, yaml: &Yaml) -> ExpectedError {
        let map = self.map(path, yaml, &ERROR);
        let text = |this: &mut Self, key: &str| {
            map.value(key).and_then(|yaml| this.reader.text(&map.name(key), yaml)).map(str::to_owned)
        };
        let (code, message) = (text(self, "code"), text(self, "message"));
        ExpectedError {
            code,
            message,
            task: map.value("task").and_then(|yaml| self.task_name(&map.name("task"), yaml)),
        }
    }
}
