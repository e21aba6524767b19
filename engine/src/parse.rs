//! A workflow file to a [`Workflow`], or everything that is wrong with it.
//!
//! Two steps: `load` makes a tree of the YAML in which everything knows its place, and the parts below read that
//! tree. They never stop at a problem: each is told, and reading goes on with something harmless in its place, which
//! is safe because a file with an error is never run.

mod condition;
mod escapes;
mod expression;
mod field;
mod graph;
mod habits;
pub(crate) mod keys;
mod load;
mod outcome;
pub(crate) mod places;
mod reader;
mod scalar;
mod schema;
mod script;
mod suggest;
mod task;
mod tasks;
pub(crate) mod transition;
mod yaml;

pub(crate) use self::suggest::suggest;

use proto::{
    id::{KeyName, WorkflowName},
    json::Json,
};

use self::{
    field::Zero,
    keys::Place,
    reader::Reader,
    yaml::{Content, Entry, Yaml},
};
use crate::{
    diagnostic::Diagnostics,
    rehearsal::script::Script,
    spec::{Field, OutcomeTest, Parameter, Workflow},
};

/// Reads the workflow in `source`, which messages call `file`. JSON is YAML too.
///
/// With the workflow come the warnings.
///
/// # Errors
/// Every error and warning of the file, in file order.
pub fn parse(source: &str, file: &str) -> Result<(Workflow, Diagnostics), Diagnostics> {
    match draft(source, file) {
        (Some(workflow), diagnostics) if !diagnostics.has_errors() => Ok((workflow, diagnostics)),
        (Some(_) | None, diagnostics) => Err(diagnostics),
    }
}

/// What of a file can be read, and what is wrong with the rest: so that its templates are checked all the same, and a
/// person sees every error at once. A workflow whose name is wrong is called `unnamed`.
pub(crate) fn draft(source: &str, file: &str) -> (Option<Workflow>, Diagnostics) {
    let mut diagnostics = Diagnostics::new(file, source);
    let workflow = load::load(source, &mut diagnostics).and_then(|yaml| workflow(&mut diagnostics, &yaml));
    diagnostics.sort();
    (workflow, diagnostics)
}

/// What to write instead of a name with which expressions of other systems begin, such as `steps` or `inputs`.
#[must_use]
pub fn foreign_root(name: &str) -> Option<String> {
    habits::root(name)
}

/// Reads YAML or JSON that is no workflow, such as values for parameters.
///
/// # Errors
/// When it is no single document, or has a value that JSON cannot say.
pub fn data(source: &str, file: &str) -> Result<Json, Diagnostics> {
    let mut diagnostics = Diagnostics::new(file, source);
    let yaml = load::load(source, &mut diagnostics);
    let json = yaml.and_then(|yaml| serde_json::to_vec(&yaml).ok()).and_then(|text| Json::canonical(&text).ok());
    diagnostics.sort();
    match json {
        Some(json) if !diagnostics.has_errors() => Ok(json),
        Some(_) | None => Err(diagnostics),
    }
}

/// Reads the script in `source`, which messages call `file`, for a rehearsal of `workflow` with these `children`.
///
/// # Errors
/// Every error of the file, in file order.
pub fn script(source: &str, file: &str, workflow: &Workflow, children: &[&Workflow]) -> Result<Script, Diagnostics> {
    script::read(source, file, workflow, children)
}

/// The test that `condition` is, when it asks for nothing but how a task ended.
pub(crate) fn outcome_test(condition: &str) -> Option<OutcomeTest> {
    outcome::parse(condition)
}

/// What to write instead of a function that other systems have, such as `ctx` or `success`.
#[must_use]
pub fn foreign_function(name: &str) -> Option<String> {
    habits::function(name)
}

