//! A scheduler as a whole: started, watched, stopped.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use proto::{
    id::{Epoch, Shard},
    topology::Topology,
};
use queue::{Declared, Queue, Source};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    access::Tokens,
    clock::Clock,
    desk::{Desk, Ended},
    dispatch::{Dispatch, default_pool},
    event_loop::{self, TURN_INPUTS_MAX},
    health::Health,
    http,
    lease::{LEASE, Lease},
    metrics::Metrics,
    outbox::Outbox,
    programs::Programs,
    schedule::roster::Roster,
    store::{self, Store},
    timers::Timers,
    turn,
    workers::Workers,
};

/// Questions of HTTP handlers that wait for the loop.
const CALLS_MAX: usize = 1_024;
/// Deliveries of one queue that are with this process at once: two turns' worth, so that one is ready when the other is done.
const PREFETCH: u16 = 2 * TURN_INPUTS_MAX as u16;
/// How long a stop waits for what is under way.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What a scheduler needs to start.
#[derive(Debug)]
pub struct Settings {
    /// Where it keeps runs.
    pub store: Store,
    /// Where messages come from and go to.
    pub queue: Queue,
    /// Names on the broker.
    pub topology: Topology,
    /// Where HTTP is served; port 0 takes a free one.
    pub http: SocketAddr,
    /// Who may ask what. Without tokens `http` must be a loopback address.
    pub tokens: Tokens,
    /// Who this process is, in leases and logs.
    pub owner: String,
    /// Its metrics, shared with whoever observes the queue.
    pub metrics: Arc<Metrics>,
}

/// Why a scheduler did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The broker failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The HTTP address cannot be had.
    #[error("cannot serve HTTP at {addr}")]
    Http {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Anybody could ask for anything.
    #[error(
        "{0} can be reached from other machines and there are no tokens: give some, or serve HTTP at a loopback address"
    )]
    Open(SocketAddr),
    /// Another process holds the shards.
    #[error("another scheduler holds shard {0}; it is freed {1:?} after that one has stopped")]
    Held(Shard, Duration),
    /// What was left unfinished could not be taken up.
    #[error("cannot take up unfinished runs: {0}")]
    Recovery(String),
    /// The loop ended.
    #[error(transparent)]
    Loop(#[from] event_loop::Error),
    /// A part of the process panicked; its message is in the log.
    #[error("a part of the scheduler failed: {0}")]
    Failed(String),
}

/// A running scheduler.
#[derive(Debug)]
pub struct Scheduler {
    http: SocketAddr,
    store: Arc<Store>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
}

impl Scheduler {
    /// Takes over the store's shards with all that is unfinished, and begins to work.
    ///
    /// # Errors
    /// When the store, the broker or the HTTP address are not to be had, or another scheduler holds the shards.
    pub fn start(settings: Settings) -> BoxFuture<'static, Result<Self, Error>> {
        // Boxed: its code is compiled here, and not again in each binary and test that starts a scheduler.
        Self::started(settings).boxed()
    }

    async fn started(settings: Settings) -> Result<Self, Error> {
        let Settings { store, queue, topology, http, tokens, owner, metrics } = settings;
        if tokens.is_empty() && !http.ip().is_loopback() {
            return Err(Error::Open(http));
        }
        let listener = TcpListener::bind(http).await.map_err(|source| Error::Http { addr: http, source })?;
        let http = listener.local_addr().map_err(|source| Error::Http { addr: http, source })?;
        let store = Arc::new(store);
        declare(&queue, &store).await?;
        let epochs = acquire_all(&store, &owner).await?;
        let begin = Begin {
            store: store.clone(),
            queue,
            topology,
            owner: owner.clone(),
            metrics,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        match begin.all(epochs, listener, tokens).await {
            Ok((stop, tasks)) => {
                tracing::info!(%http, "scheduler started");
                Ok(Self { http, store, stop, tasks })
            }
            Err(error) => {
                // Whoever tries next need not wait for a lease that nobody uses.
                store.release(&owner).await?;
                Err(error)
            }
        }
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// The store that it keeps runs in, for whoever looks on.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Waits until a part of it ends by itself, which is a failure. Cancel safe.
    pub async fn failed(&mut self) -> Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return Error::Failed(error.to_string()),
                // The part that failed takes others with it, which end well and may end first.
                Some(Ok(Ok(()))) if self.stop.is_cancelled() => {}
                Some(Ok(Ok(()))) => return Error::Failed("a task ended early".into()),
                None => return Error::Failed("nothing runs".into()),
            }
        }
    }

    /// Ends it at once, as a crash would: what was not stored or not confirmed comes again at the next start, which
    /// waits until the lease is over unless its owner is the same.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    /// Stops taking inputs and waits for what is under way. What was not stored comes again at the next start.
    ///
    /// # Errors
    /// When a part of it had failed.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let mut outcome = Ok(());
        let all = async {
            while let Some(joined) = self.tasks.join_next().await {
                match joined {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => outcome = Err(error),
                    Err(error) => outcome = Err(Error::Failed(error.to_string())),
                }
            }
        };
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            tracing::warn!("stopped without waiting any longer for what is under way");
        }
        outcome
    }
}

async fn declare(queue: &Queue, store: &Store) -> Result<(), Error> {
    queue.declare(Declared::Core).await?;
    queue.declare(Declared::Pool(default_pool())).await?;
    for shard in event_loop::all_shards(store.shards()) {
        queue.declare(Declared::Outcomes(shard)).await?;
    }
    Ok(())
}

