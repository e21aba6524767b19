//! Every workflow of the guide compiles without a warning, and every script beside one holds.
//!
//! Below one heading, a script plays the workflow before it, with the workflows behind that one as its children.

use std::sync::Arc;

use leveret_engine::{diagnostic::Colour, parse, program::Program, rehearsal};

use crate::book::{Block, Page, page, pages};

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
    for page in pages().into_iter().chain([page("README.md")]) {
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
                let program = compile(&page, block);
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

fn compile(page: &Page, block: &Block<'_>) -> Arc<Program> {
    match Program::compile(&block.code, &page.name) {
        Ok((program, warnings)) => {
            assert!(warnings.is_empty(), "{}", warnings.render(Colour::None));
            Arc::new(program)
        }
        Err(problems) => panic!("{}", problems.render(Colour::None)),
    }
}

/// What differs; nothing when the script holds.
fn play(page: &Page, group: &Group, block: &Block<'_>) -> String {
    let script = match parse::script(&block.code, &page.name, group.programs[0].workflow()) {
        Ok(script) => script,
        Err(problems) => return problems.render(Colour::None),
    };
    let outcome = rehearsal::play(&group.programs, &script).unwrap_or_else(|error| panic!("{}: {error}", page.name));
    let differences = rehearsal::check(&outcome, &script.expect);
    let mut told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    told.extend(outcome.unused.iter().map(ToString::to_string));
    if told.is_empty() {
        return String::new();
    }
    format!("{}\n{}{}\n{:?}\n\n", page.name, block.code, told.join("\n"), outcome.error)
}
