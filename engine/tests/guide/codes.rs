//! Every code that a person may meet is in the guide, and limits are told as they are.
//!
//! Codes are found in the sources by the words before them, as they stand where failures and problems are made.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use proto::limits;
use regex::Regex;

use crate::book::{Page, page, quoted, root};

/// What stands before a code where one is made.
static MADE: LazyLock<Regex> = LazyLock::new(|| {
    let made =
        r"(?:Failure::new|Error::new|Rejection::new|Fault::new|problem|refuse|refuse_at|report|Diagnostic::error)";
    Regex::new(&format!(r#"(?:{made}\(\s*|StatusCode::[A-Z_]+,\s*|code: )"([a-z]+(?:_[a-z]+)*)""#)).expect("a pattern")
});

/// A method that names codes: the texts in it are some.
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(?s)fn code\(&?self\) -> &'static str \{.*?\n    \}\n"#).expect("a pattern"));

static TEXT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""([a-z]+(?:_[a-z]+)*)""#).expect("a pattern"));

fn made() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for file in
        ["engine/src", "worker/src", "scheduler/src", "proto/src"].iter().flat_map(|at| rust_files(&root().join(at)))
    {
        let text = fs::read_to_string(&file).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        codes.extend(MADE.captures_iter(text).map(|found| found[1].to_owned()));
        for method in NAMED.find_iter(text) {
            codes.extend(TEXT.captures_iter(method.as_str()).map(|found| found[1].to_owned()));
        }
    }
    codes
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_code_is_told() {
    let made = made();
    assert!(made.len() > 100, "only {} codes were found: {made:?}", made.len());
    let (codes, lint) = (page("docs/src/codes.md"), page("docs/src/linting.md"));
    let told: BTreeSet<&str> = quoted(&codes.text).chain(quoted(&lint.text)).collect();
    let missing: Vec<&String> = made.iter().filter(|code| !told.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "neither codes.md nor linting.md tells {missing:?}");
}

#[test]
fn limits_are_told_as_they_are() {
    let codes = page("docs/src/codes.md");
    let (_, table) = codes.text.split_once("## Limits").expect("the page has the table");
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let mib = |bytes: usize| format!("{} MiB", bytes / 1024 / 1024);
    let thousands = |number: usize| match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => format!("{},{:03},{:03}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000),
    };
    for (code, limit) in [
        ("submission_too_large", kib(limits::SUBMISSION_BYTES_MAX)),
        ("value_too_large", mib(limits::VALUE_BYTES_MAX)),
        ("item_too_large", kib(limits::ITEM_BYTES_MAX)),
        ("too_many_items", thousands(limits::ITEMS_MAX as usize)),
        ("too_many_tasks", thousands(limits::TASKS_MAX as usize)),
        ("too_many_signals", thousands(limits::SIGNALS_MAX)),
        ("nested_too_deep", thousands(limits::NESTING_MAX.into())),
        ("template_too_large", kib(limits::TEMPLATE_BYTES_MAX)),
        ("output_too_large", mib(limits::RENDERED_BYTES_MAX)),
        ("json_too_deep", thousands(limits::JSON_DEPTH_MAX)),
        ("json_too_deep", thousands(limits::VALUE_DEPTH_MAX)),
    ] {
        let row = format!("| {limit} | `{code}` |");
        assert!(table.contains(&row), "codes.md has no row that ends with {row}");
    }
    let children = format!("| children of one task at once | {} |", limits::CHILDREN_MAX);
    assert!(table.contains(&children), "codes.md has no row {children}");
}

/// Keys of Orquesta and Attune that the parser answers by name, as `habits.rs` writes them down.
#[test]
fn every_habit_of_stackstorm_and_attune_is_told() {
    let source = fs::read_to_string(root().join("engine/src/parse/habits.rs")).expect("a source file");
    let habit = Regex::new(r#"\(\s*"([A-Za-z_-]+)",\s*(?:ORQUESTA|ATTUNE|"Orquesta and)"#).expect("a pattern");
    let known: BTreeSet<String> = habit.captures_iter(&source).map(|found| found[1].to_owned()).collect();
    assert!(known.len() > 30, "only {known:?} were found");
    let text = page("docs/src/stackstorm.md").text;
    let words: BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).collect();
    let missing: Vec<&String> = known.iter().filter(|word| !words.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "stackstorm.md does not tell {missing:?}");
}

#[test]
fn every_code_that_is_told_is_made() {
    let sources = ["engine/src", "worker/src", "scheduler/src", "proto/src"];
    let texts: Vec<String> = sources
        .iter()
        .flat_map(|at| rust_files(&root().join(at)))
        .map(|file| fs::read_to_string(file).expect("a source file"))
        .collect();
    let codes = page("docs/src/codes.md");
    let (tables, _) = codes.text.split_once("## Limits").expect("the page has that heading");
    for row in (Page { name: codes.name.clone(), text: tables.to_owned() }).rows().iter().filter(|row| row.len() == 3) {
        for code in quoted(&row[0]) {
            let made = format!("\"{code}\"");
            assert!(texts.iter().any(|text| text.contains(&made)), "codes.md tells `{code}`, which nothing makes");
        }
    }
}
