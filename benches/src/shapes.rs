//! What the measurements have in common: contexts of given sizes, and programs that read them.

use engine::{
    program::Program,
    snapshot::{Scope, Snapshot},
    value::Value,
};
use proto::{
    id::{Attempt, ItemIndex},
    time::Timestamp,
    work::{RunInfo, RunStatus},
};
use serde_json::json;

/// About how many bytes of JSON a result has, unless a measurement says otherwise.
pub const RESULT_BYTES: usize = 10 * 1024;

/// What the context of a run holds, as JSON: every design that is compared is made of the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// Results of the tasks `t0`, `t1` and so on.
    pub results: Vec<String>,
    /// Values under the names `v0`, `v1` and so on.
    pub variables: Vec<String>,
    /// Parameters and their values.
    pub parameters: Vec<(&'static str, String)>,
}

impl Payload {
    /// Some `results` of [`RESULT_BYTES`] each.
    #[must_use]
    pub fn of_results(results: usize) -> Self {
        Self::of(results, RESULT_BYTES)
    }

    /// Some `results` of about `bytes` each, and one parameter.
    #[must_use]
    pub fn of(results: usize, bytes: usize) -> Self {
        let results = (0..results).map(|_| rows(bytes)).collect();
        Self { results, variables: Vec::new(), parameters: vec![("port", "443".to_owned())] }
    }

    /// Some small `variables`, as a workflow has them: texts of 40 bytes.
    #[must_use]
    pub fn of_variables(variables: usize) -> Self {
        let variables = (0..variables).map(|n| format!(r#""a value of some forty bytes, number {n:04}""#));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// Bytes of JSON in all, without keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let parameters = self.parameters.iter().map(|(_, json)| json.len());
        self.results.iter().chain(&self.variables).map(String::len).chain(parameters).sum()
    }

    /// Every value under its path, as a worker has fetched it.
    pub fn entries(&self) -> impl Iterator<Item = (String, &str)> {
        let results = self.results.iter().enumerate().map(|(n, json)| (format!("task.t{n}.result"), json.as_str()));
        let variables = self.variables.iter().enumerate().map(|(n, json)| (format!("workflow.v{n}"), json.as_str()));
        let parameters = self.parameters.iter().map(|(name, json)| (format!("parameters.{name}"), json.as_str()));
        results.chain(variables).chain(parameters)
    }

    /// The same as maps: variables, parameters, results, and what a system adds.
    ///
    /// # Panics
    /// When a value is not JSON.
    #[must_use]
    pub fn maps(&self) -> [serde_json::Map<String, serde_json::Value>; 4] {
        let read = |json: &str| serde_json::from_str(json).expect("a payload is JSON");
        let numbered = |letter: char, values: &[String]| {
            values.iter().enumerate().map(|(n, json)| (format!("{letter}{n}"), read(json))).collect()
        };
        [
            numbered('v', &self.variables),
            self.parameters.iter().map(|(name, json)| ((*name).to_owned(), read(json))).collect(),
            numbered('t', &self.results),
            [("workflow".to_owned(), "bench".into())].into_iter().collect(),
        ]
    }

    /// The snapshot of it, as a worker builds it that has none of the values yet.
    ///
    /// # Panics
    /// When a value is not JSON.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |json: &str| Value::from_json(json.as_bytes()).expect("a payload is JSON");
        Snapshot::build(self.entries().map(|(path, json)| (path, read(json))))
    }
}

/// A structured result of about `bytes` of JSON, at least one row of some 80 bytes.
#[must_use]
pub fn rows(bytes: usize) -> String {
    let mut json = String::from("[");
    for n in 0.. {
        if n > 0 {
            if json.len() + 82 > bytes {
                break;
            }
            json.push(',');
        }
        let row =
            format!(r#"{{"id":{n},"name":"host-{n:05}","ok":true,"note":"a text of more than twenty-one bytes"}}"#);
        json.push_str(&row);
    }
    json.push(']');
    json
}

/// What a worker evaluates in, before it goes through the items: the snapshot, and all that it lays over it.
///
/// # Panics
/// Never.
#[must_use]
pub fn scope(snapshot: &Snapshot) -> Scope {
    let at = Timestamp::from_millis(1_796_000_000_000);
    let info = RunInfo {
        workflow: "bench".parse().expect("a name"),
        started_at: at,
        labels: [("team".to_owned(), "bench".to_owned())].into(),
        status: RunStatus::Running,
        error: None,
    };
    Scope::new(snapshot)
        .with_run(&info, &"bench".parse().expect("an id"))
        .with_attempt(Attempt(1))
        .with_env([("SITE".to_owned(), Value::from_text("north"))])
        .with_now(at)
}

/// The value and the number of an item, as they come out of a range.
#[must_use]
pub fn item(n: u32) -> (Value, ItemIndex) {
    (Value::from_u64(n.into()), ItemIndex(n))
}

/// Tasks that [`program`] knows beside the one with items: `t0` and so on.
const TASKS: usize = 500;

/// A workflow of many tasks, the first of which, `each`, has items and the given `input`; `output` is that of the run.
/// Parameters are `port`, `user` and `host`, and the vars are `v0` to `v9`.
///
/// # Panics
/// When it does not compile.
#[must_use]
pub fn program(input: &serde_json::Value, output: &serde_json::Value) -> Program {
    let each = json!({ "action": "core.noop", "with_items": "{{ range(end=9) }}", "input": input });
    let mut tasks = serde_json::Map::from_iter([("each".to_owned(), each)]);
    tasks.extend((0..TASKS).map(|n| (format!("t{n}"), json!({}))));
    let vars: serde_json::Map<_, _> = (0..10).map(|n| (format!("v{n}"), n.into())).collect();
    let source = json!({
        "name": "bench",
        "parameters": { "port": { "type": "integer" }, "user": { "type": "string" }, "host": { "type": "string" } },
        "vars": vars,
        "tasks": tasks,
        "output": output,
    });
    // JSON is YAML too.
    match Program::compile(&source.to_string(), "bench.yaml") {
        Ok((program, _)) => program,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}
