//! `docs/src/filters.md` is so: every example gives what it says, and nothing that may be called is missing.

use std::{collections::BTreeSet, fs, path::Path};

use leveret_engine::{
    callable, evaluate,
    program::Program,
    snapshot::{Scope, Snapshot},
    spec::TaskIndex,
    value::Value,
};
use proto::{json::Json, work::Status};

/// A line of the page: `source  -> wanted`.
struct Example<'p> {
    source: String,
    wanted: &'p str,
}

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    fs::read_to_string(root.join("docs/src/filters.md")).expect("the page is there")
}

fn blocks<'p>(page: &'p str, kind: &str) -> impl Iterator<Item = &'p str> {
    let opening = format!("```{kind}\n");
    page.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect::<Vec<_>>().into_iter()
}

fn examples(page: &str) -> Vec<Example<'_>> {
    let lines = blocks(page, "template").flat_map(str::lines);
    lines
        .map(|line| {
            let (source, wanted) = line.rsplit_once("  -> ").unwrap_or_else(|| panic!("no arrow: {line}"));
            Example { source: source.to_owned(), wanted }
        })
        .collect()
}

/// What a transition publishes as `source`, after an action that failed: there everything may be read.
fn published(source: &str, scope: &Scope) -> Result<Value, String> {
    let next = serde_json::json!([{"when": "failed()", "publish": {"x": source}}]);
    // Some of them have no value.
    let parameters =
        ["hosts", "nothing", "names", "text", "port", "proxy"].map(|name| (name.to_owned(), serde_json::json!({})));
    let parameters = serde_json::Map::from_iter(parameters);
    let workflow = serde_json::json!({"name": "page", "parameters": parameters, "tasks": {"a": {"action": "core.noop", "next": next}}});
    let (program, _) = Program::compile(&workflow.to_string(), "page").map_err(|wrong| wrong.to_string())?;
    let settled = evaluate::settle(&program, TaskIndex(0), scope, Status::Failed).map_err(|failure| failure.message)?;
    Ok(settled.published.into_values().next().expect("it fires"))
}

fn scope(page: &str) -> Scope {
    let parameters = blocks(page, "json").next().expect("the page says what the parameters are");
    let parameters = Value::from_json(parameters.as_bytes()).expect("JSON");
    let error = Value::from_json(br#"{"code": "exit_code", "message": "exit code 3"}"#).expect("JSON");
    Scope::new(&Snapshot::build([("parameters".to_owned(), parameters)]))
        .with_now("2026-11-30T08:00:00Z".parse().expect("a time"))
        .with_ended(Status::Failed, Value::null(), error, Value::null())
}

#[test]
fn every_example_gives_what_the_page_says() {
    let page = page();
    let scope = scope(&page);
    let mut wrong = Vec::new();
    for Example { source, wanted } in examples(&page) {
        let given = published(&source, &scope).map(|value| value.to_json().expect("of JSON").as_str().to_owned());
        let is_right = match wanted.strip_prefix("error: ") {
            Some(part) => given.as_ref().is_err_and(|message| message.contains(part)),
            None => {
                given
                    == Json::canonical(wanted.as_bytes())
                        .map(|json| json.as_str().to_owned())
                        .map_err(|e| e.to_string())
            }
        };
        if !is_right {
            wrong.push(format!("{source}\n  page: {wanted}\n  is:   {given:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names in the first columns of the tables whose head begins with `head`.
fn told<'p>(page: &'p str, head: &str) -> BTreeSet<&'p str> {
    let head = format!("\n| {head} |");
    let tables = page.split(head.as_str()).skip(1);
    let rows = tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with("| `")));
    rows.map(|row| row.split('`').nth(1).expect("a name in quotes")).collect()
}

fn is_shown(examples: &[Example<'_>], before: &[&str], name: &str, after: Option<&str>) -> bool {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    examples.iter().filter(|example| !example.wanted.starts_with("error: ")).any(|Example { source, .. }| {
        source.match_indices(name).any(|(at, _)| {
            let rest = &source[at + name.len()..];
            let follows = after.map_or(!rest.starts_with(is_name), |after| rest.starts_with(after));
            follows && before.iter().any(|before| source[..at].ends_with(before))
        })
    })
}

#[test]
fn the_page_tells_and_shows_all_there_is_and_no_more() {
    let page = page();
    let examples = examples(&page);
    for (head, names) in [
        ("filter", callable::filters().collect::<Vec<_>>()),
        ("function", callable::functions().collect()),
        ("test", callable::tests().collect()),
    ] {
        assert_eq!(told(&page, head), names.iter().copied().collect(), "{head}s in tables");
        for name in names {
            let is_shown = match head {
                "filter" => is_shown(&examples, &["| "], name, None),
                "function" => name == "throw" || is_shown(&examples, &[" ", "(", "["], name, Some("(")),
                _ => is_shown(&examples, &["is ", "is not "], name, None),
            };
            assert!(is_shown, "no example of the {head} `{name}`");
        }
    }
}
