//! YAML text to a [`Yaml`] tree.
//!
//! YAML 1.2 with its core schema, of which JSON is a part. Stricter than a loader of data would be: one document,
//! keys are texts and stand once, aliases are copied within a bound, merge keys are refused.

use std::collections::HashMap;

use proto::limits::{SUBMISSION_BYTES_MAX, VALUE_DEPTH_MAX};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::{
    escapes, scalar,
    yaml::{Content, Entry, Yaml, quoted},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    spec::Span,
};

/// The most that anchors and aliases may copy, as [`Yaml::cost`] counts.
const COPIED_MAX: usize = 4 * 1024 * 1024;

/// Reads `source`; `None` when it is not one YAML document, with the reason among `diagnostics`.
///
/// What is wrong with single values is told as well, and reading goes on behind it.
pub(super) fn load(source: &str, diagnostics: &mut Diagnostics) -> Option<Yaml> {
    if source.len() > SUBMISSION_BYTES_MAX {
        let message =
            format!("the file has {} bytes, more than the {SUBMISSION_BYTES_MAX} of a workflow", source.len());
        diagnostics.push(Diagnostic::error("submission_too_large", Span::default(), message));
        return None;
    }
    let (text, offsets) = escapes::prepared(source);
    let mut loader =
        Loader { diagnostics, offsets, source, open: Vec::new(), root: None, anchors: HashMap::new(), copied: 0 };
    let mut parser = Parser::new_from_str(&text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => loader.take(event, span)?,
            Err(error) => {
                loader.refuse_syntax(&error);
                return None;
            }
        }
    }
    let root = loader.root.take();
    if root.is_none() {
        diagnostics.push(
            Diagnostic::error("file_empty", Span::default(), "the file holds no workflow")
                .with_help("a workflow has at least `name` and `tasks`"),
        );
    }
    root
}

/// A list or a map that is not complete yet.
struct Open {
    anchor: usize,
    span: Span,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Yaml>),
    Map { entries: Vec<Entry>, known: HashMap<String, Span>, key: Awaited },
}

/// What a map waits for.
enum Awaited {
    Key,
    ValueOf(String, Span),
    /// The value of a key that was refused.
    Dropped,
}

struct Loader<'a> {
    diagnostics: &'a mut Diagnostics,
    source: &'a str,
    offsets: Option<Vec<usize>>,
    open: Vec<Open>,
    root: Option<Yaml>,
    anchors: HashMap<usize, Yaml>,
    copied: usize,
}

