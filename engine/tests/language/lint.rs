//! Files that are read and hardly mean what they say: what lint tells of each.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use leveret_engine::{
    diagnostic::{Colour, Diagnostic, Diagnostics, Severity},
    lint::{self, Actions},
    program::Program,
};
use serde_json::json;

/// Actions as workers have them, with what matters here of their inputs.
pub(super) fn actions() -> Actions {
    let object = |properties: serde_json::Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let duration = json!({ "type": ["number", "string"], "minimum": 0 });
    let scalar = json!({ "type": ["string", "number", "boolean"] });
    [
        ("core.noop", object(json!({}), &[])),
        ("core.echo", object(json!({ "message": true }), &["message"])),
        ("core.fail", object(json!({ "message": { "type": "string" } }), &[])),
        ("core.sleep", object(json!({ "seconds": duration, "duration": duration }), &[])),
        ("core.assert", object(json!({ "that": { "type": "boolean" }, "message": { "type": "string" } }), &["that"])),
        (
            "template.render",
            object(json!({ "template": true, "path": { "type": "string", "minLength": 1 } }), &["template"]),
        ),
        (
            "file.read_lines",
            object(json!({ "path": { "type": "string" }, "skip_blank": { "type": "boolean" } }), &["path"]),
        ),
        ("file.write", object(json!({ "path": { "type": "string" }, "content": true }), &["path", "content"])),
        (
            "shell.run",
            object(
                json!({
                    "argv": { "type": "array", "minItems": 1, "items": scalar },
                    "script": { "type": "string" },
                    "env": { "type": "object", "additionalProperties": scalar },
                }),
                &[],
            ),
        ),
        (
            "http.request",
            object(
                json!({
                    "method": { "type": "string", "pattern": "^[A-Za-z]+$" },
                    "url": { "type": "string", "minLength": 1 },
                    "headers": { "type": "object", "additionalProperties": scalar },
                    "json": true,
                    "timeout": duration,
                    "follow": { "type": "boolean" },
                    "tls": object(json!({ "verify": { "type": "boolean" }, "ca_file": { "type": "string" } }), &[]),
                }),
                &["url"],
            ),
        ),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}

/// Everything that is to be told of a file.
fn checked(name: &str, source: &str) -> Diagnostics {
    match Program::compile(source, name) {
        Ok((program, mut warnings)) => {
            warnings.extend(lint::check(&program, source, name, &actions()));
            warnings
        }
        Err(diagnostics) => diagnostics,
    }
}

#[test]
fn every_doubt_is_told() {
    let files = super::files("suspect");
    assert!(files.len() >= 50, "{}", files.len());
    let mut text = String::new();
    for (name, source) in files {
        let diagnostics = checked(&name, &source);
        assert!(!diagnostics.is_empty(), "{name}");
        let is_helpful = |found: &Diagnostic| found.severity == Severity::Error || found.help.is_some();
        assert!(diagnostics.iter().all(is_helpful), "{name}: {diagnostics}");
        writeln!(text, "{}", super::told(&diagnostics)).expect("a string");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_warning_points_at_the_very_name() {
    let source =
        super::files("suspect").into_iter().find(|(name, _)| name == "flow_other_branch.yaml").expect("there").1;
    insta::assert_snapshot!(checked("flow_other_branch.yaml", &source).render(Colour::None));
}

#[test]
fn what_is_right_is_passed() {
    // Files that show every key, with values that make little sense.
    let odd = ["everything.yaml", "definition.json", "aliases.yaml"];
    for (name, source) in super::files("valid").into_iter().filter(|(name, _)| !odd.contains(&name.as_str())) {
        let found = checked(&name, &source);
        assert!(found.is_empty(), "{}", found.render(Colour::None));
    }
}

/// A chain of tasks that publish and read, into which loops lead back, with a join over many of them.
fn large(tasks: usize) -> String {
    let mut source = "name: large\ntasks:\n  t0: { next: [{ publish: { k0: 1, last: 0 }, do: t1 }] }\n".to_owned();
    for at in 1..tasks {
        let (before, next) = (at - 1, (at + 1).min(tasks - 1));
        source.push_str(&format!(
            "  t{at}:\n    action: core.echo\n    input: {{ message: \"{{{{ workflow.k{before} }}}}{{{{ task.t{before}.result }}}}\" }}\n    \
             next:\n      - {{ when: succeeded(), publish: {{ k{at}: 1, last: {at} }}, do: [t{next}, join] }}\n      \
             - {{ when: result == 1, do: [t{}] }}\n",
            at / 2 + 1,
        ));
    }
    source.push_str("  join: { join: all, action: core.echo, input: { message: \"{{ workflow.last }}\" } }\n");
    source
}

#[test]
fn large_files_end_soon() {
    for tasks in [50, 300, 1_050] {
        let begun = Instant::now();
        let found = checked("large.yaml", &large(tasks));
        assert!(!found.has_errors(), "{}", found.render(Colour::None));
        // Far above what it takes, so that a slow machine passes and a wrong order of growth does not.
        assert!(begun.elapsed() < Duration::from_secs(60), "{tasks} tasks took {:?}", begun.elapsed());
    }
}

#[test]
fn odd_files_deserve_what_they_get() {
    for name in ["everything.yaml", "definition.json"] {
        let (_, source) = super::files("valid").into_iter().find(|(file, _)| file == name).expect("there");
        let found = checked(name, &source);
        assert!(!found.has_errors(), "{}", found.render(Colour::None));
        insta::assert_snapshot!(format!("odd {name}"), super::told(&found));
    }
}
