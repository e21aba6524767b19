//! A worker that runs nothing: it decides what each piece of work would have come to.

use proto::{
    id::ItemIndex,
    items::ItemSet,
    json::Json,
    outcome::{Acted, Failed, ItemsPart, ItemsReport, Listed, Next, OutputReport, Report, RunPrepared, Settlement},
    value::ValueRef,
    work::{Phase, Status, Work},
};
use serde_json::{Value, json};

/// Items of [`STORM`].
pub const ITEMS: u32 = 16;

/// A workflow with everything that a crash can interrupt: a delay, retries of a task and of items, a fan-out, joins of
/// what was published, an output that a worker evaluates.
pub const STORM: &str = r#"
name: storm
parameters: { list: { type: array } }
tasks:
  first:
    action: core.echo
    delay: 10ms
    input: { message: "{{ parameters.list | length }}" }
    retry: { count: 2, delay: 10ms }
    next: [{ when: succeeded(), do: fan }]
  fan:
    action: core.echo
    with_items: "{{ parameters.list }}"
    concurrency: 8
    input: { message: "{{ item }}" }
    retry: { count: 2, delay: 5ms }
    next: [{ when: succeeded(), publish: { sum: "{{ result | length }}" }, do: last }]
  last:
    action: core.echo
    input: { message: "{{ workflow.sum }}" }
output: { sum: "{{ workflow.sum }}" }
"#;

/// A workflow of one task.
pub const ONE: &str = r#"
name: one
parameters: { word: { type: string, default: hello } }
tasks:
  say: { action: core.echo, input: { message: "{{ parameters.word }}" }, retry: { count: 5 } }
output: { said: "{{ task.say.result }}" }
"#;

/// A workflow that nobody but the scheduler is needed for.
pub const NONE: &str = "name: none\ntasks: { a: { next: [{ do: b }] }, b: {} }\noutput: { done: true }\n";

/// What each piece of work comes to: first attempts of `first` and of every third item are to be tried again.
pub fn decide(work: &Work) -> Report {
    match work.key.phase {
        Phase::Prepare => Report::RunPrepared(RunPrepared::default()),
        Phase::Items => listed(ITEMS),
        Phase::Act => match &work.range {
            Some(range) => Report::Items(items(&range.items, work.retries)),
            None if work.retries == 0 && task_of(work) == "first" => retry(10),
            None => acted(&[0]),
        },
        Phase::Settle => Report::Settled(Settlement {
            fired: vec![0],
            published: [("sum".parse().unwrap(), value(&json!(ITEMS)))].into(),
            retries: None,
        }),
        Phase::Output => output(&json!({ "sum": ITEMS })),
    }
}

pub fn task_of(work: &Work) -> &str {
    work.key.task.as_ref().map_or("-", |(name, _)| name.as_str())
}

/// A list of the numbers up to `count`.
pub fn listed(count: u32) -> Report {
    let texts: Vec<String> = (0..count).map(|item| item.to_string()).collect();
    let mut offsets = vec![1];
    for text in &texts {
        offsets.push(offsets.last().unwrap() + text.len() + 1);
    }
    let values = Json::from_canonical(format!("[{}]", texts.join(","))).unwrap();
    let part = ItemsPart { count, values: ValueRef::of(values), offsets: value(&json!(offsets)), item_bytes_max: 3 };
    Report::Listed(Listed { parts: vec![part], concurrency: Some(8), tolerate: 0 })
}

fn items(items: &ItemSet, retries: u32) -> ItemsReport {
    let again = |item: &ItemIndex| retries == 0 && item.0.is_multiple_of(3);
    let succeeded: ItemSet = items.iter().filter(|item| !again(item)).collect();
    let results: Vec<u32> = succeeded.iter().map(|item| item.0).collect();
    let retry: ItemSet = items.iter().filter(again).collect();
    ItemsReport {
        results: (!results.is_empty()).then(|| value(&json!(results))),
        succeeded,
        retry: if retry.is_empty() { Vec::new() } else { vec![(5, retry)] },
        busy_us: 20_000 * u64::from(items.len()),
        ..ItemsReport::default()
    }
}

/// The task succeeded, and these of its transitions fire.
pub fn acted(fired: &[u16]) -> Report {
    acted_with(value(&json!("done")), fired)
}

pub fn acted_with(result: ValueRef, fired: &[u16]) -> Report {
    let next = Next::Settled(Settlement { fired: fired.to_vec(), published: Default::default(), retries: None });
    Report::Acted(Acted { status: Status::Succeeded, result, failure: None, next, busy_ms: 1 })
}

pub fn retry(delay_ms: u64) -> Report {
    let failure = proto::failure::Failure::new("flaky", "not yet");
    let failed = Failed { error: value(&json!({ "code": "flaky", "message": "not yet" })), failure };
    Report::Acted(Acted {
        status: Status::Failed,
        result: ValueRef::null(),
        failure: Some(failed),
        next: Next::Retry { delay_ms },
        busy_ms: 1,
    })
}

pub fn output(json: &Value) -> Report {
    Report::Output(OutputReport { value: value(json), left_out: Vec::new() })
}

pub fn value(json: &Value) -> ValueRef {
    ValueRef::of(Json::of(json).unwrap())
}

/// Whether `run` has ended as [`decide`] lets it, each item counted once.
pub fn check_storm(run: &Value) {
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(run["output"], json!({ "sum": ITEMS }), "{run:#}");
    let counts = json!({ "total": ITEMS, "succeeded": ITEMS, "failed": 0, "running": 0 });
    assert_eq!(run["tasks"]["fan"]["items"], counts, "{run:#}");
    for task in ["first", "fan", "last"] {
        assert_eq!(run["tasks"][task]["instances"], 1, "{run:#}");
    }
}

/// Whether no item has two results among `facts`.
pub fn check_items_once(facts: &Value) {
    let mut counted = vec![0; ITEMS as usize];
    for fact in facts.as_array().unwrap() {
        let Some(reported) = fact["what"].get("reported") else { continue };
        let set = |field: &Value| match field {
            Value::Null => ItemSet::default(),
            runs => serde_json::from_value(runs.clone()).unwrap(),
        };
        let ignored = set(&reported["ignored"]);
        for item in set(&reported["report"]["succeeded"]).iter().filter(|item| !ignored.iter().any(|i| i == *item)) {
            counted[item.0 as usize] += 1;
        }
    }
    assert_eq!(counted, vec![1; ITEMS as usize]);
}
