//! Outcomes on their way to the scheduler. While some are not confirmed, those that come up meanwhile gather and travel
//! as one message: a worker that does many small things is then not held up by the broker's work per message.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use proto::{id::Shard, topology::Topology};
use queue::{Publication, PublishError, Queue};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::station::Killed;

/// Messages that are not confirmed, at most. What comes up while there are so many gathers.
const UNCONFIRMED_MAX: usize = 4;
/// Outcomes in one message, at most.
const BUNDLE_MAX: usize = 64;
/// Bytes of one message above which no outcome joins it.
const BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// Pauses before a message is published again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The AMQP `type` of what workers tell the scheduler.
const KIND: &str = "outcome";

/// Where outcomes are handed in.
pub(crate) struct Mail {
    letters: mpsc::Sender<Letter>,
}

/// One outcome.
struct Letter {
    shard: Shard,
    id: String,
    body: Bytes,
    /// Told once the broker has it; dropped when it never will.
    arrived: oneshot::Sender<()>,
}

impl Mail {
    /// The way in, and the task that publishes what is handed in until `over`. From `kill` on nothing is tried a second
    /// time.
    pub(crate) fn new(
        queue: Queue,
        topology: Topology,
        kill: CancellationToken,
        over: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (letters, handed_in) = mpsc::channel(BUNDLE_MAX);
        let carrier = Carrier { queue, topology, kill };
        (Self { letters }, async move { carrier.run(handed_in, &over).await })
    }

    /// Hands in an outcome, and waits until the broker has it.
    ///
    /// # Errors
    /// When this worker is killed first, or the outcome is too large for a message: then the work is delivered again.
    pub(crate) async fn send(&self, shard: Shard, id: String, body: Bytes) -> Result<(), Killed> {
        let (arrived, arrival) = oneshot::channel();
        self.letters.send(Letter { shard, id, body, arrived }).await.map_err(|_| Killed)?;
        arrival.await.map_err(|_| Killed)
    }
}

/// What a worker tells the scheduler of one shard.
pub(crate) fn publication(topology: &Topology, shard: Shard, id: Option<String>, body: Bytes) -> Publication {
    let mut publication = Publication::new(topology.outcomes_exchange(), shard.to_string(), body);
    publication.message_id = id;
    publication.kind = Some(KIND.into());
    publication
}

struct Carrier {
    queue: Queue,
    topology: Topology,
    kill: CancellationToken,
}

impl Carrier {
    async fn run(&self, mut handed_in: mpsc::Receiver<Letter>, over: &CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        let mut letters = Vec::new();
        loop {
            // `cancelled`, `next` and `recv_many` are cancel safe.
            tokio::select! {
                () = over.cancelled() => return,
                Some(()) = under_way.next() => {}
                count = handed_in.recv_many(&mut letters, BUNDLE_MAX), if under_way.len() < UNCONFIRMED_MAX => match count {
                    0 => return,
                    _ => under_way.extend(bundles(&mut letters).into_iter().map(|bundle| self.carry(bundle))),
                },
            }
        }
    }

