//! `leveret dev`: an embedded scheduler and worker that stay.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use queue::Queue;
use tokio_util::sync::CancellationToken;

use crate::{
    embedded::{self, Embedded, Settings},
    ending::{Error, Exit},
    interrupts::Interrupts,
    options::{Broker, Means, Names},
    output, service,
};

/// What to serve.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that keeps runs and workflows
    #[arg(long, value_name = "DIR", default_value = "leveret-data")]
    data: PathBuf,
    /// Where HTTP is served; port 0 takes a free one
    #[arg(long = "http", env = "LEVERET_HTTP_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7780")]
    http_addr: SocketAddr,
    /// RabbitMQ to take jobs from and let other workers help; without one, jobs come over HTTP only
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    /// How long a stop waits for actions that are under way
    #[arg(long, env = "LEVERET_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "5m")]
    #[arg(value_parser = engine::duration::parse)]
    drain_timeout: Duration,
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    means: Means,
}

/// Serves until a signal; then finishes what runs, until a second one.
///
/// # Errors
/// When it cannot start, or fails.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen()?;
    let topology = options.names.topology();
    let queue = match options.amqp {
        Some(amqp_url) => Broker { amqp_url, names: options.names }.connect("dev", None).await?,
        None => Queue::memory(topology.clone()),
    };
    let mut embedded = Embedded::start(Settings {
        data: options.data.clone(),
        http: options.http_addr,
        queue,
        topology,
        workers: 1,
        means: options.means,
        drain_timeout: options.drain_timeout,
    })
    .await?;
    let server = embedded.server().server_url;
    output::note(&format!("serving at {server}; everything is kept in {}", embedded::show_folder(&options.data)));

    // Both are cancel safe.
    let failed = tokio::select! {
        () = interrupts.next() => None,
        error = embedded.failed() => Some(error),
    };
    tracing::info!("stopping: waiting for what runs");
    let now = CancellationToken::new();
    let stopped = service::stopped(&mut interrupts, now.clone(), embedded.stop(now)).await;
    failed.map_or(stopped, Err)
}
