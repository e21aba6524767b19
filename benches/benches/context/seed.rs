//! The design that Leveret began with, built again to be measured beside it: a context of four `Arc`s around concurrent
//! maps, which is cheap to clone, and a Tera 1 that gets a context of its own for every text that it renders.

use std::sync::Arc;

use dashmap::{DashMap, mapref::multiple::RefMulti};
use leveret_benches::shapes::Payload;
use serde_json::{Map, Value};
use tera_1::{Context, Tera};

type Shared = Arc<DashMap<String, Value>>;

/// The context of a workflow. A clone shares its maps, and has its own item.
#[derive(Clone)]
pub struct Seed {
    variables: Shared,
    parameters: Shared,
    task_results: Shared,
    system: Shared,
    item: Option<Value>,
    index: Option<usize>,
}

impl Seed {
    pub fn of(payload: &Payload) -> Self {
        Self::from_maps(payload.maps())
    }

    fn from_maps(maps: [Map<String, Value>; 4]) -> Self {
        let [variables, parameters, task_results, system] = maps.map(|map| Arc::new(map.into_iter().collect()));
        Self { variables, parameters, task_results, system, item: None, index: None }
    }

    pub fn set_item(&mut self, item: Value, index: usize) {
        self.item = Some(item);
        self.index = Some(index);
    }

    /// All clones see it: there is no way back, and no branch has its own.
    pub fn publish(&self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    pub fn render_template(&self, template: &str) -> String {
        rendered(template, self.copied(), self.item.as_ref(), self.index)
    }

    /// Renders every text in `value`, one by one.
    pub fn render_json(&self, value: &Value) -> Value {
        render_json(value, &|template| self.render_template(template))
    }

    fn copied(&self) -> [Map<String, Value>; 4] {
        let entry = |entry: RefMulti<'_, String, Value>| (entry.key().clone(), entry.value().clone());
        [&self.variables, &self.parameters, &self.task_results, &self.system].map(|map| map.iter().map(entry).collect())
    }

    pub fn export(&self) -> Vec<u8> {
        serde_json::to_vec(&self.copied()).expect("JSON is JSON")
    }

    pub fn import(json: &[u8]) -> Self {
        Self::from_maps(serde_json::from_slice(json).expect("it was exported"))
    }
}

/// Renders `template` over the maps `variables`, `parameters`, `task` and `system`.
pub fn rendered(template: &str, maps: [Map<String, Value>; 4], item: Option<&Value>, index: Option<usize>) -> String {
    let mut context = Context::new();
    for (name, map) in ["variables", "parameters", "task", "system"].into_iter().zip(maps) {
        context.insert(name, &map);
    }
    if let Some(item) = item {
        context.insert("item", item);
    }
    if let Some(index) = index {
        context.insert("index", &index);
    }
    Tera::one_off(template, &context, false).expect("the template is right")
}

pub fn render_json(value: &Value, render: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(template) => Value::String(render(template)),
        Value::Array(values) => Value::Array(values.iter().map(|value| render_json(value, render)).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), render_json(value, render))).collect())
        }
        other => other.clone(),
    }
}