impl Loader<'_> {
    /// Takes one event; `None` when the rest of the file cannot be read.
    fn take(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Option<()> {
        let span = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span);
                self.begin(Open { anchor, span, kind: OpenKind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span);
                let kind = OpenKind::Map { entries: Vec::new(), known: HashMap::new(), key: Awaited::Key };
                self.begin(Open { anchor, span, kind })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                Some(())
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                let error = Diagnostic::error("many_documents", span, "the file holds more than one document");
                self.diagnostics.push(error.with_help("put each workflow into a file of its own"));
                None
            }
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {
                Some(())
            }
        }
    }

    fn begin(&mut self, open: Open) -> Option<()> {
        if self.open.len() >= VALUE_DEPTH_MAX {
            let message = format!("lists and maps are nested deeper than {VALUE_DEPTH_MAX} levels");
            self.diagnostics.push(Diagnostic::error("json_too_deep", open.span, message));
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn end(&mut self, end: Span) {
        let Some(Open { anchor, span, kind }) = self.open.pop() else {
            return;
        };
        let content = match kind {
            OpenKind::List(values) => Content::List(values),
            OpenKind::Map { entries, .. } => Content::Map(entries),
        };
        // A flow list or map reaches to its bracket; of a block, where it begins is enough for messages.
        let is_flow = matches!(self.source.as_bytes().get(end.offset), Some(b']' | b'}'));
        let length = match is_flow {
            true => (end.offset + 1).saturating_sub(span.offset),
            false => span.length,
        };
        self.place(anchor, Yaml { span: Span { length, ..span }, content });
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: Span) -> Option<()> {
        if self.awaits_key() {
            self.key(text, style, span);
            return Some(());
        }
        let content = match scalar::resolve(text, style, tag) {
            Ok(content) => content,
            Err(error) => {
                self.diagnostics.push(Diagnostic::error(error.code(), span, error.to_string()));
                Content::Text(text.to_owned())
            }
        };
        if matches!(content, Content::Number(_)) && scalar::loses_zeros(text) {
            let message = format!("{} is a number here and loses its leading zero", quoted(text));
            let help = format!("write \"{text}\" if it is a text");
            self.diagnostics.push(Diagnostic::warning("leading_zero", span, message).with_help(help));
        }
        self.place(anchor, Yaml { span, content });
        Some(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Option<()> {
        let Some(value) = self.anchors.get(&anchor) else {
            self.diagnostics.push(Diagnostic::error(
                "alias_unknown",
                span,
                "the alias names nothing that is complete here",
            ));
            return None;
        };
        let value = value.clone();
        self.copied += value.cost();
        if self.copied > COPIED_MAX {
            self.refuse_copies(span);
            return None;
        }
        if value.depth() + self.open.len() > VALUE_DEPTH_MAX {
            self.diagnostics.push(Diagnostic::error("json_too_deep", span, "the alias nests lists and maps too deep"));
            return None;
        }
        match (self.awaits_key(), value.content) {
            (true, Content::Text(text)) => self.key(&text, ScalarStyle::DoubleQuoted, span),
            (_, content) => self.place(0, Yaml { span: value.span, content }),
        }
        Some(())
    }

    /// Whether the innermost open thing is a map whose next value is a key.
    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { kind: OpenKind::Map { key: Awaited::Key, .. }, .. }))
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) {
        let Some(Open { kind: OpenKind::Map { known, key, .. }, .. }) = self.open.last_mut() else {
            return;
        };
        let problem = if text.is_empty() && style == ScalarStyle::Plain {
            Some(Diagnostic::error("key_not_text", span, "a key is missing"))
        } else if text == "<<" && style == ScalarStyle::Plain {
            let error = Diagnostic::error("merge_key", span, "`<<` (a merge key) is no part of YAML 1.2");
            Some(error.with_help("write the keys out, or use an alias for the whole value"))
        } else if let Some(first) = known.get(text) {
            let error = Diagnostic::error("duplicate_key", span, format!("the key {} stands here twice", quoted(text)));
            // Finding a line takes time in proportion to the file: not for messages that nobody gets to read.
            Some(match self.diagnostics.is_full() {
                true => error,
                false => error.with_help(format!("it stands in line {} already", self.diagnostics.position(*first).0)),
            })
        } else {
            None
        };
        *key = match problem {
            None => {
                known.insert(text.to_owned(), span);
                Awaited::ValueOf(text.to_owned(), span)
            }
            Some(problem) => {
                self.diagnostics.push(problem);
                Awaited::Dropped
            }
        };
    }

    /// Puts a complete value where it belongs.
    fn place(&mut self, anchor: usize, value: Yaml) {
        if anchor != 0 {
            self.copied += value.cost();
            match self.copied <= COPIED_MAX {
                true => drop(self.anchors.insert(anchor, value.clone())),
                false => self.refuse_copies(value.span),
            }
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(value),
            Some(OpenKind::List(values)) => values.push(value),
            Some(OpenKind::Map { entries, key, .. }) => match std::mem::replace(key, Awaited::Key) {
                Awaited::ValueOf(key, key_span) => entries.push(Entry { key, key_span, value }),
                Awaited::Dropped => {}
                Awaited::Key => {
                    *key = Awaited::Dropped;
                    self.refuse_key(value.span);
                }
            },
        }
    }

    /// A list or a map in place of a key, which is what braces without quotes become.
    fn refuse_key(&mut self, span: Span) {
        let error = match self.source[span.offset..].starts_with('{') {
            true => Diagnostic::error("template_unquoted", span, "a template begins here without quotes")
                .with_help("YAML reads a bare `{` as a map: put the text into quotes, \"{{ … }}\""),
            false => Diagnostic::error("key_not_text", span, "a key must be a text"),
        };
        self.diagnostics.push(error);
    }

    fn refuse_copies(&mut self, span: Span) {
        let error = Diagnostic::error("alias_too_large", span, "the anchors and aliases of the file copy too much");
        self.diagnostics.push(error.with_help("use fewer of them, or smaller ones"));
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span) {
        let fits = tag.is_none_or(|tag| scalar::is_core(tag, expected) || scalar::is_plain(tag));
        if !fits {
            self.diagnostics.push(Diagnostic::error("unknown_tag", span, "this YAML tag has no meaning here"));
        }
    }

    fn refuse_syntax(&mut self, error: &ScanError) {
        let offset = self.offset(error.marker());
        let line_start = self.source[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.source[line_start..].lines().next().unwrap_or_default();
        let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start_matches(['-', ' ']);
        let help = if value.starts_with("{{") || value.starts_with("{%") || value.starts_with('%') {
            "a text that begins with a brace or `%` needs quotes: \"{{ … }}\""
        } else if line.trim_start_matches(' ').starts_with('\t') {
            "YAML is indented with spaces, never with tabs"
        } else if value.contains(": ") {
            "a text with `: ` in it needs quotes"
        } else {
            "look at the indentation, quotes and brackets here and just above"
        };
        let diagnostic =
            Diagnostic::error("yaml_syntax", Span { offset, length: 1 }, format!("not valid YAML: {}", error.info()));
        self.diagnostics.push(diagnostic.with_help(help));
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let offset = self.offset(&span.start);
        let end = self.offset(&span.end);
        Span { offset, length: end.saturating_sub(offset).max(1) }
    }

    /// In bytes: the scanner counts characters.
    fn offset(&self, marker: &Marker) -> usize {
        match &self.offsets {
            None => marker.index().min(self.source.len()),
            Some(offsets) => offsets.get(marker.index()).copied().unwrap_or(self.source.len()),
        }
    }
}
