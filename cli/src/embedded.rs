//! Scheduler and workers in this process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use proto::{id::PoolName, topology::Topology};
use queue::Queue;
use reqwest::Url;
use scheduler::{
    access::Tokens,
    service::{self as scheduling, Scheduler},
    store,
};
use tokio_util::sync::CancellationToken;
use worker::{
    action::registry::Actions,
    service::{self as working, Worker},
};

use crate::{
    ending::Error,
    options::{Means, Server},
    service,
};

/// The only owner that the shards of an embedded store ever have: its files are locked, so whoever has them open is
/// the only one, and need not wait for the lease of one that was killed.
const OWNER: &str = "embedded";

/// What to start.
#[derive(Debug)]
pub struct Settings {
    /// The folder of the store; made when it is absent.
    pub data: PathBuf,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// What carries messages.
    pub queue: Queue,
    /// Names on it.
    pub topology: Topology,
    /// How many workers; at least one.
    pub workers: u32,
    /// What each of them has to work with.
    pub means: Means,
    /// How long a stop waits for what runs.
    pub drain_timeout: Duration,
}

/// A scheduler and workers that know each other.
pub struct Embedded {
    scheduler: Scheduler,
    workers: Vec<Worker>,
    queue: Queue,
}

impl Embedded {
    /// Starts all, and takes up what an earlier process left unfinished in the same folder.
    ///
    /// # Errors
    /// When the store cannot be opened, or the address is taken.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let Settings { data, http, queue, topology, workers, means, drain_timeout } = settings;
        let store = open(&format!("sqlite:{}", data.join("leveret.db").display())).await?;
        let scheduler = Scheduler::start(scheduling::Settings {
            store,
            queue: queue.clone(),
            topology: topology.clone(),
            http,
            tokens: Tokens::default(),
            owner: OWNER.to_owned(),
            metrics: Arc::default(),
        });
        let scheduler = scheduler.await.map_err(scheduler_error)?;
        let mut embedded = Self { scheduler, workers: Vec::new(), queue };
        for _ in 0..workers.max(1) {
            match embedded.worker(topology.clone(), means.clone(), drain_timeout).await {
                Ok(worker) => embedded.workers.push(worker),
                Err(error) => {
                    let now = CancellationToken::new();
                    now.cancel();
                    // What is said is why it did not start; that a stop fails after that says nothing more.
                    let _ = embedded.stop(now).await;
                    return Err(worker_error(error));
                }
            }
        }
        Ok(embedded)
    }

    async fn worker(
        &self,
        topology: Topology,
        means: Means,
        drain_timeout: Duration,
    ) -> Result<Worker, working::Error> {
        Worker::start(working::Settings {
            queue: self.queue.clone(),
            topology,
            server_url: url(self.scheduler.http_addr()).to_string(),
            token: None,
            pools: vec![default_pool()],
            slots: means.slots,
            drain_timeout,
            http: None,
            actions: Actions::builtin(),
            id: service::identity(),
            metrics: Arc::default(),
            cache_bytes: cache_bytes(&means),
            environment: working::environment(),
            env_allow: means.env_allow,
            secrets_dir: means.secrets_dir,
            template_timeout: means.template_timeout,
        })
        .await
    }

    /// How clients reach it.
    pub fn server(&self) -> Server {
        Server { server_url: url(self.scheduler.http_addr()), token: None }
    }

    /// Waits until a part of it ends by itself, which is a failure. Cancel safe.
    pub async fn failed(&mut self) -> Error {
        let workers = select_all(self.workers.iter_mut().map(|worker| Box::pin(worker.failed())));
        // All are cancel safe.
        tokio::select! {
            error = self.scheduler.failed() => scheduler_error(error),
            (error, ..) = workers => worker_error(error),
        }
    }

    /// Stops all: the workers first, so that the scheduler still hears what they did.
    ///
    /// # Errors
    /// When a part of it had failed.
    pub async fn stop(self, now: CancellationToken) -> Result<(), Error> {
        let drained = join_all(self.workers.into_iter().map(|worker| worker.drain(now.clone()))).await;
        let drained = drained.into_iter().collect::<Result<(), _>>().map_err(worker_error);
        let stopped = self.scheduler.stop().await.map_err(scheduler_error);
        self.queue.close().await;
        drained.and(stopped)
    }
}

/// Opens a store.
///
/// # Errors
/// When it cannot be used, with what to do.
pub async fn open(url: &str) -> Result<store::Store, Error> {
    store::open(url).await.map_err(store_error)
}

/// The bytes that caches may take.
pub fn cache_bytes(means: &Means) -> usize {
    means.cache_mb as usize * 1024 * 1024
}

/// Says why a scheduler does not run.
pub fn scheduler_error(error: scheduling::Error) -> Error {
    match error {
        scheduling::Error::Store(error) => store_error(error),
        scheduling::Error::Queue(error) => crate::options::broker_error(error),
        error @ scheduling::Error::Http { .. } => address_error(error),
        scheduling::Error::Open(addr) => Error::usage(format!("{addr} can be reached from other machines"))
            .with_help("say who may call with LEVERET_TOKENS of `leveret scheduler`, or serve a loopback address"),
        error @ (scheduling::Error::Held(..)
        | scheduling::Error::Recovery(_)
        | scheduling::Error::Loop(_)
        | scheduling::Error::Failed(_)) => Error::failed("the scheduler cannot go on").because(error),
    }
}

/// Says why a worker does not run.
pub fn worker_error(error: working::Error) -> Error {
    match error {
        working::Error::Queue(error) => crate::options::broker_error(error),
        error @ working::Error::Http { .. } => address_error(error),
        error @ (working::Error::Values(_) | working::Error::Failed(_)) => {
            Error::failed("the worker cannot go on").because(error)
        }
    }
}

fn store_error(error: store::Error) -> Error {
    let say = match &error {
        store::Error::Unavailable(_) => Error::missing("the store is not reachable")
            .with_help("check that it runs there; say where it is with --store or LEVERET_STORE_URL"),
        store::Error::InUse { .. } | store::Error::Address(_) => Error::usage("the store cannot be opened"),
        store::Error::Fenced { .. }
        | store::Error::Conflict { .. }
        | store::Error::Mismatch { .. }
        | store::Error::Full(_)
        | store::Error::Broken(_) => Error::failed("the store cannot be used"),
    };
    say.because(error)
}

fn address_error(error: impl std::error::Error) -> Error {
    Error::usage("an address cannot be served").because(error).with_help("is it taken? say another with --http")
}

fn default_pool() -> PoolName {
    "default".parse().expect("a valid name")
}

fn url(addr: SocketAddr) -> Url {
    format!("http://{addr}").parse().expect("an address makes a URL")
}

/// The folder of a store that is meant to stay.
pub fn show_folder(folder: &Path) -> String {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display().to_string()
}
