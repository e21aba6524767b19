//! What a plugin is asked.

use proto::{
    SCHEMA,
    id::{Attempt, ItemIndex, RunId, TaskName},
    time::Timestamp,
};
use serde::Serialize;
use serde_json::Value;

use crate::{action::Call, blocking};

/// One JSON document and a line break. Fields may be added; what is here stays as it is. // since 0.1
#[derive(Serialize)]
struct Request {
    schema: u16,
    key: String,
    run: RunId,
    task: TaskName,
    attempt: Attempt,
    /// The position of the item, from 0, for a task with items.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemIndex>,
    input: Value,
    /// When the attempt has timed out, in RFC 3339.
    deadline: Timestamp,
}

pub(super) async fn write(input: Value, call: &Call) -> Vec<u8> {
    let Call { key, run, task, attempt, item, deadline, cancel: _ } = call.clone();
    let request = Request { schema: SCHEMA, key, run, task, attempt, item, input, deadline };
    blocking::sized(blocking::weight(&request.input), move || {
        let mut text = serde_json::to_vec(&request).expect("every part of it is JSON");
        text.push(b'\n');
        text
    })
    .await
}
