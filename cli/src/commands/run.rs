//! `leveret run`: a workflow file, run here and now.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, str::FromStr, time::Duration};

use proto::{
    SCHEMA,
    id::{KeyName, RunId, WorkflowName},
    job::Message,
    json::Json,
    topology::Topology,
    view::{ContextDocument, Run, RunDocument},
};
use queue::Queue;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    definition::{Definition, Target},
    embedded::{Embedded, Settings},
    ending::{Error, Exit},
    follow::Follow,
    interrupts::Interrupts,
    options::Means,
    output::{self, Colour, Format, Stream},
    parameters::{Given, read_data},
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
    /// Workflow file in YAML or JSON: with a `/`, or ending in .yaml, .yml or .json; further ones are those that it runs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<Target>,
    /// Signal that is sent once the run was accepted, with its payload in JSON or YAML; may be given several times
    #[arg(long = "signal", value_name = "NAME=FILE")]
    signals: Vec<SignalFile>,
    /// What the run's context begins with: a file as `leveret get --context` prints it, in JSON or YAML
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
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

/// `--signal`.
#[derive(Clone, Debug)]
struct SignalFile {
    name: KeyName,
    file: PathBuf,
}

/// Everything that a scheduler gets, in this order: the workflows that are called, the job, and signals.
struct Request {
    children: Vec<(WorkflowName, String)>,
    job: Message,
    signals: Vec<(KeyName, Json)>,
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
    let request = Request::read(&options)?;
    let mut interrupts = Interrupts::listen()?;
    let data = Data::open(options.data.clone())?;
    let topology = Topology::default();
    let mut embedded = Embedded::start(Settings {
        data: data.folder(),
        http: (Ipv4Addr::LOCALHOST, 0).into(),
        queue: Queue::memory(topology.clone()),
        topology,
        workers: 1,
        means: options.means.clone(),
        drain_timeout: DRAIN_TIMEOUT,
    })
    .await?;
    let client = Client::new(&embedded.server())?;
    let progress = if options.quiet { Progress::Hidden } else { Progress::on_terminal() };
    let followed = drive(&mut embedded, &client, &request, &mut interrupts, progress).await;

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

impl Request {
    fn read(options: &Options) -> Result<Self, Error> {
        let files = options.files.iter().map(|target| match target {
            Target::File(file) => Definition::load(file),
            Target::Name(name) => Err(Error::usage(format!("{name} is no file"))
                .with_help(format!("write ./{name} if it is one; `leveret submit` runs registered workflows"))),
        });
        let mut definitions = files.collect::<Result<Vec<_>, _>>()?.into_iter();
        let definition = definitions.next().expect("clap asks for one");
        let context = options.context.as_deref().map(read_data).transpose()?;
        let known = context.as_ref().map(parameters_of).transpose()?.unwrap_or_default();
        let job = Message {
            definition: Some(Json::of(&definition.source).expect("a text is JSON")),
            parameters: Some(options.given.check_over(definition.workflow(), known)?),
            context,
            ..Message::default()
        };
        let signal = |signal: &SignalFile| Ok((signal.name.clone(), read_data(&signal.file)?));
        Ok(Self {
            children: definitions.map(|child| (child.workflow().name.clone(), child.source)).collect(),
            job,
            signals: options.signals.iter().map(signal).collect::<Result<_, Error>>()?,
        })
    }

    /// Hands it in, as any client would.
    async fn submit(&self, client: &Client) -> Result<RunId, Error> {
        for (name, source) in &self.children {
            client.register(name, source).await?;
        }
        let answer = client.submit(&self.job).await?;
        let id = answer.id.ok_or_else(|| Error::failed("the job was accepted without an id"))?;
        for (name, payload) in &self.signals {
            // The run may have ended by now, and how it did is what is to be told.
            if let Err(error) = client.signal(&id, name, payload, None).await {
                output::note(&format!("the signal {name} was not taken\n{}", error.render()));
            }
        }
        Ok(id)
    }
}

/// The parameters that a context has, which count where none are given.
fn parameters_of(context: &Json) -> Result<BTreeMap<String, Json>, Error> {
    let context: Result<ContextDocument, _> = context.parse();
    let context = context.map_err(|error| {
        Error::usage("the context cannot be read")
            .because(error)
            .with_help("it is what `leveret get ID --context` prints: parameters, workflow, signal, task")
    });
    Ok(context?.parameters)
}

impl FromStr for SignalFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or("write NAME=FILE")?;
        let name = name.parse().map_err(|error: proto::id::Error| error.to_string())?;
        Ok(Self { name, file: file.into() })
    }
}

/// Hands in what was asked, and waits for its end.
async fn drive(
    embedded: &mut Embedded,
    client: &Client,
    request: &Request,
    interrupts: &mut Interrupts,
    mut progress: Progress,
) -> Result<Followed, Error> {
    let id = request.submit(client).await?;
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
