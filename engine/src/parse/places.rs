//! Where things of a file stand, for who looks at a workflow after it was read.

use super::{
    load,
    yaml::{Content, Yaml},
};
use crate::{
    diagnostic::Diagnostics,
    spec::{Span, TaskIndex},
};

/// A file as a tree in which everything knows where it stands.
#[derive(Debug)]
pub(crate) struct Places(Option<Yaml>);

/// A value of the file, and the key in front of it. What is not there stands where the last thing on the way to it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    key: Span,
    yaml: Option<&'a Yaml>,
}

impl Places {
    /// Those of `source`, a workflow file that was read without errors.
    pub(crate) fn of(source: &str) -> Self {
        Self(load::load(source, &mut Diagnostics::new("", source)))
    }

    /// The file itself.
    pub(crate) fn root(&self) -> Spot<'_> {
        let yaml = self.0.as_ref();
        Spot { key: yaml.map_or_else(Span::default, first_line), yaml }
    }

    /// The task at `index`, whose key is its name. The one behind all others is `finally`.
    pub(crate) fn task(&self, index: TaskIndex) -> Spot<'_> {
        let tasks = self.root().at("tasks");
        let at = usize::from(index.0);
        let is_listed = match tasks.yaml.map(|yaml| &yaml.content) {
            Some(Content::Map(entries)) => at < entries.len(),
            Some(_) | None => tasks.has(&at.to_string()),
        };
        if !is_listed {
            return self.root().at("finally");
        }
        match tasks.yaml.map(|yaml| &yaml.content) {
            Some(Content::Map(entries)) => entries
                .get(at)
                .map_or(Spot { yaml: None, ..tasks }, |entry| Spot { key: entry.key_span, yaml: Some(&entry.value) }),
            Some(_) | None => {
                let task = tasks.at(&at.to_string());
                Spot { key: task.at("name").value(), ..task }
            }
        }
    }
}

impl Spot<'_> {
    /// What stands below it at `segment`: a key, or a position in a list.
    pub(crate) fn at(self, segment: &str) -> Self {
        let below = match self.yaml.map(|yaml| &yaml.content) {
            Some(Content::Map(entries)) => entries
                .iter()
                .find(|entry| entry.key == segment)
                .map(|entry| Self { key: entry.key_span, yaml: Some(&entry.value) }),
            Some(Content::List(values)) => segment
                .parse()
                .ok()
                .and_then(|at: usize| values.get(at))
                .map(|yaml| Self { key: first_line(yaml), yaml: Some(yaml) }),
            Some(Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_)) | None => None,
        };
        below.unwrap_or(Self { yaml: None, ..self })
    }

    /// Whether there is something below it at `segment`.
    pub(crate) fn has(self, segment: &str) -> bool {
        self.at(segment).is_there()
    }

    /// Whether it is there.
    pub(crate) fn is_there(self) -> bool {
        self.yaml.is_some()
    }

    /// Where its key stands.
    pub(crate) fn key(self) -> Span {
        self.key
    }

    /// Where its value stands; of a map or list, where that begins.
    pub(crate) fn value(self) -> Span {
        self.yaml.map_or(self.key, first_line)
    }
}

/// A piece of `yaml` that is no longer than a line: a whole map would be shown over many.
fn first_line(yaml: &Yaml) -> Span {
    match &yaml.content {
        Content::Map(entries) => entries.first().map_or(yaml.span, |entry| entry.key_span),
        Content::List(values) => values.first().map_or(yaml.span, first_line),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => yaml.span,
    }
}
