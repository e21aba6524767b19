//! How differences look, and what else is told of a rehearsal.

use std::sync::Arc;

use leveret_engine::{
    parse,
    program::Program,
    rehearsal::{self, Error, Outcome},
};

const WORKFLOW: &str = "\
name: w
tasks:
  ask: { action: core.echo, input: { a: 1, b: [x, y] }, next: [{ publish: { seen: \"{{ result }}\" }, do: tell }] }
  tell: { action: core.echo }
output: { seen: \"{{ workflow.seen }}\", two: \"{{ 4 / 2 }}\" }
";

fn play(workflow: &str, script: &str) -> Result<(Outcome, Vec<String>), Error> {
    let (program, _) = Program::compile(workflow, "w.yaml").expect("valid");
    let script = parse::script(script, "s.yaml", program.workflow(), &[]).expect("valid");
    let outcome = rehearsal::play(&[Arc::new(program)], &script)?;
    let told = rehearsal::check(&outcome, &script.take).iter().map(ToString::to_string).collect();
    Ok((outcome, told))
}

fn told(expect: &str) -> String {
    let script = format!("outcomes: {{ ask: [{{ result: {{ a: 1, b: [1, 2] }} }}] }}\nexpect: {expect}\n");
    play(WORKFLOW, &script).expect("it ends").1.join("\n")
}

#[test]
fn what_holds_is_not_told() {
    for expect in [
        "{}",
        "{ status: succeeded, order: [ask, tell], published: {} }",
        "{ output: { seen: { b: [1, 2], a: 1 }, two: 2 } }",
        "{ output: { seen: { a: 1.0, b: [1, 2] }, two: 2.0 } }",
        "{ inputs: { ask: { b: [x, y], a: 1 }, tell: {} }, attempts: { ask: 1 }, tasks: { tell: succeeded } }",
    ] {
        assert_eq!(told(expect), "", "{expect}");
    }
}

#[test]
fn each_difference_has_its_place() {
    insta::assert_snapshot!(told("{ status: failed, order: [ask], error: { code: x, message: y, task: ask } }"), @r#"
    status
      expected  "failed"
      got       "succeeded"
    error.code
      expected  "x"
      got       nothing
    error.message
      expected  "y"
      got       nothing
    error.task
      expected  "ask"
      got       nothing
    order
      expected  ["ask"]
      got       ["ask","tell"]
    "#);
    insta::assert_snapshot!(told("{ output: { seen: { a: 2, b: [1, 3], c: null }, more: 1 } }"), @r"
    output.more
      expected  1
      got       nothing
    output.seen.a
      expected  2
      got       1
    output.seen.b[1]
      expected  3
      got       2
    output.seen.c
      expected  null
      got       nothing
    output.two
      expected  nothing
      got       2.0
    ");
    insta::assert_snapshot!(told("{ published: { seen: 1, sene: 1 }, tasks: { tell: not_run }, attempts: { ask: 2 } }"), @r#"
    published.seen
      expected  1
      got       {"a":1,"b":[1,2]}
    published.sene
      expected  1
      got       nothing
    tasks.tell
      expected  "not_run"
      got       "succeeded"
    attempts.ask
      expected  2
      got       1
    "#);
    insta::assert_snapshot!(told("{ inputs: { ask: { a: \"1\", b: [x] }, tell: null } }"), @r#"
    inputs.ask.a
      expected  "1"
      got       1
    inputs.ask.b
      expected  ["x"]
      got       ["x","y"]
    inputs.tell
      expected  null
      got       {}
    "#);
}

#[test]
fn a_long_value_is_cut() {
    let told = told(&format!("{{ output: {} }}", "x".repeat(5_000)));
    assert!(told.len() < 1_000 && told.contains("xxx…"), "{told}");
}

#[test]
fn what_was_not_needed_is_told() {
    let script = "\
outcomes: { ask: [{ error: no }, {}], tell: [{}, {}, {}] }
events: [{ after: tell, do: cancel }, { during: ask, do: cancel }, { before: tell, do: cancel }]
";
    let workflow =
        "name: w\ntasks:\n  ask: { action: a, next: [{ when: succeeded(), do: tell }] }\n  tell: { action: a }\n";
    let (outcome, _) = play(workflow, script).expect("it ends");
    let unused: Vec<_> = outcome.unused.iter().map(ToString::to_string).collect();
    assert_eq!(
        unused,
        [
            "1 outcome of ask was not used",
            "3 outcomes of tell were not used",
            "the event after tell never came",
            "the event before tell never came"
        ]
    );
}

#[test]
fn without_a_workflow_there_is_nothing_to_rehearse() {
    let (program, _) = Program::compile(WORKFLOW, "w.yaml").expect("valid");
    let script = parse::script("expect: {}", "s.yaml", program.workflow(), &[]).expect("valid");
    assert_eq!(rehearsal::play(&[], &script), Err(Error::NoProgram));
}

#[test]
fn the_same_script_comes_to_the_same_end() {
    let workflow = "\
name: w
tasks:
  one: { action: a, retry: { count: 5, delay: 7s, backoff: exponential } }
  two: { action: a, retry: { count: 5, delay: 5s } }
";
    let failures = "[{ error: no }, { error: no }, { error: no }]";
    let script = format!("outcomes: {{ one: {failures}, two: {failures} }}");
    let first = play(workflow, &script).expect("it ends").0;
    assert_eq!(play(workflow, &script).expect("it ends").0, first);
}

const PARENT: &str = "\
name: parent
tasks:
  go: { workflow: child, next: [{ when: failed(), do: fail }] }
";

const CHILD: &str = "\
name: child
tasks:
  work: { action: a }
";

fn play_both(script: &str) -> Result<Outcome, Error> {
    let programs: Vec<_> = [PARENT, CHILD]
        .into_iter()
        .map(|source| Arc::new(Program::compile(source, "w.yaml").expect("valid").0))
        .collect();
    let script = parse::script(script, "s.yaml", programs[0].workflow(), &[programs[1].workflow()]).expect("valid");
    rehearsal::play(&programs, &script)
}

#[test]
fn a_workflow_that_is_missing_is_named() {
    let (program, _) = Program::compile(PARENT, "w.yaml").expect("valid");
    let programs = [Arc::new(program)];
    let play = |source: &str| {
        let script = parse::script(source, "s.yaml", programs[0].workflow(), &[]).expect("valid");
        rehearsal::play(&programs, &script)
    };
    let error = play("expect: {}").expect_err("the child was not given");
    assert_eq!(
        error.to_string(),
        "parent runs the workflow child: give its file too, or say in `outcomes` how its task ends"
    );
    assert!(play("outcomes: { go: [{ result: 1 }] }").is_ok());
    assert!(play("outcomes: { go: [{ error: no }] }\nrerun: {}").is_err(), "the rerun needs it");
}

#[test]
fn children_and_reruns_are_told_with_their_place() {
    let script = "\
children: { child: { outcomes: { work: [{ error: no }, {}] }, events: [{ at: 5m, do: cancel }] } }
expect: { children: { child: { runs: 2, statuses: [succeeded], order: [] } } }
rerun:
  expect: { status: failed, order: [] }
  rerun: { expect: { refused: task_unknown } }
";
    let programs = [PARENT, CHILD].map(|source| Arc::new(Program::compile(source, "w.yaml").expect("valid").0));
    let read = parse::script(script, "s.yaml", programs[0].workflow(), &[programs[1].workflow()]).expect("valid");
    let outcome = play_both(script).expect("it ends");
    let unused: Vec<_> = outcome.unused.iter().map(ToString::to_string).collect();
    assert_eq!(unused, ["1 outcome of work in child was not used", "the event at 5m in child never came"]);
    let told: Vec<_> = rehearsal::check(&outcome, &read.take).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    children.child.runs
      expected  2
      got       1
    children.child.statuses
      expected  ["succeeded"]
      got       ["failed"]
    children.child.order
      expected  []
      got       ["work"]
    rerun.status
      expected  "failed"
      got       "succeeded"
    rerun.order
      expected  []
      got       ["go"]
    rerun.rerun.refused
      expected  "task_unknown"
      got       "nothing_to_rerun: no task of the run failed: say with `from` which task is to run again"
    "#);
}