    /// Publishes until the broker has confirmed it.
    async fn carry(&self, bundle: Vec<Letter>) {
        let publication = self.pack(&bundle);
        let mut pause = RETRY_MIN;
        loop {
            match self.queue.publish(publication.clone()).await {
                Ok(()) => break,
                Err(error @ PublishError::TooLarge { .. }) => {
                    let ids: Vec<&str> = bundle.iter().map(|letter| letter.id.as_str()).collect();
                    return tracing::error!(?ids, %error, "an outcome does not fit into a message");
                }
                Err(error) => tracing::warn!(outcomes = bundle.len(), %error, "not published, trying again"),
            }
            tokio::select! {
                () = self.kill.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        for letter in bundle {
            // Whoever handed it in may have been killed meanwhile.
            let _ = letter.arrived.send(());
        }
    }

    fn pack(&self, bundle: &[Letter]) -> Publication {
        let Letter { shard, id, body, .. } = &bundle[0];
        let alone = publication(&self.topology, *shard, Some(id.clone()), body.clone());
        match bundle {
            [_] => alone,
            _ => {
                let bodies: Vec<Bytes> = bundle.iter().map(|letter| letter.body.clone()).collect();
                let kind = alone.kind;
                Publication { kind, ..Publication::lines(alone.exchange, alone.routing_key, &bodies) }
            }
        }
    }
}

/// Those of one shard together, in order, as far as one message should hold them.
fn bundles(letters: &mut Vec<Letter>) -> Vec<Vec<Letter>> {
    let mut full = Vec::new();
    let mut of_shard: BTreeMap<Shard, (usize, Vec<Letter>)> = BTreeMap::new();
    for letter in letters.drain(..) {
        let (bytes, bundle) = of_shard.entry(letter.shard).or_default();
        if !bundle.is_empty() && *bytes + letter.body.len() > BUNDLE_BYTES_MAX {
            full.push(std::mem::take(bundle));
            *bytes = 0;
        }
        *bytes += letter.body.len();
        bundle.push(letter);
    }
    full.into_iter().chain(of_shard.into_values().map(|(_, bundle)| bundle)).collect()
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin};

    use futures_util::{future::join_all, poll};
    use queue::{Consumer, Declared, Delivery, Source};

    use super::*;

    const SHARD: Shard = Shard(1);

    async fn in_time<T>(event: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), event).await.expect("in time")
    }

    async fn received(consumer: &mut Consumer, count: usize) -> Vec<(Option<String>, Bytes)> {
        let mut told = Vec::new();
        for _ in 0..count {
            let delivery: Delivery = in_time(consumer.recv()).await.expect("open");
            told.push((delivery.properties.message_id.clone(), delivery.body.clone()));
            delivery.ack();
        }
        told
    }

    #[tokio::test]
    async fn what_comes_up_while_others_are_not_confirmed_travels_together() {
        let topology = Topology::default();
        let queue = Queue::memory(topology.clone());
        let (mail, carrying) = Mail::new(queue.clone(), topology, CancellationToken::new(), CancellationToken::new());
        let mut carrying = pin!(carrying);
        let letter = |number: usize| mail.send(SHARD, format!("id-{number}"), format!("{{\"n\":{number}}}").into());
        // Nothing takes them yet, so each of the first is tried again and again.
        let mut sent: Vec<_> = (0..UNCONFIRMED_MAX).map(|number| Box::pin(letter(number))).collect();
        for first in &mut sent {
            assert!(poll!(first).is_pending());
            assert!(poll!(&mut carrying).is_pending());
        }
        sent.extend((UNCONFIRMED_MAX..UNCONFIRMED_MAX + 5).map(|number| Box::pin(letter(number))));
        for later in &mut sent[UNCONFIRMED_MAX..] {
            assert!(poll!(later).is_pending());
            assert!(poll!(&mut carrying).is_pending());
        }
        queue.declare(Declared::Core).await.expect("declared");
        queue.declare(Declared::Outcomes(SHARD)).await.expect("declared");
        let mut consumer = queue.consume(Source::Outcomes(SHARD), 10).await.expect("consumes");
        let arrived = in_time(async {
            tokio::select! {
                () = carrying => panic!("it goes on"),
                arrived = join_all(sent) => arrived,
            }
        });
        assert!(arrived.await.iter().all(Result::is_ok));
        let told = received(&mut consumer, UNCONFIRMED_MAX + 5).await;
        let mut bodies: Vec<&Bytes> = told.iter().map(|(_, body)| body).collect();
        bodies.sort();
        let expected: Vec<Bytes> =
            (0..UNCONFIRMED_MAX + 5).map(|number| format!("{{\"n\":{number}}}").into()).collect();
        assert_eq!(bodies, expected.iter().collect::<Vec<_>>());
        let named = told.iter().filter(|(id, _)| id.is_some()).count();
        assert_eq!(named, UNCONFIRMED_MAX, "the first went alone, and the others as one");
    }

    #[tokio::test]
    async fn an_outcome_that_no_message_can_hold_is_not_waited_for() {
        let topology = Topology::default();
        let queue = Queue::memory(topology.clone());
        let (mail, carrying) = Mail::new(queue, topology, CancellationToken::new(), CancellationToken::new());
        let large = Bytes::from(vec![b' '; proto::limits::MESSAGE_BYTES_MAX + 1]);
        let sending = in_time(async {
            tokio::select! {
                () = carrying => panic!("it goes on"),
                sent = mail.send(SHARD, "id".into(), large) => sent,
            }
        });
        assert_eq!(sending.await, Err(Killed));
    }

    fn letter(shard: u16, bytes: usize) -> Letter {
        let (arrived, _) = oneshot::channel();
        Letter { shard: Shard(shard), id: String::new(), body: Bytes::from(vec![b' '; bytes]), arrived }
    }

    #[test]
    fn outcomes_of_one_shard_travel_together_as_far_as_a_message_should_hold_them() {
        let half = BUNDLE_BYTES_MAX / 2;
        let mut letters = vec![letter(1, half), letter(2, 1), letter(1, half), letter(1, 1), letter(2, 1)];
        letters.push(letter(2, 4 * BUNDLE_BYTES_MAX));
        let bundles = bundles(&mut letters);
        let told: Vec<(u16, usize)> = bundles.iter().map(|bundle| (bundle[0].shard.0, bundle.len())).collect();
        assert_eq!(told, [(1, 2), (2, 2), (1, 1), (2, 1)]);
        assert!(letters.is_empty() && bundles.iter().flatten().all(|letter| !letter.body.is_empty()));
    }
}
