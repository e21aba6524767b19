//! Read sets and the phases: what is evaluated when, in which order, and what comes of failures.

mod build;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use build::{Build, FIRST, json, scope, seconds, value};
use leveret_engine::{
    evaluate::{self, RetryDecision},
    program::Program,
    snapshot::{Scope, Snapshot},
    spec::{Backoff, DurationField},
    value::Value,
};
use proto::{
    id::{Attempt, ItemIndex},
    time::Timestamp,
    work::{Phase, RunInfo, RunStatus, Status},
};

fn reads(program: &Program) -> String {
    let tasks = program.workflow().indexed().map(|(index, task)| (Some(index), task.name.to_string()));
    let mut lines = String::new();
    for (task, name) in [(None, "run".to_owned())].into_iter().chain(tasks) {
        for phase in [Phase::Prepare, Phase::Items, Phase::Act, Phase::Settle, Phase::Output] {
            let paths = &program.reads(task, phase).paths;
            let shown: Vec<String> =
                paths.iter().map(|read| format!("{}{}", read.path, if read.required { "" } else { "?" })).collect();
            if !shown.is_empty() {
                lines.push_str(&format!("{name} {}: {}\n", phase.as_str(), shown.join(" ")));
            }
        }
    }
    lines
}

#[test]
fn read_sets_hold_what_each_phase_reads() {
    let program = Build::new()
        .var("a", r#""{{ parameters.x }} {{ run.id }}""#)
        .var("b", r#""{{ workflow.a ~ parameters['y'] }}""#)
        .task(
            "probe",
            r#"{"url": "https://{{ item }}:{{ parameters.port }}", "n": "{{ parameters.deep.rows[workflow.k].x }}"}"#,
        )
        .items(r#""{{ parameters.hosts }}""#, Some(r#""{{ workflow.width | default(value=4) }}""#), Some("0"))
        .retry(r#""{{ parameters.retries }}""#, Some("failed() and parameters.again?.x is none"), |_| {})
        .delay(r#""{{ parameters.pause }}""#)
        .next("result | length > parameters.least", &[("found", r#""{{ result[0] }} {{ task.probe.attempts }}""#)])
        .task("all", r#"{"p": "{{ parameters }}", "one": "{{ parameters.one }}", "t": "{{ task[attempt] }}"}"#)
        .timeout(r#""{{ signal.go.after }}""#)
        .next("signal.stop is defined and signal.stop.x == 1", &[])
        .task("locals", r#"{"x": "{% for item in task.probe.result %}{{ item.task }}{% endfor %}", "y": "{{ [parameters.z for parameters_ in workflow.l] }}"}"#)
        .task("whole", r#"{"x": "{{ task.probe }} {{ env.HOME }}", "y": "{{ workflow[item] | default(value=1) }}"}"#)
        .items("[1]", None, None)
        .output("o", r#"{"r": ["{{ task.probe.result | default(value=none) }}", "{{ task.all.error?.code }}"], "w": "{{ workflow.found }}"}"#)
        .program();
    insta::assert_snapshot!(reads(&program), @"
    run prepare: parameters.x parameters.y
    run output: task.all.error? task.all.status? task.probe.result? task.probe.status? workflow.found
    probe prepare: parameters.pause
    probe items: parameters.hosts workflow.width?
    probe act: parameters.again? parameters.deep parameters.port parameters.retries workflow.k
    probe settle: parameters.least result task.probe.attempts task.probe.status?
    all act: parameters signal.go signal.stop? task
    all settle: signal.stop?
    locals act: parameters.z task.probe.result task.probe.status? workflow.l
    whole act: task.probe.attempts? task.probe.error? task.probe.item_errors? task.probe.result? task.probe.status? workflow?
    ");
}

#[test]
fn vars_read_those_before_them() {
    let program = Build::new()
        .var("a", "1")
        .var("b", r#""{{ workflow.a + parameters.x }}""#)
        .var("c", r#"["{{ workflow.b }}", "{{ workflow | length }}"]"#)
        .program();
    let vars = evaluate::prepare_run(&program, &scope(&[("parameters.x", "2")])).expect("defined").vars;
    let shown: Vec<String> = vars.iter().map(|(key, value)| format!("{key}={}", json(value))).collect();
    assert_eq!(shown, ["a=1", "b=3", "c=[3,2]"]);
    let early = Build::new().var("a", r#""{{ workflow.b }}""#).var("b", "1").program();
    let failure = evaluate::prepare_run(&early, &scope(&[])).expect_err("not yet");
    assert!(failure.message.starts_with("vars.a: `workflow.b` is not defined"), "{}", failure.message);
}

#[test]
fn every_condition_is_asked_first_and_publishes_follow_in_order() {
    let program = Build::new()
        .task("t", "{}")
        .next("workflow.n == 1", &[("n", r#""{{ workflow.n + result }}""#), ("m", r#""{{ workflow.n * 10 }}""#)])
        .next("workflow.n == 11", &[("never", "1")])
        .next("failed()", &[("never", "2")])
        .next("true", &[("n", r#""{{ workflow.n + 1 }}""#), ("last", r#""{{ [workflow.m, workflow.n] }}""#)])
        .program();
    let scope = scope(&[("workflow.n", "1")]).with_ended(Status::Succeeded, value("10"), Value::null(), value("[]"));
    let settled = evaluate::settle(&program, FIRST, &scope, Status::Succeeded).expect("right");
    assert_eq!(settled.fired, [0, 3]);
    let published: BTreeMap<_, _> = settled.published.iter().map(|(key, value)| (key.as_str(), json(value))).collect();
    assert_eq!(published, BTreeMap::from([("n", "12".into()), ("m", "110".into()), ("last", "[110,12]".into())]));
}

#[test]
fn a_condition_that_is_no_boolean_or_fails_is_no_condition() {
    for (when, code) in
        [("result", "when_not_boolean"), ("'true'", "when_not_boolean"), ("not result.typo", "template_error")]
    {
        let program = Build::new().task("t", "{}").next("true", &[]).next(when, &[]).program();
        let scope = scope(&[]).with_ended(Status::Succeeded, value("1"), Value::null(), value("[]"));
        let failure = evaluate::settle(&program, FIRST, &scope, Status::Succeeded).expect_err(when);
        assert_eq!(
            (failure.code.as_str(), failure.task.as_ref().map(|task| task.as_str())),
            (code, Some("t")),
            "{when}"
        );
        assert!(failure.message.starts_with("tasks.t.next[1].when: "), "{}", failure.message);
    }
}

#[test]
fn retries_are_asked_after_every_attempt() {
    let decide = |count: &str, when: Option<&str>, status: Status, used: u32| {
        let program = Build::new()
            .task("t", "{}")
            .retry(count, when, |retry| retry.delay = Some(DurationField::Known(seconds(2))))
            .program();
        let scope = scope(&[("parameters.n", "2")]).with_ended(
            status,
            value(r#"{"state": "busy"}"#),
            Value::null(),
            value("[]"),
        );
        evaluate::retry(&program, FIRST, &scope, status, used, 7)
    };
    let again = Ok(RetryDecision::Again(seconds(2)));
    let poll = Some("failed() or result.state != 'ready'");
    for (count, when, status, used, decision) in [
        ("2", None, Status::Failed, 0, again.clone()),
        ("2", None, Status::TimedOut, 1, again.clone()),
        ("2", None, Status::Failed, 2, Ok(RetryDecision::Done)),
        ("2", None, Status::Succeeded, 0, Ok(RetryDecision::Done)),
        ("0", None, Status::Failed, 0, Ok(RetryDecision::Done)),
        (r#""{{ parameters.n }}""#, None, Status::Failed, 1, again.clone()),
        (r#""{{ parameters.n }}""#, None, Status::Failed, 2, Ok(RetryDecision::Done)),
        ("1", poll, Status::Succeeded, 0, again.clone()),
        ("1", poll, Status::Succeeded, 1, Ok(RetryDecision::Exhausted)),
        ("1", poll, Status::Failed, 1, Ok(RetryDecision::Done)),
        ("1", Some("result.state == 'ready'"), Status::Failed, 0, Ok(RetryDecision::Done)),
    ] {
        assert_eq!(decide(count, when, status, used), decision, "{count} {when:?} {status:?} {used}");
    }
    for (count, when, code) in
        [("1.5", None, "template_error"), ("-1", None, "template_error"), ("1", Some("'yes'"), "when_not_boolean")]
    {
        assert_eq!(decide(count, when, Status::Failed, 0).expect_err(count).code, code);
    }
    let plain = Build::new().task("t", "{}").program();
    assert_eq!(evaluate::retry(&plain, FIRST, &scope(&[]), Status::Failed, 0, 7), Ok(RetryDecision::Done));
}

#[test]
fn delays_grow_as_told_and_jitter_stays_between_half_and_whole() {
    let delay = |backoff, jitter, max: Option<u64>, used, seed| {
        let program = Build::new()
            .task("t", "{}")
            .retry("1000", None, |retry| {
                retry.delay = Some(DurationField::Known(seconds(2)));
                retry.max_delay = max.map(|max| DurationField::Known(seconds(max)));
                retry.backoff = backoff;
                retry.jitter = jitter;
            })
            .program();
        let scope = scope(&[]).with_ended(Status::Failed, Value::null(), Value::null(), value("[]"));
        match evaluate::retry(&program, FIRST, &scope, Status::Failed, used, seed) {
            Ok(RetryDecision::Again(delay)) => delay,
            other => panic!("not again: {other:?}"),
        }
    };
    let of = |backoff, max| [0, 1, 2, 9].map(|used| delay(backoff, false, max, used, 1).as_secs());
    assert_eq!(of(Backoff::Constant, None), [2, 2, 2, 2]);
    assert_eq!(of(Backoff::Linear, None), [2, 4, 6, 20]);
    assert_eq!(of(Backoff::Exponential, None), [2, 4, 8, 1024]);
    assert_eq!(of(Backoff::Exponential, Some(5)), [2, 4, 5, 5]);
    assert!(delay(Backoff::Exponential, true, None, 900, 1) <= leveret_engine::duration::LONGEST);
    let drawn: Vec<Duration> = (0..200).map(|seed| delay(Backoff::Constant, true, None, 0, seed)).collect();
    assert!(drawn.iter().all(|drawn| (seconds(1)..=seconds(2)).contains(drawn)), "{drawn:?}");
    assert!(
        drawn.iter().max().zip(drawn.iter().min()).is_some_and(|(max, min)| *max - *min > Duration::from_millis(900))
    );
    assert_eq!(drawn[3], delay(Backoff::Constant, true, None, 0, 3));
}

#[test]
fn items_are_a_list_or_lists_side_by_side() {
    let listed = |list: &str, concurrency, tolerate| {
        let program = Build::new().task("t", "{}").items(list, concurrency, tolerate).program();
        let scope = scope(&[
            ("parameters.hosts", r#"["a","b","c"]"#),
            ("parameters.map", r#"{"a":[1]}"#),
            ("parameters.n", "2"),
        ]);
        evaluate::items(&program, FIRST, &scope).map(|list| {
            let items: Vec<String> = list.items.iter().map(json).collect();
            (items.join(" "), list.concurrency, list.tolerate)
        })
    };
    let hosts = r#""{{ parameters.hosts }}""#;
    let three = |concurrency, tolerate| Ok((r#""a" "b" "c""#.to_owned(), concurrency, tolerate));
    assert_eq!(listed(hosts, None, None), three(None, 0));
    assert_eq!(listed(hosts, Some(r#""{{ parameters.n }}""#), Some("9")), three(Some(2), 3));
    assert_eq!(listed(hosts, Some("5"), Some(r#""40%""#)), three(Some(5), 1));
    assert_eq!(listed(hosts, None, Some(r#""{{ 33.4 }}%""#)), three(None, 1));
    assert_eq!(listed("[]", None, Some(r#""100%""#)), Ok((String::new(), None, 0)));
    assert_eq!(
        listed(r#"{"host": "{{ parameters.hosts }}", "n": [1, 2, 3]}"#, None, None).expect("equal").0,
        r#"{"host":"a","n":1} {"host":"b","n":2} {"host":"c","n":3}"#
    );
    for (list, concurrency, tolerate, code, says) in [
        (r#""{{ parameters.map }}""#, None, None, "items_not_a_list", r#"not a map ({"a":[1]})"#),
        (r#""a{{ 1 }}""#, None, None, "items_not_a_list", "not a text"),
        (r#"{"a": [1], "b": [1, 2]}"#, None, None, "items_not_a_list", "`a` has 1, `b` has 2"),
        (r#"{"a": 1}"#, None, None, "items_not_a_list", "`a` is a number"),
        ("{}", None, None, "items_not_a_list", "no list"),
        (hosts, Some("0"), None, "template_error", "tasks.t.concurrency: a whole number of at least 1"),
        (hosts, None, Some(r#""many""#), "template_error", "tasks.t.tolerate: a whole number or a share"),
        (hosts, None, Some(r#""101%""#), "template_error", "tasks.t.tolerate"),
        (hosts, None, Some("-1"), "template_error", "tasks.t.tolerate"),
    ] {
        let failure = listed(list, concurrency, tolerate).expect_err(list);
        assert_eq!(failure.code, code, "{}", failure.message);
        assert!(failure.message.contains(says), "{}", failure.message);
        assert_eq!(failure.task.expect("said").as_str(), "t");
    }
}

#[test]
fn durations_are_texts_or_seconds() {
    for (json, expected) in [
        (r#""{{ '1m30s' }}""#, Some(Duration::from_secs(90))),
        (r#""{{ 0.5 }}""#, Some(Duration::from_millis(500))),
        (r#""{{ 5 }}s""#, Some(seconds(5))),
        (r#""{{ -1 }}""#, None),
        (r#""{{ 'soon' }}""#, None),
        (r#""{{ [] }}""#, None),
    ] {
        let program = Build::new().task("t", "{}").delay(json).timeout(json).program();
        let (delay, timeout) =
            (evaluate::prepare_task(&program, FIRST, &scope(&[])), evaluate::timeout(&program, FIRST, &scope(&[])));
        let delay = delay.map(|prepared| prepared.delay);
        match expected {
            Some(expected) => assert_eq!((delay, timeout), (Ok(expected), Ok(Some(expected))), "{json}"),
            None => assert_eq!(delay.expect_err(json).code, "template_error"),
        }
    }
    let plain = Build::new().task("t", "{}").program();
    let delay = evaluate::prepare_task(&plain, FIRST, &scope(&[])).map(|prepared| prepared.delay);
    assert_eq!(delay, Ok(Duration::ZERO));
    assert_eq!(evaluate::timeout(&plain, FIRST, &scope(&[])), Ok(None));
}

#[test]
fn an_output_key_that_fails_is_left_out() {
    let program = Build::new()
        .task("t", "{}")
        .output("b", r#""{{ task.t.result }}""#)
        .output("a", "[1]")
        .output("c", r#""{{ run.status }}""#)
        .program();
    let info = RunInfo {
        workflow: "test".parse().expect("valid"),
        started_at: Timestamp::from_millis(0),
        labels: BTreeMap::new(),
        status: RunStatus::Failed,
        error: None,
    };
    let scope = scope(&[]).with_run(&info, &"r-1".parse().expect("valid"));
    let output = evaluate::output(&program, &scope);
    let shown: Vec<String> = output.entries.iter().map(|(key, value)| format!("{key}={}", json(value))).collect();
    assert_eq!(shown, ["a=[1]", r#"c="failed""#]);
    assert_eq!(output.left_out.len(), 1);
    assert!(
        output.left_out[0].message.starts_with("output.b: `task.t.result` is not defined"),
        "{}",
        output.left_out[0].message
    );
}

#[test]
fn a_scope_holds_all_that_templates_can_read() {
    let source = r#"{"item": "{{ item }}", "index": "{{ index }}", "attempt": "{{ attempt }}", "secret": "{{ secrets.token }}",
        "env": "{{ env.REGION }}", "now": "{{ now() }}", "run": "{{ run }}", "sum": "{{ item + index + attempt }}"}"#;
    let program = Build::new().task("t", source).items("[1]", None, None).program();
    let info = RunInfo {
        workflow: "test".parse().expect("valid"),
        started_at: Timestamp::from_millis(0),
        labels: BTreeMap::from([("team".to_owned(), "ops".to_owned())]),
        status: RunStatus::Running,
        error: Some(proto::failure::Failure::new("x", "y")),
    };
    let base = Scope::new(&Snapshot::empty())
        .with_run(&info, &"r-1".parse().expect("valid"))
        .with_attempt(Attempt(2))
        .with_now(Timestamp::from_millis(1_000))
        .with_env([("REGION".to_owned(), Value::from_text("eu"))])
        .with_secrets([("token".to_owned(), Value::from_text("s3"))]);
    let input = evaluate::input(&program, FIRST, &base.clone().with_item(value("10"), ItemIndex(3))).expect("defined");
    insta::assert_snapshot!(json(&input), @r#"{"attempt":2,"env":"eu","index":3,"item":10,"now":"1970-01-01T00:00:01.000Z","run":{"error":{"code":"x","message":"y","task":null},"id":"r-1","key":"r-1","labels":{"team":"ops"},"started_at":"1970-01-01T00:00:00.000Z","status":"running","workflow":"test"},"secret":"s3","sum":15}"#);
    let failure = evaluate::input(&program, FIRST, &base).expect_err("no item");
    assert!(failure.message.starts_with("tasks.t.input.index: `index` is not defined"), "{}", failure.message);
}

#[test]
fn threads_share_a_program_and_a_snapshot() {
    let program = Build::new()
        .task("t", r#"{"x": "{{ [item, parameters.n, index] }}", "y": "a{{ item }}"}"#)
        .items("[1]", None, None)
        .program();
    let program = Arc::new(program);
    let snapshot = Snapshot::build([("parameters.n".to_owned(), value("5"))]);
    std::thread::scope(|threads| {
        for thread in 0..4u32 {
            let (program, snapshot) = (Arc::clone(&program), snapshot.clone());
            threads.spawn(move || {
                let base = Scope::new(&snapshot);
                for index in 0..500 {
                    let item = thread * 1000 + index;
                    let scope = base.clone().with_item(Value::from_u64(item.into()), ItemIndex(index));
                    let input = evaluate::input(&program, FIRST, &scope).expect("defined");
                    assert_eq!(json(&input), format!(r#"{{"x":[{item},5,{index}],"y":"a{item}"}}"#));
                }
            });
        }
    });
}

#[test]
fn a_file_becomes_a_program_or_all_its_problems() {
    let source = r#"
name: check-fleet
parameters:
  hosts: { type: array, required: true }
  port: { type: integer, default: 443 }
vars:
  started_with: "{{ parameters.hosts | length }}"
tasks:
  probe:
    action: core.echo
    with_items: "{{ parameters.hosts }}"
    input: { message: "https://{{ item }}:{{ parameters.port }}/healthz" }
    tolerate: 40%
    next:
      - when: succeeded()
        publish: { unhealthy: "{{ item_errors | length }}" }
        do: report
  report:
    action: core.echo
    input: { message: "{{ workflow.unhealthy }} of {{ workflow.started_with }} hosts failed" }
    retry: { count: 3, when: "failed() or result.json.state != 'ready'" }
output:
  summary: "{{ task.report.result }}"
"#;
    let (program, warnings) = Program::compile(source, "fleet.yaml").unwrap_or_else(|errors| panic!("{errors:?}"));
    assert!(!warnings.has_errors());
    insta::assert_snapshot!(reads(&program), @"
    run prepare: parameters.hosts
    run output: task.report.result task.report.status?
    probe items: parameters.hosts
    probe act: parameters.port
    probe settle: item_errors
    report act: workflow.started_with workflow.unhealthy
    ");
    let scope = scope(&[]).with_ended(Status::Failed, Value::null(), value(r#"{"code":"x"}"#), value("[]"));
    let report = program.workflow().find(&"report".parse().expect("valid")).expect("there");
    let decision = evaluate::retry(&program, report, &scope, Status::Failed, 0, 1).expect("the rest is not asked");
    assert_eq!(decision, RetryDecision::Again(Duration::ZERO));
    let wrong = source.replace("workflow.unhealthy }}", "workflw.unhealthy }}").replace("task.report", "task.reprt");
    let problems = Program::compile(&wrong, "fleet.yaml").expect_err("two mistakes").problems();
    let shown: Vec<_> = problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(shown, ["unknown_name", "unknown_task"]);
}
