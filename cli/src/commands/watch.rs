//! `leveret watch`: a run, followed to its end.

use proto::{
    SCHEMA, codec,
    id::RunId,
    view::{Run, RunDocument},
};

use crate::{
    client::Client,
    ending::{Error, Exit},
    follow::Follow,
    interrupts::Interrupts,
    options::Server,
    output::{self, Colour, Format, Stream},
    progress::Progress,
    view,
};

/// Which run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    /// What stdout gets: the run once it has ended, or a document on a line whenever it changes
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Why following ended.
pub enum Watched {
    /// The run did.
    Ended(Box<Run>),
    /// A person had seen enough; the run goes on.
    Detached,
}

/// Follows the run. Ctrl-C lets go of it, and it goes on.
///
/// # Errors
/// When there is no such run, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let run = Follow::new(Client::new(&options.server)?, options.id);
    let watched = match options.output {
        Format::Text => follow(run, Progress::on_terminal()).await?,
        Format::Json => follow_with(run, Progress::Hidden, print_line).await?,
    };
    let Watched::Ended(run) = watched else { return Ok(Exit::Interrupted) };
    if options.output == Format::Text {
        output::print(&view::full(&run, view::now(), Colour::of(Stream::Stdout)))?;
    }
    Ok(view::exit(&run))
}

/// Follows a run to its end.
///
/// # Errors
/// When there is no such run, or the scheduler is not reachable.
pub async fn follow(run: Follow, progress: Progress) -> Result<Watched, Error> {
    follow_with(run, progress, |_| Ok(())).await
}

async fn follow_with(
    mut run: Follow,
    mut progress: Progress,
    each: impl Fn(&Run) -> Result<(), Error>,
) -> Result<Watched, Error> {
    let mut interrupts = Interrupts::listen()?;
    loop {
        // Both are cancel safe.
        tokio::select! {
            view = run.next() => {
                let view = view?;
                progress.update(&view);
                each(&view)?;
                if view.status.is_terminal() {
                    return Ok(Watched::Ended(Box::new(view)));
                }
            }
            () = interrupts.next() => {
                progress.clear();
                let id = run.id();
                output::note(&format!(
                    "no longer watching; the run goes on: `leveret watch {id}` follows it again, `leveret cancel {id}` ends it"
                ));
                return Ok(Watched::Detached);
            }
        }
    }
}

fn print_line(run: &Run) -> Result<(), Error> {
    let document = RunDocument { schema: SCHEMA, run: run.clone() };
    output::print(&String::from_utf8_lossy(&codec::encode(&document)))
}
