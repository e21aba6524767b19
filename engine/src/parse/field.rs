//! Places of the file that may hold templates.

use std::collections::BTreeMap;

use proto::{json::Json, limits::TEMPLATE_BYTES_MAX};

use super::{
    expression,
    reader::{Reader, as_count},
    yaml::{Content, Entry, Number, Yaml},
};
use crate::{
    duration,
    spec::{DurationField, Field, Node, Span, Text},
};

/// Whether a duration of nothing makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

impl Reader<'_> {
    /// A place that holds any JSON, with templates in its texts.
    pub(super) fn field(&mut self, name: impl Into<String>, yaml: &Yaml) -> Field {
        let node = self.node(yaml);
        Field { site: self.next_site(), name: name.into(), node }
    }

    /// A place that holds a map; nothing is an empty one.
    pub(super) fn map_field(&mut self, name: &str, yaml: Option<&Yaml>) -> Field {
        match yaml {
            Some(yaml) if matches!(yaml.content, Content::Map(_)) => self.field(name, yaml),
            other => {
                if let Some(yaml) = other {
                    self.map(name, yaml);
                }
                let empty = Json::of(&BTreeMap::<String, ()>::new()).expect("an empty map is JSON");
                Field { site: self.next_site(), name: name.to_owned(), node: Node::Literal(empty) }
            }
        }
    }

    /// A place that yields a whole number of at least `least`.
    pub(super) fn count_field(&mut self, name: &str, yaml: &Yaml, least: u32) -> Option<Field> {
        let is_template = matches!(&yaml.content, Content::Text(text) if expression::is_template(text));
        let is_count = as_count(yaml).is_some_and(|count| count >= least);
        if is_template || is_count {
            return Some(self.single(name, yaml));
        }
        self.refuse_type(name, &format!("a whole number of at least {least}"), yaml);
        None
    }

    /// A place that yields one value which is no text: its template is exactly one expression.
    pub(super) fn single(&mut self, name: &str, yaml: &Yaml) -> Field {
        self.check_single(name, yaml);
        self.field(name, yaml)
    }

    /// Refuses a template that is more than one expression.
    pub(super) fn check_single(&mut self, name: &str, yaml: &Yaml) {
        if let Content::Text(text) = &yaml.content
            && expression::is_template(text)
            && expression::lone(text).is_none()
        {
            let message = format!("`{name}` yields a text: the template is not exactly one expression");
            self.refuse("not_one_expression", yaml.span, message, "write \"{{ expression }}\" with nothing around it");
        }
    }

    /// A duration: a number of seconds, a text such as `1m30s`, or a template.
    pub(super) fn duration(&mut self, name: &str, yaml: &Yaml, zero: Zero) -> Option<DurationField> {
        let known = match &yaml.content {
            Content::Text(text) if expression::is_template(text) => {
                return Some(DurationField::Evaluated(self.field(name, yaml)));
            }
            Content::Text(text) => duration::parse(text),
            Content::Number(Number::Signed(seconds)) => duration::from_seconds(*seconds as f64),
            Content::Number(Number::Unsigned(seconds)) => duration::from_seconds(*seconds as f64),
            Content::Number(Number::Float(seconds)) => duration::from_seconds(*seconds),
            Content::Null | Content::Bool(_) | Content::List(_) | Content::Map(_) => {
                self.refuse_type(name, "a duration such as `1m30s` or a number of seconds", yaml);
                return None;
            }
        };
        match known {
            Ok(duration) if duration.is_zero() && zero == Zero::Refused => {
                let help = "leave it out, or give the time";
                self.refuse("duration_invalid", yaml.span, format!("`{name}` cannot be zero"), help);
                None
            }
            Ok(duration) => Some(DurationField::Known(duration)),
            Err(error) => {
                let help = "write a text such as `1m30s`, or a bare number of seconds";
                self.refuse("duration_invalid", yaml.span, format!("`{name}` is no duration: {error}"), help);
                None
            }
        }
    }

    /// The expression of a condition, which may stand bare or as exactly one `{{ … }}`.
    pub(super) fn expression(&mut self, name: &str, source: &str, span: Span) -> Field {
        self.check_size(source, span);
        let node = Node::Expression(Text { source: source.to_owned(), span });
        Field { site: self.next_site(), name: name.to_owned(), node }
    }

    fn node(&mut self, yaml: &Yaml) -> Node {
        self.check_texts(yaml);
        templated(yaml)
    }

    /// Looks once at every text.
    fn check_texts(&mut self, yaml: &Yaml) {
        match &yaml.content {
            Content::Text(text) => {
                expression::check_yaql(self, text, yaml.span);
                if expression::is_template(text) {
                    expression::check(self, text, yaml.span);
                    self.check_size(text, yaml.span);
                }
            }
            Content::List(values) => values.iter().for_each(|value| self.check_texts(value)),
            Content::Map(entries) => entries.iter().for_each(|entry| self.check_entry(entry)),
            Content::Null | Content::Bool(_) | Content::Number(_) => {}
        }
    }

    fn check_entry(&mut self, entry: &Entry) {
        if expression::is_template(&entry.key) {
            let help = "build the map in one expression, or publish it before";
            self.refuse("template_in_key", entry.key_span, "a key cannot be a template", help);
        }
        self.check_texts(&entry.value);
    }

    fn check_size(&mut self, text: &str, span: Span) {
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("the template has {} bytes, more than {TEMPLATE_BYTES_MAX}", text.len());
            self.refuse("template_too_large", span, message, "move what is constant into a parameter or a file");
        }
    }
}

/// The canonical JSON of a value without templates.
pub(super) fn json(yaml: &Yaml) -> Json {
    Json::of(yaml).expect("the keys are texts and the numbers finite")
}

fn templated(yaml: &Yaml) -> Node {
    if !has_template(yaml) {
        return Node::Literal(json(yaml));
    }
    match &yaml.content {
        Content::Text(text) => Node::Template(Text { source: text.clone(), span: yaml.span }),
        Content::List(values) => Node::List(values.iter().map(templated).collect()),
        Content::Map(entries) => {
            Node::Map(entries.iter().map(|entry| (entry.key.clone(), templated(&entry.value))).collect())
        }
        Content::Null | Content::Bool(_) | Content::Number(_) => Node::Literal(json(yaml)),
    }
}

fn has_template(yaml: &Yaml) -> bool {
    match &yaml.content {
        Content::Text(text) => expression::is_template(text),
        Content::List(values) => values.iter().any(has_template),
        Content::Map(entries) => entries.iter().any(|entry| has_template(&entry.value)),
        Content::Null | Content::Bool(_) | Content::Number(_) => false,
    }
}
