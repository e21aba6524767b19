//! One entry of `next`, and the names that its `do` may say.

use std::collections::{HashMap, HashSet};

use proto::id::{KeyName, TaskName};

use super::{
    condition, expression,
    keys::Place,
    reader::Reader,
    yaml::{Content, Yaml, quoted},
};
use crate::spec::{Field, OutcomeTest, Span, Target, TaskIndex, Transition, When};

/// What `do` can say besides the name of a task, so that no task is called so.
pub(crate) const RESERVED: [&str; 4] = ["noop", "continue", "fail", "retry"];

/// The tasks of the file by name.
#[derive(Default)]
pub(super) struct Names {
    /// Where each stands.
    pub(super) known: HashMap<TaskName, TaskIndex>,
    /// Names in file order, for did-you-mean.
    pub(super) listed: Vec<TaskName>,
    /// How many tasks there are, with and without a name.
    pub(super) count: usize,
    /// Names that were refused: who points to one need not hear of it again.
    pub(super) refused: HashSet<String>,
    /// Whether every transition was understood, so that conclusions about who points to whom hold.
    pub(super) is_complete: bool,
}

/// Reads the transition called `path`.
pub(super) fn read(reader: &mut Reader<'_>, path: &str, yaml: &Yaml, names: &mut Names) -> Transition {
    if !matches!(yaml.content, Content::Map(_)) {
        reader.refuse_type(path, "a map with `when`, `publish` and `do`", yaml);
        names.is_complete = false;
        return Transition { when: ALWAYS, publish: Vec::new(), targets: vec![Target::Continue] };
    }
    let entries = reader.map(path, yaml);
    reader.check_keys(Place::Transition, path, entries);
    // A mistyped `do` would make its targets look like tasks that nothing points to.
    names.is_complete &= entries.iter().all(|entry| Place::Transition.keys().contains(&entry.key.as_str()));
    let value = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let when = value("when").map_or(ALWAYS, |yaml| condition::read(reader, &format!("{path}.when"), yaml));
    let publish =
        value("publish").map(|yaml| keyed_fields(reader, &format!("{path}.publish"), yaml)).unwrap_or_default();
    let targets = match value("do") {
        Some(yaml) => targets(reader, &format!("{path}.do"), yaml, names),
        None => vec![Target::Continue],
    };
    Transition { when, publish, targets }
}

/// `publish` or `vars`: keys that templates can say, each with a field.
pub(super) fn keyed_fields(reader: &mut Reader<'_>, path: &str, yaml: &Yaml) -> Vec<(KeyName, Field)> {
    let mut fields = Vec::new();
    for entry in reader.map(path, yaml) {
        let field = reader.field(format!("{path}.{}", entry.key), &entry.value);
        if let Some(key) = reader.name(&entry.key, entry.key_span) {
            fields.push((key, field));
        }
    }
    fields
}

const ALWAYS: When = When::Outcome(OutcomeTest::Constant(true));

fn targets(reader: &mut Reader<'_>, path: &str, yaml: &Yaml, names: &mut Names) -> Vec<Target> {
    let words = match &yaml.content {
        Content::Text(_) => std::slice::from_ref(yaml),
        Content::List(values) if !values.is_empty() => values,
        Content::List(_) | Content::Null | Content::Bool(_) | Content::Number(_) | Content::Map(_) => {
            reader.refuse_type(path, "the name of a task or a list of names", yaml);
            names.is_complete = false;
            return Vec::new();
        }
    };
    let mut targets = Vec::new();
    for yaml in words {
        let target = reader.text(path, yaml).and_then(|word| target(reader, word, yaml.span, names));
        match target {
            Some(target) if targets.contains(&target) => {
                let message = format!("`{path}` names {} twice", yaml.described());
                reader.refuse("duplicate_target", yaml.span, message, "name it once");
            }
            Some(target) => targets.push(target),
            None => names.is_complete = false,
        }
    }
    targets
}

fn target(reader: &mut Reader<'_>, word: &str, span: Span, names: &Names) -> Option<Target> {
    match word {
        "noop" => return Some(Target::Noop),
        "continue" => return Some(Target::Continue),
        "fail" => return Some(Target::Fail),
        "retry" => return Some(Target::Retry),
        _ => {}
    }
    let known = word.parse().ok().and_then(|name: TaskName| names.known.get(&name).copied());
    if known.is_none() && !names.refused.contains(word) {
        let help = if expression::is_template(word) {
            "a target cannot be a template: use a transition for each, and `when`".to_owned()
        } else if word.contains(',') {
            "several targets are a list: `do: [a, b]`".to_owned()
        } else {
            let words: Vec<&str> = names.listed.iter().map(TaskName::as_str).chain(RESERVED).collect();
            reader
                .did_you_mean(word, &words)
                .unwrap_or_else(|| "define the task, or use `noop`, `continue`, `fail` or `retry`".to_owned())
        };
        reader.refuse("unknown_task", span, format!("there is no task {}", quoted(word)), help);
    }
    known.map(Target::Task)
}
