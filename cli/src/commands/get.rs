//! `leveret get`: a run as it is.

use proto::id::RunId;

use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Colour, Format, Stream},
    view,
};

/// Which run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Prints the run.
///
/// # Errors
/// When there is no such run, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let document = Client::new(&options.server)?.run(&options.id).await?;
    output::print(&match options.output {
        Format::Text => view::full(&document.run, view::now(), Colour::of(Stream::Stdout)),
        Format::Json => output::pretty_document(&document),
    })?;
    Ok(Exit::Done)
}
