//! A YAML file as a tree in which everything knows where it stands.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::spec::Span;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Yaml {
    pub(super) span: Span,
    pub(super) content: Content,
}

/// What JSON can say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<Entry>),
}

/// A number that 64 bits hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Yaml,
}

impl Yaml {
    /// What it is, as messages say it.
    pub(super) fn described(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Number(Number::Signed(number)) => format!("the number {number}"),
            Content::Number(Number::Unsigned(number)) => format!("the number {number}"),
            Content::Number(Number::Float(number)) => format!("the number {number}"),
            Content::Text(text) => format!("the text {}", quoted(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    /// The place that a JSON pointer's `segments` lead to, or the last one on the way.
    pub(super) fn place(&self, segments: impl Iterator<Item = String>) -> Span {
        let mut at = self;
        for segment in segments {
            let next = match &at.content {
                Content::Map(entries) => entries.iter().find(|entry| entry.key == segment).map(|entry| &entry.value),
                Content::List(values) => segment.parse().ok().and_then(|index: usize| values.get(index)),
                Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => None,
            };
            match next {
                Some(value) => at = value,
                None => break,
            }
        }
        at.span
    }

    /// What copying it counts: 32, and the bytes of its texts.
    pub(super) fn cost(&self) -> usize {
        32 + match &self.content {
            Content::Null | Content::Bool(_) | Content::Number(_) => 0,
            Content::Text(text) => text.len(),
            Content::List(values) => values.iter().map(Self::cost).sum(),
            Content::Map(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.cost()).sum(),
        }
    }

    /// How many lists and maps it nests.
    pub(super) fn depth(&self) -> usize {
        match &self.content {
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => 0,
            Content::List(values) => 1 + values.iter().map(Self::depth).max().unwrap_or(0),
            Content::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
        }
    }
}

/// As JSON, with its maps in the order of their keys.
impl Serialize for Yaml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.content {
            Content::Null => serializer.serialize_unit(),
            Content::Bool(value) => serializer.serialize_bool(*value),
            Content::Number(Number::Signed(number)) => serializer.serialize_i64(*number),
            Content::Number(Number::Unsigned(number)) => serializer.serialize_u64(*number),
            Content::Number(Number::Float(number)) => serializer.serialize_f64(*number),
            Content::Text(text) => serializer.serialize_str(text),
            Content::List(values) => serializer.collect_seq(values),
            Content::Map(entries) => {
                let mut sorted: Vec<&Entry> = entries.iter().collect();
                sorted.sort_by(|a, b| a.key.cmp(&b.key));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for entry in sorted {
                    map.serialize_entry(&entry.key, &entry.value)?;
                }
                map.end()
            }
        }
    }
}

/// `text` in quotes, short and on one line, as messages name what users wrote.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
