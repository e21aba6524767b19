//! Outcomes on their way to the scheduler. While some are not confirmed, those that come up meanwhile gather and travel
//! as one message: a worker that does many small things is then not held up by the broker's work per message.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use proto::{id::Shard, topology::Topology};
use queue::{Publication, PublishError, Queue};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::station::Killed;

/// Messages that are tried for the first time and not confirmed, at most. What comes up while there are so many gathers.
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
    handed_in: mpsc::Sender<Told>,
}

/// One outcome.
struct Told {
    shard: Shard,
    id: String,
    body: Bytes,
    /// It shares no message.
    alone: bool,
    /// Told once the broker has it; dropped when it never will.
    arrived: oneshot::Sender<()>,
}

/// Outcomes of one message, in the order in which they were handed in.
type Bundle = Vec<Told>;

impl Mail {
    /// The way in, and the task that publishes what is handed in until `over`. From `kill` on nothing is tried a second
    /// time.
    pub(crate) fn new(
        queue: Queue,
        topology: Topology,
        kill: CancellationToken,
        over: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (handed_in, outcomes) = mpsc::channel(BUNDLE_MAX);
        let poster = Poster { queue, topology, kill };
        (Self { handed_in }, async move { poster.run(outcomes, &over).await })
    }

    /// Hands in an outcome, and waits until the broker has it.
    ///
    /// # Errors
    /// When this worker is killed first, or the outcome is too large for a message: then the work is delivered again.
    pub(crate) async fn send(&self, shard: Shard, id: String, body: Bytes, alone: bool) -> Result<(), Killed> {
        let (arrived, arrival) = oneshot::channel();
        self.handed_in.send(Told { shard, id, body, alone, arrived }).await.map_err(|_| Killed)?;
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

struct Poster {
    queue: Queue,
    topology: Topology,
    kill: CancellationToken,
}

impl Poster {
    /// What failed is tried again beside what is new: one shard whose queue is gone holds up no other.
    async fn run(&self, mut outcomes: mpsc::Receiver<Told>, over: &CancellationToken) {
        let (mut first_tries, mut again) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut waiting: VecDeque<Bundle> = VecDeque::new();
        let mut fresh = Vec::new();
        loop {
            while first_tries.len() < UNCONFIRMED_MAX
                && let Some(bundle) = waiting.pop_front()
            {
                first_tries.push(self.publish(bundle));
            }
            let has_room = first_tries.len() < UNCONFIRMED_MAX;
            // `cancelled`, `next` and `recv_many` are cancel safe.
            tokio::select! {
                () = over.cancelled() => return,
                Some(failed) = first_tries.next() => again.extend(failed.map(|bundle| self.publish_again(bundle))),
                Some(()) = again.next() => {}
                count = outcomes.recv_many(&mut fresh, BUNDLE_MAX), if has_room => match count {
                    0 => return,
                    _ => waiting.extend(bundles(fresh.drain(..))),
                },
            }
        }
    }

    /// Publishes once, and gives back what the broker has not confirmed.
    async fn publish(&self, bundle: Bundle) -> Option<Bundle> {
        match self.queue.publish(self.pack(&bundle)).await {
            Ok(()) => {
                for told in bundle {
                    // Whoever handed it in may have been killed meanwhile.
                    let _ = told.arrived.send(());
                }
                None
            }
            Err(error @ PublishError::TooLarge { .. }) => {
                let ids: Vec<&str> = bundle.iter().map(|told| told.id.as_str()).collect();
                tracing::error!(?ids, %error, "an outcome does not fit into a message");
                None
            }
            Err(error) => {
                tracing::warn!(outcomes = bundle.len(), %error, "not published, trying again");
                Some(bundle)
            }
        }
    }

    async fn publish_again(&self, mut bundle: Bundle) {
        let mut pause = RETRY_MIN;
        loop {
            tokio::select! {
                () = self.kill.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
            match self.publish(bundle).await {
                Some(failed) => bundle = failed,
                None => return,
            }
        }
    }

    fn pack(&self, bundle: &[Told]) -> Publication {
        let Told { shard, id, body, .. } = &bundle[0];
        let alone = publication(&self.topology, *shard, Some(id.clone()), body.clone());
        match bundle {
            [_] => alone,
            _ => {
                let bodies: Vec<Bytes> = bundle.iter().map(|told| told.body.clone()).collect();
                let kind = alone.kind;
                Publication { kind, ..Publication::lines(alone.exchange, alone.routing_key, &bodies) }
            }
        }
    }
}

/// Those of one shard together, in order, as far as one message should hold them.
fn bundles(outcomes: impl Iterator<Item = Told>) -> Vec<Bundle> {
    let mut full = Vec::new();
    let mut of_shard: BTreeMap<Shard, (usize, Bundle)> = BTreeMap::new();
    for told in outcomes {
        if told.alone {
            full.push(vec![told]);
            continue;
        }
        let (bytes, bundle) = of_shard.entry(told.shard).or_default();
        if !bundle.is_empty() && *bytes + told.body.len() > BUNDLE_BYTES_MAX {
            full.push(std::mem::take(bundle));
            *bytes = 0;
        }
        *bytes += told.body.len();
        bundle.push(told);
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
    async fn what_is_handed_in_together_travels_together_unless_it_is_to_go_alone() {
        let topology = Topology::default();
        let queue = Queue::memory(topology.clone());
        queue.declare(Declared::Core).await.expect("declared");
        queue.declare(Declared::Outcomes(SHARD)).await.expect("declared");
        let (mail, carrying) = Mail::new(queue.clone(), topology, CancellationToken::new(), CancellationToken::new());
        let mut carrying = pin!(carrying);
        let sending = |(number, alone): (usize, bool)| {
            let body = format!("{{\"n\":{number}}}").into();
            Box::pin(mail.send(SHARD, format!("id-{number}"), body, alone))
        };
        let mut sent: Vec<_> = [(0, false), (1, true), (2, false), (3, false)].map(sending).into();
        for each in &mut sent {
            assert!(poll!(each).is_pending());
        }
        assert!(poll!(&mut carrying).is_pending());
        sent.push(sending((4, false)));
        let arrived = in_time(async {
            tokio::select! {
                () = carrying => panic!("it goes on"),
                arrived = join_all(sent) => arrived,
            }
        });
        assert!(arrived.await.iter().all(Result::is_ok));
        let mut consumer = queue.consume(Source::Outcomes(SHARD), 10).await.expect("consumes");
        let told = received(&mut consumer, 5).await;
        let told: Vec<_> = told.iter().map(|(id, body)| (id.as_deref(), body.as_ref())).collect();
        assert_eq!(
            told,
            [
                (Some("id-1"), br#"{"n":1}"#.as_slice()),
                (None, br#"{"n":0}"#),
                (None, br#"{"n":2}"#),
                (None, br#"{"n":3}"#),
                (Some("id-4"), br#"{"n":4}"#),
            ]
        );
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
                sent = mail.send(SHARD, "id".into(), large, false) => sent,
            }
        });
        assert_eq!(sending.await, Err(Killed));
    }

    fn told(shard: u16, id: usize, bytes: usize, alone: bool) -> Told {
        let (arrived, _) = oneshot::channel();
        Told { shard: Shard(shard), id: id.to_string(), body: Bytes::from(vec![b' '; bytes]), alone, arrived }
    }

    #[test]
    fn outcomes_of_one_shard_travel_together_as_far_as_a_message_should_hold_them() {
        let half = BUNDLE_BYTES_MAX / 2;
        let sizes = [(1, half), (2, 1), (1, half), (1, 1), (2, 1), (2, 4 * BUNDLE_BYTES_MAX), (1, 1)];
        let mut outcomes: Vec<Told> =
            sizes.into_iter().enumerate().map(|(id, (shard, bytes))| told(shard, id, bytes, false)).collect();
        outcomes.insert(3, told(1, 100, 1, true));
        let bundles = bundles(outcomes.into_iter());
        let ids = |bundle: &Bundle| bundle.iter().map(|told| told.id.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(bundles.iter().map(ids).collect::<Vec<_>>(), ["100", "0 2", "1 4", "3 6", "5"]);
        assert!(bundles.iter().all(|bundle| bundle.iter().all(|told| told.shard == bundle[0].shard)));
    }

    #[tokio::test]
    async fn a_shard_that_takes_nothing_holds_up_no_other() {
        let topology = Topology::default();
        let queue = Queue::memory(topology.clone());
        queue.declare(Declared::Core).await.expect("declared");
        queue.declare(Declared::Outcomes(SHARD)).await.expect("declared");
        let (mail, carrying) = Mail::new(queue, topology, CancellationToken::new(), CancellationToken::new());
        let nowhere: Vec<_> = (0..2 * UNCONFIRMED_MAX)
            .map(|number| mail.send(Shard(7), format!("{number}"), "{}".into(), true))
            .collect();
        let sent = in_time(async {
            tokio::select! {
                () = carrying => panic!("it goes on"),
                _ = join_all(nowhere) => panic!("nobody takes them"),
                sent = mail.send(SHARD, "here".into(), "{}".into(), false) => sent,
            }
        });
        assert_eq!(sent.await, Ok(()));
    }
}
