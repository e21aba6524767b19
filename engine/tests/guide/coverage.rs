//! The table of what proves what lacks no word of the language and no promise, and every proof is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use leveret_engine::{callable, words};
use proto::work::{RunStatus, Status};
use regex::Regex;

use crate::{
    book::{Page, page, quoted, root},
    promises::PROMISES,
};

/// A line of the table: what, and what proves it.
struct Row {
    what: String,
    proofs: Vec<String>,
}

/// The rows below each heading.
fn sections() -> BTreeMap<String, Vec<Row>> {
    let page = page("docs/src/coverage.md");
    let parts = page.text.split("\n## ").skip(1).filter_map(|part| part.split_once('\n'));
    let row = |cells: &Vec<String>| {
        let what = quoted(&cells[0]).next()?.to_owned();
        Some(Row { what, proofs: quoted(cells.last()?).map(str::to_owned).collect() })
    };
    parts
        .map(|(heading, text)| {
            let part = Page { name: heading.to_owned(), text: text.to_owned() };
            (heading.to_owned(), part.rows().iter().filter_map(row).collect())
        })
        .collect()
}

/// What must be told below each heading; those of actions are the matter of a test of the worker.
fn wanted() -> BTreeMap<&'static str, BTreeSet<String>> {
    fn all<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        words.into_iter().map(str::to_owned).collect()
    }
    let statuses = [Status::Succeeded, Status::Failed, Status::TimedOut, Status::Crashed, Status::Canceled];
    let views = ["not_run", "waiting", "running"];
    let fields = ["error.code", "error.message", "error.details"].into_iter().chain(ITEM_FIELDS).chain(RUN_FIELDS);
    let of_tasks = words::task_fields().map(|field| format!("task.NAME.{field}"));
    BTreeMap::from([
        ("Keys", words::keys().map(|(place, key)| format!("{place}.{key}")).collect()),
        ("Names that templates read", all(words::roots())),
        ("Fields that templates read", all(fields).into_iter().chain(of_tasks).collect()),
        ("Filters", all(callable::filters())),
        ("Functions", all(callable::functions())),
        ("Tests", all(callable::tests())),
        ("Conditions", all(words::outcomes())),
        ("Targets", all(words::targets())),
        ("Words", all(WORDS)),
        ("Statuses of tasks", all(statuses.map(Status::as_str).into_iter().chain(views))),
        ("States of runs", all(RunStatus::ALL.map(RunStatus::as_str))),
        ("Orders", all(ORDERS)),
        ("Limits", limits()),
        ("Scripts", script_keys()),
        ("Promises", all(PROMISES.iter().copied())),
    ])
}

const ITEM_FIELDS: [&str; 3] = ["item_errors.index", "item_errors.item", "item_errors.error"];

const RUN_FIELDS: [&str; 7] =
    ["run.id", "run.key", "run.workflow", "run.started_at", "run.status", "run.error", "run.labels"];

/// What stands behind keys that take one of some words.
const WORDS: [&str; 9] = [
    "backoff: constant",
    "backoff: linear",
    "backoff: exponential",
    "join: all",
    "join: N",
    "on_item_error: continue",
    "on_item_error: stop",
    "on_lost: retry",
    "on_lost: fail",
];

/// What may be asked of a run.
const ORDERS: [&str; 8] =
    ["submit", "at", "cancel", "pause", "resume", "signal", "rerun", "rerun --failed-items, --from TASK"];

/// The codes that `proto::limits` says behind its numbers.
fn limits() -> BTreeSet<String> {
    let source = fs::read_to_string(root().join("proto/src/limits.rs")).expect("a source file");
    let code = Regex::new(r"^/// .*\(`([a-z_]+)`\)").expect("a pattern");
    source.lines().filter_map(|line| Some(code.captures(line)?[1].to_owned())).collect()
}

