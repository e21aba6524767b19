//! Scenes of what others get to see of a run: a scheduler, its lists and its metrics.

use leveret_engine::machine::{
    Input, Load,
    fact::{Accepted, ReplyTo, What},
    replay,
};
use proto::{
    id::{Digest, PoolName, RunId, TaskName},
    limits::SIGNALS_MAX,
    outcome::{ItemsReport, Report, TaskPrepared},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{RunStatus, Status},
};
use serde_json::json;

use super::{
    scenes_of_calls::parent,
    seen,
    stage::{Stage, acted, done, key_of, listed, set, value},
};

const ECHO: &str = "tasks: { a: { action: core.echo } }";

fn loads(stage: &Stage) -> Vec<(String, Load)> {
    let named = |(task, load)| (stage.spec.task(task).name.to_string(), load);
    stage.run.load().map(named).collect()
}

fn load(items: u32, in_flight: u32) -> Load {
    Load { pool: None, items, in_flight, item_us: None }
}

/// What a run was accepted with is what it tells of itself, and what a child of it is told.
#[test]
fn a_run_knows_what_it_was_accepted_with() {
    let plain = Stage::of(ECHO);
    assert_eq!((plain.run.reply(), plain.run.parent(), plain.run.ancestor()), (None, None, None));
    assert_eq!((plain.run.exclusive(), plain.run.is_scheduled(), plain.run.is_in_line()), (None, false, false));
    let reply = ReplyTo { queue: "answers".into(), correlation_id: None };
    let ancestor: RunId = "before".parse().expect("valid");
    let at = Timestamp::from_millis(2_000_000);
    let given = Stage::accepting(&format!("exclusive: [p]\nparameters: {{ p: {{}} }}\n{ECHO}"), |accepted| Accepted {
        reply: Some(reply.clone()),
        ancestor: Some(ancestor.clone()),
        parent: Some(parent(1, None)),
        start_at: Some(at),
        ..accepted
    });
    let run = &given.run;
    assert_eq!((run.reply(), run.parent(), run.ancestor()), (Some(&reply), Some(&parent(1, None)), Some(&ancestor)));
    assert_eq!((run.started_at(), run.is_scheduled()), (Timestamp::from_millis(1_000_000), true));
    assert!(run.exclusive().is_some());
    assert_eq!(run.facts() as usize, given.facts.len());
}

/// Runs exclude each other by their workflow and by those parameters alone.
#[test]
fn runs_with_equal_values_exclude_each_other_and_others_do_not() {
    let key = |p: &str, q: &str| {
        let yaml = format!("exclusive: [p]\nparameters: {{ q: {{}}, p: {{}} }}\n{ECHO}");
        let name = |name: &str| name.parse().expect("valid");
        let stage = Stage::accepting(&yaml, |accepted| Accepted {
            parameters: vec![(name("q"), value(q)), (name("p"), value(p))],
            ..accepted
        });
        stage.run.exclusive().expect("its workflow says so")
    };
    assert_eq!(key("1", "1"), key("1", "2"));
    assert_ne!(key("1", "1"), key("2", "1"));
}

#[test]
fn a_run_takes_so_many_signals_and_no_more() {
    let mut stage = Stage::of(ECHO);
    for _ in 0..SIGNALS_MAX {
        assert!(stage.run.takes_signals());
        stage.signal("go", None, "1");
    }
    assert!(!stage.run.takes_signals());
    let facts = stage.facts.len();
    stage.signal("go", None, "1");
    assert_eq!(stage.facts.len(), facts);
}

/// Of a fan-out that is stopped, nothing but what has failed and what was never begun is an error.
#[test]
fn items_that_are_all_done_leave_no_entry_of_what_was_not_begun() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, with_items: [1], on_item_error: stop } }");
    stage.report("run/a#1/items.1", listed(&[(1, 10)]));
    let errors = Some(value("[{\"index\":0}]"));
    stage.report("run/a#1/act.2", Report::Items(ItemsReport { failed: set(&[0]), errors, ..ItemsReport::default() }));
    let told = stage.run.item_errors(&stage.spec, None);
    let [(_, ValueRef::List(list))] = &told[..] else { panic!("{told:?}") };
    assert_eq!((list.parts.len(), list.source.len()), (1, 0));
}

