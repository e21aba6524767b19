//! Builds workflows by hand, so that tests of templates need no parser, and evaluates in them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::Duration;

use leveret_engine::{
    program::{Program, TemplateProblem},
    snapshot::{Scope, Snapshot},
    spec::{
        Backoff, Call, DurationField, Field, Items, Node, OnItemError, OnLost, OutcomeTest, Pool, Retry, SiteId, Span,
        Target, Task, TaskIndex, Text, Transition, When, Workflow,
    },
    value::Value,
};
use proto::{failure::Failure, json::Json, work::Status};

/// A workflow under construction.
pub struct Build {
    pub workflow: Workflow,
}

impl Build {
    pub fn new() -> Self {
        let workflow = Workflow {
            timeout: None,
            concurrency: None,
            exclusive: Vec::new(),
            finally: None,
            name: "test".parse().expect("valid"),
            version: None,
            description: None,
            parameters: Vec::new(),
            vars: Vec::new(),
            tasks: Vec::new(),
            entries: Vec::new(),
            output: Vec::new(),
            sites: 0,
        };
        Self { workflow }
    }

    /// A field: JSON whose texts are templates where they hold braces.
    pub fn field(&mut self, name: &str, json: &str) -> Field {
        let tree: serde_json::Value = serde_json::from_str(json).expect(json);
        self.site(name, node(&tree))
    }

    /// A field that is an expression without braces.
    pub fn expression(&mut self, name: &str, source: &str) -> Field {
        self.site(name, Node::Expression(text(source)))
    }

    fn site(&mut self, name: &str, node: Node) -> Field {
        self.workflow.sites += 1;
        Field { site: SiteId(self.workflow.sites - 1), name: name.to_owned(), node }
    }

    pub fn var(mut self, key: &str, json: &str) -> Self {
        let field = self.field(&format!("vars.{key}"), json);
        self.workflow.vars.push((key.parse().expect("valid"), field));
        self
    }

    pub fn output(mut self, key: &str, json: &str) -> Self {
        let field = self.field(&format!("output.{key}"), json);
        self.workflow.output.push((key.to_owned(), field));
        self
    }

    /// A task with `input`, as JSON.
    pub fn task(mut self, name: &str, input: &str) -> Self {
        let input = self.field(&format!("tasks.{name}.input"), input);
        self.workflow.tasks.push(Task {
            name: name.parse().expect("valid"),
            span: Span::default(),
            call: Call::Action("core.noop".to_owned()),
            wait_for: None,
            on_lost: OnLost::Retry,
            input,
            pool: Pool::Named("default".parse().expect("valid")),
            join: None,
            items: None,
            retry: None,
            timeout: None,
            delay: None,
            next: Vec::new(),
            inbound: Vec::new(),
        });
        self
    }

    fn last(&mut self) -> &mut Task {
        self.workflow.tasks.last_mut().expect("a task comes first")
    }

    fn name(&self, key: &str) -> String {
        format!("tasks.{}.{key}", self.workflow.tasks.last().expect("a task comes first").name)
    }

    /// `with_items` of the last task.
    pub fn items(mut self, list: &str, concurrency: Option<&str>, tolerate: Option<&str>) -> Self {
        let list = self.field(&self.name("with_items"), list);
        let concurrency = concurrency.map(|json| self.field(&self.name("concurrency"), json));
        let tolerate = tolerate.map(|json| self.field(&self.name("tolerate"), json));
        self.last().items = Some(Items { list, concurrency, tolerate, on_error: OnItemError::Continue });
        self
    }

    /// `retry` of the last task; `change` has the last word.
    pub fn retry(mut self, count: &str, when: Option<&str>, change: impl FnOnce(&mut Retry)) -> Self {
        let count = self.field(&self.name("retry.count"), count);
        let when = match when {
            Some(source) => When::Expression(self.expression(&self.name("retry.when"), source)),
            None => When::Outcome(OutcomeTest::Failed),
        };
        let mut retry = Retry { count, delay: None, backoff: Backoff::Constant, max_delay: None, jitter: false, when };
        change(&mut retry);
        self.last().retry = Some(retry);
        self
    }

    /// `timeout` of the last task, evaluated.
    pub fn timeout(mut self, json: &str) -> Self {
        let field = self.field(&self.name("timeout"), json);
        self.last().timeout = Some(DurationField::Evaluated(field));
        self
    }

