//! `leveret lint`: workflow files, checked without running them.

use std::path::{Path, PathBuf};

use engine::{diagnostic::Diagnostics, program::Program};

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
}

/// Checks every file. Warnings alone are no error.
///
/// # Errors
/// When a file cannot be read.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let checked = options.files.iter().map(|file| check(file)).collect::<Result<Vec<_>, _>>()?;
    let text = lint::render(options.output, &checked);
    if !text.is_empty() {
        output::print(&text)?;
    }
    if checked.iter().any(Diagnostics::has_errors) { Ok(Exit::Usage) } else { Ok(Exit::Done) }
}

fn check(file: &Path) -> Result<Diagnostics, Error> {
    let source = definition::read(file)?;
    match Program::compile(&source, &file.display().to_string()) {
        Ok((_, warnings)) => Ok(warnings),
        Err(diagnostics) => Ok(diagnostics),
    }
}
