//! The example plugins, run by the example workflow and with what they refuse.

use crate::{
    process::{leveret, start},
    run::workflow,
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plugin.yaml");
const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plugins");

#[test]
fn the_example_runs_plugins_in_two_languages() {
    let plugins = format!("plugins={PLUGINS}");
    let ended = start(&["run", EXAMPLE, "-p", &plugins, "-p", "paths=[\"/\", \".\", \"/\"]", "--log", "info"], &[]);
    let ended = ended.end().expect(0);
    // Two paths at least lie on one file system, and three values are too few for any to stand out.
    assert_eq!(ended.json(), serde_json::json!({ "measured": 3, "outliers": [] }), "{}", ended.stderr);
    let reached = |percent: u8| {
        ended.stderr.lines().any(|line| line.contains("progress") && line.contains(&format!("percent={percent}")))
    };
    assert!(reached(33) && reached(66) && reached(100), "{}", ended.stderr);
    assert!(ended.stderr.contains("/compare#"), "{}", ended.stderr);
}

#[test]
fn a_request_names_run_task_item_and_deadline() {
    let (_folder, path) = workflow(
        r#"
name: asked
tasks:
  ask:
    action: process.plugin
    with_items: [a, b]
    timeout: 1h
    input:
      argv: [sh, -c, 'read -r request; printf "{\"status\": \"succeeded\", \"result\": %s}" "$request"']
      input: { letter: "{{ item }}" }
output:
  requests: "{{ task.ask.result }}"
  run: "{{ run.id }}"
  started_at: "{{ run.started_at }}"
"#,
    );
    let output = leveret(&["run", &path]).expect(0).json();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    for (index, letter) in ["a", "b"].into_iter().enumerate() {
        let request = &output["requests"][index];
        assert_eq!((&request["run"], &request["task"]), (&output["run"], &"ask".into()));
        assert_eq!((&request["attempt"], &request["item"]), (&1.into(), &index.into()));
        assert_eq!(request["input"], serde_json::json!({ "letter": letter }));
        let key = text(&request["key"]);
        assert!(key.starts_with(&text(&output["run"])) && key.ends_with(&format!("[{index}]")), "{key}");
        let time = |value: &serde_json::Value| text(value).parse::<proto::time::Timestamp>().expect("RFC 3339");
        let left = time(&request["deadline"]).since(time(&output["started_at"]));
        assert!((3_600..3_700).contains(&left.as_secs()), "{left:?} left");
    }
}

#[test]
fn what_a_plugin_refuses_fails_its_task() {
    let plugins = format!("plugins={PLUGINS}");
    let ended = leveret(&["run", EXAMPLE, "-p", &plugins, "-p", "paths=[\"/no/such/path\"]", "-o", "json"]).expect(1);
    assert_eq!(ended.json()["run"]["tasks"]["measure"]["items"]["failed"], 1, "{}", ended.stdout);
    let (_folder, path) = workflow(&format!(
        "name: odd\ntasks:\n  odd:\n    action: process.plugin\n    input: {{ argv: ['{PLUGINS}/outliers.py'], input: {{ values: [1, x] }} }}\n    next: [{{ when: failed(), publish: {{ error: \"{{{{ error }}}}\" }}, do: noop }}]\noutput:\n  error: \"{{{{ workflow.error }}}}\"\n"
    ));
    let error = &leveret(&["run", &path]).expect(0).json()["error"];
    assert_eq!(error["code"], "values_invalid");
    assert_eq!(error["details"]["details"], serde_json::json!({ "indexes": [1] }));
    assert_eq!(error["details"]["exit_code"], 0);
}

#[test]
fn a_plugin_has_as_long_as_its_task() {
    let (_folder, path) = workflow(
        "name: slow\ntasks:\n  slow:\n    action: process.plugin\n    timeout: 200ms\n    input: { argv: [sh, -c, 'echo begun >&2; exec sleep 60'] }\n",
    );
    let ended = leveret(&["run", &path, "-o", "json"]).expect(1);
    assert_eq!(ended.json()["run"]["error"]["code"], "timed_out", "{}", ended.stdout);
}

#[test]
fn a_secret_that_a_plugin_says_is_masked() {
    let (_folder, path) = workflow(
        r#"
name: told
tasks:
  tell:
    action: process.plugin
    input:
      argv: [sh, -c, 'read -r request; echo "got $request" >&2; exit 1']
      input: "{{ secrets.token }}"
    next: [{ when: failed(), publish: { error: "{{ error }}" }, do: noop }]
output: { error: "{{ workflow.error }}" }
"#,
    );
    let variables = [("LEVERET_SECRET_TOKEN", "open-sesame")];
    let ended = start(&["run", &path, "--log", "debug"], &variables).end().expect(0);
    let error = &ended.json()["error"];
    assert_eq!(error["code"], "plugin_exit");
    assert!(error["details"]["stderr"].as_str().is_some_and(|text| text.contains("\"input\":\"***\"")), "{error}");
    assert!(!ended.stdout.contains("sesame") && !ended.stderr.contains("sesame"), "{}{}", ended.stdout, ended.stderr);
}
