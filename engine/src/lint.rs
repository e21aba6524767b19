//! What a workflow file says and hardly means: names that nothing defines, joins that nothing reaches, inputs that an
//! action does not take.
//!
//! A file with an error never runs, so an error is only what can never work. Everything else is a warning, and no
//! warning is given where a file may well be right: whether a condition holds that asks for more than an outcome,
//! nobody knows before the run.
//!
//! Reading order: `reads` is what each template reads, `statuses` is with which outcomes a condition can hold, `graph`
//! is who starts whom, `exclusion` which tasks never run both, `flow` what is defined where. On these stand the rules:
//! `names`, `undefined`, `paths`, `transitions`, `joins` with `conflicts`, `unused`, `settings` with `retries`, `inputs`,
//! `children`.

mod children;
mod conflicts;
mod exclusion;
mod flow;
mod graph;
mod inputs;
mod joins;
mod names;
mod paths;
mod reads;
mod retries;
mod settings;
mod statuses;
mod transitions;
mod undefined;
mod unused;

use std::collections::BTreeMap;

use self::{exclusion::Conditions, graph::Graph, reads::Read};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    parse::places::{Places, Spot},
    program::Program,
    spec::{Span, TaskIndex, Workflow},
};

/// JSON Schemas of the inputs that actions take, by the names of the actions. Empty: no input is checked.
pub type Actions = BTreeMap<String, serde_json::Value>;

/// Why a text does not hold [`Actions`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no map in JSON.
    #[error("no map from names of actions to schemas")]
    NoMap(#[from] serde_json::Error),
    /// One of the values is no JSON Schema.
    #[error("the input schema of action {action} is not valid: {reason}")]
    Schema {
        /// The action.
        action: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads actions that were written down as a map in JSON.
///
/// # Errors
/// See [`Error`].
pub fn read_actions(text: &str) -> Result<Actions, Error> {
    let actions: Actions = serde_json::from_str(text)?;
    for (action, schema) in &actions {
        jsonschema::draft202012::new(schema)
            .map_err(|error| Error::Schema { action: action.clone(), reason: error.to_string() })?;
    }
    Ok(actions)
}

/// What the rules look at.
struct Lint<'a> {
    workflow: &'a Workflow,
    /// The file.
    source: &'a str,
    places: Places,
    reads: Vec<Read<'a>>,
    graph: Graph,
    conditions: Conditions,
    actions: &'a Actions,
    /// All that are looked at together, this one among them.
    workflows: &'a [&'a Workflow],
}

/// Each adds what it finds.
const RULES: [fn(&Lint<'_>, &mut Diagnostics); 9] = [
    undefined::check,
    paths::check,
    transitions::check,
    joins::check,
    unused::check,
    settings::check,
    retries::check,
    inputs::check,
    children::check,
];

/// The warnings for `program`, whose file `file` holds `source`, besides those that came with it when it was compiled.
///
/// It takes more time than compiling, so it is for people who write workflows and not for whoever runs them.
#[must_use]
pub fn check(program: &Program, source: &str, file: &str, actions: &Actions) -> Diagnostics {
    check_among(program, source, file, actions, &[program.workflow()])
}

/// As [`check`], where `workflows` are all that are looked at together, this one among them: tasks that run one of
/// them are held against its parameters.
#[must_use]
pub fn check_among(
    program: &Program,
    source: &str,
    file: &str,
    actions: &Actions,
    workflows: &[&Workflow],
) -> Diagnostics {
    let workflow = program.workflow();
    let graph = Graph::of(workflow);
    let lint = Lint {
        workflow,
        source,
        places: Places::of(source),
        reads: reads::of(workflow),
        conditions: Conditions::of(workflow, &graph),
        graph,
        actions,
        workflows,
    };
    let mut found = Diagnostics::new(file, source);
    for rule in RULES {
        rule(&lint, &mut found);
    }
    found.sort();
    found
}

/// Names below `parameters`, `workflow`, `task`, `run` and `error` that nothing defines anywhere: part of compiling.
pub(crate) fn names(workflow: &Workflow, source: &str, file: &str) -> Diagnostics {
    let mut found = Diagnostics::new(file, source);
    names::check(workflow, source, &mut found);
    found.sort();
    found
}

impl Lint<'_> {
    /// Where a transition of `task` stands.
    fn transition(&self, task: TaskIndex, at: usize) -> Spot<'_> {
        self.places.task(task).at("next").at(&at.to_string())
    }
}

/// Adds a warning, with what to do about it.
fn warn(found: &mut Diagnostics, code: &'static str, span: Span, message: String, help: impl Into<String>) {
    found.push(Diagnostic::warning(code, span, message).with_help(help));
}

/// Such as `` `a`, `b` and `c` ``.
fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
