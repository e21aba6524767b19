//! What a person tells a run of a `leveret dev`: signals, pauses, reruns; and runs that wait for their time or their turn.

use std::time::{Duration, Instant};

use proto::time::Timestamp;
use serde_json::{Value, json};

use crate::{process::leveret, run::workflow, served::Dev};

const APPROVAL: &str = "\
name: approval
parameters:
  what: { type: string, default: all }
exclusive: [what]
tasks:
  ask:
    wait_for: { signal: approved }
    action: core.echo
    input: { message: \"{{ signal.approved.by }}\" }
    next: [{ when: succeeded(), do: act }]
  act:
    action: core.echo
    input: { message: \"done as {{ task.ask.result }} said\" }
output:
  said: \"{{ task.act.result }}\"
";

/// Each item is written down when it runs; `b` fails until there is a file `repaired`.
const PARTS: &str = "\
name: parts
parameters:
  folder: { type: string, required: true }
tasks:
  each:
    action: shell.run
    with_items: [a, b, c]
    input:
      cwd: \"{{ parameters.folder }}\"
      argv: [sh, -c, 'echo {{ item }} >> ran; test {{ item }} != b || test -e repaired']
    next: [{ when: succeeded(), do: last }]
  last:
    action: core.echo
    input: { message: \"{{ task.each.result | length }}\" }
output:
  count: \"{{ task.last.result }}\"
";

/// Asks for the run until it is as wanted.
fn until(dev: &Dev, id: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let run = dev.call(&["get", id, "-o", "json"]).expect(0).json()["run"].clone();
        if is_wanted(&run) {
            return run;
        }
        assert!(Instant::now() < deadline, "{run}");
    }
}

fn has_status(status: &'static str) -> impl Fn(&Value) -> bool {
    move |run| run["status"] == status
}

#[test]
fn a_run_here_gets_its_signals() {
    let (folder, path) = workflow(APPROVAL);
    let payload = folder.path().join("payload.yaml");
    std::fs::write(&payload, "by: ada\n").expect("written");
    let signal = format!("approved={}", payload.display());
    let run = leveret(&["run", &path, "--signal", &signal]).expect(0);
    assert_eq!(run.json(), json!({ "said": "done as ada said" }));
    let wrong = leveret(&["run", &path, "--signal", "approved"]).expect(2);
    assert!(wrong.stderr.contains("NAME=FILE"), "{}", wrong.stderr);
    leveret(&["run", &path, "--signal", "approved=./no-such-file.json"]).expect(2);
}

#[test]
fn a_person_approves() {
    let dev = Dev::start();
    let (_folder, path) = workflow(APPROVAL);
    dev.call(&["submit", &path, "--id", "a"]).expect(0);
    until(&dev, "a", |run| run["tasks"]["ask"]["waiting_for"] == "approved");
    let waiting = dev.call(&["list", "--waiting", "-o", "json"]).expect(0).json();
    assert_eq!(waiting["runs"][0]["id"], "a");
    assert!(dev.call(&["get", "a"]).expect(0).stdout.contains("waits for the signal approved"));

    let sent = dev.call(&["signal", "a", "approved", "-p", "by=ada", "-p", "at:=17", "--signal-id", "t"]).expect(0);
    assert!(sent.stderr.contains("run a has got the signal approved"), "{}", sent.stderr);
    assert_eq!(dev.call(&["watch", "a", "-o", "json"]).expect(0).stdout.matches("done as ada said").count(), 1);
    assert!(dev.call(&["list", "--waiting"]).expect(0).stderr.contains("no such runs"));
    let late = dev.call(&["signal", "a", "approved"]).expect(2);
    assert!(late.stderr.contains("[run_ended]"), "{}", late.stderr);
    assert_eq!(dev.call(&["signal", "nothing", "approved"]).expect(3).stderr, "error: there is no run nothing\n");

    let context = dev.call(&["get", "a", "--context"]).expect(0).json();
    assert_eq!(context["signal"]["approved"], json!({ "at": 17, "by": "ada" }));
    let timeline = dev.call(&["get", "a", "--timeline"]).expect(0).stdout;
    assert!(timeline.starts_with("START") && timeline.contains("ask#1  succeeded"), "{timeline}");
    let facts = dev.call(&["get", "a", "--facts"]).expect(0).stdout;
    assert!(facts.lines().count() > 5 && facts.contains("{\"signaled\":"), "{facts}");
    assert_eq!(dev.call(&["get", "a", "--facts", "-o", "json"]).expect(0).json()["schema"], 1);
    dev.call(&["get", "a", "--facts", "--tree"]).expect(2);
    dev.stop();
}

#[test]
fn a_run_rests_until_it_is_resumed() {
    let dev = Dev::start();
    let (_folder, path) = workflow(APPROVAL);
    dev.call(&["submit", &path, "--id", "a"]).expect(0);
    let paused = dev.call(&["pause", "a", "--reason", "lunch"]).expect(0);
    assert!(paused.stderr.contains("`leveret resume a`"), "{}", paused.stderr);
    until(&dev, "a", has_status("paused"));
    dev.call(&["signal", "a", "approved", "-p", "by=bob", "-o", "json"]).expect(0);
    assert_eq!(until(&dev, "a", |_| true)["status"], "paused", "a signal is kept, and nothing begins");
    assert_eq!(dev.call(&["resume", "a", "-o", "json"]).expect(0).json()["status"], "accepted");
    assert_eq!(until(&dev, "a", has_status("succeeded"))["output"]["said"], "done as bob said");
    assert!(dev.call(&["pause", "a"]).expect(2).stderr.contains("[run_ended]"));
    assert_eq!(dev.call(&["resume", "nothing"]).expect(3).stderr, "error: there is no run nothing\n");
    dev.stop();
}

#[test]
fn only_what_failed_is_done_again() {
    let dev = Dev::start();
    let (folder, path) = workflow(PARTS);
    let ran = || {
        let text = std::fs::read_to_string(folder.path().join("ran")).expect("it ran");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines.concat()
    };
    let given = format!("folder={}", folder.path().display());
    dev.call(&["submit", &path, "-p", &given, "--id", "r", "--wait"]).expect(1);
    assert_eq!(ran(), "abc");
    let failed = dev.call(&["get", "r", "--items", "failed", "-o", "json"]).expect(0).json();
    assert_eq!((&failed["total"], &failed["items"][0]["item"]), (&json!(1), &json!("b")));
    let table = dev.call(&["get", "r", "--items", "failed"]).expect(0).stdout;
    assert!(table.contains("each  1") && table.contains("1 of 1 items that failed, page 1"), "{table}");

    let second = dev.call(&["get", "r", "--items", "failed", "--page", "2"]).expect(0).stdout;
    assert!(second.contains("0 of 1 items that failed, page 2"), "{second}");
    dev.call(&["get", "r", "--page", "2"]).expect(2);

    std::fs::write(folder.path().join("repaired"), "").expect("written");
    let again = ["rerun", "r", "--failed-items", "--new-id", "r2"];
    let waited = dev.call(&[&again[..], &["--wait"]].concat()).expect(0);
    assert_eq!(waited.json(), json!({ "count": 3 }));
    assert_eq!(ran(), "abbc", "b alone ran again");
    assert_eq!(dev.call(&again).expect(0).stdout, "r2 accepted, as before\n");
    assert!(dev.call(&["get", "r2"]).expect(0).stdout.contains("rerun of  r"));

    let whole = dev.call(&["rerun", "r2", "--from", "each", "--watch", "-o", "json"]).expect(0).json();
    assert_eq!(whole["run"]["ancestor"], "r2");
    assert_eq!(ran(), "aabbbcc", "and then all of them");
    let nothing = dev.call(&["rerun", "r2"]).expect(2);
    assert!(nothing.stderr.contains("[nothing_to_rerun]"), "{}", nothing.stderr);
    dev.call(&["rerun", "r", "--failed-items", "--from", "each"]).expect(2);
    assert_eq!(dev.call(&["rerun", "nothing"]).expect(3).code, 3);
    dev.stop();
}

#[test]
fn a_run_begins_when_its_time_has_come() {
    let dev = Dev::start();
    let (_folder, path) = workflow("name: later\ntasks:\n  a: { action: core.echo, input: { message: 1 } }\n");
    dev.call(&["submit", &path, "--id", "far", "--at", "2999-12-31T00:00:00Z"]).expect(0);
    assert_eq!(until(&dev, "far", |_| true)["status"], "queued");
    dev.call(&["submit", &path, "--id", "soon", "--at", "+400ms", "--wait"]).expect(0);
    let timeline = dev.call(&["get", "soon", "--timeline", "-o", "json"]).expect(0).json();
    let at = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok()).expect("a time");
    let waited = at(&timeline["tasks"][0]["started_at"]).since(at(&timeline["started_at"]));
    // What is left of them after the client's own start and its way to the scheduler.
    assert!(waited > Duration::from_millis(50), "{waited:?}");
    dev.call(&["cancel", "far", "--yes"]).expect(0);
    until(&dev, "far", has_status("canceled"));
    let wrong = dev.call(&["submit", &path, "--at", "tomorrow"]).expect(2);
    assert!(wrong.stderr.contains("+10m"), "{}", wrong.stderr);
    dev.stop();
}

#[test]
fn runs_that_exclude_each_other_go_one_at_a_time() {
    let dev = Dev::start();
    let (_folder, path) = workflow(APPROVAL);
    for (id, what) in [("one", "what=x"), ("two", "what=x"), ("other", "what=y")] {
        dev.call(&["submit", &path, "--id", id, "-p", what]).expect(0);
    }
    until(&dev, "other", has_status("running"));
    until(&dev, "one", has_status("running"));
    assert_eq!(until(&dev, "two", |_| true)["status"], "queued");
    dev.call(&["signal", "one", "approved", "-p", "by=ada"]).expect(0);
    until(&dev, "one", has_status("succeeded"));
    until(&dev, "two", |run| run["tasks"]["ask"]["waiting_for"] == "approved");
    dev.stop();
}
