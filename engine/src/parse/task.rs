//! One task.

use proto::id::{TaskName, WorkflowName};

use super::{
    condition, expression,
    field::Zero,
    keys::Place,
    reader::{Reader, as_count},
    transition::{self, Names},
    yaml::{Content, Entry, Yaml, quoted},
};
use crate::spec::{
    Backoff, Call, Field, Items, Join, OnItemError, OnLost, OutcomeTest, Pool, Retry, Span, Task, Transition, WaitFor,
    When,
};

/// What a task without `action` does.
const NOOP: &str = "core.noop";

/// Longest name of an action, in bytes.
const ACTION_BYTES_MAX: usize = 128;

/// A task of the file whose name is known, and whose content is still to be read.
pub(super) struct Named<'y> {
    pub(super) name: TaskName,
    /// Such as `tasks.probe`, with the name as it stands in the file.
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) place: Place,
    pub(super) yaml: &'y Yaml,
}

/// Reads a task. Its `inbound` is filled in when all are known.
pub(super) fn read(reader: &mut Reader<'_>, named: Named<'_>, names: &mut Names) -> Task {
    let Named { name, path, span, place, yaml } = named;
    let entries = reader.map(&path, yaml);
    reader.check_keys(place, &path, entries);
    let task = TaskReader { path, entries };
    let read = Task {
        call: task.call(reader),
        input: reader.map_field(&task.name("input"), task.value("input")),
        pool: task.pool(reader),
        on_lost: task.on_lost(reader),
        join: task.join(reader),
        wait_for: task.wait_for(reader),
        items: task.items(reader),
        retry: task.retry(reader),
        timeout: task.value("timeout").and_then(|yaml| reader.duration(&task.name("timeout"), yaml, Zero::Refused)),
        delay: task.value("delay").and_then(|yaml| reader.duration(&task.name("delay"), yaml, Zero::Allowed)),
        next: task.next(reader, names),
        inbound: Vec::new(),
        name,
        span,
    };
    task.check_child(reader, &read);
    read
}

struct TaskReader<'y> {
    /// Such as `tasks.probe`.
    path: String,
    entries: &'y [Entry],
}

