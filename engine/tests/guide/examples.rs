//! Every workflow of the guide compiles without a doubt of `lint`, and every script beside one holds.
//!
//! Below one heading, a script plays the workflow before it, with the workflows behind that one as its children.

use std::sync::Arc;

use leveret_engine::{
    diagnostic::Colour,
    lint::{self, Actions},
    parse,
    program::Program,
    rehearsal,
};

use crate::book::{Block, Page, page, pages, quoted};

/// Examples below which some were lost.
const WORKFLOWS_MIN: usize = 30;
const SCRIPTS_MIN: usize = 20;

/// Workflows that belong together, the first one played.
struct Group {
    section: usize,
    programs: Vec<Arc<Program>>,
    is_played: bool,
}

#[test]
fn workflows_compile_and_scripts_hold() {
    let (mut workflows, mut scripts, mut told) = (0, 0, String::new());
    // What pages of codes show is wrong on purpose, and held by a test of its own.
    let pages = pages().into_iter().filter(|page| !page.name.starts_with("docs/src/codes/"));
    for page in pages.chain([page("README.md")]) {
        let mut group: Option<Group> = None;
        for block in page.blocks().iter().filter(|block| block.kind == "yaml") {
            if has(block, "expect") {
                let group = group.as_mut().filter(|group| group.section == block.section);
                let group = group.unwrap_or_else(|| panic!("{}: no workflow before\n{}", page.name, block.code));
                group.is_played = true;
                told += &play(&page, group, block);
                scripts += 1;
            } else {
                assert!(has(block, "tasks"), "{}: neither a workflow nor a script\n{}", page.name, block.code);
                let (program, doubts) = compile(&page, block);
                told += &doubts;
                match group.as_mut().filter(|group| group.section == block.section && !group.is_played) {
                    Some(group) => group.programs.push(program),
                    None => {
                        let programs = vec![program];
                        group = Some(Group { section: block.section, programs, is_played: false });
                    }
                }
                workflows += 1;
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
    assert!(workflows >= WORKFLOWS_MIN, "only {workflows} workflows are left");
    assert!(scripts >= SCRIPTS_MIN, "only {scripts} scripts are left");
}

fn has(block: &Block<'_>, key: &str) -> bool {
    block.code.lines().any(|line| line.starts_with(key) && line[key.len()..].starts_with(':'))
}

/// The program, and what `lint` doubts.
fn compile(page: &Page, block: &Block<'_>) -> (Arc<Program>, String) {
    let compiled = Program::compile(&block.code, &page.name);
    let (program, mut doubts) = compiled.unwrap_or_else(|problems| panic!("{}", problems.render(Colour::None)));
    doubts.extend(lint::check(&program, &block.code, &page.name, &Actions::new()));
    let doubts = if doubts.is_empty() { String::new() } else { doubts.render(Colour::None) };
    (Arc::new(program), doubts)
}

/// What differs; nothing when the script holds.
fn play(page: &Page, group: &Group, block: &Block<'_>) -> String {
    let (first, others) = group.programs.split_first().expect("a group has a workflow");
    let children: Vec<_> = others.iter().map(|program| program.workflow()).collect();
    let script = match parse::script(&block.code, &page.name, first.workflow(), &children) {
        Ok(script) => script,
        Err(problems) => return problems.render(Colour::None),
    };
    let outcome = rehearsal::play(&group.programs, &script).unwrap_or_else(|error| panic!("{}: {error}", page.name));
    let differences = rehearsal::check(&outcome, &script.take);
    let mut told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    told.extend(outcome.unused.iter().map(ToString::to_string));
    if told.is_empty() {
        return String::new();
    }
    format!("{}\n{}{}\n{:?}\n\n", page.name, block.code, told.join("\n"), outcome.error)
}

/// What the page for people from StackStorm says of expressions can be said here.
#[test]
fn expressions_for_those_from_stackstorm_compile() {
    let text = page("docs/src/stackstorm.md").text;
    let (_, text) = text.split_once("\n## Expressions\n").expect("the page has that heading");
    let (text, _) = text.split_once("\n## ").expect("another heading follows");
    let table = Page { name: String::new(), text: text.to_owned() };
    let rows = table.rows();
    let cells: Vec<&str> = rows.iter().flat_map(|row| quoted(&row[1])).filter(|cell| cell.contains("{{")).collect();
    assert!(cells.len() > 15, "the page has lost its expressions");
    for cell in cells {
        let vars = ["x", "xs", "m", "s", "n"].map(|name| (name, 1));
        let vars = serde_json::Map::from_iter(vars.map(|(name, one)| (name.to_owned(), one.into())));
        let cell = cell.replace("{{ x |", "{{ workflow.x |");
        let task = serde_json::json!({ "input": { "x": cell } });
        let workflow = serde_json::json!({ "name": "page", "vars": vars, "tasks": { "a": task } });
        if let Err(problems) = Program::compile(&workflow.to_string(), &cell) {
            panic!("{}", problems.render(Colour::None));
        }
    }
}
