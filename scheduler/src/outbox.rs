//! What was committed and must reach the broker: published in a bounded window, again and again until it is confirmed.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use proto::id::PoolName;
use queue::{Content, Declared, Publication, PublishError, Queue, Routing};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Messages that wait for the broker's confirm at once.
const WINDOW: usize = 512;
/// Messages that are published together: they have one wait and one answer, and several such bundles fill the window.
const BUNDLE: usize = 64;
/// The AMQP `type` of events.
pub(crate) const EVENT: &str = "event";
/// The first pause after a publish that failed; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// One message to publish, and the row that it came from.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub row: Row,
    pub publication: Arc<Publication>,
    /// The pool whose queue must exist for it.
    pub pool: Option<PoolName>,
    /// Events with the same routing key that happened right behind this one. When this one reaches no queue, nobody
    /// listens to that key, and they need not be sent.
    pub followers: Vec<Envelope>,
}

/// The stored row of one or more messages, to be deleted once all of them are confirmed. Broadcasts have none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row(Option<Arc<Stored>>);

#[derive(Debug)]
struct Stored {
    key: String,
    /// Messages of it that are not confirmed.
    left: AtomicUsize,
}

impl Row {
    /// The row `key`, of which nothing is sent yet.
    pub(crate) fn of(key: String) -> Self {
        Self(Some(Arc::new(Stored { key, left: AtomicUsize::new(0) })))
    }

    /// The row of one more message. Before any of its messages is published, all are counted.
    fn counted(&self) -> Self {
        if let Some(stored) = &self.0 {
            stored.left.fetch_add(1, Ordering::Relaxed);
        }
        self.clone()
    }

