//! `leveret lint`: every format, over several files, one of them valid, one that warns, one that is broken.

use std::path::Path;

use crate::process::{Ended, leveret};

const VALID: &str = "name: valid\ntasks:\n  a: {}\n";
const BROKEN: &str = "\
name: broken
taks: {}
tasks:
  a:
    action: core.echo
    input: { message: \"é {{ parameters.nope }}\" }
    nxt: []
    with_items: >-
      ${{ inputs.list }}
";

/// A folder with both files. What is printed names it, so that it is cut out of what is compared.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("valid.yaml"), VALID).expect("written");
    std::fs::write(folder.path().join("broken, 100%.yaml"), BROKEN).expect("written");
    folder
}

fn lint(folder: &Path, format: &str) -> Ended {
    let path = |name: &str| folder.join(name).display().to_string();
    leveret(&["lint", "-o", format, &path("valid.yaml"), &path("broken, 100%.yaml")])
}

fn shown(folder: &Path, text: &str) -> String {
    text.replace(&folder.display().to_string(), "/folder").replace(env!("CARGO_PKG_VERSION"), "…")
}

#[test]
fn each_format_tells_everything() {
    let folder = folder();
    for format in ["text", "json", "sarif", "github"] {
        let ended = lint(folder.path(), format).expect(2);
        assert_eq!(ended.stderr, "", "what is found is data");
        insta::assert_snapshot!(format!("lint_{format}"), shown(folder.path(), &ended.stdout));
    }
}

#[test]
fn what_is_valid_is_said_in_each_format() {
    let folder = folder();
    let path = folder.path().join("valid.yaml").display().to_string();
    let ask = |format: &str| leveret(&["lint", "-o", format, &path]).expect(0);
    assert_eq!(shown(folder.path(), &ask("text").stdout), "/folder/valid.yaml is valid\n");
    assert_eq!(ask("json").json()["files"][0]["problems"], serde_json::json!([]));
    let log = ask("sarif").json();
    assert_eq!((&log["version"], &log["runs"][0]["results"]), (&"2.1.0".into(), &serde_json::json!([])));
    assert_eq!(ask("github").stdout, "");
}

#[test]
fn regions_of_the_log_hold_what_is_wrong() {
    let folder = folder();
    let log = lint(folder.path(), "sarif").expect(2).json();
    let run = &log["runs"][0];
    let number = |value: &serde_json::Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
    for result in run["results"].as_array().expect("a list") {
        let rule = &run["tool"]["driver"]["rules"][number(&result["ruleIndex"])];
        assert_eq!(rule["id"], result["ruleId"]);
        let region = &result["locations"][0]["physicalLocation"]["region"];
        let lines: Vec<&str> = BROKEN.lines().collect();
        let (start, end) = (number(&region["startLine"]), number(&region["endLine"]));
        assert!((1..=lines.len()).contains(&start) && start <= end && end <= lines.len() + 1, "{region}");
        if start == end {
            let (from, to) = (number(&region["startColumn"]), number(&region["endColumn"]));
            assert!(1 <= from && from <= to && to <= lines[start - 1].chars().count() + 1, "{region}");
        }
    }
    let unknown = run["results"].as_array().into_iter().flatten().find(|result| result["ruleId"] == "unknown_key");
    let region = &unknown.expect("it was told")["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        *region,
        serde_json::json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 5 }),
        "the end is the first column behind `taks`"
    );
}

const CUSTOM: &str = "name: custom\ntasks:\n  a: { action: acme.deploy, input: { hots: b } }\n";

#[test]
fn actions_of_ones_own_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, actions) = (path("custom.yaml"), path("actions.json"));
    std::fs::write(&file, CUSTOM).expect("written");
    let problems = |options: &[&str], exit| {
        let found = leveret(&[&["lint", "--strict", "-o", "json", &file], options].concat()).expect(exit).json();
        let problems = found["files"][0]["problems"].as_array().expect("a list").clone();
        problems.iter().map(|problem| problem["code"].as_str().expect("a code").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(problems(&[], 2), ["unknown_action"]);
    assert!(problems(&["--action", "other", "--action", "acme.deploy"], 0).is_empty());
    let schema =
        r#"{"acme.deploy": {"properties": {"host": {}}, "required": ["host"], "additionalProperties": false}}"#;
    std::fs::write(&actions, schema).expect("written");
    assert_eq!(problems(&["--actions", &actions, "--action", "acme.deploy"], 2), ["missing_input", "unknown_input"]);
    for (unusable, reason) in [("[]", "no map"), (r#"{"acme.deploy": {"type": "text"}}"#, "acme.deploy")] {
        std::fs::write(&actions, unusable).expect("written");
        let ended = leveret(&["lint", &file, "--actions", &actions]).expect(2);
        assert!(ended.stderr.contains(reason) && ended.stderr.contains("help"), "{}", ended.stderr);
    }
}

#[test]
fn files_are_looked_at_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("parent.yaml"), "name: parent\ntasks:\n  a: { workflow: child, input: { b: 1 } }\n")
        .expect("written");
    std::fs::write(path("child.yaml"), "name: child\ntasks: { a: {} }\n").expect("written");
    let together = leveret(&["lint", "--strict", &path("parent.yaml"), &path("child.yaml")]).expect(2);
    assert!(together.stdout.contains("`child` takes no `b`"), "{}", together.stdout);
    leveret(&["lint", "--strict", &path("parent.yaml")]).expect(0);
}
