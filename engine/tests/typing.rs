//! The typing rule, undefined names, what is refused, and filters: each a table of templates.

mod build;

use build::{Build, expressed, rendered, value};

#[test]
fn one_expression_yields_its_value_and_all_else_a_text() {
    for (source, json) in [
        ("{{ 5 }}", "5"),
        ("  {{ 5 }}\n", "5"),
        ("{{- 5 -}}", "5"),
        ("{{5}}", "5"),
        ("{{ '007' }}", r#""007""#),
        ("{{ '5' }}", r#""5""#),
        ("{{ parameters.hosts }}", r#"["a","b"]"#),
        ("{{ parameters.nothing }}", "null"),
        ("{{ parameters.port + 1 }}", "444"),
        ("{{ parameters.port / 2 }}", "221.5"),
        ("{{ not parameters.deep.yes }}", "false"),
        ("{{ {'b': [1, 2.5], 'a': parameters.nothing} }}", r#"{"a":null,"b":[1,2.5]}"#),
        (r#"{{ {"a": {"b": {"c": 1}}} }}"#, r#"{"a":{"b":{"c":1}}}"#),
        ("{{ '}} {{' }}", r#""}} {{""#),
        ("{{ parameters.port }} ", "443"),
        ("{{ parameters.port }}.", r#""443.""#),
        ("{{ 1 }}{{ 2 }}", r#""12""#),
        ("{{ 1 }} {{ 2 }}", r#""1 2""#),
        ("{# c #}{{ 1 }}", r#""1""#),
        ("{% if true %}{{ 1 }}{% endif %}", r#""1""#),
        ("{% raw %}{{ x }}{% endraw %}", r#""{{ x }}""#),
        ("{{ '{{ 5 }}' }}", r#""{{ 5 }}""#),
        ("port {{ parameters.port }}, {{ true }}, {{ 2.0 }}", r#""port 443, true, 2.0""#),
        ("<{{ parameters.name }}>", r#""<it's <b>>""#),
        ("{% for h in parameters.hosts %}{{ loop.index }}{{ h }}{% endfor %}", r#""1a2b""#),
        ("{% set n = parameters.port %}{{ n }}", r#""443""#),
        ("{% set n | upper %}a{{ 'b' }}{% endset %}{{ n }}", r#""AB""#),
        ("{{ [h ~ '!' for h in parameters.hosts if h != 'a'] }}", r#"["b!"]"#),
        ("{{ [k for k, v in parameters.deep] | length }}", "2"),
        ("{{ parameters.deep.rows[1].name }}", r#""y""#),
        ("{{ parameters['deep']['rows'][-1]['n'] }}", "3"),
        ("{{ parameters.deep.rows[parameters.deep.rows[0].n].name }}", r#""y""#),
        ("{{ parameters.hosts[0:1] }}", r#"["a"]"#),
        ("{{ 'yes' if parameters.port == 443 else 'no' }}", r#""yes""#),
        ("{{ -parameters.port }}", "-443"),
        ("{{ -parameters.deep.rows[1].n + 4 }}", "1"),
        ("{{ (parameters.hosts | sort)[1] }}", r#""b""#),
        ("{{ task.other.status }}", r#""not_run""#),
        ("{{ task }}", r#"{"other":{"status":"not_run"},"probe":{"status":"not_run"}}"#),
        ("{{ succeeded() and not failed() }}", "true"),
    ] {
        assert_eq!(rendered(source).as_deref(), Ok(json), "{source}");
    }
}

#[test]
fn bare_expressions_yield_their_value() {
    for (source, json) in [
        ("succeeded() and result.code == 5", "true"),
        ("5", "5"),
        (r#"{"a": {"b": 1}}"#, r#"{"a":{"b":1}}"#),
        ("result.list | length", "2"),
        ("'}}' ~ '{{'", r#""}}{{""#),
        ("failed() or result.code != 5", "false"),
    ] {
        assert_eq!(expressed(source).as_deref(), Ok(json), "{source}");
    }
}

#[test]
fn an_undefined_name_is_an_error_wherever_it_is_used() {
    for expression in [
        "result.typo",
        "not result.typo",
        "result.typo and true",
        "true and result.typo",
        "false or result.typo",
        "result.typo == 1",
        "1 != result.typo",
        "1 in result.typo",
        "result.typo in [1]",
        "result.typo not in [1]",
        "'a' ~ result.typo",
        "result.typo ~ 'a'",
        "1 if result.typo else 2",
        "result.typo if true else 2",
        "[result.typo]",
        "[1, [result.typo]]",
        "{'a': result.typo}",
        "{'a': {'b': result.typo}}",
        "{...result.typo}",
        "result.typo | length",
        "result.typo.deeper",
        "result['typo']",
        "result['ty' ~ 'po']",
        "result.list[7]",
        "result.list[result.typo]",
        "result.list[result.typo:]",
        "not (result)['typo']",
        "not (result.list | sort)[7]",
        "(result.typo)",
        "1 == result.typo is defined",
        "result.typo is string",
        "1 | default(value=result.typo)",
        "[x for x in result.typo]",
        "[result.typo for x in [1]]",
        "[x for x in [1] if result.typo]",
        "not parameters.typo",
        "task.other.result",
        "not task.other.error",
        "not signal.go",
        "parameters.typo?.a",
        "[result.typo?.a]",
    ] {
        let failure = expressed(expression).expect_err(expression);
        assert_eq!(failure.code, "template_error", "{expression}: {}", failure.message);
        assert!(failure.message.contains("not defined"), "{expression}: {}", failure.message);
        assert!(failure.message.starts_with("tasks.probe.next[0].publish.x: "), "{expression}: {}", failure.message);
    }
    for source in [
        "a {{ result.typo }}",
        "{% if result.typo %}a{% endif %}",
        "{% if false %}{% elif not result.typo %}a{% endif %}",
        "{% set x = result.typo %}",
        "{% for x in result.typo %}{% endfor %}",
        "{% for x in [1] %}{% set y = x %}{% endfor %}{{ not y }}",
        "{% if false %}{% set y = 1 %}{% endif %}{% if y %}{% endif %}",
    ] {
        let failure = rendered(source).expect_err(source);
        assert_eq!(failure.code, "template_error", "{source}");
        assert!(failure.message.contains("is not defined"), "{source}: {}", failure.message);
    }
}

#[test]
fn what_makes_up_for_undefined_is_allowed() {
    for (source, json) in [
        ("result.typo | default(value=7)", "7"),
        ("(result.typo) | default(value=7)", "7"),
        ("not result.typo | default(value=false)", "true"),
        ("result.typo is defined", "false"),
        ("result.typo is undefined", "true"),
        ("not result.typo is defined", "true"),
        ("result.typo is defined and result.typo.x == 1", "false"),
        ("result.typo.x if result.typo is defined else 3", "3"),
        ("result.typo?.x == 1", "false"),
        ("result?.typo?.x is defined", "false"),
        ("not result.typo?.x", "true"),
        ("result.typo?['x'] | default(value=1)", "1"),
        ("task.other.result | default(value=none)", "null"),
        ("true or result.typo", "true"),
        ("[loop.x for loop in [{'x': 1}]] | length", "1"),
    ] {
        let got = expressed(source);
        if source.contains("loop.x") {
            assert!(got.is_err(), "`loop` is a word of Tera's");
            continue;
        }
        assert_eq!(got.as_deref(), Ok(json), "{source}");
    }
    assert_eq!(rendered("{% if result.typo is defined %}{{ result.typo.x }}{% endif %}.").as_deref(), Ok(r#"".""#));
}

#[test]
fn structures_and_null_cannot_stand_inside_text() {
    for (source, says) in [
        ("x {{ result }}", "a map cannot stand inside text: write `| to_json`"),
        ("x {{ result.list }}", "a list cannot"),
        ("x {{ result.none }}", "null cannot"),
        ("{% if true %}{{ result }}{% endif %}", "a map cannot"),
    ] {
        let failure = rendered(source).expect_err(source);
        assert_eq!(failure.code, "template_error");
        assert!(failure.message.contains(says), "{source}: {}", failure.message);
    }
    assert_eq!(rendered("x {{ result.list | to_json }}").as_deref(), Ok(r#""x [1,2]""#));
}

#[test]
fn errors_name_the_field_the_path_and_the_line() {
    let message = |source: &str| rendered(source).expect_err(source).message;
    insta::assert_snapshot!(message("{{ result.cod }}"), @"
    tasks.probe.next[0].publish.x: `result.cod` is not defined, did you mean `result.code`?
      | {{ result.cod }}
    ");
    insta::assert_snapshot!(message("one\n  two {{ parameters.deep.rows[0].nam }}\nthree"), @"
    tasks.probe.next[0].publish.x: `parameters.deep.rows[0].nam` is not defined
      | two {{ parameters.deep.rows[0].nam }}
    ");
    insta::assert_snapshot!(message("{{ result.none.x }}"), @"
    tasks.probe.next[0].publish.x: `result.none.x` is not defined: `result.none` is null
      | {{ result.none.x }}
    ");
    insta::assert_snapshot!(message("{{ 1 + 'a' }}"), @"
    tasks.probe.next[0].publish.x: `+` requires both operands to be numbers, found `i64` and `string`
      | {{ 1 + 'a' }}
    ");
    insta::assert_snapshot!(message("{{ throw(message='No luck.') }}"), @"
    tasks.probe.next[0].publish.x: no luck
      | {{ throw(message='No luck.') }}
    ");
    let mut build = Build::new();
    let field = build.field("tasks.t.input", r#"{"list": [1, {"url": "{{ parameters.x }}"}]}"#);
    build = build.task("t", "{}");
    build.workflow.tasks[0].input = field;
    let program = build.program();
    let failure = leveret_engine::evaluate::input(&program, build::FIRST, &build::scope(&[])).expect_err("undefined");
    assert!(failure.message.starts_with("tasks.t.input.list[1].url: `parameters.x`"), "{}", failure.message);
    assert_eq!(failure.task.expect("said").as_str(), "t");
}

#[test]
fn what_templates_may_not_do_is_refused_before_they_run() {
    let deep = "{% for a in x %}".repeat(4) + &"{% endfor %}".repeat(4);
    for (source, code, says) in [
        ("{{ __tera_context }}", "reserved_name", "`__tera_context` cannot be read"),
        ("{{ 1 | __capture }}", "unknown_filter", "no filter `__capture`"),
        ("{% include 'x' %}", "template_tag_refused", "`include` cannot be used"),
        ("{% extends 'x' %}", "template_tag_refused", "`extends`"),
        ("{% block a %}{% endblock %}", "template_tag_refused", "`block`"),
        ("{% import 'x' as y %}", "template_tag_refused", "`import`"),
        ("{% macro a() %}{% endmacro %}", "template_tag_refused", "`macro`"),
        ("{% component A() %}{% endcomponent %}", "template_tag_refused", "`component`"),
        ("{% <A> %}{% </A> %}", "template_tag_refused", "components"),
        ("{{ <A /> }}", "template_tag_refused", "components"),
        ("{% set result = 1 %}", "reserved_name", "`result` cannot be set"),
        ("{{ paramters.x }}", "unknown_name", "did you mean `parameters`?"),
        ("{{ ctx }}", "unknown_name", "did you mean `workflow`?"),
        ("{{ tasks.other.result }}", "unknown_name", "did you mean `task`?"),
        ("{{ banana is defined }}", "unknown_name", "templates read parameters, workflow"),
        ("{{ task.othr.result }}", "unknown_task", "did you mean `other`?"),
        ("{{ task['nope']?.x }}", "unknown_task", "no task `nope`"),
        ("{{ item }}", "item_outside_items", "`item` is known only in"),
        ("{{ secrets.x }}", "secret_outside_input", "`input` only"),
        ("{{ nope() }}", "unknown_function", "no function `nope`"),
        ("{{ get_env(name='HOME') }}", "unknown_function", "get_env"),
        ("{{ suceeded() }}", "unknown_function", "did you mean `succeeded`?"),
        ("{{ 1 | to_jsn }}", "unknown_filter", "did you mean `to_json`?"),
        ("{{ 1 is numbr }}", "unknown_test", "did you mean `number`?"),
        ("{{ 1 + }}", "template_syntax", "found `}}` but expected"),
        ("{{ 1", "template_syntax", "unexpected end of input"),
        ("{% if true %}", "template_syntax", "unexpected end of input"),
        ("{% frob %}", "template_syntax", "unknown tag"),
        ("{{ 'a }}", "template_syntax", "missing its closing"),
        ("{{ a b }}", "template_syntax", ""),
        (&deep, "loops_too_deep", "more than 3 deep"),
        (&"x".repeat(70_000), "template_too_large", "70000 bytes"),
    ] {
        let failure = rendered(source).expect_err(source);
        assert_eq!(failure.code, code, "{source}: {}", failure.message);
        assert!(failure.message.contains(says), "{source}: {}", failure.message);
    }
}

#[test]
fn every_problem_of_a_workflow_is_reported_with_its_place() {
    let problems = Build::new()
        .var("a", r#""{{ nope }}""#)
        .task("t", r#"{"x": "{{ result }}", "y": "{{ succeeded() }} {{ 1 | nope }}"}"#)
        .next("1 +", &[("k", r#""{% include 'x' %}""#)])
        .output("o", r#""{{ task.u.result }}""#)
        .output("p", r#""{% if true %}{{ 1 }}""#)
        .compile()
        .expect_err("wrong");
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(
        codes,
        [
            "unknown_name",
            "result_before_action",
            "outcome_before_action",
            "unknown_filter",
            "template_syntax",
            "template_tag_refused",
            "unknown_task",
            "template_syntax"
        ]
    );
    assert!(problems.iter().all(|problem| problem.span.offset == 7 && problem.span.length > 0));
}

#[test]
fn runaway_templates_are_stopped() {
    let failure =
        rendered("{% for a in range(end=20000) %}{% for b in range(end=2000) %}0123456789{% endfor %}{% endfor %}");
    assert_eq!(failure.expect_err("too large").code, "output_too_large");
    assert_eq!(rendered("{{ range(end=10000000) }}").expect_err("too long").code, "template_error");
    for bomb in [
        format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(15_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(15_000)),
        format!("{{{{ 1{} }}}}", "|abs".repeat(15_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("{{{{ a{} }}}}", "[a".repeat(20_000)),
        "{% if true %}".repeat(4_000),
        "{{".repeat(30_000),
    ] {
        assert_eq!(rendered(&bomb).expect_err("refused").code, "template_syntax", "{}", &bomb[..30]);
    }
}

#[test]
fn filters_do_what_they_say() {
    for (expression, json) in [
        ("{'b': 1, 'a': [none]} | to_json", r#""{\"a\":[null],\"b\":1}""#),
        ("[] | to_json(pretty=true)", r#""[]""#),
        (r#"'{"a": [1, 2.5]}' | from_json"#, r#"{"a":[1,2.5]}"#),
        ("'v12 x' | regex_match(pattern='v[0-9]+')", "true"),
        ("'x v12' | regex_match(pattern='v[0-9]+')", "false"),
        ("'x v12' | regex_search(pattern='v([0-9]+)(z)?')", r#"["v12","12",null]"#),
        ("'x v12' | regex_search(pattern='v(?<n>[0-9]+)')", r#"{"n":"12"}"#),
        ("'x' | regex_search(pattern='y')", "null"),
        ("'a1b2' | regex_replace(pattern='([a-z])([0-9])', replacement='$2$1')", r#""1a2b""#),
        ("parameters.deep.rows | map(attribute='name')", r#"["x","y"]"#),
        ("[{}, {'a': 1}] | map(attribute='a', default=0)", "[0,1]"),
        ("parameters.hosts | map(filter='upper')", r#"["A","B"]"#),
        ("parameters.deep.rows | where(attribute='n', value=3) | map(attribute='name')", r#"["y"]"#),
        ("[{'a': true}, {'a': 0}, {}] | where(attribute='a') | length", "1"),
        ("[{'n': 3}, {'n': 1}, {'n': 2}] | sort_by(attribute='n') | map(attribute='n')", "[1,2,3]"),
        ("[{'n': 3}, {'n': 1}] | sort_by(attribute='n', reverse=true) | map(attribute='n')", "[3,1]"),
        ("[{'n': 2}, {'n': 1}, {'n': 2}] | group_by(attribute='n')", r#"{"1":[{"n":1}],"2":[{"n":2},{"n":2}]}"#),
        ("[2, 1, 2, '2'] | unique", r#"[2,1,"2"]"#),
        ("[{'n': 2}, {'n': 2}] | unique(attribute='n') | length", "1"),
        ("[1, [2, 3]] | flatten", "[1,2,3]"),
        ("'[1,[2,[3]]]' | from_json | flatten(levels=1)", "[1,2,[3]]"),
        ("[1, 2] | zip(with=['a', 'b'])", r#"[[1,"a"],[2,"b"]]"#),
        ("[1, 2] | product(with=['a', 'b']) | length", "4"),
        ("[1, 2, 3] | batch(size=2)", "[[1,2],[3]]"),
        ("[1, 2] | sum", "3"),
        ("[1, 2.5] | sum", "3.5"),
        ("[] | sum", "0"),
        ("parameters.deep.rows | sum(attribute='n')", "4"),
        ("[3, 1, 2] | min", "1"),
        ("parameters.deep.rows | max(attribute='n')", "3"),
        ("[] | max", "null"),
        ("'hé' | b64encode", r#""aMOp""#),
        ("'aMOp' | b64decode", r#""hé""#),
        ("'' | sha256", r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#),
        ("'a b/é?' | url_encode", r#""a%20b%2F%C3%A9%3F""#),
        (r#""it's" | shell_quote"#, r#""'it'\\''s'""#),
        ("'a/b.c' | shell_quote", r#""a/b.c""#),
        ("'' | shell_quote", r#""''""#),
        ("'1m30s' | to_seconds", "90"),
        ("90 | to_duration", r#""1m30s""#),
        ("'/a/b.txt' | basename", r#""b.txt""#),
        ("'/a/b.txt' | dirname", r#""/a""#),
        ("'b' | dirname", r#"".""#),
    ] {
        assert_eq!(expressed(expression).as_deref(), Ok(json), "{expression}");
    }
    for (expression, says) in [
        ("'x' | regex_match(pattern='(')", "is no regular expression"),
        ("[{'a': 1}, 2] | map(attribute='a')", "element 1 has no attribute `a`"),
        ("[1] | map(filter='__capture')", "takes `attribute` or `filter`"),
        ("['a'] | sum", "element 0 is no number"),
        ("[1, 'a'] | min", "cannot be compared"),
        ("[{'a': 1}, {'a': 'x'}] | sort_by(attribute='a')", "cannot sort"),
        ("[1] | zip(with=[])", "one length"),
        ("'{' | from_json", "not valid JSON"),
        ("'%' | b64decode", "not base64"),
        ("[1] | shell_quote", "a text is needed"),
        ("'5 apples' | to_seconds", "is no unit of time"),
        ("now()", "the time is not known here"),
    ] {
        let failure = expressed(expression).expect_err(expression);
        assert!(failure.message.contains(says), "{expression}: {}", failure.message);
    }
}

#[test]
fn numbers_beyond_64_bits_leave_no_template_as_json() {
    let mut build = Build::new().output("x", r#""{{ 9223372036854775807 * 4 }}""#);
    build = build.output("y", r#""{{ 4294967296 * 2147483648 * 2 - 1 }}""#);
    let output = leveret_engine::evaluate::output(&build.program(), &build::scope(&[]));
    assert_eq!(output.entries[0].1.to_json().expect_err("too large").code(), "number_out_of_range");
    assert_eq!(output.entries[1].1.to_json().expect("fits").as_str(), "18446744073709551615");
    assert_eq!(value("18446744073709551615"), output.entries[1].1);
}
