//! Whatever is in a file, reading it ends, soon, with an answer.

use std::time::{Duration, Instant};

use leveret_engine::{
    diagnostic::{Colour, KEPT_MAX},
    parse::parse,
    spec::{Target, Workflow},
};
use proptest::{prelude::*, sample::Index};

/// Pieces that mean something somewhere.
const PIECES: [&str; 40] = [
    "\n",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "|\n",
    ">\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!int ",
    "!x ",
    "? ",
    "#",
    "%",
    "\t",
    "\u{feff}",
    "\r",
    "\0",
    "ü",
    "---\n",
    "...\n",
    "~",
    "null",
    "0x",
    "1e999",
    "<% ctx() %>",
    "retry",
    "not (",
    "failed()",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
    Move(Index, Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<Index>;
    let edit = prop_oneof![
        (index(), prop::sample::select(PIECES.to_vec())).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (index(), 1..30usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (index(), 1..60usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
        (index(), index(), 1..60usize).prop_map(|(from, to, length)| Edit::Move(from, to, length)),
    ];
    prop::collection::vec(edit, 1..8)
}

fn edited(source: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = source.chars().collect();
    for edit in edits {
        let size = text.len() + 1;
        let range = |at: &Index, length: usize| at.index(size)..(at.index(size) + length).min(size - 1);
        match edit {
            Edit::Insert(at, piece) => drop(text.splice(at.index(size)..at.index(size), piece.chars())),
            Edit::Remove(at, length) => drop(text.drain(range(at, *length))),
            Edit::Repeat(at, length) => {
                let part = text[range(at, *length)].to_vec();
                text.splice(at.index(size)..at.index(size), part);
            }
            Edit::Move(from, to, length) => {
                let part: Vec<char> = text.drain(range(from, *length)).collect();
                let to = to.index(text.len() + 1);
                text.splice(to..to, part);
            }
        }
    }
    text.into_iter().collect()
}

/// What must hold of any answer.
fn check(source: &str) {
    let diagnostics = match parse(source, "any.yaml") {
        Ok((workflow, warnings)) => {
            check_workflow(&workflow);
            assert!(!warnings.has_errors());
            warnings
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            diagnostics
        }
    };
    for diagnostic in diagnostics.iter() {
        assert!(diagnostic.span.offset <= source.len(), "{diagnostic:?}");
    }
    assert!(diagnostics.iter().count() <= 2 * KEPT_MAX);
    assert!(!diagnostics.render(Colour::None).contains('\u{1b}'));
    assert_eq!(
        diagnostics.to_string().lines().count(),
        diagnostics.iter().count() + usize::from(diagnostics.left_out() > 0)
    );
}

/// The indexes of an accepted workflow agree with each other.
fn check_workflow(workflow: &Workflow) {
    assert!(!workflow.entries.is_empty());
    for (index, task) in workflow.indexed() {
        assert_eq!(workflow.find(&task.name), Some(index));
        assert_eq!(workflow.entries.contains(&index), task.inbound.is_empty() && workflow.finally != Some(index));
        for target in task.next.iter().flat_map(|transition| &transition.targets) {
            match target {
                Target::Task(to) => assert!(workflow.task(*to).inbound.contains(&index)),
                Target::Noop | Target::Continue | Target::Fail | Target::Retry => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn edited_files_are_answered(file in any::<Index>(), edits in edits()) {
        let files = [super::files("valid"), super::files("broken")].concat();
        check(&edited(&file.get(&files).1, &edits));
    }

    #[test]
    fn random_text_is_answered(text in "\\PC{0,200}", ) {
        check(&text);
        check(&format!("name: w\ntasks:\n  a: {text}\n"));
        check(&format!("name: w\ntasks:\n  a:\n    next: [{{ when: \"{text}\" }}]\n"));
    }

    #[test]
    fn random_pieces_are_answered(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..60)) {
        check(&pieces.concat());
    }
}

/// The size of the files that are to be large.
const SIZE: usize = 250 * 1024;

/// Many times `part`, which is given its number.
fn repeated(head: &str, part: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        text.push_str(&part(number));
        if text.len() > SIZE {
            break;
        }
    }
    text + tail
}

/// Many keys, tasks and transitions.
fn wide_files() -> Vec<(&'static str, String)> {
    let tasks = "name: w\ntasks:\n";
    let unknown_target = |n| format!("  task_{n}: {{ next: [{{ do: tsk_{n} }}] }}\n");
    let chain = |n| format!("  t{n}: {{ next: [{{ do: t{} }}] }}\n", n + 1);
    let transitions = "name: w\ntasks:\n  a:\n    next:\n";
    let inputs = "name: w\ntasks:\n  a:\n    input:\n";
    let schema = |n| format!("  p{n}: {{ type: string, pattern: \"a{{1,9}}\", default: b }}\n");
    vec![
        ("unknown keys", repeated("name: w\n", |n| format!("taks{n}: 1\n"), "")),
        ("duplicate keys", repeated("", |_| "name: w\n".into(), "")),
        ("tasks", repeated("name: w\ntasks: {", |n| format!("t{n},"), "}")),
        ("unknown targets", repeated(tasks, unknown_target, "")),
        ("a long chain", repeated(tasks, chain, "  end: {}\n")),
        ("targets", repeated(transitions, |_| "    - do: b\n".into(), "  b: {}\n")),
        ("bad templates", repeated(inputs, |n| format!("      k{n}: \"{{{{ ctx() }}}}\"\n"), "")),
        ("schemas", repeated("name: w\nparameters:\n", schema, "tasks: { a: }\n")),
        ("one line", repeated("{\"name\": \"w\", ", |n| format!("\"taks{n}\": 1, "), "\"x\": 1}")),
    ]
}

/// Values in values, and conditions in conditions.
fn deep_files() -> Vec<(&'static str, String)> {
    let nested =
        |levels| format!("name: w\nvars:\n  x: {}{}\ntasks: {{ a: }}\n", "[".repeat(levels), "]".repeat(levels));
    let alias = |n| format!("  a{}: &a{} [{}]\n", n + 1, n + 1, format!("*a{n}, ").repeat(9));
    let aliases: String = (0..20).map(alias).collect();
    let condition = "name: w\ntasks: { a: { next: [{ when: \"";
    vec![
        ("a deep value", nested(100)),
        ("too deep", nested(200)),
        ("deep blocks", repeated("x: ", |_| "? ".into(), "")),
        ("a bomb of aliases", format!("name: w\nvars:\n  a0: &a0 x\n{aliases}tasks: {{ a: }}\n")),
        ("braces", repeated("name: w\nvars: { x: \"", |_| "{{".into(), "\" }\n")),
        ("conditions", repeated(condition, |_| "not (".into(), "\" }] } }\n")),
        ("nested schemas", repeated("name: w\nparameters:\n  p: ", |_| "{ items: ".into(), "")),
        ("too large", " ".repeat(300 * 1024)),
    ]
}

#[test]
fn size_costs_time_in_proportion() {
    for (name, source) in wide_files().into_iter().chain(deep_files()) {
        let started = Instant::now();
        check(&source);
        let taken = started.elapsed();
        // Far more than it takes, also on a busy machine, and far less than anything quadratic would.
        assert!(taken < Duration::from_secs(20), "{name} took {taken:?}");
    }
}
