//! The closed set of carriers: what every other crate holds.
//!
//! What does more than wait for a channel is a boxed future: so its code is compiled here, once, and not again in each
//! crate and test that awaits it.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use proto::topology::Topology;
use tokio::sync::watch;

use crate::{Declared, Delivery, Error, Publication, PublishError, Source, amqp, memory};

/// A carrier of messages. Clones are cheap and share one connection pair.
#[derive(Clone, Debug)]
pub enum Queue {
    /// RabbitMQ.
    Amqp(amqp::Queue),
    /// The twin inside this process.
    Memory(memory::Queue),
}

/// What is known about the connections, for readiness and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Publishing is possible.
    pub publish: bool,
    /// Consuming is possible.
    pub consume: bool,
    /// The broker takes nothing from us at present, for want of memory or disk. Consuming goes on.
    pub blocked: bool,
}

impl Queue {
    /// Connects to RabbitMQ. Once this succeeds, lost connections are made again for ever.
    ///
    /// # Errors
    /// [`Error::Url`] and [`Error::Unreachable`] say what to correct.
    pub fn connect(settings: amqp::Settings) -> BoxFuture<'static, Result<Self, Error>> {
        async { Ok(Self::Amqp(amqp::Queue::connect(settings).await?)) }.boxed()
    }

    /// A broker inside this process, and a connection to it. For several connections see [`memory::Broker`].
    #[must_use]
    pub fn memory(topology: Topology) -> Self {
        memory::Broker::new(topology).connect()
    }

    /// The names in use.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        match self {
            Self::Amqp(queue) => queue.topology(),
            Self::Memory(queue) => queue.topology(),
        }
    }

    /// Makes sure that a part of the topology exists, now and after each reconnect. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`Error::Mismatch`] names the queue that exists in another shape, [`Error::Missing`] the one that is absent
    /// while declarations are passive, [`Error::Disconnected`] may be tried again.
    pub fn declare(&self, declared: Declared) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            match self {
                Self::Amqp(queue) => queue.declare(declared).await,
                Self::Memory(queue) => queue.declare(&declared),
            }
        }
        .boxed()
    }

    /// Removes parts of the topology with all messages in them: their queues, then every exchange that they touch. For a
    /// prefix that nobody uses any more; what is absent already is no error.
    ///
    /// # Errors
    /// [`Error::Refused`] when the user may not, [`Error::Disconnected`] may be tried again.
    pub fn remove<'a>(&'a self, parts: &'a [Declared]) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            match self {
                Self::Amqp(queue) => queue.remove(parts).await,
                Self::Memory(queue) => queue.remove(parts),
            }
        }
        .boxed()
    }

    /// Publishes and waits for the broker's confirm. Many of these run at once, within a window by count and bytes;
    /// those beyond it wait here. While the connection is down they wait too, up to the confirm timeout.
    ///
    /// Dropping the future never leaks the window, and a message that was written already may still arrive.
    ///
    /// # Errors
    /// See [`PublishError`]. After all but `Unroutable` and `TooLarge` the message may have arrived all the same.
    pub fn publish(&self, publication: Publication) -> BoxFuture<'_, Result<(), PublishError>> {
        async move {
            let publication = Arc::new(publication).checked()?;
            match self {
                Self::Amqp(queue) => {
                    let verdicts = queue.publish_all(vec![publication]).await;
                    verdicts.into_iter().next().expect("each message has a verdict")
                }
                Self::Memory(queue) => queue.publish(Arc::unwrap_or_clone(publication)),
            }
        }
        .boxed()
    }

    /// Publishes all of `publications`, in order, and gives what became of each, in the same order. As [`Queue::publish`]
    /// of each, with one wait and one answer for all: that costs half as much, and the last confirm is waited for. More
    /// than the window holds go one part after the other.
    ///
    /// Errors are as those of [`Queue::publish`].
    pub fn publish_all(&self, publications: Vec<Arc<Publication>>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        async move {
            let mut verdicts = Vec::with_capacity(publications.len());
            let mut sound = Vec::with_capacity(publications.len());
            for publication in publications {
                match publication.checked() {
                    Ok(publication) => {
                        sound.push(publication);
                        verdicts.push(Ok(()));
                    }
                    Err(error) => verdicts.push(Err(error)),
                }
            }
            let published = match self {
                Self::Amqp(queue) => queue.publish_all(sound).await,
                Self::Memory(queue) => {
                    sound.into_iter().map(|publication| queue.publish(Arc::unwrap_or_clone(publication))).collect()
                }
            };
            let places = verdicts.iter_mut().filter(|verdict| verdict.is_ok());
            places.zip(published).for_each(|(place, verdict)| *place = verdict);
            verdicts
        }
        .boxed()
    }

    /// Begins to consume. At most `prefetch` messages are unsettled at a time (at least 1; quorum queues cap it at
    /// 2,000); each is one delivery, unless it is an outcome or a dead letter of [`Content::JsonLines`](crate::Content::JsonLines).
    ///
    /// # Errors
    /// [`Error::Missing`] when the queue is absent, [`Error::Disconnected`] may be tried again.
    pub fn consume(&self, source: Source, prefetch: u16) -> BoxFuture<'_, Result<Consumer, Error>> {
        async move {
            match self {
                Self::Amqp(queue) => {
                    let takes_apart = source.may_have_parts();
                    Ok(Consumer::of(Carrier::Amqp(queue.consume(source, prefetch).await?), takes_apart))
                }
                Self::Memory(queue) => {
                    Ok(Consumer::of(Carrier::Memory(queue.consume(&source, prefetch)?), source.may_have_parts()))
                }
            }
        }
        .boxed()
    }

    /// Follows the state of the connections.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        match self {
            Self::Amqp(queue) => queue.state(),
            Self::Memory(queue) => queue.state(),
        }
    }

    /// Stops all consumers, waits (bounded) for outstanding confirms and closes the connections, for every clone.
    /// Unsettled deliveries go back to their queues.
    pub fn close(self) -> BoxFuture<'static, ()> {
        async move {
            match self {
                Self::Amqp(queue) => queue.close().await,
                Self::Memory(queue) => queue.close(),
            }
        }
        .boxed()
    }
}

