//! One document of our own.

use engine::diagnostic::{Diagnostic, Diagnostics};
use proto::SCHEMA;
use serde::Serialize;

use super::{Region, region};
use crate::output;

/// The document of `-o json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u16,
    files: Vec<File<'a>>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    file: &'a str,
    problems: Vec<Problem<'a>>,
    /// How many were found beyond those that are listed.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct Problem<'a> {
    severity: String,
    code: &'a str,
    message: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    help: Option<&'a str>,
}

pub(super) fn render(checked: &[Diagnostics]) -> String {
    let file = |diagnostics| File {
        file: Diagnostics::file(diagnostics),
        problems: diagnostics.iter().map(|diagnostic| problem(diagnostics, diagnostic)).collect(),
        left_out: diagnostics.left_out(),
    };
    output::pretty_document(&Document { schema: SCHEMA, files: checked.iter().map(file).collect() })
}

fn problem<'a>(diagnostics: &Diagnostics, diagnostic: &'a Diagnostic) -> Problem<'a> {
    let Region { line, column, end_line, end_column } = region(diagnostics, diagnostic);
    Problem {
        severity: diagnostic.severity.to_string(),
        code: diagnostic.code,
        message: &diagnostic.message,
        line,
        column,
        end_line,
        end_column,
        help: diagnostic.help.as_deref(),
    }
}
