//! What is wrong with a workflow file: every problem at once, each with a code, a place, the source line and help.
//!
//! Reading order: a [`Diagnostic`] is one problem, [`Diagnostics`] those of a file; [`codes`] says what each code is
//! about, `excerpt` is the piece of the file that a rendered problem shows.

pub mod codes;
mod excerpt;

use std::{fmt, sync::Arc};

use miette::{GraphicalReportHandler, GraphicalTheme};
use proto::job::Problem;

use self::excerpt::Excerpt;
use crate::spec::Span;

/// The most problems of one severity that are kept; of the others only their number is told.
pub const KEPT_MAX: usize = 200;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file runs, but hardly as meant.
    Warning,
}

/// Whether [`Diagnostics::render`] writes terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI escapes.
    Ansi,
    /// Plain text.
    None,
}

/// One problem of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable word, such as `unknown_key`.
    pub code: &'static str,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do.
    pub help: Option<String>,
    /// How bad it is.
    pub severity: Severity,
}

/// The problems of one file, with what it takes to show them.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    file: String,
    source: Arc<str>,
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostic {
    /// An error without help.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span, help: None, severity: Severity::Error }
    }

    /// A warning without help.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl Diagnostics {
    /// None yet, of the file called `file` that holds `source`.
    pub fn new(file: impl Into<String>, source: &str) -> Self {
        Self { file: file.into(), source: source.into(), list: Vec::new(), left_out: 0 }
    }

    /// Adds a problem. One that was told already is not told again, and beyond [`KEPT_MAX`] of a severity it is
    /// only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.contains(&diagnostic) {
            return;
        }
        match self.count(diagnostic.severity) < KEPT_MAX {
            true => self.list.push(diagnostic),
            false => self.left_out += 1,
        }
    }

    /// Adds the problems that `other` found in the same file.
    pub fn extend(&mut self, other: Self) {
        self.left_out += other.left_out;
        for diagnostic in other.list {
            self.push(diagnostic);
        }
        self.sort();
    }

    /// Brings them into file order.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| diagnostic.span.offset);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them refuses the file.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Whether no further error is kept, so that making a good message of it is in vain.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count(Severity::Error) >= KEPT_MAX
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many were found but not kept.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column of where `span` begins, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, span: Span) -> (usize, usize) {
        let offset = floor_char_boundary(&self.source, span.offset);
        let before = &self.source[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let lines = before.bytes().filter(|&byte| byte == b'\n').count();
        (lines + 1, before[line_start..].chars().count() + 1)
    }

    /// `file:line:column` of where `span` begins.
    #[must_use]
    pub fn location(&self, span: Span) -> String {
        let (line, column) = self.position(span);
        format!("{}:{line}:{column}", printable(&self.file))
    }

    /// The errors as a rejected job's reply tells them.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let errors = self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors
            .map(|diagnostic| Problem {
                code: diagnostic.code.to_owned(),
                message: diagnostic.message.clone(),
                location: Some(self.location(diagnostic.span)),
                help: diagnostic.help.clone(),
            })
            .collect()
    }

    /// For a terminal: each with its source line, and a last line with their number.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let theme = match colour {
            Colour::Ansi => GraphicalTheme::unicode(),
            Colour::None => GraphicalTheme::unicode_nocolor(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .without_syntax_highlighting()
            .with_links(false)
            .with_wrap_lines(false);
        let mut text = String::new();
        for diagnostic in &self.list {
            let excerpt = Excerpt::new(self, diagnostic);
            handler.render_report(&mut text, &excerpt).expect("a string takes everything");
            text.push('\n');
        }
        if !self.is_empty() {
            text.push_str(&self.summary());
            text.push('\n');
        }
        text
    }

    /// Such as `2 errors and 1 warning in fleet.yaml`.
    fn summary(&self) -> String {
        let counted = |severity: Severity, word: &str| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {word}")),
            more => Some(format!("{more} {word}s")),
        };
        let left_out = (self.left_out > 0).then(|| format!("{} more not shown", self.left_out));
        let parts = [counted(Severity::Error, "error"), counted(Severity::Warning, "warning"), left_out];
        format!("{} in {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" and "), printable(&self.file))
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

/// One line each: `file:line:column: error[code]: message`.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.list {
            let Diagnostic { code, message, severity, span, .. } = diagnostic;
            writeln!(f, "{}: {severity}[{code}]: {}", self.location(*span), printable(message).replace('\n', " "))?;
        }
        match self.left_out {
            0 => Ok(()),
            count => writeln!(f, "{}: {count} more not shown", printable(&self.file)),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// `text` without what a terminal would obey: control characters become `�`, tabs and newlines stay.
fn printable(text: &str) -> String {
    let obeyed = |c: char| c.is_control() && c != '\t' && c != '\n';
    text.chars().map(|c| if obeyed(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The greatest border between characters of `text` that is not behind `offset`.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, at: &[(usize, usize)]) -> Diagnostics {
        let mut diagnostics = Diagnostics::new("fleet.yaml", source);
        for &(offset, length) in at {
            let span = Span { offset, length };
            diagnostics.push(Diagnostic::error("unknown_key", span, "unknown key").with_help("did you mean `tasks`?"));
        }
        diagnostics
    }

    #[test]
    fn columns_count_characters() {
        let diagnostics = found("a: ü\nbé: ö\n", &[]);
        assert_eq!(diagnostics.position(Span { offset: 0, length: 1 }), (1, 1));
        assert_eq!(diagnostics.position(Span { offset: 6, length: 1 }), (2, 1));
        assert_eq!(diagnostics.position(Span { offset: 9, length: 1 }), (2, 3));
        assert_eq!(diagnostics.position(Span { offset: 10_000, length: 1 }), (3, 1));
    }

    #[test]
    fn a_report_shows_the_line() {
        let diagnostics = found("name: a\ntaks:\n  b:\n", &[(8, 4)]);
        insta::assert_snapshot!(diagnostics.render(Colour::None), @r"
        unknown_key

          × unknown key
           ╭─[fleet.yaml:2:1]
         1 │ name: a
         2 │ taks:
           · ────
         3 │   b:
           ╰────
          help: did you mean `tasks`?

        1 error in fleet.yaml
        ");
        assert!(diagnostics.render(Colour::Ansi).contains("\u{1b}["));
    }

    #[test]
    fn a_report_is_bounded_and_harmless() {
        let source = format!("{{\"a\": \"{}\u{1b}[31m\", \"taks\": 1}}", "x".repeat(100_000));
        let diagnostics = found(&source, &[(source.len() - 10, 6)]);
        insta::assert_snapshot!(diagnostics.render(Colour::None), @r#"
        unknown_key

          × unknown key
           ╭─[fleet.yaml:1:100016]
         1 │ …xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx�[31m", "taks": 1}
           ·                                                                                  ──────
           ╰────
          help: did you mean `tasks`?

        1 error in fleet.yaml
        "#);
        for source in ["", "\n", "\r\n\r\n", "ü", "\t\ta"] {
            for offset in 0..4 {
                for length in 0..4 {
                    assert!(found(source, &[(offset, length)]).render(Colour::None).contains("unknown_key"));
                }
            }
        }
    }

    #[test]
    fn beyond_the_bound_they_are_counted() {
        let mut diagnostics = found("a", &[]);
        for number in 0..KEPT_MAX + 7 {
            diagnostics.push(Diagnostic::warning("odd", Span::default(), number.to_string()));
        }
        assert!(!diagnostics.has_errors());
        diagnostics.push(Diagnostic::error("bad", Span::default(), "worse"));
        assert!(diagnostics.has_errors(), "warnings never hide an error");
        assert_eq!(diagnostics.left_out(), 7);
        assert_eq!(diagnostics.problems().len(), 1, "a warning refuses nothing");
        assert!(diagnostics.to_string().ends_with("fleet.yaml: 7 more not shown\n"));
    }
}