/// A stream of deliveries that survives reconnects. Dropping it stops it in the background.
#[derive(Debug)]
pub struct Consumer {
    carrier: Carrier,
    takes_apart: bool,
    /// Those that came with the message before, and were not received yet.
    parts: VecDeque<Delivery>,
}

/// Where messages come from.
#[derive(Debug)]
enum Carrier {
    /// RabbitMQ.
    Amqp(amqp::Consumer),
    /// The twin.
    Memory(memory::Consumer),
}

impl Consumer {
    fn of(carrier: Carrier, takes_apart: bool) -> Self {
        Self { carrier, takes_apart, parts: VecDeque::new() }
    }

    /// The next delivery; `None` only after [`Queue::close`]. Cancel safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        loop {
            if let Some(part) = self.next_part() {
                return Some(part);
            }
            let message = match &mut self.carrier {
                Carrier::Amqp(consumer) => consumer.recv().await,
                Carrier::Memory(consumer) => consumer.recv().await,
            };
            match message? {
                message if self.takes_apart && message.has_parts() => self.parts.extend(message.parts()),
                message => return Some(message),
            }
        }
    }

    /// A delivery that is here already, without waiting.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        loop {
            if let Some(part) = self.next_part() {
                return Some(part);
            }
            let message = match &mut self.carrier {
                Carrier::Amqp(consumer) => consumer.try_recv(),
                Carrier::Memory(consumer) => consumer.try_recv(),
            };
            match message? {
                message if self.takes_apart && message.has_parts() => self.parts.extend(message.parts()),
                message => return Some(message),
            }
        }
    }

    /// Parts of a message whose connection has gone meanwhile are skipped: they come again.
    fn next_part(&mut self) -> Option<Delivery> {
        while let Some(part) = self.parts.pop_front() {
            if part.is_live() {
                return Some(part);
            }
        }
        None
    }

    /// Takes no more: what was not received yet goes back to the broker at once, while deliveries in hand can still be
    /// settled. A message of which a part was received goes back once that is settled, whole.
    pub fn stop(self) -> BoxFuture<'static, ()> {
        async move {
            match self.carrier {
                Carrier::Amqp(consumer) => consumer.stop().await,
                Carrier::Memory(consumer) => consumer.stop(),
            }
            // Only now: they would come straight back.
            drop(self.parts);
        }
        .boxed()
    }
}
