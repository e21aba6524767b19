//! What goes on in a run, in its children and in its reruns: outcomes, signals, events, expectations.

use std::collections::BTreeMap;

use proto::{id::WorkflowName, json::Json};

use super::{Map, ScriptReader};
use crate::{
    parse::{
        keys::listed,
        yaml::{Content, Entry, Yaml},
    },
    rehearsal::script::{Act, Event, Moment, Part, Rerun, RerunFrom, Take},
};

const PART: [&str; 3] = ["outcomes", "signals", "events"];
const RERUN: [&str; 8] = ["from", "failed_items", "outcomes", "signals", "events", "children", "expect", "rerun"];
const SIGNAL: [&str; 7] = ["name", "payload", "id", "at", "before", "during", "after"];
const EVENT: [&str; 6] = ["at", "before", "during", "after", "do", "reason"];
const MOMENT: [&str; 4] = ["at", "before", "during", "after"];

impl ScriptReader<'_> {
    /// All of `map` that says how a run goes.
    pub(super) fn take(&mut self, map: &Map<'_>) -> Take {
        Take {
            part: self.part(map),
            children: map.value("children").map(|yaml| self.parts(&map.name("children"), yaml)).unwrap_or_default(),
            expect: self.expect(map),
            rerun: map.entry("rerun").map(|entry| Box::new(self.rerun(&map.name("rerun"), entry))),
        }
    }

    fn part(&mut self, map: &Map<'_>) -> Part {
        let outcomes = self.outcomes(map);
        let signals = map.value("signals").map(|yaml| self.list(&map.name("signals"), yaml)).unwrap_or_default();
        let events = map.value("events").map(|yaml| self.list(&map.name("events"), yaml)).unwrap_or_default();
        let signals = signals.into_iter().filter_map(|(path, yaml)| self.signal(&path, yaml)).collect::<Vec<_>>();
        let events = events.into_iter().filter_map(|(path, yaml)| self.event(&path, yaml));
        Part { outcomes, events: signals.into_iter().chain(events.collect::<Vec<_>>()).collect() }
    }

    fn parts(&mut self, path: &str, yaml: &Yaml) -> BTreeMap<WorkflowName, Part> {
        let mut parts = BTreeMap::new();
        for Entry { key, key_span, value } in self.reader.map(path, yaml) {
            let Some(child) = self.known(key, *key_span) else { continue };
            let outer = std::mem::replace(&mut self.workflow, child);
            let map = self.map(&format!("{path}.{key}"), value, &PART);
            parts.insert(child.name.clone(), self.part(&map));
            self.workflow = outer;
        }
        parts
    }

    fn signal(&mut self, path: &str, yaml: &Yaml) -> Option<Event> {
        let map = self.map(path, yaml, &SIGNAL);
        let says_when = map.entries.iter().any(|entry| MOMENT.contains(&entry.key.as_str()));
        let at = if says_when { self.moment(&map) } else { Some(Moment::Start) };
        let id = map.value("id").and_then(|yaml| self.reader.text(&map.name("id"), yaml)).map(str::to_owned);
        let payload = map.value("payload").map_or_else(Json::null, |yaml| self.json(yaml));
        let name = self.required(&map, "name").and_then(|yaml| self.key_name(&map.name("name"), yaml))?;
        Some(Event { at: at?, act: Act::Signal { name, id, payload } })
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
        Some(Event { at: at?, act })
    }

    /// The one key that says when.
    fn moment(&mut self, map: &Map<'_>) -> Option<Moment> {
        let named: Vec<&Entry> = map.entries.iter().filter(|entry| MOMENT.contains(&entry.key.as_str())).collect();
        let [entry] = named.as_slice() else {
            let message = format!("`{}` must have one moment, not {}", map.path, named.len());
            self.reader.refuse("moment_unclear", map.span, message, format!("give one of {}", listed(&MOMENT)));
            return None;
        };
        let name = map.name(&entry.key);
        if entry.key == "at" {
            return match &entry.value.content {
                Content::Text(text) if text == "start" => Some(Moment::Start),
                Content::Text(_)
                | Content::Null
                | Content::Bool(_)
                | Content::Number(_)
                | Content::List(_)
                | Content::Map(_) => self.duration(&name, &entry.value).map(Moment::Clock),
            };
        }
        let task = self.task_name(&name, &entry.value)?;
        Some(match entry.key.as_str() {
            "before" => Moment::Before(task),
            "during" => Moment::During(task),
            _ => Moment::After(task),
        })
    }

    fn rerun(&mut self, path: &str, entry: &Entry) -> Rerun {
        let map = self.map(path, &entry.value, &RERUN);
        let failed_items =
            map.value("failed_items").and_then(|yaml| self.reader.boolean(&map.name("failed_items"), yaml));
        let task = map.value("from").and_then(|yaml| self.task_name(&map.name("from"), yaml));
        if task.is_some() && failed_items.is_some() {
            let message = format!("`{path}` has both `from` and `failed_items`");
            self.reader.refuse("rerun_unclear", map.span, message, "give one of them");
        }
        let from = match (task, failed_items) {
            (Some(task), _) => RerunFrom::Task(task),
            (None, Some(true)) => RerunFrom::FailedItems,
            (None, Some(false) | None) => RerunFrom::Failed,
        };
        Rerun { from, take: self.take(&map) }
    }
}