#[test]
fn a_run_waits_while_one_of_its_tasks_does() {
    let mut stage = Stage::of("tasks: { a: { action: core.echo, wait_for: { signal: go } } }");
    assert!(stage.run.is_waiting());
    let shown = |stage: &Stage| {
        let task = stage.run.view(&stage.spec).tasks.remove(&"a".parse::<TaskName>().expect("valid")).expect("shown");
        (task.status, task.waiting_for.map(|signal| signal.to_string()))
    };
    assert_eq!(shown(&stage), ("waiting".into(), Some("go".into())));
    stage.signal("go", None, "1");
    assert!(!stage.run.is_waiting());
    assert_eq!(shown(&stage), ("running".into(), None));
}

/// The lists of a scheduler, and what it counts by workflow and pool.
#[test]
fn a_run_says_how_much_is_left_to_do() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, with_items: [1] }
  b: { action: core.echo, pool: \"{{ 'gpu' }}\" }
  c: { action: core.echo, delay: 1h }",
    );
    let one = || load(1, 1);
    assert_eq!(loads(&stage), [("a".into(), one()), ("b".into(), one())]);
    stage.flights_max = 2;
    stage.report("run/a#1/items.1", listed(&[(10, 10)]));
    let gpu: PoolName = "gpu".parse().expect("valid");
    let prepared = TaskPrepared { pool: Some(gpu.clone()), ..TaskPrepared::default() };
    stage.report("run/b#2/prepare.1", Report::TaskPrepared(prepared));
    assert_eq!(loads(&stage), [("a".into(), load(10, 2)), ("b".into(), Load { pool: Some(gpu), ..one() })]);
    stage.report("run/a#1/act.2", Report::Items(ItemsReport { busy_us: 50_000, ..done(&[0]) }));
    let failed = ItemsReport { failed: set(&[1]), busy_us: 90_000, ..ItemsReport::default() };
    stage.report("run/a#1/act.3", Report::Items(failed));
    let (_, items) = loads(&stage).swap_remove(0);
    assert_eq!((items.items, items.item_us), (8, Some(60_000)));
}

/// All that a run knows, in live branches, at joins and in what has ended; and how much that is.
#[test]
fn the_whole_context_has_what_every_branch_knows() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, next: [{ publish: { x: '{{ result }}' }, do: j }] }
  b: { action: core.echo, next: [{ publish: { y: '{{ result }}' }, do: d }] }
  c: { action: core.echo, next: [{ publish: { z: '{{ result }}' }, do: j }] }
  e: { action: core.echo, next: [{ publish: { w: '{{ result }}' }, do: noop }] }
  d: { action: core.echo }
  j: { join: all, action: core.echo }",
    );
    assert_eq!(stage.run.context_bytes(), 0);
    stage.report("run/a#1/act.1", acted(Status::Succeeded, &[0], &[("x", "1")]));
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[0], &[("y", "22")]));
    stage.report("run/e#4/act.1", acted(Status::Succeeded, &[0], &[("w", "333")]));
    let all = seen::plain(&stage.run.context().all());
    for (path, known) in [("workflow.x", json!(1)), ("workflow.y", json!(22)), ("workflow.w", json!(333))] {
        assert_eq!(all.get(path), Some(&known), "{path}");
    }
    // `e` with its result of one byte and what it has published has ended; of those that live `d` knows the most: `b`
    // and what that has published.
    assert_eq!(stage.run.context_bytes(), (1 + 3) + (1 + 2));
}

