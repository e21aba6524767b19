//! What a script may say, and how it is told what it may not.

use std::time::Duration;

use leveret_engine::{
    diagnostic::{Colour, Diagnostics},
    parse,
    rehearsal::script::{Act, End, Event, Moment, Part, Script, Scripted},
};
use proto::{json::Json, work::Status};

const WORKFLOW: &str = "\
name: w
parameters: { hosts: { type: array, required: true }, port: { type: integer, default: 443 } }
tasks:
  probe: { action: http.request, with_items: \"{{ parameters.hosts }}\", next: [{ do: report }] }
  report: { action: shell.run }
";

fn read(source: &str) -> Result<Script, Diagnostics> {
    let (workflow, _) = parse::parse(WORKFLOW, "w.yaml").expect("valid");
    parse::script(source, "s.yaml", &workflow, &[])
}

/// The problems of a script, one line each.
fn refused(source: &str) -> String {
    read(source).expect_err("something is wrong with it").to_string()
}

#[test]
fn a_script_is_read_with_its_defaults() {
    let script = read("parameters: { hosts: [] }").expect("valid");
    let parameters: Vec<_> = script.parameters.iter().map(|(name, json)| format!("{name}={}", json.as_str())).collect();
    assert_eq!(parameters, ["hosts=[]", "port=443"]);
    assert_eq!(script.now.to_string(), "2026-01-01T00:00:00.000Z");
    assert!(script.take.part == Part::default() && script.take.rerun.is_none());
}

#[test]
fn json_is_a_script_too() {
    let script = read(r#"{"parameters": {"hosts": ["a"]}, "expect": {"order": ["probe"]}}"#).expect("valid");
    assert_eq!(script.take.expect.order.map(|order| order.len()), Some(1));
}

#[test]
fn outcomes_say_how_attempts_end() {
    let source = "\
parameters: { hosts: [a] }
outcomes:
  report:
    - {}
    - { result: [1], takes: 90 }
    - { error: no }
    - { status: timed_out, error: { code: late, details: { after: 5 } }, takes: 1m30s }
    - { status: crashed }
";
    let script = read(source).expect("valid");
    let cues = script.take.part.outcomes.values().flatten().map(|entry| match entry {
        Scripted::Attempt(cue) => cue.clone(),
        Scripted::Items(_) => panic!("it has no items"),
    });
    let cues: Vec<_> = cues.collect();
    let shown = |end: &End| match end {
        End::Result(result) => format!("result {}", result.as_str()),
        End::Failure { status, failure, result } => {
            format!("{} {}: {} {}", status.as_str(), failure.code, failure.message, result.as_str())
        }
        End::Crash => Status::Crashed.as_str().to_owned(),
    };
    let ends: Vec<_> = cues.iter().map(|cue| shown(&cue.end)).collect();
    assert_eq!(
        ends,
        [
            "result null",
            "result [1]",
            "failed failed: no null",
            "timed_out late: took longer than its timeout {\"after\":5}",
            "crashed"
        ]
    );
    let takes: Vec<_> = cues.iter().map(|cue| cue.takes).collect();
    assert_eq!(takes, [0, 90, 0, 90, 0].map(Duration::from_secs));
}

#[test]
fn events_have_a_moment() {
    let source = "\
parameters: { hosts: [a] }
events: [{ at: start, do: cancel }, { before: probe, do: cancel, reason: why }, { during: probe, do: cancel }, { after: report, do: cancel }]
";
    let events = read(source).expect("valid").take.part.events;
    let moments: Vec<_> = events.iter().map(|event| event.at.to_string()).collect();
    assert_eq!(moments, ["at start", "before probe", "during probe", "after report"]);
    let probe = "probe".parse().expect("valid");
    let act = Act::Cancel { reason: Some("why".to_owned()) };
    assert_eq!(events[1], Event { at: Moment::Before(probe), act });
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let source = "\
parameters: { hosts: a, prt: 1 }
outcome: {}
outcomes:
  prob: []
  probe: [{ result: 1 }, {}, { items: [{ statsu: failed }], result: 1 }]
  report: [{ items: [] }, { status: succeeded, error: no }, { result: 1, error: { details: 2 } }, { takes: soon }, 7]
env: { HOME: 5 }
now: yesterday
events: [{ do: cancel }, { after: report }, { after: nobody, do: cancel }]
expect: { status: good, order: probe, tasks: { report: done }, attempts: { report: -1 }, error: failed }
";
    insta::assert_snapshot!(refused(source), @r#"
    s.yaml:1:15: error[parameter_invalid]: `hosts`: "a" is not of type "array"
    s.yaml:1:25: error[parameter_invalid]: there is no parameter "prt"
    s.yaml:2:1: error[unknown_key]: unknown key "outcome" in a script
    s.yaml:4:3: error[unknown_task]: the workflow has no task "prob"
    s.yaml:5:11: error[items_missing]: `outcomes.probe[0]`: the task has `with_items`, and each of its items ends by itself
    s.yaml:5:26: error[items_missing]: `outcomes.probe[1]`: the task has `with_items`, and each of its items ends by itself
    s.yaml:5:42: error[unknown_key]: unknown key "statsu" in outcomes.probe[2].items[0]
    s.yaml:5:61: error[unknown_key]: unknown key "result" in outcomes.probe[2]
    s.yaml:6:14: error[items_misplaced]: `outcomes.report[0].items`: the task has no `with_items`
    s.yaml:6:27: error[error_misplaced]: `outcomes.report[1].error` does not belong to a success
    s.yaml:6:61: error[details_twice]: `outcomes.report[2]` has both `result` and `error.details`, which are one
    s.yaml:6:108: error[duration_invalid]: `outcomes.report[3].takes`: a duration is numbers with units, such as `1m30s`, not "soon"
    s.yaml:6:116: error[wrong_type]: `outcomes.report[4]` must be a map, not the number 7
    s.yaml:7:14: error[wrong_type]: `env.HOME` must be a text, not the number 5
    s.yaml:8:6: error[wrong_type]: `now` is no time: "yesterday"
    s.yaml:9:10: error[moment_unclear]: `events[0]` must have one moment, not 0
    s.yaml:9:26: error[key_missing]: `events[1].do` is missing
    s.yaml:9:54: error[unknown_task]: the workflow has no task "nobody"
    s.yaml:10:19: error[wrong_word]: `expect.status` cannot be "good"
    s.yaml:10:32: error[wrong_type]: `expect.order` must be a list, not the text "probe"
    s.yaml:10:56: error[wrong_word]: `expect.tasks.report` cannot be "done"
    s.yaml:10:84: error[wrong_type]: `expect.attempts.report` must be a whole number, not the number -1
    s.yaml:10:97: error[wrong_type]: `expect.error` must be a map, not the text "failed"
    "#);
}

#[test]
fn signals_come_with_a_moment_or_at_the_start() {
    let source = "\
parameters: { hosts: [] }
signals: [{ name: go }, { name: go, id: a, payload: [1], at: 1m30s }, { name: stop, after: probe }]
events: [{ at: 90, do: pause, reason: lunch }, { after: report, do: resume }]
";
    let events = read(source).expect("valid").take.part.events;
    let moments: Vec<_> = events.iter().map(|event| event.at.to_string()).collect();
    assert_eq!(moments, ["at start", "at 1m30s", "after probe", "at 1m30s", "after report"]);
    let (name, payload) = ("go".parse().expect("valid"), Json::of(&[1]).expect("JSON"));
    assert_eq!(events[1].act, Act::Signal { name, id: Some("a".to_owned()), payload });
    assert_eq!(events[3].act, Act::Pause { reason: Some("lunch".to_owned()) });
}

#[test]
fn what_is_wrong_with_children_and_reruns_is_told() {
    let source = "\
parameters: { hosts: [] }
context: { wrkflow: {} }
at: soon
signals: [{ payload: 1 }, { name: go, at: noon }, { name: go, at: start, after: probe }]
children: { w: { outcomes: { prob: [] }, expect: {} }, other: {} }
expect: { refused: x, children: { other: {}, w: { runs: many, statuses: [good], order: [nobody] } } }
rerun: { from: report, failed_items: true, parameters: {}, rerun: { from: nobody } }
";
    insta::assert_snapshot!(refused(source), @r#"
    s.yaml:2:10: error[context_invalid]: `context` cannot be read: unknown field `wrkflow`, expected one of `schema`, `parameters`, `workflow`, `signal`, `task` at line 1 column 10
    s.yaml:3:5: error[wrong_type]: `at` is no time: "soon"
    s.yaml:4:11: error[key_missing]: `signals[0].name` is missing
    s.yaml:4:43: error[duration_invalid]: `signals[1].at`: a duration is numbers with units, such as `1m30s`, not "noon"
    s.yaml:4:51: error[moment_unclear]: `signals[2]` must have one moment, not 2
    s.yaml:5:30: error[unknown_task]: the workflow has no task "prob"
    s.yaml:5:42: error[unknown_key]: unknown key "expect" in children.w
    s.yaml:5:56: error[unknown_workflow]: no workflow "other" was given
    s.yaml:6:11: error[unknown_key]: unknown key "refused" in expect
    s.yaml:6:35: error[unknown_workflow]: no workflow "other" was given
    s.yaml:6:57: error[wrong_type]: `expect.children.w.runs` must be a whole number, not the text "many"
    s.yaml:6:74: error[wrong_word]: `expect.children.w.statuses[0]` cannot be "good"
    s.yaml:6:89: error[unknown_task]: the workflow has no task "nobody"
    s.yaml:7:8: error[rerun_unclear]: `rerun` has both `from` and `failed_items`
    s.yaml:7:44: error[unknown_key]: unknown key "parameters" in rerun
    s.yaml:7:75: error[unknown_task]: the workflow has no task "nobody"
    "#);
}

#[test]
fn a_problem_shows_its_line() {
    let problems = read("parameters: { hosts: [a] }\noutcomes:\n  reprot: [{}]\n").expect_err("a typing mistake");
    insta::assert_snapshot!(problems.render(Colour::None), @r#"
    unknown_task

      × the workflow has no task "reprot"
       ╭─[s.yaml:3:3]
     2 │ outcomes:
     3 │   reprot: [{}]
       ·   ──────
       ╰────
      help: did you mean `report`?

    1 error in s.yaml
    "#);
}

#[test]
fn what_is_no_yaml_is_no_script() {
    for source in ["", "# nothing", "- 1", "a: [", "parameters: {}\n---\nparameters: {}"] {
        assert!(read(source).is_err(), "{source:?}");
    }
}
