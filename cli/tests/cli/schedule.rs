//! `leveret schedule` against a `leveret dev`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{run::workflow, served::Dev};

const GREET: &str = "\
name: greet
parameters:
  count: { type: integer, required: true }
tasks:
  say:
    action: core.echo
    input: { message: \"{{ parameters.count }}\" }
";

/// The only schedule, once it is as wanted.
fn listed(dev: &Dev, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let document = dev.call(&["schedule", "list", "-o", "json"]).expect(0).json();
        assert_eq!(document["schema"], 1);
        let schedule = document["schedules"][0].clone();
        if is_wanted(&schedule) {
            return schedule;
        }
        assert!(Instant::now() < deadline, "{schedule}");
    }
}

#[test]
fn a_schedule_is_made_runs_and_is_removed() {
    let dev = Dev::start();
    let (_folder, path) = workflow(GREET);
    dev.call(&["register", &path]).expect(0);
    assert!(dev.call(&["schedule", "list"]).expect(0).stderr.contains("there are no schedules"));
    let add = ["schedule", "add", "tick", "greet", "--cron", "* * * * * *", "-p", "count=3", "--label", "team=ops"];
    let made = dev.call(&add).expect(0).stdout;
    assert!(made.starts_with("tick is due next at 20") && made.ends_with("Z\n"), "{made}");

    let schedule = listed(&dev, |schedule| schedule["last_run_status"] == "succeeded");
    let run = schedule["last_run"].as_str().expect("a run");
    assert!(run.starts_with("tick@20") && run.ends_with('Z'), "{run}");
    let document = dev.call(&["get", run, "-o", "json"]).expect(0).json();
    assert_eq!(document["run"]["labels"], serde_json::json!({ "schedule": "tick", "team": "ops" }));
    // The schedule outlives the server.
    let dev = Dev::start_in(dev.stop());
    let before = schedule["ticks"]["started"].as_u64();
    listed(&dev, |schedule| schedule["ticks"]["started"].as_u64() > before);

    let daily = ["schedule", "add", "tick", "greet", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "-p", "count=4"];
    let changed = dev.call(&[&daily[..], &["--overlap", "queue", "--missed", "all", "-o", "json"]].concat()).expect(0);
    let definition = &changed.json()["schedule"]["definition"];
    assert_eq!((&definition["overlap"], &definition["missed"]), (&"queue".into(), &"all".into()));
    let table = dev.call(&["schedule", "list"]).expect(0).stdout;
    assert!(table.starts_with("NAME  WORKFLOW") && table.contains("30 2 * * * Europe/Berlin"), "{table}");

    let unasked = dev.call(&["schedule", "remove", "tick"]).expect(2);
    assert!(unasked.stderr.contains("schedule tick is not removed without being asked"), "{}", unasked.stderr);
    assert_eq!(dev.call(&["schedule", "remove", "tick", "--yes"]).expect(0).stdout, "tick removed\n");
    assert_eq!(dev.call(&["schedule", "remove", "tick", "-y"]).expect(3).stderr, "error: there is no schedule tick\n");
    dev.stop();
}

#[test]
fn what_is_wrong_with_a_schedule_is_said() {
    let dev = Dev::start();
    let (_folder, path) = workflow(GREET);
    dev.call(&["register", &path]).expect(0);
    let add = |name: &str, rest: &[&str], code: i32| {
        dev.call(&[&["schedule", "add", name, "greet"], rest].concat()).expect(code).stderr
    };
    for (rest, code, wanted) in [
        (&["--cron", "0 25 * * *", "-p", "count=1"][..], 2, r#"[cron_invalid] cron "0 25 * * *": the hour is "25""#),
        (&["--cron", "@daily", "--tz", "Berlin", "-p", "count=1"], 2, "[tz_invalid]"),
        (&["--cron", "@daily"], 2, "[parameter_required]"),
        (&["--cron", "@daily", "--overlap", "maybe"], 2, "skip, queue, allow"),
        (&["-p", "count=1"], 2, "--cron"),
    ] {
        let said = add("s", rest, code);
        assert!(said.contains(wanted), "{said}");
    }
    assert!(add("a@b", &["--cron", "@daily"], 2).contains("schedule name"));
    let unknown = dev.call(&["schedule", "add", "s", "nothing", "--cron", "@daily"]).expect(3);
    assert!(unknown.stderr.contains("[workflow_unknown]"), "{}", unknown.stderr);
    dev.stop();
}
