//! Histories that were stored once replay for ever: each file of `tests/histories` is one.
//!
//! Its first line is the workflow's source, its last one what people saw of the run in the end, and between them is each
//! fact as a store holds it. `UPDATE_HISTORIES=1 cargo test` adds those of new scenarios. What is there is never written
//! anew: a machine that reads it otherwise is wrong.

use std::{fmt::Write as _, fs, path::PathBuf};

use leveret_engine::{
    machine::{self, fact::Fact},
    program::Program,
    spec::Workflow,
};
use proto::{codec, view};

use crate::scenarios::{firsts, source};

/// Histories below which some were lost.
const HISTORIES_MIN: usize = 120;

/// A longer history proves no more.
const FACTS_MAX: usize = 300;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

/// What people see of the run that `facts` make.
fn seen(workflow: &Workflow, facts: &[Fact]) -> view::Run {
    machine::replay(workflow, facts).expect("the first fact accepts it").view(workflow)
}

fn text<T: serde::Serialize>(value: &T) -> String {
    String::from_utf8(codec::encode(value)).expect("JSON is UTF-8")
}

#[test]
fn stored_histories_replay_as_they_were_lived() {
    if std::env::var_os("UPDATE_HISTORIES").is_some() {
        add_new_ones();
    }
    let mut told = String::new();
    let mut replayed = 0;
    for entry in fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("its entries can be read").path();
        let stored = fs::read_to_string(&path).expect("it can be read");
        if let Err(problem) = replay(&stored) {
            let _ = writeln!(told, "{}: {problem}", path.display());
        }
        replayed += 1;
    }
    assert!(told.is_empty(), "\n{told}");
    assert!(replayed >= HISTORIES_MIN, "only {replayed} histories are left");
}

fn replay(stored: &str) -> Result<(), String> {
    let lines: Vec<&str> = stored.lines().collect();
    let [source, facts @ .., last] = lines.as_slice() else { return Err("it has no beginning or no end".to_owned()) };
    let source: String = serde_json::from_str(source).map_err(|error| error.to_string())?;
    let (program, _) = Program::compile(&source, "history").map_err(|problems| format!("{problems:?}"))?;
    let facts: Vec<Fact> = facts
        .iter()
        .map(|fact| codec::decode(fact.as_bytes()))
        .collect::<Result<_, codec::Error>>()
        .map_err(|error| error.to_string())?;
    let is = text(&seen(program.workflow(), &facts));
    match is == *last {
        true => Ok(()),
        false => Err(format!("it was seen as\n{last}\nand now is\n{is}")),
    }
}

fn add_new_ones() {
    for (name, program, outcome) in firsts() {
        let path = folder().join(format!("{name}.jsonl"));
        if path.exists() || outcome.facts.len() > FACTS_MAX {
            continue;
        }
        let mut lines = vec![text(&source(&name))];
        lines.extend(outcome.facts.iter().map(text));
        lines.push(text(&seen(program.workflow(), &outcome.facts)));
        fs::write(path, lines.join("\n") + "\n").expect("the folder can be written");
    }
}