    /// One message of it is confirmed: its key when that was the last.
    fn confirmed(self) -> Option<String> {
        let stored = self.0?;
        let is_last = stored.left.fetch_sub(1, Ordering::Relaxed) == 1;
        is_last.then(|| stored.key.clone())
    }
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
        for envelope in line_up(envelopes) {
            self.sent.unconfirmed.fetch_add(envelope.messages(), Ordering::Relaxed);
            self.backlog_bytes += envelope.bytes();
            self.backlog.push_back(envelope);
        }
        let Self { sender, backlog, backlog_bytes, .. } = self;
        while !backlog.is_empty()
            && let Ok(permit) = sender.try_reserve()
        {
            permit.send(pop(backlog, backlog_bytes).expect("just looked"));
        }
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
        match self.sender.reserve().await.map(drop) {
            Ok(()) => self.push([]),
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

fn pop(backlog: &mut VecDeque<Envelope>, backlog_bytes: &mut usize) -> Option<Envelope> {
    let envelope = backlog.pop_front()?;
    *backlog_bytes -= envelope.bytes();
    Some(envelope)
}

/// Lets events follow the first one with their routing key. Most often nobody listens: then of a thousand that a turn
/// has, one of each key goes out and comes back. Who begins to listen meanwhile misses only what happened before.
fn line_up(envelopes: impl IntoIterator<Item = Envelope>) -> Vec<Envelope> {
    let mut first_of: HashMap<String, usize> = HashMap::new();
    let mut lined_up: Vec<Envelope> = Vec::new();
    for envelope in envelopes {
        if !envelope.is_event() {
            lined_up.push(envelope);
            continue;
        }
        match first_of.entry(envelope.publication.routing_key.clone()) {
            hash_map::Entry::Occupied(first) => {
                let first = &mut lined_up[*first.get()];
                Arc::make_mut(&mut first.publication).routing = Routing::Mandatory;
                first.followers.push(envelope);
            }
            hash_map::Entry::Vacant(entry) => {
                entry.insert(lined_up.len());
                lined_up.push(envelope);
            }
        }
    }
    lined_up
}

impl Envelope {
    /// One more message of `row`.
    pub(crate) fn new(row: &Row, publication: Publication, pool: Option<PoolName>) -> Self {
        Self { row: row.counted(), publication: Arc::new(publication), pool, followers: Vec::new() }
    }

    fn is_event(&self) -> bool {
        self.publication.kind.as_deref() == Some(EVENT)
    }

    fn messages(&self) -> usize {
        1 + self.followers.len()
    }

    fn bytes(&self) -> usize {
        self.publication.body.len() + self.followers.iter().map(Self::bytes).sum::<usize>()
    }
}

impl Sent {
    fn keys(&self) -> MutexGuard<'_, Vec<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, rows: Vec<Row>) {
        let count = rows.len();
        self.keys().extend(rows.into_iter().filter_map(Row::confirmed));
        self.unconfirmed.fetch_sub(count, Ordering::Relaxed);
        self.confirmed.notify_one();
    }
}

async fn publish(queue: Queue, mut envelopes: mpsc::Receiver<Envelope>, sent: Arc<Sent>, over: CancellationToken) {
    let mut under_way = FuturesUnordered::new();
    let mut bundle = Vec::new();
    loop {
        // `recv_many`, `next` and `cancelled` are cancel safe.
        tokio::select! {
            () = over.cancelled() => return,
            Some(()) = under_way.next() => {}
            count = envelopes.recv_many(&mut bundle, BUNDLE), if under_way.len() < WINDOW => match count {
                0 => return,
                _ => under_way.push(until_confirmed(&queue, std::mem::take(&mut bundle), &sent)),
            },
        }
    }
}

/// What the broker's answer to a message means.
enum Answer {
    /// It is done, and its followers are next.
    Arrived,
    /// It is done, and so are its followers.
    Unheard,
    /// It is to be sent again.
    Again,
}

/// Publishes until the broker has confirmed all of `bundle`.
async fn until_confirmed(queue: &Queue, mut bundle: Vec<Envelope>, sent: &Sent) {
    let mut pause = RETRY_MIN;
    while !bundle.is_empty() {
        let verdicts = queue.publish_all(bundle.iter().map(|envelope| envelope.publication.clone()).collect()).await;
        let mut done = Vec::with_capacity(bundle.len());
        let (mut next, mut failed) = (Vec::new(), Vec::new());
        for (envelope, verdict) in bundle.into_iter().zip(verdicts) {
            match answer(queue, &envelope, verdict).await {
                Answer::Arrived => {
                    done.push(envelope.row);
                    next.extend(envelope.followers);
                }
                Answer::Unheard => {
                    done.push(envelope.row);
                    done.extend(envelope.followers.into_iter().map(|follower| follower.row));
                }
                Answer::Again => failed.push(envelope),
            }
        }
        sent.add(done);
        if !failed.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        next.append(&mut failed);
        bundle = next;
    }
}

/// What is to be done about a message. What it needs to be routed is declared.
async fn answer(queue: &Queue, envelope: &Envelope, verdict: Result<(), PublishError>) -> Answer {
    let Envelope { publication, pool, .. } = envelope;
    let id = publication.message_id.as_deref().unwrap_or_default();
    match verdict {
        Ok(()) => return Answer::Arrived,
        Err(PublishError::Unroutable { .. }) if envelope.is_event() => return Answer::Unheard,
        Err(PublishError::TooLarge { .. }) => {
            tracing::error!(%id, bytes = publication.body.len(), "the broker takes no message of this size: dropped");
            return Answer::Arrived;
        }
        Err(PublishError::Unroutable { .. }) => declare(queue, id, pool.as_ref()).await,
        Err(error) => tracing::warn!(%id, %error, "not published, trying again"),
    }
    Answer::Again
}

/// The queue of a pool is missing: it was never declared, or somebody deleted it.
async fn declare(queue: &Queue, id: &str, pool: Option<&PoolName>) {
    let Some(pool) = pool else {
        return tracing::warn!(%id, "no queue takes this message; trying again");
    };
    tracing::info!(%id, %pool, "the pool has no queue: declaring it");
    if let Err(error) = queue.declare(Declared::Pool(pool.clone())).await {
        tracing::warn!(%pool, %error, "the pool's queue could not be declared; trying again");
    }
}

/// A reply, event or rejected message that is stored: all that is needed to publish it again.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Letter {
    /// Its `message_id`. Since 0.2; before, a row held one letter, and its key was the letter's.
    #[serde(default)]
    pub key: String,
    pub exchange: String,
    pub routing_key: String,
    pub kind: Option<String>,
    pub correlation_id: Option<String>,
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// The message's text.
    pub body: String,
}

/// What the body of a row holds: the letters of one run from one turn, or, before 0.2, one letter.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Post {
    Letters(Vec<Letter>),
    Letter(Letter),
}