/// `None` only when an error was told.
fn workflow(diagnostics: &mut Diagnostics, yaml: &Yaml) -> Option<Workflow> {
    let reader = &mut Reader::new(diagnostics);
    let Content::Map(entries) = &yaml.content else {
        let message = format!("a workflow is a map, not {}", yaml.described());
        reader.refuse("wrong_type", yaml.span, message, "a workflow has at least `name` and `tasks`");
        return None;
    };
    reader.check_keys(Place::Workflow, "", entries);
    let value = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let name = required(reader, yaml, entries, "name").map(|entry| &entry.value);
    let name: Option<WorkflowName> = name.and_then(|yaml| {
        let text = reader.text("name", yaml)?;
        reader.name(text, yaml.span)
    });
    let version = value("version").and_then(|yaml| reader.text("version", yaml));
    let description = value("description").and_then(|yaml| reader.text("description", yaml));
    let parameters = value("parameters").map(|yaml| schema::read(reader, yaml)).unwrap_or_default();
    let vars = value("vars").map(|yaml| transition::keyed_fields(reader, "vars", yaml)).unwrap_or_default();
    let finally = entries.iter().find(|entry| entry.key == "finally");
    let read = required(reader, yaml, entries, "tasks").map(|entry| tasks::read(reader, entry, finally));
    let tasks::Read { tasks, entries: entry_tasks, finally } = read.unwrap_or_default();
    let output = value("output").map(|yaml| output(reader, yaml)).unwrap_or_default();
    let timeout = value("timeout").and_then(|yaml| reader.duration("timeout", yaml, Zero::Refused));
    let concurrency = value("concurrency").and_then(|yaml| reader.count_field("concurrency", yaml, 1));
    let exclusive = value("exclusive").map(|yaml| exclusive(reader, yaml, &parameters)).unwrap_or_default();
    Some(Workflow {
        name: name.unwrap_or_else(|| "unnamed".parse().expect("a valid workflow name")),
        version: version.map(str::to_owned),
        description: description.map(str::to_owned),
        parameters,
        vars,
        tasks,
        entries: entry_tasks,
        output,
        timeout,
        concurrency,
        exclusive,
        finally,
        sites: reader.sites(),
    })
}

/// The entry of a key that every workflow has.
fn required<'y>(reader: &mut Reader<'_>, yaml: &Yaml, entries: &'y [Entry], key: &str) -> Option<&'y Entry> {
    let found = entries.iter().find(|entry| entry.key == key);
    if found.is_none() {
        let message = format!("the workflow has no `{key}`");
        reader.refuse("key_missing", yaml.span, message, "a workflow has at least `name` and `tasks`");
    }
    found
}

/// `exclusive`: names of parameters.
fn exclusive(reader: &mut Reader<'_>, yaml: &Yaml, parameters: &[Parameter]) -> Vec<KeyName> {
    let mut names: Vec<KeyName> = Vec::new();
    for yaml in reader.list("exclusive", yaml) {
        let Some(word) = reader.text("exclusive", yaml) else { continue };
        match parameters.iter().find(|parameter| parameter.name.as_str() == word) {
            Some(parameter) if names.contains(&parameter.name) => {
                let message = format!("`exclusive` names `{word}` twice");
                reader.refuse("duplicate_key", yaml.span, message, "name it once");
            }
            Some(parameter) => names.push(parameter.name.clone()),
            None => {
                let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                let help = reader.did_you_mean(word, &known).unwrap_or_else(|| {
                    "`exclusive` lists parameters: runs with equal values of them go one at a time".to_owned()
                });
                reader.refuse("unknown_parameter", yaml.span, format!("there is no parameter `{word}`"), help);
            }
        }
    }
    names
}

fn output(reader: &mut Reader<'_>, yaml: &Yaml) -> Vec<(String, Field)> {
    let entries = reader.map("output", yaml);
    entries
        .iter()
        .map(|entry| (entry.key.clone(), reader.field(format!("output.{}", entry.key), &entry.value)))
        .collect()
}
