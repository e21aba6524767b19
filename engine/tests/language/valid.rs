//! Files that are read: what they become.

use std::{fmt::Write, time::Duration};

use leveret_engine::{
    parse::parse,
    spec::{
        Backoff, DurationField, Field, Items, Join, Node, OutcomeTest, Pool, Retry, Target, Task, TaskIndex, When,
        Workflow,
    },
};

fn read(file: &str) -> Workflow {
    let files = super::files("valid");
    let (_, source) = files.iter().find(|(name, _)| name == file).expect("there");
    let (workflow, warnings) = parse(source, file).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(warnings.is_empty(), "{warnings}");
    workflow
}

fn task<'a>(workflow: &'a Workflow, name: &str) -> &'a Task {
    workflow.tasks.iter().find(|task| task.name.as_str() == name).expect("there")
}

/// Every field of the workflow.
fn fields(workflow: &Workflow) -> Vec<&Field> {
    fn duration(field: Option<&DurationField>) -> Option<&Field> {
        match field? {
            DurationField::Known(_) => None,
            DurationField::Evaluated(field) => Some(field),
        }
    }
    fn condition(when: &When) -> Option<&Field> {
        match when {
            When::Outcome(_) => None,
            When::Expression(field) => Some(field),
        }
    }
    let mut fields: Vec<&Field> = workflow.vars.iter().map(|(_, field)| field).collect();
    fields.extend(duration(workflow.timeout.as_ref()).into_iter().chain(&workflow.concurrency));
    for task in &workflow.tasks {
        fields.push(&task.input);
        fields.extend([duration(task.timeout.as_ref()), duration(task.delay.as_ref())].into_iter().flatten());
        let wait_for = task.wait_for.as_ref();
        fields.extend(wait_for.and_then(|wait_for| duration(wait_for.timeout.as_ref())));
        fields.extend(match &task.pool {
            Pool::Evaluated(field) => Some(field),
            Pool::Named(_) => None,
        });
        if let Some(Items { list, concurrency, tolerate, on_error: _ }) = &task.items {
            fields.push(list);
            fields.extend([concurrency.as_ref(), tolerate.as_ref()].into_iter().flatten());
        }
        if let Some(Retry { count, delay, max_delay, when, .. }) = &task.retry {
            fields.push(count);
            fields.extend(
                [duration(delay.as_ref()), duration(max_delay.as_ref()), condition(when)].into_iter().flatten(),
            );
        }
        for transition in &task.next {
            fields.extend(condition(&transition.when));
            fields.extend(transition.publish.iter().map(|(_, field)| field));
        }
    }
    fields.extend(workflow.output.iter().map(|(_, field)| field));
    fields.sort_by_key(|field| field.site);
    fields
}

