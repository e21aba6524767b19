//! A run on a stage: a workflow file, and a hand that tells the machine what happens.

use leveret_engine::{
    machine::{
        self, Command, Input, Now, Run, Step,
        fact::{Accepted, Fact},
    },
    parse::parse,
    spec::Workflow,
};
use proto::{
    failure::Failure,
    id::{Digest, ItemIndex, KeyName},
    items::ItemSet,
    json::Json,
    outcome::{Acted, Failed, ItemsPart, ItemsReport, Listed, Next, Report, RunPrepared, Settlement, TaskPrepared},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{Status, WorkKey},
};
use serde_json::Value;

use super::seen;

pub struct Stage {
    pub spec: Workflow,
    pub run: Run,
    pub facts: Vec<Fact>,
    pub commands: Vec<Command>,
    pub flights_max: usize,
    pub now: Timestamp,
}

impl Stage {
    /// Accepts a run of a workflow with these lines below `name`.
    pub fn of(yaml: &str) -> Self {
        let source = format!("name: scene\n{yaml}");
        let (spec, _) = parse(&source, "scene.yaml").unwrap_or_else(|errors| panic!("{errors:?}"));
        let now = Timestamp::from_millis(1_000_000);
        let accepted = Accepted::of(
            "run".parse().expect("valid"),
            spec.name.clone(),
            Stored { digest: Digest::of(b"scene"), bytes: 5 },
        );
        let (run, Step { facts, commands }) = machine::accept(&spec, accepted, Now { at: now, flights_max: 8 });
        Self { spec, run, facts, commands, flights_max: 8, now }
    }

    /// Steps, and gives the commands of this step.
    pub fn feed(&mut self, input: Input) -> Vec<Command> {
        let now = Now { at: self.now, flights_max: self.flights_max };
        let Step { facts, commands } = machine::step(&self.spec, &mut self.run, input, now);
        self.facts.extend(facts);
        self.commands.extend(commands.iter().cloned());
        commands
    }

    pub fn report(&mut self, key: &str, report: Report) -> Vec<Command> {
        self.feed(Input::Report(key_of(key), report))
    }

    /// Steps for as long as the machine wants to by itself.
    pub fn run_on(&mut self) {
        let mut commands = self.commands.clone();
        while commands.contains(&Command::Continue) {
            commands = self.feed(Input::Continue);
        }
    }

    /// The keys of all work that is waited for.
    pub fn out(&self) -> Vec<String> {
        self.run.outstanding(&self.spec).iter().map(ToString::to_string).collect()
    }

    /// What `key` sees at `path`; null when there is nothing.
    pub fn sees(&self, key: &str, path: &str) -> Value {
        let manifest = self.run.manifest(&self.spec, &key_of(key), [path]);
        seen::plain(&manifest).remove(path).unwrap_or_default()
    }

    /// What people see of a task: status, attempts, and the code of its error.
    pub fn shows(&self, task: &str) -> (String, u32, Option<String>) {
        let view = self.run.view(&self.spec);
        let task = &view.tasks[&task.parse().expect("valid")];
        (task.status.clone(), task.attempts, task.error.as_ref().map(|error| error.code.clone()))
    }
}

pub fn key_of(text: &str) -> WorkKey {
    text.parse().expect("a key")
}

pub fn value(json: &str) -> ValueRef {
    ValueRef::Inline(Json::canonical(json.as_bytes()).expect("JSON"))
}

/// An attempt of a task without items; transitions at `fired` fire and publish.
pub fn acted(status: Status, fired: &[u16], published: &[(&str, &str)]) -> Report {
    let published = published.iter().map(|(key, json)| (key.parse().expect("valid"), value(json))).collect();
    attempt(status, Next::Settled(Settlement { fired: fired.to_vec(), published, retries: None }))
}

pub fn attempt(status: Status, next: Next) -> Report {
    let failure = (status != Status::Succeeded)
        .then(|| Failed { failure: Failure::new("test", "told to"), error: value(r#"{"code":"test"}"#) });
    Report::Acted(Acted { status, result: value("7"), failure, next, busy_ms: 1 })
}

/// A list in parts of so many items, each this long.
pub fn listed(parts: &[(u32, u32)]) -> Report {
    let part = |&(count, item_bytes_max): &(u32, u32)| ItemsPart {
        count,
        values: ValueRef::null(),
        offsets: ValueRef::null(),
        item_bytes_max,
    };
    Report::Listed(Listed { parts: parts.iter().map(part).collect(), concurrency: None, tolerate: 0 })
}

pub fn set(items: &[u32]) -> ItemSet {
    items.iter().copied().map(ItemIndex).collect()
}

/// Items that succeeded, each with its number as its result.
pub fn done(items: &[u32]) -> ItemsReport {
    let results = ValueRef::Inline(Json::of(items).expect("JSON"));
    ItemsReport { succeeded: set(items), results: Some(results), ..ItemsReport::default() }
}

/// A run was prepared.
pub fn vars(vars: Vec<(KeyName, ValueRef)>) -> Report {
    Report::RunPrepared(RunPrepared { vars, ..RunPrepared::default() })
}

/// A task was prepared: it has this delay.
pub fn prepared(delay_ms: u64) -> Report {
    Report::TaskPrepared(TaskPrepared { delay_ms, ..TaskPrepared::default() })
}
