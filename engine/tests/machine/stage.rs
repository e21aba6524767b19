//! A run on a stage: a workflow file, and a hand that tells the machine what happens.

use std::collections::BTreeSet;

use leveret_engine::{
    machine::{
        self, Command, Input, Now, Run, Signal, Step, Timer,
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
    outcome::{Acted, Failed, ItemsPart, ItemsReport, Listed, Next, Report, RunPrepared, Settlement},
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
        Self::accepting(yaml, |accepted| accepted)
    }

    /// Accepts a run of it in its own way.
    pub fn accepting(yaml: &str, edit: impl FnOnce(Accepted) -> Accepted) -> Self {
        let source = format!("name: scene\n{yaml}");
        let (spec, _) = parse(&source, "scene.yaml").unwrap_or_else(|errors| panic!("{errors:?}"));
        let now = Timestamp::from_millis(1_000_000);
        let accepted = Accepted::of(
            "run".parse().expect("valid"),
            spec.name.clone(),
            Stored { digest: Digest::of(b"scene"), bytes: 5 },
        );
        let (run, Step { facts, commands }) = machine::accept(&spec, edit(accepted), Now { at: now, flights_max: 8 });
        Self { spec, run, facts, commands, flights_max: 8, now }
    }

    /// The outer world, as it is now.
    pub fn world(&self) -> Now {
        Now { at: self.now, flights_max: self.flights_max }
    }

    /// Steps, and gives the commands of this step.
    pub fn feed(&mut self, input: Input) -> Vec<Command> {
        let now = self.world();
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

    /// The timer rings at the time for which it was set last, and is set no more.
    pub fn ring(&mut self, timer: Timer) -> Vec<Command> {
        let armed = self.commands.iter().rev().find_map(|command| match command {
            Command::Arm(armed, due) if *armed == timer => Some(*due),
            _ => None,
        });
        self.now = self.now.max(armed.unwrap_or_else(|| panic!("{timer:?} was never set")));
        self.commands.push(Command::Disarm(timer));
        self.feed(Input::Timer(timer))
    }

    /// The timers that are set.
    pub fn armed(&self) -> BTreeSet<Timer> {
        let mut armed = BTreeSet::new();
        for command in &self.commands {
            match command {
                Command::Arm(timer, _) => drop(armed.insert(*timer)),
                Command::Disarm(timer) => drop(armed.remove(timer)),
                _ => {}
            }
        }
        armed
    }

    pub fn signal(&mut self, name: &str, id: Option<&str>, json: &str) -> Vec<Command> {
        let (name, id, payload) = (name.parse().expect("valid"), id.map(str::to_owned), value(json));
        self.feed(Input::Signal(Signal { name, id, payload }))
    }

    pub fn pause(&mut self) -> Vec<Command> {
        self.feed(Input::Pause { reason: None })
    }

    pub fn cancel(&mut self) -> Vec<Command> {
        self.feed(Input::Cancel { reason: None })
    }

    /// The code of the failure by which the run fails or failed.
    pub fn code(&self) -> &str {
        self.run.failure().map_or("", |failure| &failure.code)
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
        // Nobody reads the items themselves. A list is written out where it is short.
        values: ValueRef::Inline(Json::of(&vec![(); count.min(1_000) as usize]).expect("JSON")),
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
