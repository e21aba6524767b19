//! `leveret run`: scheduler and worker in the process.

use nix::sys::signal::Signal;

use crate::{
    process::{leveret, start},
    visitor::Door,
};

/// A workflow file in a folder that goes away.
pub fn workflow(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("workflow.yaml");
    std::fs::write(&path, text).expect("written");
    (folder, path.display().to_string())
}

const DOUBLE: &str = "\
name: double
parameters:
  numbers: { type: array, items: { type: integer }, required: true }
  who: { type: string, default: nobody }
tasks:
  twice:
    action: core.echo
    with_items: \"{{ parameters.numbers }}\"
    input: { message: \"{{ item * 2 }}\" }
    next: [{ when: succeeded(), do: total }]
  total:
    action: core.echo
    input: { message: \"{{ task.twice.result | sum }}\" }
output:
  total: \"{{ task.total.result }}\"
  for: \"{{ parameters.who }}\"
";

const FAILING: &str = "\
name: failing
tasks:
  first:
    action: core.fail
    input: { message: it broke }
output:
  seen: \"{{ task.first.status }}\"
";

/// The lines of a document, with what differs from run to run left out.
fn redacted(json: &str) -> String {
    let line = |line: &str| match line.trim_start().split_once("\": \"") {
        Some((name @ ("\"id" | "\"started_at" | "\"finished_at" | "\"definition"), _)) => {
            let indent = line.len() - line.trim_start().len();
            format!("{}{name}\": …\n", " ".repeat(indent))
        }
        Some(_) | None => format!("{line}\n"),
    };
    json.lines().map(line).collect()
}

#[test]
fn a_run_prints_its_output() {
    let (_folder, path) = workflow(DOUBLE);
    let text = leveret(&["run", &path, "-p", "numbers=[1, 2, 3]", "-p", "who=5"]).expect(0);
    assert_eq!(text.stdout, "{\n  \"for\": \"5\",\n  \"total\": 12\n}\n");
    assert!(text.stderr.starts_with("double succeeded in "), "{}", text.stderr);
    assert!(text.stderr.ends_with("2 tasks, 3 items\n"), "{}", text.stderr);
    let quiet = leveret(&["run", "--quiet", "-o", "json", &path, "-p", "numbers:=[]"]).expect(0);
    assert_eq!(quiet.stderr, "");
    insta::assert_snapshot!(redacted(&quiet.stdout));
}

#[test]
fn parameters_may_lie_in_a_file() {
    let (folder, path) = workflow(DOUBLE);
    for (name, text) in
        [("p.json", "{\"numbers\": [1], \"who\": \"file\"}"), ("p.yaml", "numbers:\n  - 1\nwho: file\n")]
    {
        let parameters = folder.path().join(name).display().to_string();
        std::fs::write(&parameters, text).expect("written");
        let run = leveret(&["run", &path, "-f", &parameters, "-p", "who=flag"]).expect(0);
        assert_eq!(run.json(), serde_json::json!({ "for": "flag", "total": 2 }));
    }
    let list = folder.path().join("list.yaml").display().to_string();
    std::fs::write(&list, "- 1\n").expect("written");
    let run = leveret(&["run", &path, "-f", &list]).expect(2);
    assert!(run.stderr.contains("is no map of parameters"), "{}", run.stderr);
}

#[test]
fn a_failed_run_exits_1_and_says_why() {
    let (_folder, path) = workflow(FAILING);
    let run = leveret(&["run", &path, "--quiet", "-o", "json"]).expect(1);
    assert!(run.stderr.contains("in task first: it broke"), "{}", run.stderr);
    insta::assert_snapshot!(redacted(&run.stdout));
}

#[test]
fn a_broken_file_exits_2_and_everything_is_told() {
    let (_folder, path) =
        workflow("name: broken\ntaks: {}\ntasks:\n  a:\n    action: core.noop\n    nxt: []\n    retry: { cuont: 1 }\n");
    let run = leveret(&["run", &path]).expect(2);
    assert_eq!(run.stdout, "");
    for place in [":2:1", ":6:5", ":7:14"] {
        assert!(run.stderr.contains(&format!("{path}{place}")), "{place} in {}", run.stderr);
    }
    assert!(run.stderr.contains("is not a valid workflow"), "{}", run.stderr);
}

#[test]
fn wrong_parameters_exit_2_all_at_once() {
    let (_folder, path) = workflow(DOUBLE);
    let run = leveret(&["run", &path, "-p", "number=[1]", "-p", "who:=5"]).expect(2);
    for code in ["parameter_required", "parameter_unknown", "parameter_invalid", "did you mean `numbers`?"] {
        assert!(run.stderr.contains(code), "{code} in {}", run.stderr);
    }
}

#[test]
fn ctrl_c_cancels_the_run() {
    let door = Door::open();
    let url = format!("http://127.0.0.1:{}/", door.port());
    let (_folder, path) = workflow(
        "name: waiting\nparameters: { url: { type: string } }\ntasks:\n  wait:\n    action: http.request\n    input: { url: \"{{ parameters.url }}\" }\n",
    );
    let mut run = start(&["run", &path, "-o", "json", "-p", &format!("url={url}")], &[]);
    let visit = door.visited();
    run.signal(Signal::SIGINT);
    run.said("cancelling the run; Ctrl-C again stops at once");
    visit.gone();
    let ended = run.end().expect(1);
    assert_eq!(ended.json()["run"]["status"], "canceled", "{}", ended.stdout);
}

#[test]
fn ctrl_c_twice_stops_at_once() {
    let door = Door::open();
    let script = format!("trap '' TERM; exec 3<>/dev/tcp/127.0.0.1/{}; read line <&3", door.port());
    let (_folder, path) = workflow(
        "name: stubborn\nparameters: { script: { type: string } }\ntasks:\n  stay:\n    action: shell.run\n    input: { argv: [bash, -c, \"{{ parameters.script }}\"] }\n",
    );
    let mut run = start(&["run", &path, "-p", &format!("script={script}")], &[]);
    let visit = door.visited();
    run.signal(Signal::SIGINT);
    run.said("cancelling the run");
    run.signal(Signal::SIGINT);
    run.said("stopped; what was running may have been done in part");
    run.end().expect(130);
    visit.gone();
}

#[test]
fn a_run_may_be_kept() {
    let (folder, path) = workflow(FAILING);
    let data = folder.path().join("data").display().to_string();
    for _ in 0..2 {
        leveret(&["run", &path, "--data", &data]).expect(1);
    }
    assert!(folder.path().join("data/leveret.db").exists());
}
