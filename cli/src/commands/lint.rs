//! `leveret lint`: workflow files, checked without running them.

use std::path::PathBuf;

use clap::ValueEnum;
use engine::diagnostic::{Diagnostic, Diagnostics, Severity};
use proto::SCHEMA;
use serde::Serialize;

use crate::{
    definition,
    ending::{Error, Exit},
    output::{self, Colour, Stream},
};

/// Which files.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How problems are printed: with excerpts, as a document, or as annotations of GitHub
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With excerpts.
    Text,
    /// One document.
    Json,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// The document of `-o json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u16,
    files: Vec<File<'a>>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    severity: String,
    code: &'static str,
    message: String,
    line: usize,
    column: usize,
    help: Option<String>,
}

/// Checks every file. Warnings alone are no error, unless that is asked for.
///
/// # Errors
/// When a file cannot be read.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let checked = options.files.iter().map(|file| definition::check(file)).collect::<Result<Vec<_>, _>>()?;
    let text = match options.output {
        Format::Text => text(&checked),
        Format::Json => json(&checked),
        Format::Github => github(&checked),
    };
    if !text.is_empty() {
        output::print(&text)?;
    }
    let fails = |diagnostics: &Diagnostics| diagnostics.has_errors() || (options.strict && !diagnostics.is_empty());
    if checked.iter().any(fails) { Ok(Exit::Usage) } else { Ok(Exit::Done) }
}

fn text(checked: &[Diagnostics]) -> String {
    let colour = Colour::of(Stream::Stdout);
    let report = |diagnostics: &Diagnostics| match diagnostics.is_empty() {
        true => format!("{} is valid\n", diagnostics.file()),
        false => diagnostics.render(colour.into()),
    };
    checked.iter().map(report).collect()
}

fn json(checked: &[Diagnostics]) -> String {
    let files = checked.iter().map(|diagnostics| File { file: diagnostics.file(), problems: problems(diagnostics) });
    output::pretty_document(&Document { schema: SCHEMA, files: files.collect() })
}

fn problems(diagnostics: &Diagnostics) -> Vec<Problem> {
    let problem = |diagnostic: &Diagnostic| Problem {
        severity: diagnostic.severity.to_string(),
        code: diagnostic.code,
        message: diagnostic.message.clone(),
        line: diagnostics.position(diagnostic.span).0,
        column: diagnostics.position(diagnostic.span).1,
        help: diagnostic.help.clone(),
    };
    diagnostics.iter().map(problem).collect()
}

fn github(checked: &[Diagnostics]) -> String {
    let mut lines = String::new();
    for diagnostics in checked {
        for diagnostic in diagnostics.iter() {
            let (line, column) = diagnostics.position(diagnostic.span);
            let kind = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let help = diagnostic.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
            lines.push_str(&format!(
                "::{kind} file={},line={line},col={column},title={}::{}\n",
                property(diagnostics.file()),
                property(diagnostic.code),
                escaped(&format!("{}{help}", diagnostic.message)),
            ));
        }
    }
    lines
}

/// What GitHub takes for the end of a message is escaped as in a URL.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Values of properties must not hold their separators either.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_escaped() {
        let Err(diagnostics) = engine::parse::parse("name: a\ntaks: {}\n", "a,b.yaml") else {
            panic!("it is not valid")
        };
        let text = github(&[diagnostics]);
        let first = text.lines().next().expect("a problem");
        assert!(first.starts_with("::error file=a%2Cb.yaml,line="), "{first}");
        assert!(text.lines().all(|line| line.starts_with("::")), "{text}");
    }
}
