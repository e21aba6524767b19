//! `leveret submit`: a job, over HTTP or AMQP.

use std::collections::BTreeMap;

use clap::ValueEnum;
use proto::{
    SCHEMA, codec,
    id::RunId,
    job::{Answer, Message},
    json::Json,
    time::Timestamp,
    topology::JOB_KEY,
    view::RunDocument,
};
use queue::{Publication, PublishError};

use super::{run::print_output, watch};
use crate::{
    client::Client,
    definition::{Definition, Target},
    ending::{Error, Exit},
    follow::Follow,
    options::{Broker, Names, Server},
    output::{self, Colour, Stream},
    parameters::Given,
    progress::Progress,
    view,
};

/// What to run, and what to say about it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Registered workflow, or a file: with a `/`, or ending in .yaml, .yml or .json
    #[arg(value_name = "NAME|FILE")]
    target: Target,
    /// Id of the run; the same id and job again is the same run
    #[arg(long, value_name = "ID")]
    id: Option<RunId>,
    /// Label of the run; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = read_label)]
    labels: Vec<(String, String)>,
    /// Not before this: a time such as 2026-12-01T09:00:00Z, or from now on such as +10m
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<Timestamp>,
    #[command(flatten)]
    then: Then,
    /// Hand it to this RabbitMQ instead of the scheduler's HTTP interface
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    server: Server,
}

/// What is done once a run was accepted.
#[derive(Debug, clap::Args)]
pub(super) struct Then {
    /// Wait until the run has ended, and print its output
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    /// As --wait, and show progress
    #[arg(long)]
    watch: bool,
    /// What stdout gets: a line, a document, or just the run's id
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What stdout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// The run's id and nothing else.
    Id,
}

/// Hands in the job, and waits for the run if asked to.
///
/// # Errors
/// When it is not accepted.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let message = message(&options)?;
    let client = Client::new(&options.server)?;
    let answer = match &options.amqp {
        Some(url) => publish(url, &options.names, message).await?,
        None => client.submit(&message).await?,
    };
    let Some(id) = options.then.accepted(&answer)? else { return Ok(Exit::Done) };
    let progress = options.then.progress();
    let watched = match &options.amqp {
        Some(_) => follow_published(client, id, progress).await.map_err(published_but),
        None => watch::follow(Follow::new(client, id), progress).await,
    };
    options.then.ended(watched?)
}

impl Then {
    /// Says that a run was accepted, unless it is to be waited for: then gives its id.
    pub(super) fn accepted(&self, answer: &Answer) -> Result<Option<RunId>, Error> {
        let id = answer.id.clone().ok_or_else(|| Error::failed("the job was accepted without an id"))?;
        let waits = self.wait || self.watch;
        match self.output {
            Format::Id => output::print(id.as_str())?,
            Format::Text | Format::Json if waits => {}
            Format::Json => output::print(&output::pretty_document(answer))?,
            Format::Text if answer.duplicate => output::print(&format!("{id} {}, as before", answer.status))?,
            Format::Text => output::print(&format!("{id} {}", answer.status))?,
        }
        Ok(waits.then_some(id))
    }

    /// How the wait is shown.
    pub(super) fn progress(&self) -> Progress {
        if self.watch { Progress::on_terminal() } else { Progress::Hidden }
    }

    /// Says how the run ended that was waited for.
    pub(super) fn ended(&self, watched: watch::Watched) -> Result<Exit, Error> {
        let run = match watched {
            watch::Watched::Ended(run) => *run,
            watch::Watched::Detached => return Ok(Exit::Interrupted),
        };
        let exit = view::exit(&run);
        output::note(&view::summary(&run, Colour::of(Stream::Stderr)));
        match self.output {
            Format::Text => print_output(&run)?,
            Format::Json => output::print(&output::pretty_document(&RunDocument { schema: SCHEMA, run }))?,
            Format::Id => {}
        }
        Ok(exit)
    }
}

fn message(options: &Options) -> Result<Message, Error> {
    let mut message = Message {
        id: options.id.clone(),
        at: options.at,
        labels: (!options.labels.is_empty()).then(|| options.labels.iter().cloned().collect::<BTreeMap<_, _>>()),
        ..Message::default()
    };
    match &options.target {
        Target::File(file) => {
            let definition = Definition::load(file)?;
            message.parameters = Some(options.given.check(definition.workflow())?);
            message.definition = Some(Json::of(&definition.source).expect("a text is JSON"));
        }
        Target::Name(name) => {
            let given = options.given.unchecked()?;
            message.parameters = Some(given.values);
            message.coerce = given.coerce.then_some(true);
            message.workflow = Some(name.clone());
        }
    }
    Ok(message)
}

/// Publishes the job and waits for the broker's confirm: then it is accepted, though nobody has looked at it yet.
async fn publish(url: &str, names: &Names, mut message: Message) -> Result<Answer, Error> {
    let id = message.id.get_or_insert_with(RunId::fresh).clone();
    let topology = names.topology();
    let broker = Broker { amqp_url: url.to_owned(), names: names.clone() };
    let queue = broker.connect("submit", None).await?;
    let mut publication = Publication::new(topology.jobs_exchange(), JOB_KEY, codec::encode(&message));
    publication.message_id = Some(id.to_string());
    let published = queue.publish(publication).await;
    queue.close().await;
    published.map_err(publish_error)?;
    Ok(Answer {
        schema: SCHEMA,
        id: Some(id),
        status: "accepted".to_owned(),
        output: None,
        output_digest: None,
        error: None,
        errors: Vec::new(),
        duplicate: false,
    })
}

fn publish_error(error: PublishError) -> Error {
    let say = match &error {
        PublishError::TooLarge { .. } => Error::usage("the job cannot be sent"),
        PublishError::Unroutable { .. } | PublishError::Disconnected => Error::missing("the job was not taken")
            .with_help("a scheduler makes the queue of jobs when it starts; is one running under this --prefix?"),
        PublishError::Refused | PublishError::TimedOut => {
            Error::missing("the job was not confirmed").with_help("send it again with the same --id: it is run once")
        }
    };
    say.because(error)
}

/// Follows a run whose job is with the broker. That nobody answers is told at once; that there is no such run, only
/// after some time.
async fn follow_published(client: Client, id: RunId, progress: Progress) -> Result<watch::Watched, Error> {
    client.workflows().await?;
    watch::follow(Follow::soon(client, id), progress).await
}

/// A job that was handed to the broker is followed over HTTP all the same.
fn published_but(error: Error) -> Error {
    error.with_help(
        "RabbitMQ has accepted the job, but runs are followed over HTTP: say where the scheduler is with --server; \
         a job that it refuses is kept in its queue of rejected ones",
    )
}

/// Reads a time, or how long from now.
fn read_time(text: &str) -> Result<Timestamp, String> {
    match text.strip_prefix('+') {
        Some(after) => engine::duration::parse(after).map(|after| view::now().plus(after)).map_err(|e| e.to_string()),
        None => text.parse().map_err(|_| "write a time such as 2026-12-01T09:00:00Z, or +10m".to_owned()),
    }
}

/// Reads `NAME=VALUE`.
pub(super) fn read_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
