//! `leveret signal`: tells a run something that a task of it waits for, or will.

use proto::id::{KeyName, RunId};

use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Format},
    parameters::Payload,
};

/// Which run, and what it is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    /// Name of the signal, as the task's `wait_for` has it
    #[arg(value_name = "NAME")]
    name: KeyName,
    /// Id of the signal: the same id twice is one signal
    #[arg(long, value_name = "ID")]
    signal_id: Option<String>,
    #[command(flatten)]
    payload: Payload,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Sends the signal. It is stored, also when nothing waits for it yet.
///
/// # Errors
/// When there is no such run, it has ended, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let payload = options.payload.json()?;
    let client = Client::new(&options.server)?;
    let answer = client.signal(&options.id, &options.name, &payload, options.signal_id.as_deref()).await?;
    match options.output {
        Format::Json => output::print(&output::pretty_document(&answer))?,
        Format::Text => output::note(&format!("run {} has got the signal {}", options.id, options.name)),
    }
    Ok(Exit::Done)
}