fn shown(node: &Node) -> String {
    match node {
        Node::Literal(json) => json.as_str().to_owned(),
        Node::Template(text) => format!("template {:?}", text.source),
        Node::Expression(text) => format!("expression {:?}", text.source),
        Node::List(nodes) => format!("[{}]", nodes.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Node::Map(nodes) => {
            let entries = nodes.iter().map(|(key, node)| format!("{key}: {}", shown(node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn check_span(source: &str, node: &Node) {
    match node {
        Node::Literal(_) => {}
        Node::Template(text) | Node::Expression(text) => {
            let piece = &source[text.span.offset..text.span.offset + text.span.length];
            assert!(piece.contains(&text.source), "{piece:?} has {:?}", text.source);
            assert!(piece.len() <= text.source.len() + 16, "{piece:?} is {:?}", text.source);
        }
        Node::List(nodes) => nodes.iter().for_each(|node| check_span(source, node)),
        Node::Map(nodes) => nodes.iter().for_each(|(_, node)| check_span(source, node)),
    }
}

#[test]
fn every_site_is_numbered_and_named() {
    for (file, _) in super::files("valid") {
        let workflow = read(&file);
        let sites: Vec<u32> = fields(&workflow).iter().map(|field| field.site.0).collect();
        assert_eq!(sites, (0..workflow.sites).collect::<Vec<_>>(), "{file}");
    }
    let workflow = read("everything.yaml");
    let mut text = String::new();
    for field in fields(&workflow) {
        writeln!(text, "{}: {}", field.name, shown(&field.node)).expect("a string");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn texts_know_where_they_stand() {
    for (file, source) in super::files("valid") {
        for field in fields(&read(&file)) {
            check_span(&source, &field.node);
        }
    }
}

#[test]
fn the_example_of_the_language_is_read() {
    let workflow = read("check_fleet.yaml");
    assert_eq!((workflow.name.as_str(), workflow.version.as_deref()), ("check-fleet", Some("3")));
    assert_eq!(workflow.description.as_deref(), Some("Probe every host and report the unhealthy ones."));
    let parameters: Vec<_> =
        workflow.parameters.iter().map(|p| (p.name.as_str(), p.schema.as_str(), p.required)).collect();
    let hosts = ("hosts", r#"{"items":{"type":"string"},"type":"array"}"#, true);
    let port = ("port", r#"{"maximum":65535,"minimum":1,"type":"integer"}"#, false);
    assert_eq!(parameters, [hosts, port]);
    assert_eq!(workflow.parameters[1].default.as_ref().map(|json| json.as_str()), Some("443"));
    assert_eq!(workflow.entries, [TaskIndex(0)]);
}

#[test]
fn the_tasks_of_the_example_are_read() {
    let workflow = read("check_fleet.yaml");
    let probe = &workflow.tasks[0];
    assert_eq!((probe.name.as_str(), probe.action(), pool(probe)), ("probe", Some("http.request"), Some("default")));
    let retry = probe.retry.as_ref().expect("there");
    assert_eq!(retry.count.literal().map(|json| json.as_str()), Some("3"));
    assert!(matches!(retry.delay, Some(DurationField::Known(delay)) if delay == Duration::from_millis(500)));
    assert!(matches!(retry.max_delay, Some(DurationField::Known(delay)) if delay == Duration::from_secs(10)));
    assert_eq!((retry.backoff, retry.jitter), (Backoff::Exponential, true));
    assert!(matches!(retry.when, When::Outcome(OutcomeTest::Failed)));
    assert!(matches!(probe.next[0].when, When::Outcome(OutcomeTest::Succeeded)));
    assert_eq!(probe.next[0].targets, [Target::Task(TaskIndex(1))]);
    let [report, page] = &workflow.tasks[1..] else { panic!("three tasks") };
    assert_eq!(report.inbound, [TaskIndex(0)]);
    assert!(report.timeout.is_none() && report.delay.is_none() && report.join.is_none() && report.items.is_none());
    assert_eq!(page.next[0].targets, [Target::Fail]);
    assert!(matches!(page.next[0].when, When::Outcome(OutcomeTest::Constant(true))));
}

#[test]
fn every_key_has_its_meaning() {
    let workflow = read("everything.yaml");
    assert_eq!(workflow.description.as_deref(), Some("Two lines,\nthe second one.\n"));
    let named = &workflow.parameters[2];
    assert_eq!((named.schema.as_str().contains(r#""required":["name"]"#), named.required), (true, false));
    let start = task(&workflow, "start");
    assert_eq!(start.action(), Some("core.noop"));
    assert_eq!(start.input.literal().map(|json| json.as_str()), Some("{}"));
    let either = OutcomeTest::Or(Box::new(OutcomeTest::Failed), Box::new(OutcomeTest::TimedOut));
    assert!(matches!(&start.next[1].when, When::Outcome(test) if *test == either));
    assert_eq!(start.next[1].targets, [Target::Noop]);
    assert_eq!(start.next[2].targets, [Target::Continue]);
    assert_eq!(start.next[3].targets, [Target::Continue]);
    assert_eq!(start.next[4].targets, [Target::Task(TaskIndex(5)), Target::Fail]);
    let left = task(&workflow, "left");
    assert!(matches!(left.timeout, Some(DurationField::Known(timeout)) if timeout == Duration::from_secs(90)));
    assert!(matches!(left.delay, Some(DurationField::Evaluated(_))));
    assert_eq!(pool(left), Some("heavy.pool-1"));
    let retry = task(&workflow, "right").retry.as_ref().expect("there");
    assert_eq!((retry.backoff, retry.jitter), (Backoff::Linear, false));
    assert!(matches!(retry.delay, Some(DurationField::Known(delay)) if delay == Duration::from_millis(1500)));
    assert_eq!(task(&workflow, "both").join, Some(Join::Count(2)));
    assert_eq!(task(&workflow, "both").inbound, [TaskIndex(1), TaskIndex(2)]);
    assert_eq!(task(&workflow, "all").join, Some(Join::All));
    assert_eq!(task(&workflow, "again").inbound, [TaskIndex(0), TaskIndex(5)]);
}

#[test]
fn json_is_yaml() {
    let workflow = read("definition.json");
    let input = workflow.tasks[0].input.literal().expect("without templates");
    assert_eq!(input.as_str(), "{\"message\":\"tab\\there, quote \\\" and é / \\u0001\"}");
    assert_eq!(workflow.tasks[1].inbound, [TaskIndex(0)]);
}

#[test]
fn json_from_elsewhere_is_yaml_too() {
    // As many JSON writers escape what is not ASCII: in two halves, which YAML does not know.
    let value = r#""\ud83d\uDE00 é \\ud83d\\ude00 {{ x }}""#;
    let source = format!(r#"{{"name": "w", "tasks": {{"a": {{"input": {{"k": {value}}}}}}}, "taks": 1}}"#);
    let found = parse(&source, "w.json").expect_err("an unknown key");
    assert_eq!(
        found.location(found.iter().next().expect("one").span),
        format!("w.json:1:{}", source.chars().count() - 9)
    );
    let source = source.replace(r#", "taks": 1"#, "");
    let (workflow, _) = parse(&source, "w.json").unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let Node::Map(entries) = &workflow.tasks[0].input.node else { panic!("a template") };
    let Node::Template(text) = &entries[0].1 else { panic!("a template") };
    assert_eq!(text.source, "😀 é \\ud83d\\ude00 {{ x }}");
    assert_eq!(&source[text.span.offset..text.span.offset + text.span.length], value);
}

#[test]
fn carriage_returns_and_marks_are_no_matter() {
    for (file, source) in super::files("valid").into_iter().filter(|(_, source)| source.is_ascii()) {
        let other = format!("\u{feff}{}", source.replace('\n', "\r\n"));
        let (workflow, _) = parse(&other, &file).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert_eq!(workflow.sites, read(&file).sites);
        for field in fields(&workflow) {
            check_span(&other, &field.node);
        }
    }
}

fn pool(task: &leveret_engine::spec::Task) -> Option<&str> {
    task.pool.named().map(proto::id::PoolName::as_str)
}
