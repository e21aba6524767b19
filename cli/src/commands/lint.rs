//! `leveret lint`: workflow files, checked without running them.

use std::path::PathBuf;

use engine::diagnostic::Diagnostics;

use crate::{
    definition,
    ending::{Error, Exit},
    lint::{self, Format},
    output,
};

/// Which files.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How problems are printed: with excerpts, as a document, as SARIF 2.1.0, or as annotations of GitHub
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// Checks every file. Warnings alone are no error, unless that is asked for.
///
/// # Errors
/// When a file cannot be read.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let checked = options.files.iter().map(|file| definition::check(file)).collect::<Result<Vec<_>, _>>()?;
    let text = lint::render(options.output, &checked);
    if !text.is_empty() {
        output::print(&text)?;
    }
    let fails = |diagnostics: &Diagnostics| diagnostics.has_errors() || (options.strict && !diagnostics.is_empty());
    if checked.iter().any(fails) { Ok(Exit::Usage) } else { Ok(Exit::Done) }
}
