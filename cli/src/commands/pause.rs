//! `leveret pause`: a run begins nothing more until it is resumed.

use proto::id::RunId;

use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Format},
};

/// Which run, and why.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Pauses the run. What has begun finishes; then it rests, and its children with it.
///
/// # Errors
/// When there is no such run, it has ended, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let client = Client::new(&options.server)?;
    let answer = client.pause(&options.id, options.reason.as_deref()).await?;
    match options.output {
        Format::Json => output::print(&output::pretty_document(&answer))?,
        Format::Text => {
            let id = &options.id;
            output::note(&format!("run {id} is being paused; `leveret resume {id}` lets it go on"));
        }
    }
    Ok(Exit::Done)
}
