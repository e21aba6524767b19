//! What was committed and must reach the broker: published in a bounded window, again and again until it is confirmed.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use proto::id::PoolName;
use queue::{Declared, Publication, PublishError, Queue};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Messages that wait for the broker's confirm at once.
const WINDOW: usize = 512;
/// The first pause after a publish that failed; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// One message to publish, and the key of its row.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub key: String,
    pub publication: Publication,
    /// The pool whose queue must exist for it.
    pub pool: Option<PoolName>,
}

/// The loop's end of the outbox. Dropping it ends the publishing.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<Envelope>,
    /// What did not fit into the channel yet, oldest first. Bounded by [`Outbox::has_room`], which stops the intake.
    backlog: VecDeque<Envelope>,
    backlog_bytes: usize,
    sent: Arc<Sent>,
    _publishing: DropGuard,
}

/// What has become of messages: shared with the publisher.
#[derive(Debug, Default)]
struct Sent {
    /// Keys of rows whose messages were confirmed and that a later commit deletes.
    keys: Mutex<Vec<String>>,
    unconfirmed: AtomicUsize,
    /// Told at each confirm.
    confirmed: Notify,
}

/// Messages in the backlog above which no new input is taken, and their bytes.
const BACKLOG_MAX: usize = 4_096;
const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Outbox {
    /// An outbox, and the task that publishes for it, which the caller runs until it ends.
    pub(crate) fn new(queue: Queue) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WINDOW);
        let sent = Arc::new(Sent::default());
        let over = CancellationToken::new();
        let publisher = publish(queue, receiver, sent.clone(), over.clone());
        let outbox = Self { sender, backlog: VecDeque::new(), backlog_bytes: 0, sent, _publishing: over.drop_guard() };
        (outbox, publisher)
    }

    /// Takes over `envelopes`, in order.
    pub(crate) fn push(&mut self, envelopes: impl IntoIterator<Item = Envelope>) {
        for envelope in envelopes {
            self.sent.unconfirmed.fetch_add(1, Ordering::Relaxed);
            self.backlog_bytes += envelope.publication.body.len();
            self.backlog.push_back(envelope);
        }
        while let Ok(permit) = self.sender.clone().try_reserve_owned() {
            let Some(envelope) = self.pop() else { return };
            permit.send(envelope);
        }
    }

    fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.backlog.pop_front()?;
        self.backlog_bytes -= envelope.publication.body.len();
        Some(envelope)
    }

    /// Whether further input may be taken: what it leads to finds room.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog.len() < BACKLOG_MAX && self.backlog_bytes < BACKLOG_BYTES_MAX
    }

    /// Moves the backlog on when the publisher has room. Cancel safe; never ends while the backlog is empty.
    pub(crate) async fn flow(&mut self) {
        if self.backlog.is_empty() {
            return std::future::pending().await;
        }
        match self.sender.clone().reserve_owned().await {
            Ok(permit) => {
                if let Some(envelope) = self.pop() {
                    permit.send(envelope);
                }
                self.push([]);
            }
            // The publisher has ended: the service sees that, and ends too.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until everything is confirmed, or for `patience`.
    pub(crate) async fn finish(&mut self, patience: Duration) {
        let sent = self.sent.clone();
        let all = async {
            while self.unconfirmed() > 0 {
                // `flow` and `notified` are cancel safe; a confirm that comes before the wait leaves a permit.
                tokio::select! {
                    () = self.flow() => {}
                    () = sent.confirmed.notified() => {}
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!(unconfirmed = self.unconfirmed(), "messages are left for the next start");
        }
    }

    /// Whether rows can be deleted.
    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.keys().is_empty()
    }

    /// Keys of rows that can be deleted.
    pub(crate) fn take_sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.sent.keys())
    }

    /// The commit that was to delete these rows failed.
    pub(crate) fn put_back(&self, keys: Vec<String>) {
        self.sent.keys().extend(keys);
    }

    /// Messages that are committed and not yet confirmed.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.sent.unconfirmed.load(Ordering::Relaxed)
    }
}

impl Sent {
    fn keys(&self) -> MutexGuard<'_, Vec<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, key: String) {
        // Broadcasts have no row.
        if !key.is_empty() {
            self.keys().push(key);
        }
        self.unconfirmed.fetch_sub(1, Ordering::Relaxed);
        self.confirmed.notify_one();
    }
}

async fn publish(queue: Queue, mut envelopes: mpsc::Receiver<Envelope>, sent: Arc<Sent>, over: CancellationToken) {
    let mut under_way = FuturesUnordered::new();
    loop {
        // `recv`, `next` and `cancelled` are cancel safe.
        tokio::select! {
            () = over.cancelled() => return,
            Some(key) = under_way.next() => sent.add(key),
            Some(envelope) = envelopes.recv(), if under_way.len() < WINDOW => {
                under_way.push(until_confirmed(&queue, envelope));
            }
            else => return,
        }
    }
}

/// Publishes until the broker has confirmed it, and gives the row's key back.
async fn until_confirmed(queue: &Queue, envelope: Envelope) -> String {
    let Envelope { key, publication, pool } = envelope;
    let mut pause = RETRY_MIN;
    loop {
        match queue.publish(publication.clone()).await {
            Ok(()) => return key,
            Err(PublishError::TooLarge { .. }) => {
                tracing::error!(%key, bytes = publication.body.len(), "the broker takes no message of this size: dropped");
                return key;
            }
            Err(PublishError::Unroutable { .. }) => declare(queue, &key, pool.as_ref()).await,
            Err(error) => tracing::warn!(%key, %error, "not published, trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// The queue of a pool is missing: it was never declared, or somebody deleted it.
async fn declare(queue: &Queue, key: &str, pool: Option<&PoolName>) {
    let Some(pool) = pool else {
        return tracing::warn!(%key, "no queue takes this message; trying again");
    };
    tracing::info!(%key, %pool, "the pool has no queue: declaring it");
    if let Err(error) = queue.declare(Declared::Pool(pool.clone())).await {
        tracing::warn!(%pool, %error, "the pool's queue could not be declared; trying again");
    }
}

/// A stored reply, event or rejected message: all that is needed to publish it again.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Letter {
    pub exchange: String,
    pub routing_key: String,
    pub kind: Option<String>,
    pub correlation_id: Option<String>,
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// The message's text.
    pub body: String,
}

impl Letter {
    /// The envelope for the row `key`, which is also the `message_id`.
    pub(crate) fn envelope(self, key: String) -> Envelope {
        let publication = Publication {
            exchange: self.exchange,
            routing_key: self.routing_key,
            body: Bytes::from(self.body),
            message_id: Some(key.clone()),
            kind: self.kind,
            correlation_id: self.correlation_id,
            reply_to: None,
            headers: self.headers,
            routing: queue::Routing::BestEffort,
        };
        Envelope { key, publication, pool: None }
    }
}
