//! Scheduler and worker in this process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

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
    /// What the worker has to work with.
    pub means: Means,
    /// How long a stop waits for what runs.
    pub drain_timeout: Duration,
}

/// A scheduler and a worker that know each other.
pub struct Embedded {
    scheduler: Scheduler,
    worker: Worker,
    queue: Queue,
}

impl Embedded {
    /// Starts both, and takes up what an earlier process left unfinished in the same folder.
    ///
    /// # Errors
    /// When the store cannot be opened, or the address is taken.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let Settings { data, http, queue, topology, means, drain_timeout } = settings;
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
        let worker = Worker::start(working::Settings {
            queue: queue.clone(),
            topology,
            server_url: url(scheduler.http_addr()).to_string(),
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
        });
        match worker.await {
            Ok(worker) => Ok(Self { scheduler, worker, queue }),
            Err(error) => {
                let error = worker_error(error);
                // What is said is why it did not start; that a stop fails after that says nothing more.
                let _ = scheduler.stop().await;
                Err(error)
            }
        }
    }

    /// How clients reach it.
    pub fn server(&self) -> Server {
        Server { server_url: url(self.scheduler.http_addr()), token: None }
    }

    /// Waits until a part of it ends by itself, which is a failure. Cancel safe.
    pub async fn failed(&mut self) -> Error {
        // Both are cancel safe.
        tokio::select! {
            error = self.scheduler.failed() => scheduler_error(error),
            error = self.worker.failed() => worker_error(error),
        }
    }

    /// Stops both: the worker first, so that the scheduler still hears what it did.
    ///
    /// # Errors
    /// When a part of it had failed.
    pub async fn stop(self, now: CancellationToken) -> Result<(), Error> {
        let drained = self.worker.drain(now).await.map_err(worker_error);
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
