//! What a scheduler does with the context of a branch: publish into it, write it out whole, and begin another with it.

use std::{collections::HashMap, sync::Arc};

use engine::{
    context::{Context, Outcome},
    spec::Workflow,
};
use leveret_benches::shapes::Payload;
use proto::{codec, id::Digest, json::Json, value::ValueRef, view::ContextDocument, work::Status};

/// The bytes of stored values, as the values service has them.
pub type Kept = HashMap<Digest, String>;

/// The context of a run whose tasks have come to `payload`, and its large values. Small ones lie in it.
pub fn of(payload: &Payload) -> (Context, Kept) {
    let (mut context, mut kept) = (Context::default(), Kept::new());
    let mut reference = |json: &str| {
        let value = ValueRef::of(Json::canonical(json.as_bytes()).expect("a payload is JSON"));
        value.each_stored(&mut |stored| drop(kept.insert(stored.digest, json.to_owned())));
        value
    };
    for (write, (path, json)) in (1..).zip(payload.entries()) {
        let value = reference(json);
        match path.strip_prefix("task.").and_then(|path| path.strip_suffix(".result")) {
            Some(task) => {
                let (status, result) = (Status::Succeeded, Some(value));
                let outcome = Outcome { status, attempts: 1, result, error: None, item_errors: None };
                context.end(&task.parse().expect("a name"), write, outcome);
            }
            None => context.set(&path, write, Arc::new(value)),
        }
    }
    (context, kept)
}

/// A clone of `context` into which `value` is published.
pub fn published(context: &Context, value: &Arc<ValueRef>) -> Context {
    let mut later = context.clone();
    later.set("workflow.published", 1_000_000, value.clone());
    later
}

/// The document of `GET /api/v1/runs/{id}/context`: every value, in its bytes.
pub fn export(context: &Context, kept: &Kept) -> Vec<u8> {
    let mut document = ContextDocument::default();
    for (path, value) in context.all() {
        let json = match value {
            ValueRef::Inline(json) => json,
            ValueRef::Stored(stored) => Json::from_canonical(kept[&stored.digest].clone()).expect("it is kept as JSON"),
            ValueRef::List(_) => panic!("{path}: there are no lists in a payload"),
        };
        match path.splitn(3, '.').collect::<Vec<_>>()[..] {
            ["task", task, field] => drop(document.task.entry(task.into()).or_default().insert(field.into(), json)),
            ["workflow", name] => drop(document.workflow.insert(name.into(), json)),
            [_, name] => drop(document.parameters.insert(name.into(), json)),
            _ => panic!("{path}: no such path"),
        }
    }
    codec::encode(&document)
}

/// The context that a run begins with which is given `document`, as a job brings it along.
pub fn import(spec: &Workflow, document: &[u8]) -> Context {
    let document = Json::canonical(document).expect("it was exported");
    let document: ContextDocument = document.parse().expect("it was exported");
    let mut context = Context::default();
    let mut take = |path: String, json: Json| {
        context.import(spec, &path, 1, Arc::new(ValueRef::of(json)));
    };
    for (root, values) in [("parameters", document.parameters), ("workflow", document.workflow)] {
        values.into_iter().for_each(|(name, json)| take(format!("{root}.{name}"), json));
    }
    for (task, fields) in document.task {
        fields.into_iter().for_each(|(field, json)| take(format!("task.{task}.{field}"), json));
    }
    context
}