impl<'y> TaskReader<'y> {
    fn entry(&self, key: &str) -> Option<&'y Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn value(&self, key: &str) -> Option<&'y Yaml> {
        self.entry(key).map(|entry| &entry.value)
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn call(&self, reader: &mut Reader<'_>) -> Call {
        let noop = || Call::Action(NOOP.to_owned());
        match (self.entry("action"), self.entry("workflow")) {
            (Some(_), Some(entry)) => {
                let message = format!("`{}` has both `action` and `workflow`", self.path);
                reader.refuse(
                    "call_twice",
                    entry.key_span,
                    message,
                    "a task does one of the two: make two tasks of it",
                );
                noop()
            }
            (None, Some(entry)) => self.workflow(reader, &entry.value).map_or_else(noop, Call::Workflow),
            (_, None) => self.action(reader).map_or_else(noop, Call::Action),
        }
    }

    /// Nobody evaluates whether the child of an item is started again: the scheduler decides it, and must be able to.
    fn check_child(&self, reader: &mut Reader<'_>, task: &Task) {
        let is_plain = task.retry.as_ref().is_none_or(Retry::is_plain);
        if let Some(entry) =
            self.entry("retry").filter(|_| task.action().is_none() && task.items.is_some() && !is_plain)
        {
            let message =
                format!("`{}` of a task that runs a workflow for each item cannot be evaluated", self.name("retry"));
            let help =
                "write out `count` and the delays, and use outcome functions in `when`; or retry inside the workflow";
            reader.refuse("retry_not_plain", entry.key_span, message, help);
        }
    }

    fn workflow(&self, reader: &mut Reader<'_>, yaml: &Yaml) -> Option<WorkflowName> {
        let text = reader.text(&self.name("workflow"), yaml)?;
        if expression::is_template(text) {
            let help = "a workflow is pinned when the run is accepted: use a task for each, and `when`";
            reader.refuse("name_invalid", yaml.span, format!("{} is no name of a workflow", quoted(text)), help);
            return None;
        }
        reader.name(text, yaml.span)
    }

    fn wait_for(&self, reader: &mut Reader<'_>) -> Option<WaitFor> {
        let entry = self.entry("wait_for")?;
        let path = self.name("wait_for");
        let wait = TaskReader { entries: reader.map(&path, &entry.value), path };
        reader.check_keys(Place::WaitFor, &wait.path, wait.entries);
        let Some(signal) = wait.value("signal") else {
            if matches!(entry.value.content, Content::Map(_) | Content::Null) {
                let message = format!("`{}` is missing", wait.name("signal"));
                reader.refuse("key_missing", entry.key_span, message, "name the signal: `signal: approval`");
            }
            return None;
        };
        let timeout = wait.value("timeout");
        let timeout = timeout.and_then(|yaml| reader.duration(&wait.name("timeout"), yaml, Zero::Refused));
        let text = reader.text(&wait.name("signal"), signal)?;
        Some(WaitFor { signal: reader.name(text, signal.span)?, timeout })
    }

    fn on_lost(&self, reader: &mut Reader<'_>) -> OnLost {
        let choices = [("retry", OnLost::Retry), ("fail", OnLost::Fail)];
        let read = self.value("on_lost").and_then(|yaml| reader.choice(&self.name("on_lost"), yaml, &choices));
        read.unwrap_or(OnLost::Retry)
    }

    fn action(&self, reader: &mut Reader<'_>) -> Option<String> {
        let yaml = self.value("action")?;
        let name = self.name("action");
        let action = reader.text(&name, yaml)?;
        let is_name = (1..=ACTION_BYTES_MAX).contains(&action.len())
            && action.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_name {
            let message =
                format!("{} is no name of an action: 1 to {ACTION_BYTES_MAX} of A-Z a-z 0-9 . _ -", quoted(action));
            let help = match expression::is_template(action) {
                true => "an action cannot be a template: use a task for each, and `when`",
                false => "such as `http.request` or `shell.run`",
            };
            reader.refuse("name_invalid", yaml.span, message, help);
        }
        is_name.then(|| action.to_owned())
    }

    fn pool(&self, reader: &mut Reader<'_>) -> Pool {
        let read = self.value("pool").and_then(|yaml| {
            let name = self.name("pool");
            let pool = reader.text(&name, yaml)?;
            match expression::is_template(pool) {
                true => Some(Pool::Evaluated(reader.field(name, yaml))),
                false => reader.name(pool, yaml.span).map(Pool::Named),
            }
        });
        read.unwrap_or_else(|| Pool::Named("default".parse().expect("the name of the pool follows the rules")))
    }

    fn join(&self, reader: &mut Reader<'_>) -> Option<Join> {
        let yaml = self.value("join")?;
        let is_all = matches!(&yaml.content, Content::Text(text) if text == "all");
        let join = match as_count(yaml) {
            Some(count) if count > 0 => Some(Join::Count(count)),
            Some(_) | None => is_all.then_some(Join::All),
        };
        if join.is_none() {
            reader.refuse_type(&self.name("join"), "`all` or a whole number of at least 1", yaml);
        }
        join
    }

    fn items(&self, reader: &mut Reader<'_>) -> Option<Items> {
        let Some(list) = self.value("with_items") else {
            for key in ["concurrency", "tolerate", "on_item_error"] {
                if let Some(entry) = self.entry(key) {
                    let message = format!("`{}` means nothing without `with_items`", self.name(key));
                    reader.refuse("items_missing", entry.key_span, message, "add `with_items`, or leave it out");
                }
            }
            return None;
        };
        let choices = [("continue", OnItemError::Continue), ("stop", OnItemError::Stop)];
        let on_error = self.value("on_item_error");
        let on_error = on_error.and_then(|yaml| reader.choice(&self.name("on_item_error"), yaml, &choices));
        let concurrency = self.value("concurrency");
        let tolerate = self.value("tolerate");
        Some(Items {
            list: self.item_list(reader, list),
            concurrency: concurrency.and_then(|yaml| reader.count_field(&self.name("concurrency"), yaml, 1)),
            tolerate: tolerate.and_then(|yaml| self.tolerate(reader, yaml)),
            on_error: on_error.unwrap_or(OnItemError::Continue),
        })
    }

    fn item_list(&self, reader: &mut Reader<'_>, yaml: &Yaml) -> Field {
        let name = self.name("with_items");
        match &yaml.content {
            Content::List(_) => return reader.field(name, yaml),
            Content::Text(text) if text.contains("<%") || text.contains("${{") => {
                let help =
                    "`<% … %>` is Orquesta and `${{ … }}` GitHub Actions; here, write \"{{ parameters.hosts }}\"";
                reader.refuse("foreign_expression", yaml.span, format!("`{name}` is no expression"), help);
            }
            Content::Text(text) if expression::is_template(text) => {
                return reader.single(&name, yaml);
            }
            Content::Map(entries) => return self.named_lists(reader, name, yaml, entries),
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {
                reader.refuse_type(&name, "a list or one \"{{ expression }}\"", yaml);
            }
        }
        reader.field(name, &Yaml { span: yaml.span, content: Content::Null })
    }

    /// Lists that go side by side: each is written out or one expression.
    fn named_lists(&self, reader: &mut Reader<'_>, name: String, yaml: &Yaml, entries: &[Entry]) -> Field {
        if entries.is_empty() {
            reader.refuse_type(&name, "a list, or lists by name", yaml);
        }
        for Entry { key, value, .. } in entries {
            let name = format!("{name}.{key}");
            match &value.content {
                Content::List(_) => {}
                Content::Text(text) if expression::is_template(text) => reader.check_single(&name, value),
                Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::Map(_) => {
                    reader.refuse_type(&name, "a list or one \"{{ expression }}\"", value);
                }
            }
        }
        reader.field(name, yaml)
    }

    fn tolerate(&self, reader: &mut Reader<'_>, yaml: &Yaml) -> Option<Field> {
        let name = self.name("tolerate");
        let fits = match &yaml.content {
            Content::Text(text) if expression::is_template(text) => true,
            Content::Text(text) => {
                let percent = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
                percent.and_then(|digits| digits.parse().ok()).is_some_and(|percent: u8| percent <= 100)
            }
            Content::Number(_) => as_count(yaml).is_some(),
            Content::Null | Content::Bool(_) | Content::List(_) | Content::Map(_) => false,
        };
        if !fits {
            reader.refuse_type(&name, "a whole number or a percentage from `0%` to `100%`", yaml);
        }
        fits.then(|| reader.field(name, yaml))
    }

    fn retry(&self, reader: &mut Reader<'_>) -> Option<Retry> {
        let entry = self.entry("retry")?;
        let retry = TaskReader { path: self.name("retry"), entries: reader.map(&self.name("retry"), &entry.value) };
        reader.check_keys(Place::Retry, &retry.path, retry.entries);
        if retry.value("count").is_none() && matches!(entry.value.content, Content::Map(_) | Content::Null) {
            let message = format!("`{}` is missing", retry.name("count"));
            reader.refuse(
                "key_missing",
                entry.key_span,
                message,
                "say how many retries follow the first attempt: `count: 3`",
            );
        }
        let backoffs =
            [("constant", Backoff::Constant), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)];
        let backoff = retry.value("backoff").and_then(|yaml| reader.choice(&retry.name("backoff"), yaml, &backoffs));
        let jitter = retry.value("jitter").and_then(|yaml| reader.boolean(&retry.name("jitter"), yaml));
        let when = retry.value("when").map(|yaml| condition::read(reader, &retry.name("when"), yaml));
        let delay = retry.value("delay").and_then(|yaml| reader.duration(&retry.name("delay"), yaml, Zero::Allowed));
        let max_delay = retry.value("max_delay");
        Some(Retry {
            count: retry.value("count").and_then(|yaml| reader.count_field(&retry.name("count"), yaml, 0))?,
            delay,
            backoff: backoff.unwrap_or(Backoff::Constant),
            max_delay: max_delay.and_then(|yaml| reader.duration(&retry.name("max_delay"), yaml, Zero::Allowed)),
            jitter: jitter.unwrap_or(true),
            when: when.unwrap_or(When::Outcome(OutcomeTest::Failed)),
        })
    }

    fn next(&self, reader: &mut Reader<'_>, names: &mut Names) -> Vec<Transition> {
        let Some(yaml) = self.value("next") else {
            return Vec::new();
        };
        let path = self.name("next");
        names.is_complete &= matches!(yaml.content, Content::List(_) | Content::Null);
        let transitions = reader.list(&path, yaml);
        let read = |(at, yaml)| transition::read(reader, &format!("{path}[{at}]"), yaml, names);
        transitions.iter().enumerate().map(read).collect()
    }
}
