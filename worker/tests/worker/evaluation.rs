//! The phases that only evaluate.

use proto::{
    failure::Failure,
    id::ItemIndex,
    outcome::{Listed, Report, RunPrepared, TaskPrepared},
    value::ValueRef,
    work::{Ended, Phase, Status, Work},
};
use serde_json::{Value, json};

use super::stage::{Stage, manifest};

const DEFINITION: &str = r#"
name: w
parameters:
  hosts: {}
  wait: {}
vars:
  count: "{{ parameters.hosts | length }}"
  twice: "{{ workflow.count * 2 }}"
  big: "{{ parameters.hosts }}"
tasks:
  each:
    action: core.noop
    with_items: "{{ parameters.hosts }}"
    concurrency: "{{ 2 + 3 }}"
    tolerate: 50%
    delay: "{{ parameters.wait }}"
    next:
      - when: succeeded()
        publish: { all: "{{ result }}" }
      - when: "failed() and error.code == 'items_failed'"
        publish: { bad: "{{ item_errors | length }}" }
output:
  hosts: "{{ parameters.hosts }}"
  wait: "{{ parameters.wait.no }}"
"#;

async fn stage() -> Stage {
    Stage::new(DEFINITION).await
}

fn reading(work: Work, values: Value) -> Work {
    Work { manifest: manifest(values), ..work }
}

fn unable(report: Report) -> Failure {
    match report {
        Report::Unable(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn listed(report: Report) -> Listed {
    match report {
        Report::Listed(listed) => listed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn vars_keep_their_types_and_large_ones_go_first() {
    let mut stage = stage().await;
    let hosts: Vec<_> = (0..10_000).map(|n| format!("host-{n}")).collect();
    let work = reading(stage.work(None, Phase::Prepare), json!({ "parameters.hosts": hosts }));
    let Report::RunPrepared(RunPrepared { vars, .. }) = stage.report(&work).await else { panic!("vars") };
    let names: Vec<_> = vars.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["count", "twice", "big"]);
    let read: Vec<_> = vars.iter().map(|(_, value)| stage.read(value)).collect();
    assert_eq!(read, [json!(10_000), json!(20_000), json!(hosts)]);
    assert!(matches!(vars[2].1, ValueRef::Stored(_)));
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_delay_is_a_duration_or_a_failure() {
    let mut stage = stage().await;
    let delay = |wait| json!({ "parameters.wait": wait });
    let work = reading(stage.task("each", Phase::Prepare), delay(json!("1m30s")));
    assert_eq!(
        stage.report(&work).await,
        Report::TaskPrepared(TaskPrepared { delay_ms: 90_000, ..TaskPrepared::default() })
    );
    let work = reading(work, delay(json!("soon")));
    assert_eq!(unable(stage.report(&work).await).code, "template_error");
    stage.drain_clean().await;
}

#[tokio::test]
async fn items_come_in_parts_that_can_be_sliced() {
    let mut stage = stage().await;
    let item = |n: usize| json!({ "n": n, "text": "x".repeat(200_000) });
    let items: Vec<_> = (0..12).map(item).collect();
    let value = stage.values.put(serde_json::to_vec(&items).expect("JSON"));
    let mut work = stage.task("each", Phase::Items);
    work.manifest = proto::manifest::ManifestRef::Inline([("parameters.hosts".into(), ValueRef::Stored(value))].into());
    let listed = listed(stage.report(&work).await);
    assert_eq!((listed.concurrency, listed.tolerate), (Some(5), 6));
    assert_eq!(listed.parts.iter().map(|part| part.count).collect::<Vec<_>>(), [5, 5, 2]);
    let mut index = 0;
    for part in &listed.parts {
        let values = stage.read(&part.values).to_string();
        let offsets: Vec<usize> = serde_json::from_value(stage.read(&part.offsets)).expect("numbers");
        assert_eq!(offsets.len(), part.count as usize + 1);
        for at in offsets.windows(2) {
            let slice = &values[at[0]..at[1] - 1];
            assert_eq!(serde_json::from_str::<Value>(slice).expect("an item"), item(index));
            assert!(slice.len() <= part.item_bytes_max as usize);
            index += 1;
        }
    }
    assert_eq!(index, items.len());
    stage.drain_clean().await;
}

#[tokio::test]
async fn a_list_may_be_empty_and_must_be_a_list() {
    let mut stage = stage().await;
    let hosts = |hosts| json!({ "parameters.hosts": hosts });
    let work = reading(stage.task("each", Phase::Items), hosts(json!([])));
    assert_eq!(listed(stage.report(&work).await).parts, []);
    let work = reading(work, hosts(json!("a")));
    assert_eq!(unable(stage.report(&work).await).code, "items_not_a_list");
    let work = reading(work, hosts(json!(["x".repeat(300_000)])));
    assert_eq!(unable(stage.report(&work).await).code, "item_too_large");
    stage.drain_clean().await;
}

#[tokio::test]
async fn settling_reads_lists_of_results_in_parts() {
    use proto::{
        items::ItemSet,
        value::{List, Part},
    };
    let mut stage = stage().await;
    let part = |first, values: Value, ignored: &[u32]| Part {
        items: ItemSet::run(first, u32::try_from(values.as_array().expect("a list").len()).expect("few")),
        values: ValueRef::Stored(stage.values.put(values.to_string())),
        form: proto::value::Form::Array,
        ignored: ignored.iter().copied().map(ItemIndex).collect(),
    };
    let parts =
        vec![part(3, json!(["d", "e"]), &[]), part(0, json!(["a", "b"]), &[]), part(1, json!(["no", "c"]), &[1])];
    let result = ValueRef::list(List { places: Some(6), parts, source: Vec::new() });
    let mut work = stage.task("each", Phase::Settle);
    work.ended = Some(Ended { status: Status::Succeeded, failure: None, asks_retry: false });
    work.manifest = proto::manifest::ManifestRef::Inline(
        [
            ("result".to_owned(), result),
            ("error".to_owned(), ValueRef::null()),
            ("item_errors".to_owned(), ValueRef::null()),
        ]
        .into(),
    );
    let Report::Settled(settlement) = stage.report(&work).await else { panic!("settled") };
    assert_eq!(settlement.fired, [0]);
    let published: Vec<_> = settlement.published.values().map(|value| stage.read(value)).collect();
    assert_eq!(published, [json!(["a", "b", "c", "d", "e", null])]);
    work.ended = Some(Ended { status: Status::Failed, failure: None, asks_retry: false });
    work.key.serial = 2;
    // It failed, and `error` is null: its code cannot be read.
    assert_eq!(unable(stage.report(&work).await).code, "template_error");
    stage.drain_clean().await;
}

#[tokio::test]
async fn an_output_leaves_out_what_cannot_be_evaluated() {
    let mut stage = stage().await;
    let values = json!({ "parameters.hosts": ["a"], "parameters.wait": {} });
    let work = reading(stage.work(None, Phase::Output), values);
    let Report::Output(output) = stage.report(&work).await else { panic!("an output") };
    assert_eq!(stage.read(&output.value), json!({ "hosts": ["a"] }));
    assert_eq!(output.left_out.iter().map(|failure| failure.code.as_str()).collect::<Vec<_>>(), ["template_error"]);
    stage.drain_clean().await;
}
