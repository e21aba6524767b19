//! The state of the twin. Every operation is one critical section, so any interleaving of callers is an order of
//! whole operations.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use proto::topology::Topology;
use tokio::sync::Notify;

use super::routing::Routes;
use crate::{
    Death, Error, Properties, Publication, PublishError, Routing,
    declare::{DELIVERY_LIMIT, Purpose, REJECTED_MAX, Shape},
    delivery::Settlement,
};

/// A queue that nobody consumes refuses at this length, as RabbitMQ does when its memory ends.
const QUEUE_MESSAGES_MAX: usize = 100_000;

/// A message as a queue holds it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub body: Bytes,
    pub properties: Properties,
    pub exchange: String,
    pub routing_key: String,
    /// How often it was delivered and came back.
    pub deliveries: u32,
}

/// What there is for a consumer.
pub(super) enum Taken {
    Message(u64, Box<Message>),
    Nothing,
    /// The consumer is no more.
    Gone,
}

/// Everything a broker knows.
pub(super) struct World {
    dead_exchange: String,
    routes: Routes,
    queues: BTreeMap<String, Stored>,
    consumers: BTreeMap<u64, Subscriber>,
    /// Connections, consumers and control queues are numbered by one counter.
    next: u64,
}

struct Stored {
    kind: Kind,
    /// What came back goes out first.
    returned: VecDeque<Message>,
    ready: VecDeque<Message>,
    /// Whose turn it is.
    consumers: VecDeque<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lasting(Purpose),
    /// A control queue: it goes with its consumer.
    Exclusive,
}

struct Subscriber {
    connection: u64,
    queue: String,
    prefetch: usize,
    /// Sent to the consumer and not received by it yet.
    buffered: VecDeque<(u64, Message)>,
    in_hand: BTreeMap<u64, Message>,
    next_tag: u64,
    stopped: bool,
    wake: Arc<Notify>,
}

