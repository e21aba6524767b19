//! RabbitMQ through lapin, supervised by us.
//!
//! lapin's own recovery stays off: it hides the border at which deliveries become stale, and measured, it lets acks of
//! old deliveries look successful. Instead a `link` is one connection, never repaired; a `supervisor` per role makes a
//! new one with back-off; the `publisher` and each `consumer` notice that theirs is gone and move to the next. There
//! are two roles, because a broker short of memory stops reading from connections that publish, and acks must go on.

mod channel;
mod consumer;
mod link;
mod publisher;
mod settings;
mod supervisor;
mod topology;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proto::topology::Topology;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use channel::Channel;
pub use consumer::Consumer;
pub use settings::{Declare, QueueType, Settings};

use crate::{Declared, Error, Publication, PublishError, Source, State};
use link::Link;

/// How long an answer of the broker may take, and how long closing may.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle on the connection pair.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    publisher: publisher::Publisher,
    tasks: Mutex<Tasks>,
}

/// What runs: awaited by `close`, aborted when the last handle is dropped without it.
#[derive(Default)]
struct Tasks {
    /// The publisher and the consumers, which end first.
    traffic: JoinSet<()>,
    /// The supervisors, which then close the connections.
    supervisors: JoinSet<()>,
}

/// What the tasks have in common.
struct Shared {
    settings: Settings,
    state: watch::Sender<State>,
    publish: watch::Sender<Option<Arc<Link>>>,
    consume: watch::Sender<Option<Arc<Link>>>,
    /// What was declared and is declared again on every new connection.
    remembered: Mutex<BTreeSet<Declared>>,
    /// Intake stops.
    closing: CancellationToken,
    /// Traffic has stopped: the connections may close.
    closed: CancellationToken,
}

impl Shared {
    fn remembered(&self) -> BTreeSet<Declared> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Queue {
    /// Makes both connections, then supervises them.
    pub(crate) async fn connect(settings: Settings) -> Result<Self, Error> {
        let uri = settings.uri()?;
        let publish = Link::open(&settings, &uri, link::Role::Publish).await?;
        let consume = Link::open(&settings, &uri, link::Role::Consume).await?;
        let shared = Arc::new(Shared {
            settings,
            state: watch::Sender::new(State { publish: true, consume: true, blocked: false }),
            publish: watch::Sender::new(Some(publish.link.clone())),
            consume: watch::Sender::new(Some(consume.link.clone())),
            remembered: Mutex::default(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let mut tasks = Tasks::default();
        for first in [publish, consume] {
            tasks.supervisors.spawn(supervisor::run(shared.clone(), uri.clone(), first));
        }
        let (publisher, publishing) = publisher::channel(shared.clone());
        tasks.traffic.spawn(publishing);
        Ok(Self { inner: Arc::new(Inner { shared, publisher, tasks: Mutex::new(tasks) }) })
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.inner.shared.settings.topology
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.inner.shared.state.subscribe()
    }

    /// On the consume connection: a blocked publish connection answers nothing.
    pub(crate) async fn declare(&self, declared: Declared) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let link = shared.consume_link("declaring").await?;
        topology::declare(&link, &shared.settings, [&declared]).await?;
        shared.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(declared);
        Ok(())
    }

    pub(crate) async fn remove(&self, parts: &[Declared]) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let link = shared.consume_link("removing").await?;
        shared.remembered.lock().unwrap_or_else(PoisonError::into_inner).retain(|part| !parts.contains(part));
        topology::remove(&link, &shared.settings, parts).await
    }

    pub(crate) async fn publish_all(&self, publications: Vec<Arc<Publication>>) -> Vec<Result<(), PublishError>> {
        self.inner.publisher.publish_all(publications).await
    }

    pub(crate) async fn consume(&self, source: Source, prefetch: u16) -> Result<Consumer, Error> {
        let (consumer, consuming) = consumer::open(self.inner.shared.clone(), source, prefetch).await?;
        let mut tasks = self.tasks();
        while tasks.traffic.try_join_next().is_some() {}
        tasks.traffic.spawn(consuming);
        Ok(consumer)
    }

    pub(crate) async fn close(self) {
        let Tasks { traffic, supervisors } = std::mem::take(&mut *self.tasks());
        self.inner.shared.closing.cancel();
        finish(traffic, ANSWER_TIMEOUT * 2).await;
        self.inner.shared.closed.cancel();
        finish(supervisors, ANSWER_TIMEOUT).await;
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the tasks up to a limit, then aborts what is left.
async fn finish(mut tasks: JoinSet<()>, limit: Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout(limit, all).await.is_err() {
        tracing::warn!("closing the connections takes too long; giving up on {} tasks", tasks.len());
        tasks.shutdown().await;
    }
}

impl Shared {
    /// The consume connection, waiting for it while it is being made.
    async fn consume_link(&self, doing: &str) -> Result<Arc<Link>, Error> {
        let mut links = self.consume.subscribe();
        let wait = timeout(self.settings.connect_timeout, links.wait_for(Option::is_some));
        let lost = |reason: &str| Error::Disconnected { doing: doing.to_owned(), reason: reason.to_owned() };
        tokio::select! {
            found = wait => match found {
                Ok(Ok(link)) => link.clone().ok_or_else(|| lost("no connection")),
                Ok(Err(_)) | Err(_) => Err(lost("the broker is being reconnected")),
            },
            () = self.closing.cancelled() => Err(lost("closed")),
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("state", &*self.inner.shared.state.borrow()).finish_non_exhaustive()
    }
}
