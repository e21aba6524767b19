//! `leveret bench`: what this machine, and a broker, make of a fan-out beside a shared context.

mod measured;

use std::{net::Ipv4Addr, path::Path, time::Duration};

use proto::{
    id::{PoolName, RunId, Shard},
    job::Message,
    json::Json,
    topology::Topology,
};
use queue::{Declared, Queue};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    embedded::{Embedded, Settings},
    ending::{Error, Exit},
    follow::Follow,
    interrupts::Interrupts,
    options::{Broker, Declare, Means, Names, QueueType},
    output::{self, Format},
    progress::Progress,
    view,
};
use measured::Measured;

/// Nothing is under way any more when it stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a line of the context in JSON: 61 of text, two quotes, a comma.
const LINE_BYTES: u32 = 64;

/// The first task makes the context, because a submission may have 256 KiB at most. Each item reads a line of it and its
/// own value.
const WORKFLOW: &str = r#"
name: bench
parameters:
  lines: { type: integer, required: true }
  items: { type: integer, required: true }
tasks:
  load:
    action: core.echo
    input: { message: "{{ ['LINE' for number in range(end=parameters.lines)] }}" }
    next:
      - when: succeeded()
        publish: { context: "{{ result }}" }
        do: each
  each:
    action: core.echo
    with_items: "{{ range(end=parameters.items) }}"
    input: { message: "{{ (workflow.context[0] | length) + item }}" }
"#;

/// What to measure, and on what.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Items of the fan-out
    #[arg(long, value_name = "N", default_value = "10000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    items: u32,
    /// Size of the context that they share
    #[arg(long, value_name = "BYTES", default_value = "1048576")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=33_554_432))]
    context: u32,
    /// Workers, all in this process
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// RabbitMQ to measure with, under names of its own that are removed at the end; without one, queues are in memory
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    /// What stdout gets: a table, or a document
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    means: Means,
}

/// Measures once. Ctrl-C gives up.
///
/// # Errors
/// When it cannot start, or the run does not succeed.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen()?;
    let folder = tempfile::Builder::new().prefix("leveret-bench.").tempdir();
    let folder = folder.map_err(|error| Error::failed("cannot make a temporary folder").because(error))?;
    let Some(amqp_url) = options.amqp.clone() else {
        let topology = Topology::default();
        let queue = Queue::memory(topology.clone());
        let measured = measure(&options, folder.path(), queue, topology, &mut interrupts).await?;
        return report(measured, &options);
    };
    let prefix = format!("leveret-bench-{}", RunId::fresh());
    output::note(&format!("on RabbitMQ everything is called {prefix}… and is removed at the end"));
    let names = Names { prefix, queue_type: QueueType::Quorum, declare: Declare::Active };
    let (broker, topology) = (Broker { amqp_url, names: names.clone() }, names.topology());
    let queue = broker.connect("bench", None).await?;
    let measured = measure(&options, folder.path(), queue, topology, &mut interrupts).await;
    // Whatever came of it, the broker is left as it was.
    let removed = remove(&broker).await;
    let measured = measured?;
    removed?;
    report(measured, &options)
}

/// What came of the fan-out; nothing when a person did not want to wait for it.
async fn measure(
    options: &Options,
    folder: &Path,
    queue: Queue,
    topology: Topology,
    interrupts: &mut Interrupts,
) -> Result<Option<Measured>, Error> {
    let mut embedded = Embedded::start(Settings {
        data: folder.to_owned(),
        http: (Ipv4Addr::LOCALHOST, 0).into(),
        queue,
        topology,
        workers: options.workers,
        means: options.means.clone(),
        drain_timeout: DRAIN_TIMEOUT,
    })
    .await?;
    let measured = drive(&mut embedded, options, interrupts).await;
    let now = CancellationToken::new();
    if !matches!(measured, Ok(Some(_))) {
        now.cancel();
    }
    let stopped = embedded.stop(now).await;
    let measured = measured?;
    stopped?;
    Ok(measured)
}

async fn drive(
    embedded: &mut Embedded,
    options: &Options,
    interrupts: &mut Interrupts,
) -> Result<Option<Measured>, Error> {
    let client = Client::new(&embedded.server())?;
    let began = Instant::now();
    let id = client.submit(&job(options)).await?.id;
    let id = id.ok_or_else(|| Error::failed("the job was accepted without an id"))?;
    let mut follow = Follow::new(client.clone(), id.clone());
    let mut progress = Progress::on_terminal();
    let run = loop {
        // Every arm is cancel safe.
        tokio::select! {
            view = follow.next() => {
                let view = view?;
                progress.update(&view);
                if view.status.is_terminal() {
                    break view;
                }
            }
            error = embedded.failed() => return Err(error),
            () = interrupts.next() => {
                output::note("stopped");
                return Ok(None);
            }
        }
    };
    let run_seconds = began.elapsed().as_secs_f64();
    if let Some(error) = &run.error {
        return Err(Error::failed(format!("the run is {}: {}", run.status.as_str(), view::failure(error))));
    }
    Measured::read(options, &client.facts(&id).await?, run_seconds).map(Some)
}

fn job(options: &Options) -> Message {
    let line = "0".repeat(LINE_BYTES as usize - r#""","#.len());
    let json = |value: serde_json::Value| Json::of(&value).expect("a value is JSON");
    let parameters =
        [("lines", json(json!(options.context.div_ceil(LINE_BYTES)))), ("items", json(json!(options.items)))];
    Message {
        definition: Some(json(json!(WORKFLOW.replace("LINE", &line)))),
        parameters: Some(parameters.map(|(name, value)| (name.to_owned(), value)).into()),
        ..Message::default()
    }
}

/// Removes all that a scheduler and its workers declared.
async fn remove(broker: &Broker) -> Result<(), Error> {
    let queue = broker.connect("bench", None).await?;
    let pool: PoolName = "default".parse().expect("a valid name");
    // SQLite has one shard.
    let removed = queue.remove(&[Declared::Core, Declared::Pool(pool), Declared::Outcomes(Shard(0))]).await;
    queue.close().await;
    removed.map_err(crate::options::broker_error)
}

fn report(measured: Option<Measured>, options: &Options) -> Result<Exit, Error> {
    let Some(measured) = measured else { return Ok(Exit::Interrupted) };
    match options.output {
        Format::Json => output::print(&output::pretty_document(&measured.document()))?,
        Format::Text => output::print(&measured.table())?,
    }
    Ok(Exit::Done)
}
