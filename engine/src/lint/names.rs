//! Names that nothing in the file defines.
//!
//! This runs whenever a file is compiled: who reads `parameters.hots` where there is `hosts` need not wait for a run
//! to hear of it. Before `default`, `is defined` and after `?.` it is a warning, as then the run goes on without.

use std::collections::BTreeSet;

use super::{
    listed,
    reads::{self, Moment, Read, Subject},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    parse::suggest,
    spec::Workflow,
    template::{names::TASK_FIELDS, scan::Path},
};

/// What `run` has.
const RUN_FIELDS: [&str; 7] = ["id", "key", "workflow", "started_at", "status", "error", "labels"];

/// What `error` has, of a task that has just ended.
const ERROR_FIELDS: [&str; 3] = ["code", "message", "details"];

/// A name that is not there.
struct Missing {
    code: &'static str,
    message: String,
    help: String,
}

/// Everything that the file defines.
struct Defined<'w> {
    parameters: Vec<&'w str>,
    vars: Vec<&'w str>,
    /// Vars and published keys.
    workflow: BTreeSet<&'w str>,
    /// Signals that some task waits for.
    signals: BTreeSet<&'w str>,
}

pub(super) fn check(workflow: &Workflow, source: &str, found: &mut Diagnostics) {
    let vars: Vec<&str> = workflow.vars.iter().map(|(key, _)| key.as_str()).collect();
    let transitions = workflow.tasks.iter().flat_map(|task| &task.next);
    let published = transitions.flat_map(|transition| &transition.publish).map(|(key, _)| key.as_str());
    let defined = Defined {
        parameters: workflow.parameters.iter().map(|parameter| parameter.name.as_str()).collect(),
        workflow: vars.iter().copied().chain(published).collect(),
        signals: workflow.tasks.iter().filter_map(|task| Some(task.wait_for.as_ref()?.signal.as_str())).collect(),
        vars,
    };
    for read in reads::of(workflow) {
        for path in read.paths() {
            let Some(Missing { code, message, help }) = defined.missing(&read, path) else { continue };
            let span = read.span(path, source);
            let diagnostic = match read.requires(path) {
                true => Diagnostic::error(code, span, message),
                false => Diagnostic::warning(code, span, message),
            };
            found.push(diagnostic.with_help(help));
        }
    }
}

impl Defined<'_> {
    fn missing(&self, read: &Read<'_>, path: &Path) -> Option<Missing> {
        match reads::subject(path) {
            Subject::Parameter(name) if !self.parameters.contains(&name) => {
                let message = format!("the workflow declares no parameter `{name}`");
                let candidates = self.parameters.iter().copied();
                Some(missing("unknown_parameter", message, name, candidates, "declare it under `parameters`"))
            }
            Subject::Workflow(name) if !self.workflow.contains(name) => {
                let message = format!("`workflow.{name}` is neither in `vars` nor published by any task");
                let candidates = self.workflow.iter().copied();
                let other = match name {
                    // As Argo says them.
                    "parameters" => "parameters are read as `parameters.NAME`",
                    "name" | "status" => "what there is to know of the run is in `run`: `run.workflow`, `run.status`",
                    _ => "add it to `vars`, or `publish` it",
                };
                Some(missing("unknown_workflow_key", message, name, candidates, other))
            }
            Subject::Workflow(name) => self.too_early(read, name),
            Subject::Task(task, Some(field)) if !TASK_FIELDS.contains(&field) => {
                let message = format!("a task has no `{field}`: `{}`", read.written(path));
                let other = match field {
                    "output" | "outputs" | "value" | "stdout" | "json" | "data" => {
                        format!("did you mean `task.{task}.result`?")
                    }
                    "outcome" | "state" | "conclusion" => format!("did you mean `task.{task}.status`?"),
                    _ => format!("`task.{task}` has {}", listed(TASK_FIELDS)),
                };
                Some(missing("unknown_field", message, field, TASK_FIELDS.into_iter(), &other))
            }
            Subject::Task(task, Some(field)) if field != "status" && matches!(read.moment, Moment::Var(_)) => {
                Some(Missing {
                    code: "undefined_here",
                    message: format!("`{}`: no task has run when a run begins", read.written(path)),
                    help: format!("publish it in a transition of `{task}`"),
                })
            }
            Subject::Run(name) if !RUN_FIELDS.contains(&name) => {
                let message = format!("a run has no `{name}`");
                let other = format!("`run` has {}", listed(RUN_FIELDS));
                Some(missing("unknown_field", message, name, RUN_FIELDS.into_iter(), &other))
            }
            Subject::Error(name) if !ERROR_FIELDS.contains(&name) => {
                let message = format!("an error has no `{name}`");
                let other =
                    format!("`error` has {}; what the action returned is in `error.details`", listed(ERROR_FIELDS));
                Some(missing("unknown_field", message, name, ERROR_FIELDS.into_iter(), &other))
            }
            Subject::Signal(name) if !self.signals.contains(name) => {
                let message = format!("no task waits for a signal `{name}`: `{}`", read.written(path));
                let candidates = self.signals.iter().copied();
                Some(missing("unknown_signal", message, name, candidates, "add `wait_for` to a task that runs before"))
            }
            Subject::Signal(name) if matches!(read.moment, Moment::Var(_)) => Some(Missing {
                code: "undefined_here",
                message: format!("`{}`: no signal has come when a run begins", read.written(path)),
                help: format!("read `signal.{name}` in the task that waits for it, or behind it"),
            }),
            Subject::Parameter(_)
            | Subject::Task(..)
            | Subject::Signal(_)
            | Subject::Run(_)
            | Subject::Error(_)
            | Subject::Whole(_)
            | Subject::Other => None,
        }
    }

    /// Vars see those before them and nothing else.
    fn too_early(&self, read: &Read<'_>, name: &str) -> Option<Missing> {
        let Moment::Var(at) = read.moment else { return None };
        let (message, help) = match self.vars.iter().position(|var| *var == name) {
            Some(position) if position < at => return None,
            Some(position) if position == at => {
                (format!("the var `{name}` reads itself"), "give the value that it begins with".to_owned())
            }
            Some(_) => (format!("the var `{name}` is evaluated after this one"), format!("move `{name}` up")),
            None => (
                format!("`workflow.{name}` is published by a task, and no task has run when a run begins"),
                format!("give `{name}` a first value in `vars`"),
            ),
        };
        Some(Missing { code: "undefined_here", message, help })
    }
}

fn missing<'c>(
    code: &'static str,
    message: String,
    name: &str,
    candidates: impl Iterator<Item = &'c str>,
    otherwise: &str,
) -> Missing {
    let help = match suggest(name, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    };
    Missing { code, message, help }
}