    /// `delay` of the last task, evaluated.
    pub fn delay(mut self, json: &str) -> Self {
        let field = self.field(&self.name("delay"), json);
        self.last().delay = Some(DurationField::Evaluated(field));
        self
    }

    /// A transition of the last task. `when` is bare; `publish` in order.
    pub fn next(mut self, when: &str, publish: &[(&str, &str)]) -> Self {
        let at = self.name(&format!("next[{}]", self.workflow.tasks.last().expect("a task comes first").next.len()));
        let when = match when {
            "true" => When::Outcome(OutcomeTest::Constant(true)),
            "failed()" => When::Outcome(OutcomeTest::Failed),
            _ => When::Expression(self.expression(&format!("{at}.when"), when)),
        };
        let publish = publish
            .iter()
            .map(|(key, json)| (key.parse().expect("valid"), self.field(&format!("{at}.publish.{key}"), json)))
            .collect();
        self.last().next.push(Transition { when, publish, targets: vec![Target::Continue] });
        self
    }

    pub fn program(self) -> Program {
        self.compile().expect("every template is right")
    }

    pub fn compile(self) -> Result<Program, Vec<TemplateProblem>> {
        Program::from_workflow(self.workflow)
    }
}

pub fn text(source: &str) -> Text {
    Text { source: source.to_owned(), span: Span { offset: 7, length: source.len() } }
}

fn node(tree: &serde_json::Value) -> Node {
    let has_template = |json: &serde_json::Value| {
        let text = json.to_string();
        text.contains("{{") || text.contains("{%")
    };
    match tree {
        serde_json::Value::String(source) if has_template(tree) => Node::Template(text(source)),
        serde_json::Value::Array(list) if has_template(tree) => Node::List(list.iter().map(node).collect()),
        serde_json::Value::Object(map) if has_template(tree) => {
            Node::Map(map.iter().map(|(key, value)| (key.clone(), node(value))).collect())
        }
        _ => Node::Literal(Json::canonical(tree.to_string().as_bytes()).expect("valid")),
    }
}

pub fn value(json: &str) -> Value {
    Value::from_json(json.as_bytes()).expect(json)
}

pub fn json(value: &Value) -> String {
    value.to_json().expect("canonical").as_str().to_owned()
}

pub fn scope(entries: &[(&str, &str)]) -> Scope {
    Scope::new(&Snapshot::build(entries.iter().map(|(path, json)| ((*path).to_owned(), value(json)))))
}

pub const FIRST: TaskIndex = TaskIndex(0);

/// The JSON of a template, as the input of an action that has ended with `{"code": 5, "list": [1, 2], "none": null}`.
pub fn rendered(source: &str) -> Result<String, Failure> {
    let mut build = Build::new().task("other", "{}").task("probe", "{}");
    let node = Node::Template(text(source));
    let field = build.site("tasks.probe.next[0].publish.x", node);
    evaluated(build, field)
}

/// The JSON of an expression in the same place.
pub fn expressed(source: &str) -> Result<String, Failure> {
    let mut build = Build::new().task("other", "{}").task("probe", "{}");
    let field = build.expression("tasks.probe.next[0].publish.x", source);
    evaluated(build, field)
}

fn evaluated(mut build: Build, field: Field) -> Result<String, Failure> {
    let transition = Transition {
        when: When::Outcome(OutcomeTest::Constant(true)),
        publish: vec![("x".parse().expect("valid"), field)],
        targets: Vec::new(),
    };
    build.last().next.push(transition);
    let program = build.compile().map_err(|problems| {
        let problem = &problems[0];
        Failure::new(problem.code, format!("{} {}", problem.message, problem.help.clone().unwrap_or_default()))
    })?;
    let field = &program.workflow().tasks[1].next[0].publish[0].1;
    program.evaluate(field, &ended()).map(|value| json(&value))
}

/// A scope with some of everything.
pub fn ended() -> Scope {
    scope(&[
        ("parameters.hosts", r#"["a","b"]"#),
        ("parameters.port", "443"),
        ("parameters.name", r#""it's <b>""#),
        ("parameters.nothing", "null"),
        ("parameters.deep", r#"{"rows":[{"name":"x","n":1},{"name":"y","n":3}],"yes":true}"#),
        ("workflow.count", "2"),
    ])
    .with_ended(Status::Succeeded, value(r#"{"code":5,"list":[1,2],"none":null}"#), Value::null(), value("[]"))
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
