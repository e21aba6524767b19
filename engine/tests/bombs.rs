//! Templates that would go on for ever, or take all memory: each ends as a failure that says so.

use std::{thread, time::Duration};

use leveret_engine::{
    evaluate,
    program::Program,
    snapshot::{Scope, Snapshot, Stop},
    spec::TaskIndex,
    value::Value,
};
use proto::{failure::Failure, work::Phase};

fn program(source: &str) -> Program {
    let workflow = serde_json::json!({"name": "bomb", "tasks": {"a": {}}, "output": {"x": source}});
    Program::compile(&workflow.to_string(), "bomb").unwrap_or_else(|wrong| panic!("{wrong}: {source}")).0
}

fn output(source: &str, scope: &Scope) -> Result<Value, Failure> {
    let mut output = evaluate::output(&program(source), scope);
    match output.entries.pop() {
        Some((_, value)) => Ok(value),
        None => Err(output.left_out.remove(0)),
    }
}

fn scope() -> Scope {
    Scope::new(&Snapshot::empty())
}

/// `x`, made from itself so often that nothing could hold it; then `last`.
fn repeated(first: &str, step: &str, last: &str) -> String {
    format!("{{% set x = {first} %}}{}{last}", step.repeat(60))
}

/// Each would turn for hours, and renders nothing on the way.
const ENDLESS: [&str; 8] = [
    "{% for a in range(end=90000) %}{% for b in range(end=90000) %}{% set c = a %}{% endfor %}{% endfor %}",
    "{% for a in range(end=90000) -%} {% for b in range(end=90000) -%} {% endfor %}{%- endfor %}",
    "{% for a in range(end=90000) %}{% for b in range(end=90000) %}{% continue %}{% endfor %}{% else %}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2} %}{% for a in range(end=90000) %}{% for b in range(end=90000) %}{% if b == a %}{% set c = b %}{% endif %}{% endfor %}{% endfor %}{% endfor %}",
    "{{ [1 for a in range(end=90000) if [b for b in range(end=90000) if b == -1] | length == 1] }}",
    "{{ [[b for b in range(end=90000) if b < 0] | length for a in range(end=90000)] }}",
    "{% for a in range(end=90000) %}{{ [b for b in range(end=90000) if b < 0] | join }}{% endfor %}",
    "{% for a in 'x' | indent(width=1000, first=true) %}{% for b in range(end=90000) %}{% for c in range(end=9000) %}{% endfor %}{% endfor %}{% endfor %}",
];

#[test]
fn what_does_not_end_is_stopped() {
    for source in ENDLESS {
        let stop = Stop::after(Duration::from_secs(5));
        let failure = thread::scope(|threads| {
            // Set while it runs, or just before: it must end either way.
            threads.spawn(|| stop.set());
            output(source, &scope().with_stop(stop.clone())).expect_err(source)
        });
        assert_eq!(failure.code, "template_timeout", "{source}: {}", failure.message);
        assert_eq!(failure.message, "output.x: the evaluation took longer than 5s and was stopped");
    }
}

#[test]
fn what_may_not_end_is_known_beforehand() {
    for source in ENDLESS {
        assert!(program(source).may_be_slow(None, Phase::Output), "{source}");
    }
    for source in
        ["{{ 1 + 1 }}", "{{ run.id | upper }}", "{{ [1, 2] | join(sep=', ') }}", "a {{ run.id }} b", "constant"]
    {
        assert!(!program(source).may_be_slow(None, Phase::Output), "{source}");
    }
    assert!(!program("{{ [x for x in [1]] }}").may_be_slow(Some(TaskIndex(0)), Phase::Act));
}

