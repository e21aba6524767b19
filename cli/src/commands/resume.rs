//! `leveret resume`: a run that rests goes on.

use proto::id::RunId;

use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Format},
};

/// Which run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Resumes the run.
///
/// # Errors
/// When there is no such run, it has ended, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let answer = Client::new(&options.server)?.resume(&options.id).await?;
    match options.output {
        Format::Json => output::print(&output::pretty_document(&answer))?,
        Format::Text => output::note(&format!("run {} goes on", options.id)),
    }
    Ok(Exit::Done)
}
