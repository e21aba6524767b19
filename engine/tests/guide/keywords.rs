//! Keys that no scenario shows: each keyword of a parameter's schema, each key of `finally`, an evaluated `pool`.

use std::collections::{BTreeMap, BTreeSet};

use leveret_engine::{
    diagnostic::Colour,
    evaluate,
    parameters::{self, Coerce},
    program::Program,
    snapshot::{Scope, Snapshot},
    spec::TaskIndex,
    value::Value,
    words,
};
use proto::json::Json;
use serde_json::{Value as Plain, json};

/// A schema with one keyword, besides those without which it says nothing; a value that fits and one that does not.
/// Keywords that only tell people something fit everything.
fn schemas() -> Vec<(&'static str, Plain, Plain, Option<Plain>)> {
    let text = || json!({ "type": "string" });
    let known =
        |name: &'static str, value: Plain, good: Plain, bad: Plain| (name, json!({ name: value }), good, Some(bad));
    let mut all = vec![
        known("type", json!("integer"), json!(1), json!("1")),
        known("enum", json!([1, 2]), json!(2), json!(3)),
        known("const", json!(1), json!(1), json!(2)),
        known("minimum", json!(1), json!(1), json!(0)),
        known("maximum", json!(1), json!(1), json!(2)),
        known("exclusiveMinimum", json!(1), json!(2), json!(1)),
        known("exclusiveMaximum", json!(1), json!(0), json!(1)),
        known("multipleOf", json!(3), json!(6), json!(7)),
        known("minLength", json!(2), json!("ab"), json!("a")),
        known("maxLength", json!(1), json!("a"), json!("ab")),
        known("pattern", json!("^a"), json!("ab"), json!("b")),
        known("items", text(), json!(["a"]), json!([1])),
        known("prefixItems", json!([text()]), json!(["a", 1]), json!([1])),
        known("contains", text(), json!([1, "a"]), json!([1])),
        known("minItems", json!(1), json!([1]), json!([])),
        known("maxItems", json!(1), json!([1]), json!([1, 2])),
        known("uniqueItems", json!(true), json!([1, 2]), json!([1, 1])),
        known("unevaluatedItems", json!(false), json!([]), json!([1])),
        known("properties", json!({ "a": text() }), json!({ "a": "b" }), json!({ "a": 1 })),
        known("patternProperties", json!({ "^a": text() }), json!({ "ab": "b" }), json!({ "ab": 1 })),
        known("additionalProperties", json!(false), json!({}), json!({ "a": 1 })),
        known("unevaluatedProperties", json!(false), json!({}), json!({ "a": 1 })),
        known("propertyNames", json!({ "maxLength": 1 }), json!({ "a": 1 }), json!({ "ab": 1 })),
        known("minProperties", json!(1), json!({ "a": 1 }), json!({})),
        known("maxProperties", json!(1), json!({ "a": 1 }), json!({ "a": 1, "b": 2 })),
        known("required", json!(["a"]), json!({ "a": 1 }), json!({})),
        known("dependentRequired", json!({ "a": ["b"] }), json!({ "a": 1, "b": 1 }), json!({ "a": 1 })),
        known("dependentSchemas", json!({ "a": { "minProperties": 2 } }), json!({ "b": 1 }), json!({ "a": 1 })),
        known("allOf", json!([text(), { "minLength": 2 }]), json!("ab"), json!("a")),
        known("anyOf", json!([text(), { "const": 1 }]), json!(1), json!(2)),
        known("oneOf", json!([text(), { "const": 1 }]), json!("a"), json!(2)),
        known("not", text(), json!(1), json!("a")),
    ];
    for (name, bad) in [("minContains", json!([1])), ("maxContains", json!([1, 1, 1]))] {
        all.push((name, json!({ "contains": { "const": 1 }, name: 2 }), json!([1, 1]), Some(bad)));
    }
    let branches = json!({ "if": text(), "then": { "minLength": 2 }, "else": { "const": 1 } });
    for (name, bad) in [("if", json!("a")), ("then", json!("a")), ("else", json!(2))] {
        all.push((name, branches.clone(), json!("ab"), Some(bad)));
    }
    for name in ["title", "description", "$comment", "format", "contentEncoding", "contentMediaType", "$anchor"] {
        all.push((name, json!({ name: "a" }), json!("b"), None));
    }
    for name in ["deprecated", "readOnly", "writeOnly"] {
        all.push((name, json!({ name: true }), json!("b"), None));
    }
    all.push(("examples", json!({ "examples": [1] }), json!("b"), None));
    all.push(("contentSchema", json!({ "contentSchema": text() }), json!("b"), None));
    all.push(("default", json!({ "default": 7 }), json!(1), None));
    all
}

