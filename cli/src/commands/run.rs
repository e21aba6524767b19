//! `leveret run`: a workflow file, run here and now.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use proto::{
    SCHEMA,
    id::RunId,
    job::Message,
    json::Json,
    topology::Topology,
    view::{Run, RunDocument},
};
use queue::Queue;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    definition::Definition,
    embedded::{Embedded, Settings},
    ending::{Error, Exit},
    follow::Follow,
    interrupts::Interrupts,
    options::Means,
    output::{self, Colour, Format, Stream},
    parameters::Given,
    progress::Progress,
    view,
};

/// After the run has ended nothing of it is under way, but what was killed must be reaped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stop may take in all when the run has ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// And when it has not: what is still there then is dropped, which kills it.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// What to run, and how it is shown.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder that keeps the run; without one nothing is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What stdout gets: the output, or a document with everything about the run
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Say nothing on stderr unless something is wrong
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    means: Means,
}

/// Where the store is, and whether it stays.
enum Data {
    Kept(PathBuf),
    Passing(TempDir),
}

/// Why following a run was given up.
enum Followed {
    /// It ended.
    Ended(Box<Run>),
    /// A person did not want to wait for that.
    Interrupted,
}

/// Runs the file. Ctrl-C cancels the run; a second one ends this process.
///
/// # Errors
/// When the file or its parameters are not valid, or this process fails.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let [file] = options.files.as_slice() else {
        return Err(Error::usage("more than one file: workflows that run others are not supported yet")
            .with_help("give the one file that is to be run"));
    };
    let definition = Definition::load(file)?;
    let given = options.given.check(definition.workflow())?;
    let message = Message {
        definition: Some(Json::of(&definition.source).expect("a text is JSON")),
        parameters: Some(given),
        ..Message::default()
    };

    let mut interrupts = Interrupts::listen()?;
    let data = Data::open(options.data.clone())?;
    let topology = Topology::default();
    let mut embedded = Embedded::start(Settings {
        data: data.folder(),
        http: (Ipv4Addr::LOCALHOST, 0).into(),
        queue: Queue::memory(topology.clone()),
        topology,
        means: options.means.clone(),
        drain_timeout: DRAIN_TIMEOUT,
    })
    .await?;
    let client = Client::new(&embedded.server())?;
    let progress = if options.quiet { Progress::Hidden } else { Progress::on_terminal() };
    let followed = drive(&mut embedded, &client, &message, &mut interrupts, progress).await;

    let now = CancellationToken::new();
    let patience = match &followed {
        Ok(Followed::Ended(_)) => STOP_TIMEOUT,
        Ok(Followed::Interrupted) | Err(_) => {
            now.cancel();
            KILL_TIMEOUT
        }
    };
    let stopped = tokio::time::timeout(patience, embedded.stop(now)).await;
    match followed? {
        Followed::Interrupted => Ok(Exit::Interrupted),
        Followed::Ended(run) => {
            if let Ok(Err(error)) = stopped {
                tracing::warn!(%error, "the run has ended, but its services did not stop cleanly");
            }
            report(*run, &options)
        }
    }
}

/// Submits the job as any client would, and waits for its end.
async fn drive(
    embedded: &mut Embedded,
    client: &Client,
    message: &Message,
    interrupts: &mut Interrupts,
    mut progress: Progress,
) -> Result<Followed, Error> {
    let answer = client.submit(message).await?;
    let id = answer.id.ok_or_else(|| Error::failed("the job was accepted without an id"))?;
    let mut follow = Follow::new(client.clone(), id.clone());
    let mut was_cancelled = false;
    loop {
        // Every arm is cancel safe.
        tokio::select! {
            view = follow.next() => {
                let view = view?;
                progress.update(&view);
                if view.status.is_terminal() {
                    return Ok(Followed::Ended(Box::new(view)));
                }
            }
            error = embedded.failed() => return Err(error),
            () = interrupts.next() => {
                if was_cancelled {
                    progress.clear();
                    output::note("stopped; what was running may have been done in part");
                    return Ok(Followed::Interrupted);
                }
                was_cancelled = true;
                cancel(client, &id).await?;
            }
        }
    }
}

async fn cancel(client: &Client, id: &RunId) -> Result<(), Error> {
    output::note("cancelling the run; Ctrl-C again stops at once");
    client.cancel(id, Some("interrupted by Ctrl-C")).await.map(|_| ())
}

fn report(run: Run, options: &Options) -> Result<Exit, Error> {
    let exit = view::exit(&run);
    if !options.quiet || exit != Exit::Done {
        output::note(&view::summary(&run, Colour::of(Stream::Stderr)));
    }
    match options.output {
        Format::Json => output::print(&output::pretty_document(&RunDocument { schema: SCHEMA, run }))?,
        Format::Text => print_output(&run)?,
    }
    Ok(exit)
}

/// The output of `run`, unless it has none.
pub fn print_output(run: &Run) -> Result<(), Error> {
    match run.output.as_ref().map(Json::as_str) {
        None | Some("null" | "{}") => Ok(()),
        Some(json) => output::print(&output::pretty(json)),
    }
}

impl Data {
    fn open(kept: Option<PathBuf>) -> Result<Self, Error> {
        match kept {
            Some(folder) => Ok(Self::Kept(folder)),
            None => {
                let folder = tempfile::Builder::new().prefix("leveret-run.").tempdir();
                let help = "give a folder with --data, or set TMPDIR";
                let failed = |error| Error::failed("cannot make a temporary folder").because(error).with_help(help);
                folder.map(Self::Passing).map_err(failed)
            }
        }
    }

    fn folder(&self) -> PathBuf {
        match self {
            Self::Kept(folder) => folder.clone(),
            Self::Passing(folder) => folder.path().to_owned(),
        }
    }
}
