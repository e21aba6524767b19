//! Every code that a person may meet is in the guide, and limits are told as they are.
//!
//! Which codes there are is told by the pages of codes.

use std::{collections::BTreeSet, fs};

use proto::limits;
use regex::Regex;

use crate::book::{Page, page, pages, quoted, root};

/// The codes that have a page, each with its kinds.
fn known() -> Vec<(String, String)> {
    let of_codes = pages().into_iter().filter(|page| page.name.starts_with("docs/src/codes/"));
    of_codes
        .filter_map(|page| {
            let code = page.text.lines().next()?.strip_prefix("# `")?.strip_suffix('`')?.to_owned();
            Some((code, page.text.lines().nth(2)?.trim_matches('*').to_owned()))
        })
        .collect()
}

/// A test of the language holds that every code has a page, and that no page has another.
#[test]
fn every_code_is_told() {
    let known = known();
    assert!(known.len() > 150, "only {known:?} were found");
    let (broken, lint) = (page("docs/src/codes.md"), page("docs/src/linting.md"));
    let told = |page: &Page| quoted(&page.text).map(str::to_owned).collect::<BTreeSet<String>>();
    let (broken, lint) = (told(&broken), told(&lint));
    for (pages, told, kinds) in
        [("codes.md", &broken, ["failure", "refusal", "-"]), ("linting.md", &lint, ["error", "warning", "script"])]
    {
        let of_kind = known.iter().filter(|(_, of)| of.split(", ").any(|kind| kinds.contains(&kind)));
        let missing: Vec<&String> = of_kind.map(|(code, _)| code).filter(|code| !told.contains(*code)).collect();
        assert!(missing.is_empty(), "{pages} does not tell {missing:?}");
    }
}

#[test]
fn every_code_that_is_told_is_one() {
    let known: BTreeSet<String> = known().into_iter().map(|(code, _)| code).collect();
    let codes = page("docs/src/codes.md");
    let (tables, _) = codes.text.split_once("## Limits").expect("the page has that heading");
    for row in (Page { name: codes.name.clone(), text: tables.to_owned() }).rows().iter().filter(|row| row.len() == 3) {
        for code in quoted(&row[0]) {
            assert!(known.contains(code), "codes.md tells `{code}`, which has no page");
        }
    }
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
