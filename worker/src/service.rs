//! A worker as a whole: started, watched, drained.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use engine::value::Value;
use futures_util::{FutureExt as _, future::BoxFuture};
use proto::{
    id::{PoolName, WorkerId},
    topology::Topology,
};
use queue::{Declared, Queue, Source};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    action::{
        http::{self as http_action, Proxy},
        registry::Actions,
    },
    consume, heartbeat, http,
    mail::Mail,
    metrics::Metrics,
    revoked::Revoked,
    running::Running,
    secrets::Secrets,
    snapshots::Snapshots,
    station::Station,
    values::{self, Values},
};

/// How long a task without a `timeout` may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// Control messages that are here at once.
const CONTROL_PREFETCH: u16 = 256;
/// How long a kill waits for what it killed.
const KILL_GRACE: Duration = Duration::from_secs(20);

/// What a worker needs to start.
pub struct Settings {
    /// Where messages come from and go to.
    pub queue: Queue,
    /// Names on the broker.
    pub topology: Topology,
    /// A scheduler, for values: `http://host:port`.
    pub server_url: String,
    /// Its bearer token.
    pub token: Option<String>,
    /// The pools that it serves.
    pub pools: Vec<PoolName>,
    /// Items that it runs at once, at least 1. Also the prefetch of each pool, so that messages which wait here take at
    /// most slots × pools × 4 MiB, and mostly a hundredth of that; only those that have a slot are parsed.
    pub slots: u32,
    /// How long a drain waits for what runs.
    pub drain_timeout: Duration,
    /// Where health and metrics are served; port 0 takes a free one; `None` serves none.
    pub http: Option<SocketAddr>,
    /// What tasks can do.
    pub actions: Actions,
    /// Who this process is.
    pub id: WorkerId,
    /// Its metrics, shared with whoever observes the queue.
    pub metrics: Arc<Metrics>,
    /// Heap bytes that caches may take.
    pub cache_bytes: usize,
    /// The environment of this process, as [`environment`] captures it. Of its variables templates can read
    /// `LEVERET_SECRET_<NAME>` as `secrets.<name>`, in capitals or not, and those in `env_allow` as `env.<NAME>`.
    pub environment: BTreeMap<String, String>,
    /// Names of the variables that templates may read as `env.<NAME>`; no secrets, since values of these are stored.
    pub env_allow: Vec<String>,
    /// A folder whose files are `secrets.<file name>`, without the end of their last line, up to 64 KiB. They are read
    /// anew for each piece of work, and go before the variables.
    pub secrets_dir: Option<PathBuf>,
    /// How long the templates of one piece of work may take in one go: then they fail as `template_timeout`.
    pub template_timeout: Duration,
}

