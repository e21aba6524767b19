//! Files that are looked at together: what the tasks of one hand to the workflows of the others.

use leveret_engine::{
    lint::{self, Actions},
    program::Program,
    spec::Workflow,
};

const PARENT: &str = "\
name: parent
tasks:
  good: { workflow: child, input: { host: a, port: \"{{ 1 }}\" } }
  empty: { workflow: child }
  wrong: { workflow: child, input: { host: 1, prot: 2, odd: true } }
  gone: { workflow: chlid }
  other: { workflow: elsewhere }
";

const CHILD: &str = "\
name: child
parameters:
  host: { type: string, required: true }
  port: { type: integer, default: 443 }
  odd: {}
tasks:
  a: { action: core.echo, input: { message: \"{{ parameters.host }}:{{ parameters.port }}{{ parameters.odd }}\" } }
";

/// What is told of the first of `sources`, where all are looked at.
fn told(sources: &[&str]) -> String {
    let compile = |source: &&str| Program::compile(source, "first.yaml").expect("valid").0;
    let programs: Vec<Program> = sources.iter().map(compile).collect();
    let workflows: Vec<&Workflow> = programs.iter().map(Program::workflow).collect();
    super::told(&lint::check_among(&programs[0], sources[0], "first.yaml", &Actions::new(), &workflows))
}

#[test]
fn what_a_child_takes_is_known_where_its_file_is() {
    assert_eq!(told(&[PARENT]), "", "one file says nothing of others");
    insta::assert_snapshot!(told(&[PARENT, CHILD]), @r"
    first.yaml:4:22: warning[missing_input]: `child` needs `host` in `tasks.empty.input`
        add `host: …`
    first.yaml:5:44: warning[wrong_input]: `tasks.wrong.input.host` must be a text, not a number
        the task would fail with `parameters_invalid`
    first.yaml:5:47: warning[unknown_input]: `child` takes no `prot` in `tasks.wrong.input`
        did you mean `port`?
    first.yaml:6:21: warning[unknown_workflow]: no file here is the workflow `chlid`
        did you mean `child`?
    first.yaml:7:22: warning[unknown_workflow]: no file here is the workflow `elsewhere`
        give its file too; those given are `child` and `parent`
    ");
}

#[test]
fn workflows_that_call_each_other_never_end() {
    let calls = |name: &str, other: &str| format!("name: {name}\ntasks:\n  go: {{ workflow: {other} }}\n");
    let (a, b, c) = (calls("a", "b"), calls("b", "c"), calls("c", "a"));
    insta::assert_snapshot!(told(&[&a, &b, &c]), @r"
    first.yaml:3:19: warning[endless_recursion]: `go` always runs `b`, which always runs this workflow again
        lead to the task on a condition that becomes false: children nest at most 16 deep
    ");
    insta::assert_snapshot!(told(&[&c, &a, &b]), @r"
    first.yaml:3:19: warning[endless_recursion]: `go` always runs `a`, which always runs this workflow again
        lead to the task on a condition that becomes false: children nest at most 16 deep
    ");
    insta::assert_snapshot!(told(&[&calls("a", "a")]), @r"
    first.yaml:3:19: warning[endless_recursion]: `go` always runs this very workflow again
        lead to the task on a condition that becomes false: children nest at most 16 deep
    ");
    assert_eq!(told(&[&calls("d", "a"), &a, &b, &c]), "", "it leads to a loop, and is no part of it");
    for way_out in [
        "name: a\ntasks:\n  go: { workflow: a, with_items: [] }\n",
        "name: a\ntasks:\n  go: { workflow: a, wait_for: { signal: more } }\n",
        "name: a\ntasks:\n  ask:\n    next: [{ when: result, do: go }]\n  go: { workflow: a }\n",
        "name: a\ntasks:\n  ask:\n    next: [{ when: failed(), do: go }]\n  go: { workflow: a }\n",
    ] {
        assert_eq!(told(&[way_out]), "", "{way_out}");
    }
}
