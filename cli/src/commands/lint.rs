//! `leveret lint`: workflow files, checked without running them.

use std::path::{Path, PathBuf};

use engine::{diagnostic::Diagnostics, lint::Actions};
use serde_json::json;

use crate::{
    definition,
    ending::{Error, Exit},
    lint::{self, Format},
    output,
};

/// Which files.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON; several are looked at together, as workflows may run each other
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How problems are printed: with excerpts, as a document, as SARIF 2.1.0, or as annotations of GitHub
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Name of an action that workers of yours have, with any input; may be repeated
    #[arg(long, value_name = "NAME")]
    action: Vec<String>,
    /// JSON file with actions that workers of yours have: a map from names to JSON Schemas of their inputs
    #[arg(long, value_name = "FILE")]
    actions: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// Checks every file. Warnings alone are no error, unless that is asked for.
///
/// # Errors
/// When a file cannot be read, or that of the actions holds none.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let mut actions = definition::builtin_actions();
    if let Some(file) = &options.actions {
        actions.extend(read_actions(file)?);
    }
    // What is known of an input stays known.
    for name in &options.action {
        actions.entry(name.clone()).or_insert_with(|| json!(true));
    }
    let checked = definition::check(&options.files, &actions)?;
    let text = lint::render(options.output, &checked);
    if !text.is_empty() {
        output::print(&text)?;
    }
    let fails = |diagnostics: &Diagnostics| diagnostics.has_errors() || (options.strict && !diagnostics.is_empty());
    if checked.iter().any(fails) { Ok(Exit::Usage) } else { Ok(Exit::Done) }
}

/// Reads actions of one's own.
fn read_actions(file: &Path) -> Result<Actions, Error> {
    engine::lint::read_actions(&definition::read(file)?).map_err(|error| {
        let unusable = Error::usage(format!("{} does not hold actions", file.display())).because(error);
        unusable.with_help("such as {\"acme.deploy\": {\"type\": \"object\", \"required\": [\"host\"]}}")
    })
}
