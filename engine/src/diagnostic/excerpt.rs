//! The piece of a file around a problem, as `miette` draws it.
//!
//! `miette` would print whole lines, and a workflow sent as JSON is a single line of up to 256 KiB; it would also
//! scan the whole source for each problem and pass control characters on to the terminal. So each problem gets a
//! few short, clean lines of its own, which keep the line number and column of the file.

use std::fmt;

use miette::{LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::{Diagnostic, Diagnostics, Severity, floor_char_boundary, printable};

/// The most characters of a line that are shown before the problem, and again from there on.
const SHOWN_CHARS_MAX: usize = 80;

/// A problem with its lines.
#[derive(Debug)]
pub(super) struct Excerpt<'a> {
    diagnostic: &'a Diagnostic,
    message: String,
    file: String,
    /// Up to three lines.
    text: String,
    /// How many lines of the file come before `text`.
    lines_before: usize,
    /// The problem's line and column in the file, from 0.
    line: usize,
    column: usize,
    /// The problem within `text`.
    label: SourceSpan,
}

impl<'a> Excerpt<'a> {
    pub(super) fn new(diagnostics: &Diagnostics, diagnostic: &'a Diagnostic) -> Self {
        let (source, span) = (&*diagnostics.source, diagnostic.span);
        let (line, column) = diagnostics.position(span);
        let start = floor_char_boundary(source, span.offset);
        let end = floor_char_boundary(source, span.offset.saturating_add(span.length)).max(start);
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let marked = &source[start..end.min(line_end)];

        let mut text = String::new();
        let before = source[..line_start].strip_suffix('\n').map(|above| above.rsplit('\n').next().unwrap_or(above));
        if let Some(line) = before {
            text.push_str(&head(line));
            text.push('\n');
        }
        text.push_str(&tail(&source[line_start..start]));
        let label_start = text.len();
        text.push_str(&head(marked));
        let label_length = text.len() - label_start;
        text.push_str(&head(&source[start + marked.len()..line_end]));
        text.push('\n');
        let after = source[line_end..].strip_prefix('\n').and_then(|below| below.lines().next());
        if let Some(line) = after.filter(|line| !line.trim().is_empty()) {
            text.push_str(&head(line));
            text.push('\n');
        }
        Self {
            diagnostic,
            message: printable(&diagnostic.message),
            file: printable(&diagnostics.file),
            text,
            lines_before: line - 1 - usize::from(before.is_some()),
            line: line - 1,
            column: column - 1,
            label: SourceSpan::new(label_start.into(), label_length),
        }
    }
}

/// The beginning of a piece of a line.
fn head(line: &str) -> String {
    let mut shown: String = printable(line.trim_end_matches('\r')).chars().take(SHOWN_CHARS_MAX + 1).collect();
    if shown.chars().count() > SHOWN_CHARS_MAX {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// The end of a piece of a line.
fn tail(line: &str) -> String {
    let count = line.chars().count();
    match count > SHOWN_CHARS_MAX {
        true => format!("…{}", printable(&line.chars().skip(count - SHOWN_CHARS_MAX).collect::<String>())),
        false => printable(line),
    }
}

impl SourceCode for Excerpt<'_> {
    /// `miette` asks twice: without context for the place in the header, and with context for the lines.
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        context_lines_before: usize,
        _context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let (data, span, line, column) = match context_lines_before {
            0 => {
                let end = span.offset() + span.len();
                (self.text.as_bytes().get(span.offset()..end), *span, self.line, self.column)
            }
            _ => (Some(self.text.as_bytes()), SourceSpan::new(0.into(), self.text.len()), self.lines_before, 0),
        };
        let data = data.ok_or(MietteError::OutOfBounds)?;
        Ok(Box::new(MietteSpanContents::new_named(self.file.clone(), data, span, line, column, 1)))
    }
}

impl miette::Diagnostic for Excerpt<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        let help = self.diagnostic.help.as_deref()?;
        Some(Box::new(printable(help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, self.label))))
    }
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Excerpt<'_> {}
