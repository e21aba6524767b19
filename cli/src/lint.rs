//! What `leveret lint` found, in the formats that people and programs read it in.

mod github;
mod json;
mod sarif;

use clap::ValueEnum;
use engine::{
    diagnostic::{Diagnostic, Diagnostics},
    spec::Span,
};

use crate::output::{Colour, Stream};

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// With excerpts.
    Text,
    /// One document.
    Json,
    /// A log of SARIF 2.1.0, which code scanning takes.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// Where a problem is. Lines and columns are from 1, columns in characters; the end is the first column behind it.
struct Region {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

/// What was found in each file, as stdout gets it.
pub fn render(format: Format, checked: &[Diagnostics]) -> String {
    match format {
        Format::Text => text(checked),
        Format::Json => json::render(checked),
        Format::Sarif => sarif::render(checked),
        Format::Github => github::render(checked),
    }
}

fn text(checked: &[Diagnostics]) -> String {
    let colour = Colour::of(Stream::Stdout);
    let report = |diagnostics: &Diagnostics| match diagnostics.is_empty() {
        true => format!("{} is valid\n", diagnostics.file()),
        false => diagnostics.render(colour.into()),
    };
    checked.iter().map(report).collect()
}

fn region(diagnostics: &Diagnostics, diagnostic: &Diagnostic) -> Region {
    let Span { offset, length } = diagnostic.span;
    let position = |offset| diagnostics.position(Span { offset, length: 0 });
    let (line, column) = position(offset);
    let mut end = offset.saturating_add(length);
    // A block of text takes its last line break with it, and would end at the beginning of a line that is none of it.
    while end > offset && position(end).1 == 1 {
        end -= 1;
    }
    let (end_line, end_column) = position(end);
    Region { line, column, end_line, end_column }
}

/// What is wrong and what to do, for formats that have one text for both.
fn message(diagnostic: &Diagnostic) -> String {
    match &diagnostic.help {
        Some(help) => format!("{}\nhelp: {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    }
}