/// A start under way: the shards are ours.
struct Begin {
    store: Arc<Store>,
    queue: Queue,
    topology: Topology,
    owner: String,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
}

impl Begin {
    async fn all(
        mut self,
        epochs: HashMap<Shard, Epoch>,
        listener: TcpListener,
        tokens: Tokens,
    ) -> Result<(CancellationToken, JoinSet<Result<(), Error>>), Error> {
        let health = Health::new(self.queue.clone());
        // First of all: it may take longer than a lease to bring everything back.
        let over = self.keep_lease(health.clone());
        let (outbox, publisher) = Outbox::new(self.queue.clone());
        self.tasks.spawn(async move {
            publisher.await;
            Ok(())
        });
        let desk = self.open_desk(epochs, outbox).await?;
        let (calls_in, calls) = mpsc::channel(CALLS_MAX);
        let api = http::Api::new(
            self.store.clone(),
            desk.programs.clone(),
            calls_in,
            health.clone(),
            self.metrics.clone(),
            tokens,
        );
        serve(&mut self.tasks, listener, api, self.stop.clone());
        let inputs = pumps(&mut self.tasks, &self.queue, desk.shards, self.stop.clone()).await?;
        let feed = event_loop::Feed { inputs, calls, stop: self.stop.clone() };
        self.tasks.spawn(async move {
            let _over = over;
            Ok(event_loop::run(desk, feed, health).await?)
        });
        Ok((self.stop, self.tasks))
    }

    /// Renews the lease until what is given back is dropped. When it is lost, everything ends.
    fn keep_lease(&mut self, health: Health) -> DropGuard {
        let over = CancellationToken::new();
        let lease = Lease { store: self.store.clone(), owner: self.owner.clone(), health, over: over.clone() };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let kept = lease.keep().await;
            stop.cancel();
            kept.map_err(|error| Error::Loop(event_loop::Error::Fenced(error)))
        });
        over.drop_guard()
    }

    async fn open_desk(&self, epochs: HashMap<Shard, Epoch>, outbox: Outbox) -> Result<Desk, Error> {
        let store = self.store.clone();
        let mut desk = Desk {
            shards: store.shards(),
            programs: Programs::new(store.clone()),
            dispatch: Dispatch::new(store.clone()),
            store,
            topology: self.topology.clone(),
            clock: Clock::system(),
            metrics: self.metrics.clone(),
            epochs,
            live: Default::default(),
            ended: Ended::default(),
            unreadable: Default::default(),
            timers: Timers::default(),
            schedules: Roster::default(),
            outbox,
            workers: Workers::default(),
            watchers: Default::default(),
            waiting: Default::default(),
            continuing: Default::default(),
            admitted: Default::default(),
            lines: Default::default(),
            lost: Default::default(),
            doubt: None,
        };
        for shard in event_loop::all_shards(desk.shards) {
            desk.recover(shard).await.map_err(|error: turn::Error| Error::Recovery(error.to_string()))?;
        }
        Ok(desk)
    }
}

async fn acquire_all(store: &Store, owner: &str) -> Result<HashMap<Shard, Epoch>, Error> {
    let mut epochs = HashMap::new();
    for shard in event_loop::all_shards(store.shards()) {
        epochs.insert(shard, acquire(store, shard, owner).await?);
    }
    Ok(epochs)
}

/// Takes a shard, waiting for the lease of an owner that was killed to run out.
async fn acquire(store: &Store, shard: Shard, owner: &str) -> Result<Epoch, Error> {
    let patience = tokio::time::Instant::now() + LEASE + Duration::from_secs(5);
    loop {
        if let Some(epoch) = store.acquire(shard, owner, LEASE).await? {
            return Ok(epoch);
        }
        if tokio::time::Instant::now() > patience {
            return Err(Error::Held(shard, LEASE));
        }
        tracing::info!(%shard, "waiting for the lease of another scheduler to run out");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn serve(tasks: &mut JoinSet<Result<(), Error>>, listener: TcpListener, api: http::Api, stop: CancellationToken) {
    tasks.spawn(async move {
        let router = http::router(api);
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        served.map_err(|error| Error::Failed(format!("HTTP: {error}")))
    });
}

/// Consumes every queue that concerns a scheduler into one bounded channel.
async fn pumps(
    tasks: &mut JoinSet<Result<(), Error>>,
    queue: &Queue,
    shards: u16,
    stop: CancellationToken,
) -> Result<mpsc::Receiver<turn::Input>, Error> {
    let (sender, inputs) = mpsc::channel(TURN_INPUTS_MAX);
    let outcomes =
        event_loop::all_shards(shards).map(|shard| (Source::Outcomes(shard), event_loop::outcomes as fn(_) -> _));
    let sources = outcomes
        .chain([(Source::Jobs, event_loop::jobs as fn(_) -> _), (Source::Dead, event_loop::dead as fn(_) -> _)]);
    for (source, wrap) in sources {
        let consumer = queue.consume(source, PREFETCH).await?;
        let (sender, stop) = (sender.clone(), stop.clone());
        tasks.spawn(async move {
            event_loop::pump(consumer, wrap, sender, stop).await;
            Ok(())
        });
    }
    Ok(inputs)
}
