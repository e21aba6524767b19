//! `leveret scheduler`: the service that owns runs.

use std::{fmt, net::SocketAddr, sync::Arc};

use scheduler::{
    access::{self, Tokens},
    metrics::Metrics,
    service::{Scheduler, Settings},
};
use tokio_util::sync::CancellationToken;

use crate::{
    embedded::{open, scheduler_error},
    ending::{Error, Exit},
    interrupts::Interrupts,
    options::Broker,
    service,
};

/// What a scheduler needs to know.
#[derive(clap::Args)]
pub struct Options {
    /// Where runs are kept: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`; `LEVERET_STORE_URL_FILE` names
    /// a file instead
    #[arg(long = "store", env = "LEVERET_STORE_URL", hide_env_values = true, value_name = "URL")]
    #[arg(default_value = "sqlite:leveret-data/leveret.db")]
    store_url: String,
    /// Where HTTP is served; port 0 takes a free one
    #[arg(long = "http", env = "LEVERET_HTTP_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7780")]
    http_addr: SocketAddr,
    /// Who may call: `ROLE:TOKEN,…` with the roles `read`, `operate` and `worker`; without any, everybody may, on
    /// loopback only; `LEVERET_TOKENS_FILE` names a file instead, with one on a line
    #[arg(long, env = "LEVERET_TOKENS", hide_env_values = true, value_name = "LIST")]
    tokens: Option<String>,
    #[command(flatten)]
    broker: Broker,
}

/// Serves until a signal; then finishes what is under way.
///
/// # Errors
/// When it cannot start, or fails.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen()?;
    let metrics = Arc::new(Metrics::new());
    let observed = metrics.clone();
    let on_confirm = Arc::new(move |took: std::time::Duration| observed.publish_confirm.observe(took.as_secs_f64()));
    let queue = options.broker.connect("scheduler", Some(on_confirm)).await?;
    // One with files of its own is their only owner, and need not wait for the lease of one that was killed.
    let owner = match options.store_url.starts_with("sqlite:") {
        true => "embedded".to_owned(),
        false => service::identity().to_string(),
    };
    let settings = Settings {
        store: open(&options.store_url).await?,
        queue: queue.clone(),
        topology: options.broker.names.topology(),
        http: options.http_addr,
        tokens: tokens(options.tokens.as_deref())?,
        owner,
        metrics,
    };
    let mut scheduler = Scheduler::start(settings).await.map_err(scheduler_error)?;

    // Both are cancel safe.
    let failed = tokio::select! {
        () = interrupts.next() => None,
        error = scheduler.failed() => Some(scheduler_error(error)),
    };
    tracing::info!("stopping");
    let stop = async {
        let stopped = scheduler.stop().await.map_err(scheduler_error);
        queue.close().await;
        stopped
    };
    let stopped = service::stopped(&mut interrupts, CancellationToken::new(), stop).await;
    failed.map_or(stopped, Err)
}

/// Read here and not as an option's value: words that are not valid are repeated to whoever wrote them, and into logs.
fn tokens(list: Option<&str>) -> Result<Tokens, Error> {
    list.unwrap_or_default().parse().map_err(|error: access::Error| {
        Error::usage("the list of tokens is not valid").because(error).with_help("write ROLE:TOKEN,ROLE:TOKEN")
    })
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("broker", &self.broker).finish_non_exhaustive()
    }
}
