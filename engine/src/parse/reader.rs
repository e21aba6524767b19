//! Reading values of an expected shape, and complaining in one voice when they are of another.

use std::{fmt::Display, str::FromStr};

use super::{
    habits,
    keys::{Place, listed},
    suggest::suggest,
    yaml::{Content, Entry, Number, Yaml, quoted},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    spec::{SiteId, Span},
};

/// What the parts of a file are read with: it collects the problems and numbers the fields.
pub(super) struct Reader<'a> {
    diagnostics: &'a mut Diagnostics,
    sites: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(diagnostics: &'a mut Diagnostics) -> Self {
        Self { diagnostics, sites: 0 }
    }

    /// How many fields were numbered.
    pub(super) fn sites(&self) -> u32 {
        self.sites
    }

    pub(super) fn next_site(&mut self) -> SiteId {
        self.sites += 1;
        SiteId(self.sites - 1)
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Tells an error and what to do about it.
    pub(super) fn refuse(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Diagnostic::error(code, span, message).with_help(help));
    }

    /// Refuses a value of the wrong kind.
    pub(super) fn refuse_type(&mut self, name: &str, expected: &str, yaml: &Yaml) {
        let message = format!("`{name}` must be {expected}, not {}", yaml.described());
        let error = Diagnostic::error("wrong_type", yaml.span, message);
        let help = match &yaml.content {
            Content::Text(text) if text.contains("{{") => Some("a template is not allowed here"),
            Content::Text(text) if matches!(text.as_str(), "yes" | "no" | "on" | "off") => {
                Some("write `true` or `false`: YAML 1.2 reads this word as a text")
            }
            Content::Number(_) if expected.starts_with("a text") => Some("put it into quotes"),
            Content::List(values)
                if expected.starts_with("a map") && values.iter().all(is_pair) && !values.is_empty() =>
            {
                Some("it is one map here: remove the dashes")
            }
            Content::Map(_) if expected.starts_with("a list") => Some("begin each entry with a dash"),
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Map(_) => None,
        };
        self.push(match help {
            Some(help) => error.with_help(help),
            None => error,
        });
    }

    /// Refuses every key of `entries` that does not belong to a `place` called `name`.
    pub(super) fn check_keys(&mut self, place: Place, name: &str, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| !place.keys().contains(&entry.key.as_str())) {
            let path = if name.is_empty() { entry.key.clone() } else { format!("{name}.{}", entry.key) };
            let shown: String = path.chars().take(120).collect();
            let error =
                Diagnostic::error("unknown_key", entry.key_span, format!("unknown key `{shown}` in {}", place.noun()));
            let help = match habits::key(place, &entry.key) {
                Some(habit) => habit,
                None => self
                    .did_you_mean(&entry.key, place.keys())
                    .unwrap_or_else(|| format!("{} has the keys {}", place.noun(), listed(place.keys()))),
            };
            self.push(error.with_help(help));
        }
    }

    /// `did you mean …?`, when one of `candidates` is near to `word`.
    pub(super) fn did_you_mean<T: AsRef<str>>(&self, word: &str, candidates: &[T]) -> Option<String> {
        // Nobody gets to read it past the bound, and it takes time.
        let near = if self.diagnostics.is_full() { None } else { suggest(word, candidates.iter().map(AsRef::as_ref)) };
        near.map(|near| format!("did you mean `{near}`?"))
    }

    /// A map's entries; nothing at all is an empty map.
    pub(super) fn map<'y>(&mut self, name: &str, yaml: &'y Yaml) -> &'y [Entry] {
        match &yaml.content {
            Content::Map(entries) => entries,
            Content::Null => &[],
            Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::List(_) => {
                self.refuse_type(name, "a map", yaml);
                &[]
            }
        }
    }

    /// A list's values; nothing at all is an empty list.
    pub(super) fn list<'y>(&mut self, name: &str, yaml: &'y Yaml) -> &'y [Yaml] {
        match &yaml.content {
            Content::List(values) => values,
            Content::Null => &[],
            Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::Map(_) => {
                self.refuse_type(name, "a list", yaml);
                &[]
            }
        }
    }

    pub(super) fn text<'y>(&mut self, name: &str, yaml: &'y Yaml) -> Option<&'y str> {
        match &yaml.content {
            Content::Text(text) => Some(text),
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::List(_) | Content::Map(_) => {
                self.refuse_type(name, "a text", yaml);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, name: &str, yaml: &Yaml) -> Option<bool> {
        match &yaml.content {
            Content::Bool(value) => Some(*value),
            Content::Null | Content::Number(_) | Content::Text(_) | Content::List(_) | Content::Map(_) => {
                self.refuse_type(name, "`true` or `false`", yaml);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, yaml: &Yaml, choices: &[(&str, T)]) -> Option<T> {
        let word = self.text(name, yaml)?;
        if let Some((_, value)) = choices.iter().find(|(choice, _)| *choice == word) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        let help = self.did_you_mean(word, &words).unwrap_or_else(|| format!("use {}", listed(&words)));
        self.refuse("wrong_word", yaml.span, format!("`{name}` cannot be {}", quoted(word)), help);
        None
    }

    /// A name that follows the rules for its kind.
    pub(super) fn name<T: FromStr<Err: Display>>(&mut self, text: &str, span: Span) -> Option<T> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let error = Diagnostic::error("name_invalid", span, error.to_string());
                let is_mended =
                    text.contains(['-', ' ', '.']) && text.replace(['-', ' ', '.'], "_").parse::<T>().is_ok();
                self.push(match is_mended {
                    true => error.with_help(format!("write `{}`", text.replace(['-', ' ', '.'], "_"))),
                    false => error,
                });
                None
            }
        }
    }
}

/// A whole number that fits in 32 bits.
pub(super) fn as_count(yaml: &Yaml) -> Option<u32> {
    match &yaml.content {
        Content::Number(Number::Signed(number)) => u32::try_from(*number).ok(),
        Content::Number(Number::Unsigned(_) | Number::Float(_))
        | Content::Null
        | Content::Bool(_)
        | Content::Text(_)
        | Content::List(_)
        | Content::Map(_) => None,
    }
}

fn is_pair(yaml: &Yaml) -> bool {
    matches!(&yaml.content, Content::Map(entries) if entries.len() == 1)
}
