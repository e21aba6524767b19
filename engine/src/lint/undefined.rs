//! Reads of what is published, or has run, only elsewhere: in another branch, later, or on some of the ways alone.

use super::{
    Lint,
    flow::{Flow, Key, Known, Presence},
    listed,
    reads::{self, Moment, Read, Subject},
    warn,
};
use crate::{
    diagnostic::Diagnostics,
    spec::{Span, Task, TaskIndex},
    template::scan::Path,
};

/// A read of something that is not surely there.
struct Doubt<'a> {
    key: Key<'a>,
    /// The path, as it is written.
    written: &'a str,
    span: Span,
    moment: Moment,
}

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    let Some(flow) = Flow::of(lint) else { return };
    for read in &lint.reads {
        let Some(known) = flow.at(read.moment) else { continue };
        for path in read.paths().filter(|path| read.requires(path)) {
            check_path(lint, &flow, &known, read, path, found);
        }
    }
}

fn check_path<'a>(
    lint: &'a Lint<'_>,
    flow: &Flow<'a>,
    known: &Known,
    read: &'a Read<'_>,
    path: &'a Path,
    found: &mut Diagnostics,
) {
    let Some(key) = key(lint, flow, read, path) else { return };
    let doubt = Doubt { key, written: read.written(path), span: read.span(path, lint.source), moment: read.moment };
    if let (Subject::Task(name, Some("item_errors")), Key::Ended(task)) = (reads::subject(path), key)
        && lint.workflow.task(task).items.is_none()
    {
        let message = format!("`{}` is never there: `{name}` has no items", doubt.written);
        warn(found, "undefined_here", doubt.span, message, "only a task with `with_items` has it");
        return;
    }
    match (flow.presence(known, key), read.moment) {
        (Presence::Sure, _) => {}
        // A key of `output` that cannot be evaluated is left out, which is what most want of a run that failed.
        (Presence::Maybe, Moment::Output) => {}
        // `task.a.result if task.a.status == "succeeded" else task.b.result` is a way to say that it is either.
        (Presence::Maybe, _) if !matches!(key, Key::Workflow(_)) && read.asks_any_status() => {}
        // `timed_out() or signal.approval.ok` reads no more than there is.
        (Presence::Maybe, Moment::When(..)) if matches!(key, Key::Signal(_)) && read.asks_outcome() => {}
        (Presence::Maybe, _) => doubt.tell_maybe(lint, flow, found),
        (Presence::Never, _) => doubt.tell_never(lint, found),
    }
}

/// What must be there for `path`, if its template fails without it and nothing in it has asked.
fn key<'a>(lint: &Lint<'_>, flow: &Flow<'a>, read: &Read<'_>, path: &'a Path) -> Option<Key<'a>> {
    match reads::subject(path) {
        // What is defined nowhere is told when the file is compiled.
        Subject::Workflow(name) => lint.is_defined(name).then_some(Key::Workflow(name)),
        Subject::Signal(name) => (!lint.waiters(name).is_empty()).then_some(Key::Signal(name)),
        Subject::Task(name, Some(_)) if read.asks_status(name) => None,
        Subject::Task(name, Some("result" | "attempts" | "item_errors")) => Some(Key::Ended(flow.task(name)?)),
        Subject::Task(name, Some("error")) => Some(Key::Error(flow.task(name)?)),
        Subject::Task(..)
        | Subject::Parameter(_)
        | Subject::Run(_)
        | Subject::Error(_)
        | Subject::Whole(_)
        | Subject::Other => None,
    }
}

impl Lint<'_> {
    fn is_defined(&self, name: &str) -> bool {
        self.workflow.vars.iter().any(|(key, _)| key.as_str() == name) || !self.publishers(name).is_empty()
    }

    /// The tasks that publish `name`.
    fn publishers(&self, name: &str) -> Vec<TaskIndex> {
        let publishes = |index: &TaskIndex| {
            let next = &self.workflow.task(*index).next;
            next.iter().flat_map(|transition| &transition.publish).any(|(key, _)| key.as_str() == name)
        };
        self.workflow.indexed().map(|(index, _)| index).filter(publishes).collect()
    }

    /// The tasks that wait for the signal `name`.
    fn waiters(&self, name: &str) -> Vec<TaskIndex> {
        let waits = |task: &Task| task.wait_for.as_ref().is_some_and(|wait_for| wait_for.signal.as_str() == name);
        self.workflow.indexed().filter(|(_, task)| waits(task)).map(|(index, _)| index).collect()
    }

    fn may_wait_in_vain(&self, task: TaskIndex) -> bool {
        self.workflow.task(task).wait_for.as_ref().is_some_and(|wait_for| wait_for.timeout.is_some())
    }

    fn name(&self, task: TaskIndex) -> &str {
        self.workflow.task(task).name.as_str()
    }
}

impl Moment {
    fn task(self) -> Option<TaskIndex> {
        match self {
            Self::Before(task) | Self::Task(task) | Self::When(task, _) | Self::Publish(task, _, _) => Some(task),
            Self::Var(_) | Self::Output => None,
        }
    }
}

