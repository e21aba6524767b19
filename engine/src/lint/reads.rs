//! Every template of a workflow, with where it is evaluated and what it reads.

use std::{collections::HashMap, ops::Range};

use proto::id::TaskName;

use crate::{
    program,
    spec::{Node, SiteId, Span, TaskIndex, Text, When, Workflow},
    template::{
        compile::{self, Form, Template},
        names::{OUTCOME_FUNCTIONS, Place, Purpose},
        scan::{Path, Segment},
    },
};

/// When a template is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// As the var at this position. Behind the last stand the run's own limits, which read all vars.
    Var(usize),
    /// Before a task waits for its signal, or is sent.
    Before(TaskIndex),
    /// Before a task's action has ended.
    Task(TaskIndex),
    /// As the condition of a task's transition.
    When(TaskIndex, usize),
    /// As an entry of what a task's transition publishes.
    Publish(TaskIndex, usize, usize),
    /// At the end of the run: as its output, or for the task of `finally`.
    Output,
}

/// One template.
#[derive(Debug)]
pub(super) struct Read<'w> {
    pub(super) moment: Moment,
    /// Such as `tasks.probe.input`.
    pub(super) field: &'w str,
    text: &'w Text,
    template: Template,
}

/// What a path reads of a run's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject<'r> {
    /// `parameters.<name>`.
    Parameter(&'r str),
    /// `workflow.<name>`.
    Workflow(&'r str),
    /// `task.<name>`, with the field, if any.
    Task(&'r str, Option<&'r str>),
    /// `signal.<name>`.
    Signal(&'r str),
    /// `run.<name>`.
    Run(&'r str),
    /// `error.<name>`, of the task that has just ended.
    Error(&'r str),
    /// One of the roots, with all below it.
    Whole(&'r str),
    /// Anything else.
    Other,
}

/// Every template that can be read. What is wrong with the others is told elsewhere.
pub(super) fn of(workflow: &Workflow) -> Vec<Read<'_>> {
    let tasks: Vec<TaskName> = workflow.tasks.iter().map(|task| task.name.clone()).collect();
    let moments = moments(workflow);
    let mut reads = Vec::new();
    for (field, place) in program::fields(workflow) {
        let moment = moments.get(&field.site).copied().unwrap_or_else(|| moment(workflow, place));
        texts(&field.node, &mut |text, form| {
            if let Ok(template) = compile::template(String::new(), text, form, place, &tasks) {
                reads.push(Read { moment, field: &field.name, text, template });
            }
        });
    }
    reads
}

/// When a field is evaluated, of those that no other field comes before.
fn moment(workflow: &Workflow, place: Place) -> Moment {
    match (place.task, place.purpose) {
        (None, Purpose::Limits) => Moment::Var(workflow.vars.len()),
        (None, _) => Moment::Output,
        (Some(task), _) if workflow.finally == Some(task) => Moment::Output,
        (Some(task), Purpose::Delay) => Moment::Before(task),
        (Some(task), _) => Moment::Task(task),
    }
}

/// The moments of fields that are evaluated one after the other.
fn moments(workflow: &Workflow) -> HashMap<SiteId, Moment> {
    let mut moments: HashMap<SiteId, Moment> =
        workflow.vars.iter().enumerate().map(|(at, (_, field))| (field.site, Moment::Var(at))).collect();
    for (index, task) in workflow.indexed() {
        for (at, transition) in task.next.iter().enumerate() {
            if let When::Expression(field) = &transition.when {
                moments.insert(field.site, Moment::When(index, at));
            }
            let published = transition.publish.iter().enumerate();
            moments.extend(published.map(|(entry, (_, field))| (field.site, Moment::Publish(index, at, entry))));
        }
    }
    moments
}

fn texts<'w>(node: &'w Node, visit: &mut impl FnMut(&'w Text, Form)) {
    match node {
        Node::Literal(_) => {}
        Node::Template(text) => visit(text, Form::Template),
        Node::Expression(text) => visit(text, Form::Expression),
        Node::List(nodes) => nodes.iter().for_each(|node| texts(node, visit)),
        Node::Map(entries) => entries.iter().for_each(|(_, node)| texts(node, visit)),
    }
}

impl<'w> Read<'w> {
    /// What it reads of the run, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.template.paths.iter().filter(|path| !path.is_local)
    }

    /// Whether the template fails when `path` is undefined.
    pub(super) fn requires(&self, path: &Path) -> bool {
        self.template.requires(path)
    }

    /// Whether the same template asks for the status of `task`, and so knows what it came to.
    pub(super) fn asks_status(&self, task: &str) -> bool {
        self.paths().any(|path| subject(path) == Subject::Task(task, Some("status")))
    }

    /// Whether it asks for the status of any task, and so may read of others only what goes with it.
    pub(super) fn asks_any_status(&self) -> bool {
        self.paths().any(|path| matches!(subject(path), Subject::Task(_, Some("status"))))
    }

    /// Whether it asks how the action ended, and so may read only what goes with that.
    pub(super) fn asks_outcome(&self) -> bool {
        OUTCOME_FUNCTIONS.iter().any(|function| self.text.source.contains(&format!("{function}(")))
    }

    /// Where `path` stands in `file`, which holds this template.
    pub(super) fn span(&self, path: &Path, file: &str) -> Span {
        within_text(self.text, &path.range, file).unwrap_or(self.text.span)
    }

    /// `path` as the user wrote it.
    pub(super) fn written(&self, path: &Path) -> &'w str {
        &self.text.source[path.range.clone()]
    }
}

/// Where a piece of `text` stands in `file`. YAML may have folded and unescaped what is around it, so its words are
/// looked for, as often as they stand before it.
fn within_text(text: &Text, range: &Range<usize>, file: &str) -> Option<Span> {
    let scalar = file.get(text.span.offset..text.span.offset + text.span.length)?;
    let piece = text.source.get(range.clone())?;
    let before = text.source[..range.start].matches(piece).count();
    let (at, _) = scalar.match_indices(piece).nth(before)?;
    Some(Span { offset: text.span.offset + at, length: piece.len() })
}

/// What `path` reads.
pub(super) fn subject(path: &Path) -> Subject<'_> {
    let name = |at: usize| match path.segments.get(at) {
        Some(Segment::Name(name)) => Some(name.as_str()),
        Some(Segment::Computed) | None => None,
    };
    match (path.root.as_str(), name(0)) {
        ("parameters", Some(first)) => Subject::Parameter(first),
        ("workflow", Some(first)) => Subject::Workflow(first),
        ("task", Some(first)) => Subject::Task(first, name(1)),
        ("signal", Some(first)) => Subject::Signal(first),
        ("run", Some(first)) => Subject::Run(first),
        ("error", Some(first)) => Subject::Error(first),
        (root @ ("parameters" | "workflow" | "task" | "signal"), None) => Subject::Whole(root),
        _ => Subject::Other,
    }
}
