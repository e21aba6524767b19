//! `leveret worker`: the service that does the work.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use worker::{
    action::registry::Actions,
    metrics::Metrics,
    service::{Settings, Worker},
};

use crate::{
    embedded::{cache_bytes, worker_error},
    ending::{Error, Exit},
    interrupts::Interrupts,
    options::{Address, Broker, Server, Work},
    service,
};

/// What a worker needs to know.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where health and metrics are served; port 0 takes a free one, `off` serves none
    #[arg(long = "http", env = "LEVERET_HTTP_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7781")]
    http_addr: Address,
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    work: Work,
}

/// Works until a signal; then drains: takes nothing more and finishes what runs, until a second one.
///
/// # Errors
/// When it cannot start, or fails.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen()?;
    let metrics = Arc::new(Metrics::new());
    let observed = metrics.clone();
    let on_confirm = Arc::new(move |took: std::time::Duration| observed.publish_confirm.observe(took.as_secs_f64()));
    let queue = options.broker.connect("worker", Some(on_confirm)).await?;
    let settings = Settings {
        queue: queue.clone(),
        topology: options.broker.names.topology(),
        server_url: options.server.server_url.to_string(),
        token: options.server.token.filter(|token| !token.is_empty()),
        pools: options.work.pools,
        slots: options.work.means.slots,
        drain_timeout: options.work.drain_timeout,
        http: match options.http_addr {
            Address::At(addr) => Some(addr),
            Address::Off => None,
        },
        actions: Actions::builtin(),
        id: service::identity(),
        metrics,
        cache_bytes: cache_bytes(&options.work.means),
        environment: worker::service::environment(),
        env_allow: options.work.means.env_allow,
        secrets_dir: options.work.means.secrets_dir,
        template_timeout: options.work.means.template_timeout,
    };
    let mut worker = Worker::start(settings).await.map_err(worker_error)?;
    if let Some(http) = worker.http_addr() {
        tracing::info!(%http, "serving health and metrics");
    }

    // Both are cancel safe.
    let failed = tokio::select! {
        () = interrupts.next() => None,
        error = worker.failed() => Some(worker_error(error)),
    };
    tracing::info!("draining: waiting for what runs");
    let now = CancellationToken::new();
    let stop = async {
        let drained = worker.drain(now.clone()).await.map_err(worker_error);
        queue.close().await;
        drained
    };
    let stopped = service::stopped(&mut interrupts, now.clone(), stop).await;
    failed.map_or(stopped, Err)
}