/// The letters of a row, ready to be sent again; `None` when none can be read.
pub(crate) fn letters_of(row: &str, body: &[u8]) -> Option<Vec<Envelope>> {
    let letters = match serde_json::from_slice(body).ok()? {
        Post::Letters(letters) => letters,
        Post::Letter(letter) => vec![Letter { key: row.to_owned(), ..letter }],
    };
    let row = Row::of(row.to_owned());
    (!letters.is_empty()).then(|| letters.into_iter().map(|letter| letter.envelope(&row)).collect())
}

impl Letter {
    /// The envelope of this letter, which `row` holds.
    pub(crate) fn envelope(self, row: &Row) -> Envelope {
        let publication = Publication {
            exchange: self.exchange,
            routing_key: self.routing_key,
            body: Bytes::from(self.body),
            content: Content::Json,
            message_id: Some(self.key),
            kind: self.kind,
            correlation_id: self.correlation_id,
            reply_to: None,
            headers: self.headers,
            routing: Routing::BestEffort,
        };
        Envelope::new(row, publication, None)
    }
}

#[cfg(test)]
mod tests {
    use proto::{id::Shard, topology::Topology};
    use queue::Source;

    use super::*;

    /// Events of three runs under two routing keys; only the first of these leads to a queue.
    fn events(topology: &Topology) -> Vec<Envelope> {
        let event = |run: u32, key: &str| {
            let row = Row::of(format!("row-{run}-{key}"));
            let mut publication = Publication::new(topology.outcomes_exchange(), key, format!("{run}"));
            publication.message_id = Some(format!("{run}/{key}"));
            publication.kind = Some(EVENT.to_owned());
            publication.routing = Routing::BestEffort;
            Envelope::new(&row, publication, None)
        };
        (0..3).flat_map(|run| [event(run, "0"), event(run, "7")]).collect()
    }

    #[tokio::test]
    async fn events_that_nobody_listens_to_are_done_without_being_sent() {
        let topology = Topology::default();
        let queue = Queue::memory(topology.clone());
        queue.declare(Declared::Outcomes(Shard(0))).await.expect("a memory queue");
        let mut consumer = queue.consume(Source::Outcomes(Shard(0)), 10).await.expect("declared");
        let lined_up = line_up(events(&topology));
        assert_eq!(lined_up.iter().map(Envelope::messages).collect::<Vec<_>>(), [3, 3]);
        let (mut outbox, publishing) = Outbox::new(queue);
        outbox.push(events(&topology));
        assert_eq!(outbox.unconfirmed(), 6);
        tokio::select! {
            () = publishing => panic!("it ends with the outbox"),
            () = outbox.finish(Duration::from_secs(60)) => {}
        }
        let mut rows = outbox.take_sent();
        rows.sort();
        assert_eq!(rows, ["row-0-0", "row-0-7", "row-1-0", "row-1-7", "row-2-0", "row-2-7"]);
        assert_eq!((outbox.unconfirmed(), outbox.backlog_bytes), (0, 0));
        let mut heard = Vec::new();
        while let Some(delivery) = consumer.try_recv() {
            heard.push(String::from_utf8_lossy(&delivery.body).into_owned());
            delivery.ack();
        }
        assert_eq!(heard, ["0", "1", "2"]);
    }

    #[tokio::test]
    async fn a_row_is_done_with_its_last_message() {
        let row = Row::of("row".to_owned());
        let (first, second) = (row.counted(), row.counted());
        assert_eq!(first.confirmed(), None);
        assert_eq!(second.confirmed().as_deref(), Some("row"));
        assert_eq!(Row::default().counted().confirmed(), None);
    }

    #[test]
    fn rows_of_one_letter_are_read_as_before() {
        let one = r#"{"exchange":"","routing_key":"q","kind":"accepted","correlation_id":null,"body":"{}"}"#;
        let ids = |body: &str| {
            let letters = letters_of("r/accepted", body.as_bytes());
            letters.map(|letters| {
                letters.into_iter().map(|letter| letter.publication.message_id.clone()).collect::<Vec<_>>()
            })
        };
        assert_eq!(ids(one), Some(vec![Some("r/accepted".to_owned())]));
        let keyed = one.replacen('{', r#"{"key":"r/x","#, 1);
        let several = format!("[{keyed},{}]", keyed.replace("r/x", "r/y"));
        assert_eq!(ids(&several), Some(vec![Some("r/x".to_owned()), Some("r/y".to_owned())]));
        for body in ["[]", "", "{}", "[1]"] {
            assert_eq!(ids(body), None, "{body}");
        }
    }
}
