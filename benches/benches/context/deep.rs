//! The design without any sharing: maps of values, of which each clone is a copy to the last byte.

use std::collections::HashMap;

use leveret_benches::shapes::Payload;
use serde_json::{Map, Value};

use crate::seed;

#[derive(Clone)]
pub struct Deep {
    variables: HashMap<String, Value>,
    parameters: HashMap<String, Value>,
    task_results: HashMap<String, Value>,
    system: HashMap<String, Value>,
    item: Option<Value>,
    index: Option<usize>,
}

impl Deep {
    pub fn of(payload: &Payload) -> Self {
        let [variables, parameters, task_results, system] = payload.maps().map(|map| map.into_iter().collect());
        Self { variables, parameters, task_results, system, item: None, index: None }
    }

    pub fn set_item(&mut self, item: Value, index: usize) {
        self.item = Some(item);
        self.index = Some(index);
    }

    pub fn publish(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    pub fn render_json(&self, value: &Value) -> Value {
        seed::render_json(value, &|template| {
            let maps = [&self.variables, &self.parameters, &self.task_results, &self.system];
            let copied = |map: &HashMap<String, Value>| map.clone().into_iter().collect::<Map<_, _>>();
            seed::rendered(template, maps.map(copied), self.item.as_ref(), self.index)
        })
    }
}
