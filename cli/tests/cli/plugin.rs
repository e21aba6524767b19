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