#[test]
fn every_keyword_of_a_schema_counts() {
    let schemas = schemas();
    let shown: BTreeSet<&str> = schemas.iter().map(|(name, ..)| *name).collect();
    let known = words::keys().filter(|(place, _)| *place == "parameter").map(|(_, key)| key);
    assert_eq!(shown, known.collect());
    for (name, schema, good, bad) in schemas {
        let workflow = json!({ "name": "w", "parameters": { "x": schema }, "tasks": { "a": {} } });
        let program = compile(&workflow);
        let fits = |value: &Plain| {
            let given = BTreeMap::from([("x".to_owned(), json_of(value))]);
            parameters::check(program.workflow(), given, Coerce::AsGiven).is_ok()
        };
        assert!(fits(&good), "{name}: {good} fits");
        assert!(bad.is_none_or(|bad| !fits(&bad)), "{name}: what does not fit is refused");
    }
}

#[test]
fn every_key_of_finally_is_read() {
    let mut finally = json!({
        "action": "core.echo", "input": { "message": "{{ item }}" }, "pool": "p", "with_items": [1], "concurrency": 1,
        "tolerate": 1, "on_item_error": "stop", "retry": { "count": 1 }, "timeout": "1m", "delay": "1s", "on_lost": "retry",
        "wait_for": { "signal": "go", "timeout": "1m" },
    });
    let mut read: BTreeSet<String> = finally.as_object().expect("a map").keys().cloned().collect();
    read.insert("workflow".to_owned());
    assert_eq!(read, words::keys().filter(|(place, _)| *place == "finally").map(|(_, key)| key.to_owned()).collect());
    let workflow = |finally: &Plain| json!({ "name": "w", "tasks": { "a": {} }, "finally": finally });
    compile(&workflow(&finally));
    let keys = finally.as_object_mut().expect("a map");
    keys.remove("action");
    keys.insert("workflow".to_owned(), json!("child"));
    compile(&workflow(&finally));
}

#[test]
fn a_pool_may_be_evaluated() {
    let task = json!({ "pool": "{{ parameters.region }}-large" });
    let program = compile(&json!({ "name": "w", "parameters": { "region": {} }, "tasks": { "a": task } }));
    let pool = |region: &str| {
        let parameters = Value::from_json(json!({ "region": region }).to_string().as_bytes()).expect("JSON");
        let scope = Scope::new(&Snapshot::build([("parameters".to_owned(), parameters)]));
        let prepared = evaluate::prepare_task(&program, TaskIndex(0), &scope).map_err(|failure| failure.code);
        prepared.map(|prepared| prepared.pool.map(|pool| pool.to_string()))
    };
    assert_eq!(pool("eu"), Ok(Some("eu-large".to_owned())));
    assert_eq!(pool("no pool"), Err("template_error".to_owned()));
}

fn compile(workflow: &Plain) -> Program {
    match Program::compile(&workflow.to_string(), "page") {
        Ok((program, _)) => program,
        Err(problems) => panic!("{}", problems.render(Colour::None)),
    }
}

fn json_of(value: &Plain) -> Json {
    Json::canonical(value.to_string().as_bytes()).expect("JSON")
}
