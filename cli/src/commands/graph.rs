//! `leveret graph`: what leads where in a workflow file.

use std::path::PathBuf;

use clap::ValueEnum;
use engine::graph;

use crate::{
    definition::Definition,
    ending::{Error, Exit},
    output,
};

/// Which file, and as what.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is drawn: as lines for a terminal, as a flowchart for Markdown, or for Graphviz
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Flowchart of Mermaid.
    Mermaid,
    /// The language of Graphviz.
    Dot,
    /// For a terminal.
    Text,
}

/// Draws the file. What is wrong with one goes to stderr.
///
/// # Errors
/// When it cannot be read, or is not valid.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let definition = Definition::load(&options.file)?;
    let format = match options.output {
        Format::Mermaid => graph::Format::Mermaid,
        Format::Dot => graph::Format::Dot,
        Format::Text => graph::Format::Text,
    };
    output::print(&graph::render(definition.workflow(), format))?;
    Ok(Exit::Done)
}