impl Doubt<'_> {
    fn tell_never(&self, lint: &Lint<'_>, found: &mut Diagnostics) {
        let written = self.written;
        let before = self.moment.task().map(|task| lint.name(task));
        let never = |what: &str| match before {
            Some(task) => format!("does not {what} before `{task}`"),
            None => format!("does not ever {what}"),
        };
        let (message, help) = match self.key {
            Key::Workflow(name) => self.never_published(lint, name),
            Key::Signal(name) => self.never_received(lint, name),
            Key::Ended(task) | Key::Error(task) if self.is_own(task) => {
                let message = format!("`{written}` is undefined here: `{}` has not ended yet", lint.name(task));
                let field = written.rsplit('.').next().unwrap_or(written);
                let is_after = matches!(self.moment, Moment::When(..) | Moment::Publish(..));
                (
                    message,
                    match is_after {
                        true => format!("in its own transitions, write `{}`", own(written).unwrap_or(field)),
                        false => {
                            "it can be read in transitions, as `result` and `error`, and in the tasks behind".to_owned()
                        }
                    },
                )
            }
            Key::Ended(task) | Key::Error(task) if lint.workflow.finally == Some(task) => {
                let message = format!("`{written}` is undefined here: `finally` runs when all else has ended");
                (message, "do in a task of its own what others read".to_owned())
            }
            Key::Ended(task) => {
                let message = format!("`{written}` is undefined here: `{}` {}", lint.name(task), never("run"));
                (message, "let a transition lead from it to here, or join its branch first".to_owned())
            }
            Key::Error(task) => {
                let message = format!("`{written}` is undefined here: `{}` {}", lint.name(task), never("run and fail"));
                (message, "only a task that did not succeed has an `error`".to_owned())
            }
        };
        warn(found, "undefined_here", self.span, message, help);
    }

    fn never_published(&self, lint: &Lint<'_>, name: &str) -> (String, String) {
        let publishers = lint.publishers(name);
        let why = match self.moment.task() {
            Some(task) => format!("nothing publishes it before `{}`", lint.name(task)),
            None => "no task that ever runs publishes it".to_owned(),
        };
        let names = listed(publishers.iter().map(|task| lint.name(*task)));
        let help = match publishers.as_slice() {
            [task] if self.is_own(*task) => format!("{names} itself publishes it, and only later"),
            [_] => format!(
                "{names} publishes it, later or in another branch: lead from there to here, or join that branch"
            ),
            _ => format!("{names} publish it, later or in other branches: lead from there to here, or join these"),
        };
        (format!("`{}` is undefined here: {why}", self.written), help)
    }

    fn never_received(&self, lint: &Lint<'_>, name: &str) -> (String, String) {
        let waiters = lint.waiters(name);
        let why = match self.moment.task() {
            Some(task) => format!("nothing waits for this signal before `{}`", lint.name(task)),
            None => "no task that ever runs waits for this signal".to_owned(),
        };
        let names = listed(waiters.iter().map(|task| lint.name(*task)));
        let help = match waiters.as_slice() {
            [task] if self.is_own(*task) => {
                format!("{names} itself waits for it: read it in `input`, in `next`, or behind")
            }
            _ => format!("{names} waits for it: lead from there to here"),
        };
        (format!("`{}` is undefined here: {why}", self.written), help)
    }

    fn tell_maybe(&self, lint: &Lint<'_>, flow: &Flow<'_>, found: &mut Diagnostics) {
        let written = self.written;
        let way = self.moment.task().and_then(|task| flow.way_without(task, self.key));
        let by_way = way.map(|task| format!(", such as when it comes from `{}`", lint.name(task))).unwrap_or_default();
        let here = self.moment.task().map_or("the output", |task| lint.name(task));
        let (message, help) = match self.key {
            Key::Workflow(_) => (
                format!("`{written}` may be undefined here: not every way to `{here}` publishes it{by_way}"),
                format!(
                    "publish it on every way, give it a first value in `vars`, or write `{written} | default(value=…)`"
                ),
            ),
            Key::Signal(_) => (
                format!("`{written}` may be undefined here: the signal may not have come{by_way}"),
                format!("come here on `succeeded()` only, or write `{written} | default(value=…)`"),
            ),
            Key::Ended(task) if lint.may_wait_in_vain(task) => (
                format!("`{written}` may be undefined here: `{}` may have waited in vain{by_way}", lint.name(task)),
                format!("ask `task.{}.status` first, or come here on `succeeded()` only", lint.name(task)),
            ),
            Key::Ended(task) => (
                format!(
                    "`{written}` may be undefined here: `{}` is not on every way to `{here}`{by_way}",
                    lint.name(task)
                ),
                format!("ask `task.{}.status` first, or write `{written} | default(value=…)`", lint.name(task)),
            ),
            Key::Error(task) => (
                format!("`{written}` may be undefined here: `{}` may have succeeded, or not have run", lint.name(task)),
                format!("ask `task.{}.status` first, or come here on `failed()` only", lint.name(task)),
            ),
        };
        warn(found, "maybe_undefined", self.span, message, help);
    }

    fn is_own(&self, task: TaskIndex) -> bool {
        self.moment.task() == Some(task)
    }
}

/// `task.probe.result.rows` as the task itself says it: `result.rows`.
fn own(written: &str) -> Option<&str> {
    written.splitn(3, '.').nth(2)
}