#[test]
fn item_errors_are_there_while_items_run_and_after() {
    let mut stage = Stage::of(
        "
tasks:
  a: { action: core.echo, with_items: [1], next: [{ do: b }] }
  b: { action: core.echo, with_items: [1] }
  c: { action: core.echo, with_items: [1], join: all }
  d: { action: core.echo, next: [{ when: failed(), do: c }] }",
    );
    let told = |stage: &Stage, only: Option<&str>| -> Vec<(String, usize)> {
        let only: Option<TaskName> = only.map(|name| name.parse().expect("valid"));
        let errors = stage.run.item_errors(&stage.spec, only.as_ref());
        let count = |value: ValueRef| match value {
            ValueRef::List(list) => list.parts.len(),
            other => panic!("{other:?} is no list of parts"),
        };
        errors.into_iter().map(|(name, value)| (name.to_string(), count(value))).collect()
    };
    assert_eq!(told(&stage, None), []);
    let tolerant = |mut report: Report| {
        if let Report::Listed(listed) = &mut report {
            listed.tolerate = 9;
        }
        report
    };
    let failed = |item| {
        let errors = Some(value("[{\"index\":0}]"));
        Report::Items(ItemsReport { failed: set(&[item]), errors, ..ItemsReport::default() })
    };
    stage.report("run/a#1/items.1", tolerant(listed(&[(2, 10)])));
    stage.report("run/a#1/act.2", failed(0));
    assert_eq!(told(&stage, None), [("a".into(), 1)]);
    stage.report("run/a#1/act.3", failed(1));
    let b = stage.out().into_iter().find(|key| key.contains("/b#")).expect("b runs");
    stage.report(&b, tolerant(listed(&[(2, 10)])));
    assert_eq!(told(&stage, None), [("a".into(), 2), ("b".into(), 0)]);
    assert_eq!(told(&stage, Some("b")), [("b".into(), 0)]);
    assert_eq!(told(&stage, Some("d")), []);
}

/// Whoever stores a fact keeps what it names for as long as the run may need it.
#[test]
fn a_fact_names_every_value_that_it_needs() {
    let stored = |text: &str| Stored { digest: Digest::of(text.as_bytes()), bytes: 5_000 };
    let mut stage =
        Stage::accepting("tasks: { a: { action: core.echo, next: [{ do: noop }] } }", |accepted| Accepted {
            parameters: vec![("p".parse().expect("valid"), ValueRef::Stored(stored("p")))],
            imported: [("workflow.i".to_owned(), ValueRef::Stored(stored("i")))].into(),
            children: [("sub".parse().expect("valid"), stored("sub"))].into(),
            ..accepted
        });
    let Report::Acted(acted) = acted(Status::Succeeded, &[0], &[]) else { unreachable!("it acted") };
    let large = proto::outcome::Acted { result: ValueRef::Stored(stored("result")), ..acted };
    stage.report("run/a#1/act.1", Report::Acted(large));
    let mut named = Vec::new();
    stage.facts.iter().for_each(|fact| fact.each_stored(&mut |stored| named.push(stored.digest)));
    assert_eq!(stage.run.facts() as usize, stage.facts.len());
    let definition = stage.run.definition().digest;
    assert_eq!(named[0], definition);
    for text in ["p", "i", "sub", "result"] {
        assert!(named.contains(&Digest::of(text.as_bytes())), "{text}");
    }
}

#[test]
fn a_history_that_nothing_accepts_gives_no_run() {
    let stage = Stage::of(ECHO);
    assert_eq!(replay(&stage.spec, &[]), None);
    assert_eq!(replay(&stage.spec, &stage.facts[1..]), None);
    assert_eq!(replay(&stage.spec, &stage.facts), Some(stage.run));
}

/// What is handed back untouched keeps its place, and a rest changes no more than where the run is said to be.
#[test]
fn a_run_that_rests_says_so_once_nothing_is_out() {
    let mut stage = Stage::of("vars: { v: '{{ now() }}' }\ntasks: { a: { action: core.echo } }");
    assert_eq!(stage.run.status(), RunStatus::Queued);
    stage.pause();
    assert_eq!(stage.run.status(), RunStatus::Pausing);
    stage.report("run/-/prepare.1", Report::HandedBack);
    assert_eq!((stage.run.status(), stage.out().len()), (RunStatus::Paused, 0));
    stage.feed(Input::Resume);
    assert_eq!(stage.run.status(), RunStatus::Queued);
    assert!(stage.run.brief(&stage.spec, &key_of("run/-/prepare.2")).is_some());
    assert!(!stage.facts.iter().any(|fact| matches!(fact.what, What::Begun { .. })));
}
