//! Tasks that run other workflows: what these take, where their files are looked at too, and workflows that call
//! themselves without end.

use std::collections::{BTreeSet, HashMap};

use proto::id::WorkflowName;
use serde_json::{Map, Value, json};

use super::{Lint, graph::Graph, inputs, listed, statuses::Statuses, warn};
use crate::{
    diagnostic::Diagnostics,
    parse::suggest,
    spec::{Call, Task, TaskIndex, Workflow},
};

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    let mut surely_called = Called::default();
    for (index, task) in lint.workflow.indexed() {
        let Call::Workflow(name) = &task.call else { continue };
        match lint.find(name) {
            Some(child) => inputs::check_input(task, name.as_str(), &schema(child), lint.places.task(index), found),
            // Of a single file nobody knows what else is registered.
            None if lint.workflows.len() > 1 => tell_unknown(lint, index, name, found),
            None => {}
        }
        if surely_runs(lint.workflow, &lint.graph, index) && surely_called.leads_back(lint, name) {
            let message = match *name == lint.workflow.name {
                true => format!("`{}` always runs this very workflow again", task.name),
                false => format!("`{}` always runs `{name}`, which always runs this workflow again", task.name),
            };
            let help = "lead to the task on a condition that becomes false: children nest at most 16 deep";
            warn(found, "endless_recursion", lint.places.task(index).at("workflow").value(), message, help);
        }
    }
}

impl Lint<'_> {
    fn find(&self, name: &WorkflowName) -> Option<&Workflow> {
        let is_it = |workflow: &&&Workflow| workflow.name == *name;
        match *name == self.workflow.name {
            true => Some(self.workflow),
            false => self.workflows.iter().find(is_it).copied(),
        }
    }
}

fn tell_unknown(lint: &Lint<'_>, task: TaskIndex, name: &WorkflowName, found: &mut Diagnostics) {
    let names: BTreeSet<&str> = lint.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
    let help = match suggest(name.as_str(), names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("give its file too; those given are {}", listed(names)),
    };
    let message = format!("no file here is the workflow `{name}`");
    warn(found, "unknown_workflow", lint.places.task(task).at("workflow").value(), message, help);
}

/// What the parameters of `workflow` are, as one schema.
fn schema(workflow: &Workflow) -> Value {
    let of = |text: &str| serde_json::from_str(text).expect("a schema is JSON, checked when the file was read");
    let properties: Map<String, Value> = workflow
        .parameters
        .iter()
        .map(|parameter| (parameter.name.as_str().to_owned(), of(parameter.schema.as_str())))
        .collect();
    let required: Vec<&str> = workflow
        .parameters
        .iter()
        .filter(|parameter| parameter.required)
        .map(|parameter| parameter.name.as_str())
        .collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Which workflows each surely calls, as far as that was asked.
#[derive(Default)]
struct Called(HashMap<WorkflowName, Vec<WorkflowName>>);

impl Called {
    /// Whether a run of `name` surely comes to run the workflow that is looked at.
    fn leads_back(&mut self, lint: &Lint<'_>, name: &WorkflowName) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![name.clone()];
        while let Some(name) = open.pop() {
            if name == lint.workflow.name {
                return true;
            }
            if seen.insert(name.clone())
                && let Some(child) = lint.find(&name)
            {
                open.extend(self.0.entry(name).or_insert_with(|| surely_called(child)).iter().cloned());
            }
        }
        false
    }
}

fn surely_called(workflow: &Workflow) -> Vec<WorkflowName> {
    let graph = Graph::of(workflow);
    let called = |(index, task): (TaskIndex, &Task)| match &task.call {
        Call::Workflow(name) if surely_runs(workflow, &graph, index) => Some(name.clone()),
        Call::Workflow(_) | Call::Action(_) => None,
    };
    workflow.indexed().filter_map(called).collect()
}

/// Whether every run comes to `task` in which nothing fails before. A join, items and waiting make it less than sure.
fn surely_runs(workflow: &Workflow, graph: &Graph, task: TaskIndex) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<TaskIndex> = workflow.entries.clone();
    while let Some(index) = open.pop() {
        let spec = workflow.task(index);
        if spec.join.is_some() || spec.wait_for.is_some() || spec.items.is_some() || !seen.insert(index) {
            continue;
        }
        if index == task {
            return true;
        }
        let sure = graph.outbound(index).iter().filter(|edge| edge.must.includes(Statuses::SUCCEEDED));
        open.extend(sure.map(|edge| edge.to));
    }
    false
}