#[test]
fn what_grows_beyond_bounds_is_refused() {
    for source in [
        repeated("'x'", "{% set x = x ~ x %}", "{{ x }}"),
        repeated("'x'", "{% set x = 'a' ~ x ~ x if true else x %}", "{{ x | length }}"),
        repeated("[1]", "{% set x = [x, x] %}", "{{ x }}"),
        repeated("[1]", "{% set x = [...x, ...x] %}", "{{ x | length }}"),
        repeated("[1]", "{% set x = {'a': [x, [x]]} %}", "{{ x ~ '' }}"),
        repeated("[1]", "{% set x = [x] | product(with=[x, x]) %}", "{{ x | to_json }}"),
        repeated("'x'", "{% set x %}{{ x }}{{ x }}{% endset %}", "{{ x | length }}"),
        repeated("'x'", "{% set x | trim %}{{ x }}{{ x }}{% endset %}", "{{ x | length }}"),
        repeated("'x'", "{% set x = x | replace(from='x', to=x ~ 'xxxx') %}", "{{ x }}"),
        repeated("'x'", "{% set x = x | regex_replace(pattern='x', replacement=x ~ 'xxxxxxxxxxxxxxxx') %}", "{{ x }}"),
        repeated("'xxxxxxxxxxxx'", "{% set x = x | to_json | url_encode | replace(from='x', to=x) %}", "{{ x }}"),
        repeated("'abcdefgh'", "{% set x = x | b64encode | b64encode %}", "{{ x }}"),
        repeated("['a', 'b']", "{% set x = [x | join(sep='----'), x | join(sep='----')] %}", "{{ x }}"),
        repeated("'a'", "{% set x = x | indent(width=1000, first=true) ~ '\n' ~ x %}", "{{ x }}"),
        repeated("['a']", "{% set x = [x] | map(attribute='no', default=[x, x]) %}", "{{ x | to_yaml }}"),
        "{% set x %}{% for a in range(end=90000) %}{% for b in range(end=90000) %}static text{% endfor %}{% endfor %}{% endset %}".to_owned(),
        format!("{{{{ ['{}' ~ a for a in range(end=90000)] }}}}", "x".repeat(10_000)),
        format!("{{{{ [[{}] for a in range(end=90000)] }}}}", "a,".repeat(100)),
        format!("{{{{ [{}] }}}}", "range(end=900000),".repeat(30)),
    ] {
        let shown: String = source.chars().take(200).collect();
        let failure = output(&source, &scope()).expect_err(&shown);
        assert_eq!(failure.code, "output_too_large", "{shown}: {}", failure.message);
    }
}

#[test]
fn what_is_large_and_no_larger_is_given() {
    for (source, json) in [
        ("{{ [a * 2 for a in range(end=100000) if a is even] | length }}", "50000"),
        ("{{ range(end=1000000) | length }}", "1000000"),
        ("{% for a in range(end=3) -%}  {{ a }} , {%- endfor %}", r#""0 ,1 ,2 ,""#),
        ("{% for a in range(end=3) %}  {{ a }}{% endfor -%}  .", r#""  0  1  2.""#),
        ("{{ [[1, 2, run.id], [3]] | length }}", "2"),
        ("{{ {'a': {'b': {'c': {'d': {'e': {'f': {'g': {'h': {'i': run.id}}}}}}}}} | length }}", "1"),
        (
            "{% set x = '' %}{% for a in range(end=1000) %}{% set_global x = x ~ 'ab' %}{% endfor %}{{ x | length }}",
            r#""2000""#,
        ),
    ] {
        let run = Snapshot::build([]);
        let scope = Scope::new(&run);
        let source = source.replace("run.id", "parameters?.id");
        let given = output(&source, &scope).unwrap_or_else(|failure| panic!("{source}: {}", failure.message));
        assert_eq!(given.to_json().expect("of JSON").as_str(), json, "{source}");
    }
}

#[test]
fn long_chains_of_texts_are_refused_before_they_run() {
    let workflow = serde_json::json!({"name": "b", "tasks": {"a": {}}, "output": {"x": format!("{{{{ 'a'{} }}}}", "~ 'b'".repeat(33))}});
    let wrong = Program::compile(&workflow.to_string(), "b").expect_err("too long").to_string();
    assert!(wrong.contains("too_many_concatenations") || wrong.contains("more than 32 times `~`"), "{wrong}");
}
