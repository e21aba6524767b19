//! Values for parameters.

use std::collections::BTreeMap;

use leveret_engine::{
    parameters::{Coerce, check, read_text},
    parse::parse,
    spec::Workflow,
};
use proto::json::Json;

fn workflow() -> Workflow {
    let source = r#"
name: w
parameters:
  hosts: { type: array, items: { type: string }, required: true }
  port: { type: integer, minimum: 1, maximum: 65535, default: 443 }
  who: { type: object, properties: { name: { type: string, pattern: "^[a-z]+$" }, tags: { type: array } }, required: [name], additionalProperties: false }
  label: { type: string }
  maybe: { type: [integer, "null"] }
  anything: {}
  sure: { type: boolean }
tasks: { a: }
"#;
    parse(source, "w.yaml").unwrap_or_else(|diagnostics| panic!("{diagnostics}")).0
}

fn given(values: &[(&str, &str)]) -> BTreeMap<String, Json> {
    let json = |text: &str| Json::from_canonical(text.to_owned()).expect("JSON");
    values.iter().map(|(name, text)| ((*name).to_owned(), json(text))).collect()
}

/// The values, or the problems as `code: message (help)`.
fn checked(values: &[(&str, &str)], coerce: Coerce) -> String {
    match check(&workflow(), given(values), coerce) {
        Ok(values) => values.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect(),
        Err(problems) => {
            let help = |help: Option<String>| help.map(|help| format!(" ({help})")).unwrap_or_default();
            problems.into_iter().map(|p| format!("{}: {}{}\n", p.code, p.message, help(p.help))).collect()
        }
    }
}

#[test]
fn values_come_in_order_with_defaults() {
    let values = checked(
        &[("label", "\"x\""), ("hosts", "[ \"b\", \"a\" ]"), ("anything", "{\"b\":1,\"a\":2.50}")],
        Coerce::AsGiven,
    );
    assert_eq!(values, "hosts = [\"b\",\"a\"]\nport = 443\nlabel = \"x\"\nanything = {\"a\":2.5,\"b\":1}\n");
}

#[test]
fn every_problem_is_told() {
    let wrong = [
        ("port", "99999"),
        ("who", r#"{"name":"A1","tags":5,"more":1}"#),
        ("label", "5"),
        ("host", "[]"),
        ("flavour", "1"),
        ("anything", "18446744073709551616"),
    ];
    insta::assert_snapshot!(checked(&wrong, Coerce::AsGiven));
}

#[test]
fn problems_are_bounded() {
    let many: Vec<u32> = (0..100_000).collect();
    let hosts = Json::of(&many).expect("JSON");
    let problems =
        check(&workflow(), BTreeMap::from([("hosts".to_owned(), hosts)]), Coerce::AsGiven).expect_err("numbers");
    assert_eq!(problems.len(), 50);
    let long = Json::of(&"9".repeat(1_000_000)).expect("JSON");
    let problems =
        check(&workflow(), BTreeMap::from([("port".to_owned(), long)]), Coerce::ByType).expect_err("a long number");
    assert!(problems.iter().all(|problem| problem.message.len() < 500));
}

#[test]
fn texts_are_read_by_type() {
    let texts = [
        ("hosts", r#""[\"a\"]""#),
        ("port", "\"8080\""),
        ("who", r#""{\"name\":\"x\"}""#),
        ("label", "\"007\""),
        ("maybe", "\"null\""),
        ("anything", "\"5\""),
        ("sure", "\"true\""),
    ];
    insta::assert_snapshot!(checked(&texts, Coerce::ByType));
    insta::assert_snapshot!(checked(&texts, Coerce::AsGiven));
    insta::assert_snapshot!(checked(&[("hosts", "\"a,b\""), ("sure", "\"yes\""), ("port", "\"\"")], Coerce::ByType));
}

#[test]
fn command_line_texts_are_read_by_type() {
    let workflow = workflow();
    let read = |name: &str, text: &str| {
        let parameter = workflow.parameters.iter().find(|p| p.name.as_str() == name).expect("there");
        read_text(parameter, text).map(|json| json.as_str().to_owned()).map_err(|problem| problem.message)
    };
    assert_eq!(read("port", "80").as_deref(), Ok("80"));
    assert_eq!(read("label", "80").as_deref(), Ok("\"80\""));
    assert_eq!(read("anything", "[1]").as_deref(), Ok("\"[1]\""));
    assert_eq!(read("hosts", "[ 1 ]").as_deref(), Ok("[1]"));
    assert!(read("hosts", "a").is_err());
}