/// The keys of scripts, as their readers list them.
fn script_keys() -> BTreeSet<String> {
    let list = Regex::new(r"(?s)\nconst [A-Z_]+: \[&str; \d+\] =\s*\[(.*?)\];").expect("a pattern");
    let folder = root().join("engine/src/parse");
    let inner =
        fs::read_dir(folder.join("script")).expect("a source folder").map(|entry| entry.expect("an entry").path());
    let mut keys = BTreeSet::new();
    for file in inner.chain([folder.join("script.rs")]) {
        let source = fs::read_to_string(file).expect("a source file");
        for found in list.captures_iter(&source) {
            keys.extend(found[1].split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    keys
}

#[test]
fn the_table_lacks_nothing_and_has_nothing_else() {
    let sections = sections();
    for (heading, wanted) in wanted() {
        let rows = sections.get(heading).unwrap_or_else(|| panic!("coverage.md has no heading {heading}"));
        let told: BTreeSet<String> = rows.iter().map(|row| row.what.clone()).collect();
        let (missing, strange) = (wanted.difference(&told), told.difference(&wanted));
        let (missing, strange): (Vec<_>, Vec<_>) = (missing.collect(), strange.collect());
        assert!(missing.is_empty() && strange.is_empty(), "{heading}: missing {missing:?}, strange {strange:?}");
        assert_eq!(rows.len(), told.len(), "{heading}: something is told twice");
    }
}

#[test]
fn every_proof_is_there() {
    let mut problems = Vec::new();
    for (heading, rows) in sections() {
        for row in rows {
            if row.proofs.is_empty() {
                problems.push(format!("{heading}: nothing proves `{}`", row.what));
            }
            let wrong = row.proofs.iter().filter_map(|proof| find(proof).err().map(|why| (proof, why)));
            problems.extend(wrong.map(|(proof, why)| format!("{heading}: {}: {proof}: {why}", row.what)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Looks up a proof: `path/of/file.rs::test`, `chapter.md#heading` with a script, or `topic/scenario[.case]`.
fn find(proof: &str) -> Result<(), &'static str> {
    if let Some((file, test)) = proof.split_once("::") {
        return find_test(file, test);
    }
    match proof.split_once(".md") {
        Some((chapter, anchor)) => find_script(chapter, anchor.strip_prefix('#')),
        None => find_scenario(proof),
    }
}

/// A test, with further attributes behind the one that makes it one.
static TESTS: LazyLock<Regex> = LazyLock::new(|| {
    let test = r"#\[(?:tokio::)?test[^\]]*\](?:\s+#\[[^\n]*\])*\s+(?:async )?fn ([a-z0-9_]+)\(";
    Regex::new(test).expect("a pattern")
});

fn find_test(file: &str, test: &str) -> Result<(), &'static str> {
    let source = fs::read_to_string(root().join(file)).map_err(|_| "there is no such file")?;
    match TESTS.captures_iter(&source).any(|found| &found[1] == test) {
        true => Ok(()),
        false => Err("the file has no such test"),
    }
}

fn find_script(chapter: &str, anchor: Option<&str>) -> Result<(), &'static str> {
    let name = format!("docs/src/{chapter}.md");
    if !root().join(&name).exists() {
        return Err("there is no such chapter");
    }
    let page = page(&name);
    let section = match anchor {
        Some(anchor) => page.anchors().iter().position(|known| known == anchor).ok_or("there is no such heading")? + 1,
        None => 1,
    };
    let is_script = |code: &str| code.lines().any(|line| line.starts_with("expect:"));
    match page.blocks().iter().any(|block| block.section == section && is_script(&block.code)) {
        true => Ok(()),
        false => Err("no script is played there"),
    }
}

fn find_scenario(proof: &str) -> Result<(), &'static str> {
    let (topic, name) = proof.split_once('/').ok_or("this is no proof")?;
    let folder = root().join("engine/tests/scenarios").join(topic);
    let (name, case) = name.split_once('.').map_or((name, None), |(name, case)| (name, Some(case)));
    if !folder.join(format!("{name}.yaml")).exists() {
        return Err("there is no such scenario");
    }
    match case {
        Some(case) if !folder.join(format!("{name}.{case}.script.yaml")).exists() => {
            Err("the scenario has no such case")
        }
        Some(_) | None => Ok(()),
    }
}
