//! `leveret cancel`: the end of a run, now.

use std::io::{self, BufRead, IsTerminal, Write};

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
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Cancels the run, after asking.
///
/// # Errors
/// When there is no such run, nobody is there to be asked, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let client = Client::new(&options.server)?;
    let run = client.run(&options.id).await?.run;
    if run.status.is_terminal() {
        output::note(&format!("run {} has ended already: {}", run.id, run.status.as_str()));
        return Ok(Exit::Done);
    }
    let (id, status) = (&run.id, run.status.as_str());
    let question = format!("cancel run {id} of {}, which is {status}?", run.workflow);
    if !options.yes && !is_agreed(&question, &format!("run {id} is not cancelled"))? {
        output::note("nothing was cancelled");
        return Ok(Exit::Done);
    }
    let answer = client.cancel(&options.id, options.reason.as_deref()).await?;
    match options.output {
        Format::Json => output::print(&output::pretty_document(&answer))?,
        Format::Text => output::note(&format!("run {} is being cancelled", options.id)),
    }
    Ok(Exit::Done)
}

/// Asks on the terminal. Where there is none, `refused` says what is not done.
pub(super) fn is_agreed(question: &str, refused: &str) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::usage(format!("{refused} without being asked")).with_help("give --yes"));
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Error::failed("cannot read the answer").because(error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
