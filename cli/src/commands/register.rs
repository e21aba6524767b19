//! `leveret register`: definitions, stored under their names.

use std::path::PathBuf;

use engine::spec::Workflow;
use proto::SCHEMA;

use crate::{
    client::{Client, Workflows},
    definition::Definition,
    ending::{Error, Exit},
    options::Server,
    output::{self, Format},
};

/// Which definitions.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Checks all of them, then registers each. Runs in flight keep the definition that they began with.
///
/// # Errors
/// When a file is not valid: then none is registered. When the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let client = Client::new(&options.server)?;
    let loaded: Vec<Result<Definition, Error>> = options.files.iter().map(|file| Definition::load(file)).collect();
    let definitions = loaded.into_iter().collect::<Result<Vec<_>, _>>()?;
    let together: Vec<&Workflow> = definitions.iter().map(Definition::workflow).collect();
    for (definition, file) in definitions.iter().zip(&options.files) {
        definition.show_doubts(file, &together);
    }
    let mut workflows = Vec::new();
    for definition in &definitions {
        let registered = client.register(&definition.workflow().name, &definition.source).await?;
        if options.output == Format::Text {
            output::print(&format!("{} {}", registered.name, registered.digest))?;
        }
        workflows.push(registered);
    }
    if options.output == Format::Json {
        output::print(&output::pretty_document(&Workflows { schema: SCHEMA, workflows }))?;
    }
    Ok(Exit::Done)
}