/// The environment variables of this process whose names and values are Unicode.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Why a worker did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The scheduler's address makes no sense.
    #[error(transparent)]
    Values(#[from] values::Error),
    /// The HTTP address cannot be had.
    #[error("cannot serve HTTP at {addr}")]
    Http {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A part of the process ended by itself; its message is in the log.
    #[error("a part of the worker failed: {0}")]
    Failed(String),
}

/// A running worker.
pub struct Worker {
    station: Arc<Station>,
    http: Option<SocketAddr>,
    drain_timeout: Duration,
    /// Nothing more will be reported.
    reported: CancellationToken,
    /// What ends when the last delivery does.
    pools: JoinSet<()>,
    /// What goes on until the end.
    others: JoinSet<Result<(), Error>>,
}

impl Worker {
    /// Begins to take work.
    ///
    /// # Errors
    /// When the broker or the HTTP address are not to be had.
    pub fn start(settings: Settings) -> BoxFuture<'static, Result<Self, Error>> {
        // Boxed: its code is compiled here, and not again in each binary and test that starts a worker.
        Self::started(settings).boxed()
    }

    async fn started(settings: Settings) -> Result<Self, Error> {
        let Settings {
            queue,
            topology,
            server_url,
            token,
            pools,
            slots,
            drain_timeout,
            http,
            actions,
            id,
            metrics,
            cache_bytes,
            environment,
            env_allow,
            secrets_dir,
            template_timeout,
        } = settings;
        let client = http_action::client(Proxy::Environment).map_err(|error| Error::Failed(error.to_string()))?;
        let values = Values::new(&server_url, token, client)?;
        let slots = slots.max(1);
        let kill = CancellationToken::new();
        let reported = CancellationToken::new();
        let (mail, carrying) = Mail::new(queue.clone(), topology.clone(), kill.clone(), reported.clone());
        let station = Arc::new(Station {
            id,
            queue,
            mail,
            topology,
            snapshots: Snapshots::new(values, cache_bytes, metrics.clone()),
            actions,
            secrets: Secrets::new(&environment, secrets_dir),
            env: allowed(&environment, &env_allow),
            metrics,
            revoked: Revoked::default(),
            claims: Default::default(),
            running: Running::default(),
            slots: Arc::new(Semaphore::new(slots as usize)),
            stop: CancellationToken::new(),
            kill,
            default_timeout: DEFAULT_TIMEOUT,
            template_timeout,
        });
        let mut others = JoinSet::new();
        spawn(&mut others, carrying);
        let http = match http {
            None => None,
            Some(addr) => Some(serve(&mut others, addr, &station, slots).await?),
        };
        let control = station.queue.consume(Source::Control, CONTROL_PREFETCH).await?;
        let listening = consume::listen(station.clone(), control);
        spawn(&mut others, listening);
        let mut consuming = JoinSet::new();
        let prefetch = u16::try_from(slots).unwrap_or(u16::MAX);
        for pool in &pools {
            station.queue.declare(Declared::Pool(pool.clone())).await?;
            let consumer = station.queue.consume(Source::Pool(pool.clone()), prefetch).await?;
            consuming.spawn(consume::consume(station.clone(), consumer));
        }
        let beating = heartbeat::beat(station.clone(), pools, slots);
        spawn(&mut others, beating);
        tracing::info!(id = %station.id, slots, "worker started");
        Ok(Self { station, http, drain_timeout, reported, pools: consuming, others })
    }

    /// Where health and metrics are served.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Waits until a part of it ends by itself, which is a failure. Cancel safe.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            Some(joined) = self.pools.join_next() => Error::Failed(match joined {
                Ok(()) => "a pool's consumer ended".into(),
                Err(error) => error.to_string(),
            }),
            Some(joined) = self.others.join_next() => match joined {
                Ok(Ok(())) => Error::Failed("a task ended early".into()),
                Ok(Err(error)) => error,
                Err(error) => Error::Failed(error.to_string()),
            },
            else => Error::Failed("nothing runs".into()),
        }
    }

    /// Takes nothing more, hands back what has not begun, and waits for the rest: for the drain timeout, or until
    /// `now`. What runs then is killed, and its work is delivered to another worker.
    ///
    /// # Errors
    /// When a part of it had failed.
    pub async fn drain(mut self, now: CancellationToken) -> Result<(), Error> {
        self.station.stop.cancel();
        let ended = async { while self.pools.join_next().await.is_some() {} };
        let is_drained = tokio::select! {
            () = ended => true,
            () = now.cancelled() => false,
            () = tokio::time::sleep(self.drain_timeout) => false,
        };
        self.station.kill.cancel();
        if !is_drained {
            tracing::warn!("killing what still runs; its work goes to another worker");
            let killed = async { while self.pools.join_next().await.is_some() {} };
            if tokio::time::timeout(KILL_GRACE, killed).await.is_err() {
                tracing::warn!("something did not let itself be killed");
            }
        }
        self.reported.cancel();
        let mut outcome = Ok(());
        let all = async {
            while let Some(joined) = self.others.join_next().await {
                match joined {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => outcome = Err(error),
                    Err(error) => outcome = Err(Error::Failed(error.to_string())),
                }
            }
        };
        if tokio::time::timeout(KILL_GRACE, all).await.is_err() {
            tracing::warn!("stopped without waiting any longer");
        }
        outcome
    }
}

fn allowed(environment: &BTreeMap<String, String>, names: &[String]) -> Vec<(String, Value)> {
    let variable = |name: &String| Some((name.clone(), Value::from_text(environment.get(name)?)));
    names.iter().filter_map(variable).collect()
}

/// What goes on until it is told to end, and cannot fail.
fn spawn(others: &mut JoinSet<Result<(), Error>>, task: impl Future<Output = ()> + Send + 'static) {
    others.spawn(async move {
        task.await;
        Ok(())
    });
}

async fn serve(
    tasks: &mut JoinSet<Result<(), Error>>,
    addr: SocketAddr,
    station: &Arc<Station>,
    slots: u32,
) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Http { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let router = http::router(station.clone(), slots);
    let kill = station.kill.clone();
    tasks.spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(kill.cancelled_owned()).await;
        served.map_err(|error| Error::Failed(format!("HTTP: {error}")))
    });
    Ok(local)
}
