//! What a branch should see: the book's own contexts, kept the slow and obvious way.

use std::collections::BTreeMap;

use proto::{
    manifest::Manifest,
    value::{Form, List, ValueRef},
};
use serde_json::{Value, json};

/// Paths with their last write: its number, and the value unless the write took it away.
#[derive(Clone, Debug, Default)]
pub struct Seen(BTreeMap<String, (u64, Option<Value>)>);

impl Seen {
    pub fn set(&mut self, path: String, write: u64, value: Option<Value>) {
        self.0.insert(path, (write, value));
    }

    pub fn merge(&mut self, other: &Self) {
        for (path, (write, value)) in &other.0 {
            if self.0.get(path).is_none_or(|(ours, _)| ours < write) {
                self.0.insert(path.clone(), (*write, value.clone()));
            }
        }
    }

    /// All of it, as a manifest for everything should say it in a workflow of `tasks` tasks.
    pub fn all(&self, tasks: usize) -> BTreeMap<String, Value> {
        let not_run = (0..tasks).map(|at| (format!("task.t{at}.status"), json!("not_run")));
        let seen = self.0.iter().filter_map(|(path, (_, value))| Some((path.clone(), value.clone()?)));
        not_run.chain(seen).collect()
    }
}

/// A manifest, with lists put together.
pub fn plain(manifest: &Manifest) -> BTreeMap<String, Value> {
    manifest.iter().map(|(path, value)| (path.clone(), value_of(value))).collect()
}

/// A value as templates would read it, without the sentences that are for people.
pub fn value_of(value: &ValueRef) -> Value {
    let mut value = match value {
        ValueRef::Inline(json) => serde_json::from_slice(json.as_bytes()).expect("JSON"),
        ValueRef::List(list) => assembled(list),
        ValueRef::Stored(stored) => panic!("nobody has stored {stored:?}"),
    };
    without_messages(&mut value);
    value
}

fn assembled(list: &List) -> Value {
    let mut by_item: BTreeMap<u32, Value> =
        list.places.iter().flat_map(|places| 0..*places).map(|item| (item, Value::Null)).collect();
    let source: Vec<Value> = list.source.iter().flat_map(|(count, values)| array(values, *count)).collect();
    for part in &list.parts {
        let values = match part.form {
            Form::Array => array(&part.values, part.items.len()),
            Form::Each => part.items.iter().map(|_| value_of(&part.values)).collect(),
            Form::Error => {
                let error = value_of(&part.values);
                let entry = |index: u32| json!({ "error": error, "index": index, "item": source[index as usize] });
                part.items.iter().map(|item| entry(item.0)).collect()
            }
        };
        for (item, value) in part.items.iter().zip(values) {
            if !part.ignored.iter().any(|ignored| ignored == item) {
                by_item.insert(item.0, value);
            }
        }
    }
    by_item.into_values().collect()
}

fn array(values: &ValueRef, count: u32) -> Vec<Value> {
    let Value::Array(values) = value_of(values) else { panic!("a part is an array") };
    assert_eq!(values.len(), count as usize, "a part has a value for each of its items");
    values
}

fn without_messages(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("message");
            fields.values_mut().for_each(without_messages);
        }
        Value::Array(values) => values.iter_mut().for_each(without_messages),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
