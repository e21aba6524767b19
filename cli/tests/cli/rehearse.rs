//! `leveret test`: workflows rehearsed by scripts.

use std::{fs, path::Path};

use crate::{process::leveret, run::workflow};

const COUNT: &str = "\
name: count
parameters: { hosts: { type: array, required: true } }
tasks:
  probe:
    action: http.request
    input: { url: \"https://{{ parameters.hosts[0] }}/\" }
    retry: { count: 1, delay: 1h }
    next: [{ when: succeeded(), publish: { seen: \"{{ result.status }}\" }, do: report }]
  report:
    action: shell.run
    input: { argv: [report, \"{{ workflow.seen }}\"] }
output: { seen: \"{{ workflow.seen }}\" }
";

const GOOD: &str = "\
parameters: { hosts: [a] }
outcomes: { probe: [{ error: refused }, { result: { status: 200 } }] }
expect: { status: succeeded, order: [probe, report], output: { seen: 200 }, attempts: { probe: 2 } }
";

const WRONG: &str = "\
parameters: { hosts: [a] }
outcomes: { probe: [{ error: refused }, { error: { code: http_status, message: no } }, {}], report: [{}] }
expect: { status: succeeded, output: { seen: 200 }, tasks: { report: succeeded } }
";

const BROKEN: &str = "\
paramters: {}
outcomes: { prob: [{}], report: [{ status: faild }] }
expect: { order: [reprot] }
";

/// The workflow `COUNT` in a folder, with these scripts beside it.
fn folder(scripts: &[(&str, &str)]) -> (tempfile::TempDir, String, Vec<String>) {
    let (folder, path) = workflow(COUNT);
    let write = |(name, text): &(&str, &str)| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let scripts = scripts.iter().map(write).collect();
    (folder, path, scripts)
}

#[test]
fn scripts_that_hold_exit_0() {
    let (_folder, path, scripts) = folder(&[("a.yaml", GOOD), ("b.yaml", GOOD)]);
    let ended = leveret(&["test", &path, "--script", &scripts[0], &scripts[1]]).expect(0);
    assert_eq!(ended.stdout, format!("passed  {}\npassed  {}\n2 passed, 0 failed\n", scripts[0], scripts[1]));
    assert_eq!(ended.stderr, "");
}

#[test]
fn what_differs_is_told_and_exits_1() {
    let (folder, path, scripts) = folder(&[("good.yaml", GOOD), ("wrong.yaml", WRONG)]);
    let ended = leveret(&["test", &path, "--script", &scripts[0], "--script", &scripts[1]]).expect(1);
    let place = folder.path().display().to_string();
    insta::assert_snapshot!(ended.stdout.replace(&place, "…"), @r#"
    passed  …/good.yaml
    FAILED  …/wrong.yaml
        status
          expected  "succeeded"
          got       "failed"
        output.seen
          expected  200
          got       nothing
        tasks.report
          expected  "succeeded"
          got       "not_run"
        the run ended failed in task probe: [http_status] no
        warning: 1 outcome of probe was not used
        warning: 1 outcome of report was not used
    1 passed, 1 failed
    "#);
    let json = leveret(&["test", &path, "-o", "json", "--script", &scripts[0], &scripts[1]]).expect(1).json();
    assert_eq!(
        (json["passed"].as_u64(), json["failed"].as_u64(), json["schema"].as_u64()),
        (Some(1), Some(1), Some(1))
    );
    let wrong = &json["scripts"][1];
    assert_eq!(
        wrong["differences"][0],
        serde_json::json!({ "path": "status", "expected": "succeeded", "got": "failed" })
    );
    assert_eq!(wrong["error"]["code"], "http_status");
    assert_eq!(wrong["warnings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_broken_script_exits_2_and_everything_is_told() {
    let (_folder, path, scripts) = folder(&[("good.yaml", GOOD), ("broken.yaml", BROKEN)]);
    let ended = leveret(&["test", &path, "--script", &scripts[0], &scripts[1]]).expect(2);
    assert_eq!(ended.stdout, "");
    for place in [":1:1", ":2:13", ":2:44", ":3:19"] {
        assert!(ended.stderr.contains(&format!("{}{place}", scripts[1])), "{place} in {}", ended.stderr);
    }
    for help in
        ["did you mean `parameters`?", "did you mean `probe`?", "did you mean `failed`?", "did you mean `report`?"]
    {
        assert!(ended.stderr.contains(help), "{help} in {}", ended.stderr);
    }
    leveret(&["test", &path]).expect(2);
    leveret(&["test", &path, "--script", "./no-such-file.yaml"]).expect(2);
}

#[test]
fn the_corpus_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/scenarios");
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    let files: Vec<String> = list(&root).iter().flat_map(|topic| list(Path::new(topic))).collect();
    let is_script = |file: &&String| file.ends_with(".script.yaml");
    let is_child = |file: &&String| file.ends_with(".child.yaml");
    for workflow in files.iter().filter(|file| !is_script(file) && !is_child(file)) {
        let stem = workflow.trim_end_matches("yaml");
        let children: Vec<&str> =
            files.iter().filter(is_child).filter(|file| file.starts_with(stem)).map(String::as_str).collect();
        let scripts: Vec<&str> =
            files.iter().filter(is_script).filter(|file| file.starts_with(stem)).map(String::as_str).collect();
        let words = [&["test", workflow], children.as_slice(), &["--script"], scripts.as_slice()].concat();
        let ended = leveret(&words).expect(0);
        assert!(ended.stdout.ends_with(&format!("{} passed, 0 failed\n", scripts.len())), "{}", ended.stdout);
        assert!(!ended.stdout.contains("warning"), "{}", ended.stdout);
    }
}