impl World {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            dead_exchange: topology.dead_exchange(),
            routes: Routes::default(),
            queues: BTreeMap::new(),
            consumers: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn connect(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn declare(&mut self, shape: &Shape) {
        for exchange in &shape.exchanges {
            self.routes.declare(&exchange.name, exchange.kind);
        }
        for queue in &shape.queues {
            self.queues.entry(queue.name.clone()).or_insert_with(|| Stored::new(Kind::Lasting(queue.purpose)));
            if let Some((exchange, key)) = &queue.binding {
                self.routes.bind(exchange, key, &queue.name);
            }
        }
    }

    /// Queues go with their messages and consumers.
    pub(super) fn remove(&mut self, shape: &Shape) {
        for queue in &shape.queues {
            self.queues.remove(&queue.name);
            self.routes.forget(&queue.name);
            for (_, consumer) in self.consumers.extract_if(.., |_, consumer| consumer.queue == queue.name) {
                consumer.wake.notify_one();
            }
        }
        for exchange in &shape.exchanges {
            self.routes.remove(&exchange.name);
        }
    }

    /// A queue for one consumer, bound to the control exchange.
    pub(super) fn declare_control(&mut self, exchange: &str) -> Result<String, Error> {
        self.next += 1;
        let name = format!("amq.gen-{}", self.next);
        if !self.routes.bind(exchange, "", &name) {
            return Err(missing(&format!("exchange {exchange}")));
        }
        self.queues.insert(name.clone(), Stored::new(Kind::Exclusive));
        Ok(name)
    }

    pub(super) fn publish(&mut self, publication: Publication) -> Result<(), PublishError> {
        let Publication {
            exchange,
            routing_key,
            body,
            content,
            message_id,
            kind,
            correlation_id,
            reply_to,
            headers,
            routing,
        } = publication;
        let targets = self.routes.targets(&exchange, &routing_key, |queue| self.queues.contains_key(queue));
        let lost = targets.is_empty() && routing == Routing::Mandatory;
        if lost || !self.routes.knows(&exchange) {
            return Err(PublishError::Unroutable { exchange, routing_key });
        }
        if targets.iter().any(|queue| self.queues[queue].is_full()) {
            return Err(PublishError::Refused);
        }
        let properties = Properties {
            message_id,
            kind,
            reply_to,
            correlation_id,
            content_type: Some(content.media_type().to_owned()),
            traceparent: headers.get("traceparent").cloned(),
            headers,
            death: None,
        };
        let message = Message { body, properties, exchange, routing_key, deliveries: 0 };
        for queue in targets {
            self.enqueue(&queue, message.clone());
        }
        Ok(())
    }

    pub(super) fn subscribe(
        &mut self,
        connection: u64,
        queue: &str,
        prefetch: usize,
        wake: Arc<Notify>,
    ) -> Result<u64, Error> {
        self.next += 1;
        let id = self.next;
        let stored = self.queues.get_mut(queue).ok_or_else(|| missing(&format!("queue {queue}")))?;
        stored.consumers.push_back(id);
        let subscriber = Subscriber {
            connection,
            queue: queue.to_owned(),
            prefetch,
            buffered: VecDeque::new(),
            in_hand: BTreeMap::new(),
            next_tag: 1,
            stopped: false,
            wake,
        };
        self.consumers.insert(id, subscriber);
        self.dispatch(queue);
        Ok(id)
    }

    pub(super) fn take(&mut self, consumer: u64) -> Taken {
        let Some(subscriber) = self.consumers.get_mut(&consumer) else {
            return Taken::Gone;
        };
        let Some((tag, message)) = subscriber.buffered.pop_front() else {
            return Taken::Nothing;
        };
        subscriber.in_hand.insert(tag, message.clone());
        Taken::Message(tag, Box::new(message))
    }

    pub(super) fn holds(&self, consumer: u64, tag: u64) -> bool {
        self.consumers.get(&consumer).is_some_and(|subscriber| subscriber.in_hand.contains_key(&tag))
    }

    /// Nothing happens when the consumer's connection has gone: then the message is on its way again already.
    pub(super) fn settle(&mut self, consumer: u64, tag: u64, settlement: Settlement) {
        let Some(subscriber) = self.consumers.get_mut(&consumer) else {
            return;
        };
        let Some(message) = subscriber.in_hand.remove(&tag) else {
            return;
        };
        let queue = subscriber.queue.clone();
        if subscriber.stopped && subscriber.in_hand.is_empty() {
            self.consumers.remove(&consumer);
        }
        match settlement {
            Settlement::Ack => {}
            Settlement::GiveBack => self.put_back(&queue, message),
            Settlement::Reject => self.bury(&queue, message, "rejected"),
        }
        self.dispatch(&queue);
    }

    /// No more for this consumer; what it had not received goes back, what it has in hand stays its own.
    pub(super) fn stop(&mut self, consumer: u64) {
        let Some(subscriber) = self.consumers.get_mut(&consumer) else {
            return;
        };
        subscriber.stopped = true;
        let queue = subscriber.queue.clone();
        let buffered = std::mem::take(&mut subscriber.buffered);
        if subscriber.in_hand.is_empty() {
            self.consumers.remove(&consumer);
        }
        self.leave(consumer, &queue);
        for (_, message) in buffered {
            self.put_back(&queue, message);
        }
        self.dispatch(&queue);
    }

    /// The end of a connection: everything unsettled goes back, in order.
    pub(super) fn disconnect(&mut self, connection: u64) {
        let ended: Vec<_> = self.consumers.extract_if(.., |_, consumer| consumer.connection == connection).collect();
        for (id, subscriber) in &ended {
            self.leave(*id, &subscriber.queue);
            subscriber.wake.notify_one();
        }
        for (_, subscriber) in ended {
            for message in subscriber.in_hand.into_values() {
                self.put_back(&subscriber.queue, message);
            }
            for (_, message) in subscriber.buffered {
                self.put_back(&subscriber.queue, message);
            }
            self.dispatch(&subscriber.queue);
        }
    }

    fn leave(&mut self, consumer: u64, queue: &str) {
        let Some(stored) = self.queues.get_mut(queue) else {
            return;
        };
        stored.consumers.retain(|id| *id != consumer);
        if stored.kind == Kind::Exclusive {
            self.queues.remove(queue);
            self.routes.forget(queue);
        }
    }

    fn enqueue(&mut self, queue: &str, message: Message) {
        let Some(stored) = self.queues.get_mut(queue) else {
            return;
        };
        stored.ready.push_back(message);
        if stored.kind == Kind::Lasting(Purpose::Rejected) && stored.ready.len() > REJECTED_MAX as usize {
            stored.ready.pop_front();
        }
        self.dispatch(queue);
    }

    fn put_back(&mut self, queue: &str, mut message: Message) {
        message.deliveries += 1;
        let Some(stored) = self.queues.get_mut(queue) else {
            return;
        };
        if stored.kind == Kind::Lasting(Purpose::Work) && message.deliveries > DELIVERY_LIMIT {
            return self.bury(queue, message, "delivery_limit");
        }
        stored.returned.push_back(message);
    }

    /// Makes a dead letter of a message, where its queue has such; else it is gone.
    fn bury(&mut self, queue: &str, mut message: Message, reason: &str) {
        if self.queues.get(queue).is_none_or(|stored| stored.kind != Kind::Lasting(Purpose::Work)) {
            return;
        }
        let before = message.properties.death.take().filter(|death| death.reason == reason && death.queue == queue);
        let count = before.map_or(0, |death| death.count) + 1;
        message.properties.death = Some(Death { reason: reason.to_owned(), queue: queue.to_owned(), count });
        message.exchange.clone_from(&self.dead_exchange);
        message.deliveries = 0;
        let targets = self.routes.targets(&message.exchange, &message.routing_key, |_| false);
        for target in targets {
            self.enqueue(&target, message.clone());
        }
    }

    /// Hands messages to the consumers that have room, in turn.
    fn dispatch(&mut self, queue: &str) {
        let Some(stored) = self.queues.get_mut(queue) else {
            return;
        };
        let mut passed = 0;
        while passed < stored.consumers.len() && stored.has_messages() {
            stored.consumers.rotate_left(1);
            let turn = stored.consumers.back().and_then(|id| self.consumers.get_mut(id));
            let Some(subscriber) = turn.filter(|subscriber| subscriber.has_room()) else {
                passed += 1;
                continue;
            };
            passed = 0;
            if let Some(message) = stored.returned.pop_front().or_else(|| stored.ready.pop_front()) {
                subscriber.buffered.push_back((subscriber.next_tag, message));
                subscriber.next_tag += 1;
                subscriber.wake.notify_one();
            }
        }
    }
}

impl Stored {
    fn new(kind: Kind) -> Self {
        Self { kind, returned: VecDeque::new(), ready: VecDeque::new(), consumers: VecDeque::new() }
    }

    fn has_messages(&self) -> bool {
        !self.returned.is_empty() || !self.ready.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ready.len() >= QUEUE_MESSAGES_MAX
    }
}

impl Subscriber {
    fn has_room(&self) -> bool {
        self.buffered.len() + self.in_hand.len() < self.prefetch
    }
}

fn missing(name: &str) -> Error {
    Error::Missing { name: name.to_owned(), reason: "it was not declared".to_owned() }
}
