//! Workflows as pictures: the examples and a file that tries to break out of every quote.

use std::{fs, path::Path};

use leveret_engine::{
    graph::{Format, render},
    parse::parse,
    spec::Workflow,
};

const FORMATS: [(Format, &str); 3] = [(Format::Mermaid, "mermaid"), (Format::Dot, "dot"), (Format::Text, "text")];

fn workflow(path: &str) -> Workflow {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is there");
    parse(&source, path).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn check(name: &str, path: &str) {
    let workflow = workflow(path);
    for (format, ending) in FORMATS {
        insta::assert_snapshot!(format!("{name}_{ending}"), render(&workflow, format));
    }
}

#[test]
fn examples_are_drawn() {
    check("fleet", "../examples/check-fleet.yaml");
    check("log", "../examples/process-log.yaml");
}

#[test]
fn a_nasty_file_is_drawn() {
    check("nasty", "tests/graph/nasty.yaml");
}

/// The line without its quoted texts, and those. A quote that never ends is a panic.
fn unquoted(line: &str, escape: Option<char>) -> (String, Vec<String>) {
    let (mut outside, mut texts) = (String::new(), Vec::new());
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        if c != '"' {
            outside.push(c);
            continue;
        }
        let mut text = String::new();
        loop {
            match characters.next().unwrap_or_else(|| panic!("a quote that never ends in {line}")) {
                '"' => break,
                c if Some(c) == escape => {
                    text.push(c);
                    text.extend(characters.next());
                }
                c => text.push(c),
            }
        }
        outside.push('@');
        texts.push(text);
    }
    (outside, texts)
}

/// Replaces the numbers of tasks, so that a line shows its form alone.
fn form(outside: &str) -> String {
    let mut form = String::new();
    for c in outside.trim().chars() {
        match c.is_ascii_digit() {
            true if form.ends_with('0') => {}
            true => form.push('0'),
            false => form.push(c),
        }
    }
    form
}

#[test]
fn nothing_leaves_its_quotes_in_mermaid() {
    let picture = render(&workflow("tests/graph/nasty.yaml"), Format::Mermaid);
    let nodes = ["start([@])", "done([@])", "failed([@])", "t0[@]"];
    let edges = ["start --> t0", "t0 --> t0", "t0 --> done", "t0 -->|@| t0", "t0 -->|@| done", "t0 -->|@| failed"];
    for line in picture.lines().skip(1) {
        let (outside, texts) = unquoted(line, None);
        let form = form(&outside);
        assert!(nodes.contains(&form.as_str()) || edges.contains(&form.as_str()), "{form} of {line}");
        for text in texts {
            let bare = text.replace("<br/>", " ");
            assert!(!bare.contains(['"', '<', '>', '&', '[', ']', '|', '%', '\\', ':', '`', '$', '*']), "{text}");
            let entity = |rest: &str| rest.split_once(';').is_some_and(|(code, _)| code.parse::<u32>().is_ok());
            assert!(bare.split('#').skip(1).all(entity), "{text}");
        }
    }
}

#[test]
fn nothing_leaves_its_quotes_in_dot() {
    let picture = render(&workflow("tests/graph/nasty.yaml"), Format::Dot);
    let forms = [
        "digraph @ {",
        "node [shape=box, style=rounded];",
        "start [label=@, shape=oval];",
        "done [label=@, shape=oval];",
        "failed [label=@, shape=oval];",
        "t0 [label=@];",
        "start -> t0;",
        "t0 -> t0;",
        "t0 -> done;",
        "t0 -> t0 [label=@];",
        "t0 -> done [label=@];",
        "t0 -> failed [label=@];",
        "}",
    ];
    for line in picture.lines() {
        let (outside, texts) = unquoted(line, Some('\\'));
        assert!(forms.contains(&form(&outside).as_str()), "{line}");
        for text in texts {
            let escaped = text.replace("\\\\", "").replace("\\\"", "").replace("\\n", "");
            assert!(!escaped.contains('\\'), "an escape that Graphviz would obey in {text}");
            assert!(text.replace("&amp;", "").find('&').is_none(), "an entity in {text}");
        }
    }
}

#[test]
fn text_is_harmless_on_a_terminal() {
    let picture = render(&workflow("tests/graph/nasty.yaml"), Format::Text);
    assert!(!picture.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{picture}");
}
