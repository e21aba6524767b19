//! A received message, and settling it: exactly once, by value, and by dropping it if nobody did.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;

use crate::{Properties, amqp, memory, parts::Whole};

/// One received message. It is settled by [`ack`](Self::ack), [`give_back`](Self::give_back) or
/// [`reject`](Self::reject); dropping it gives it back. None of them waits: the broker answers no settlement, and one
/// that is lost with its connection only means that the message comes again.
#[derive(Debug)]
pub struct Delivery {
    /// The body, as it was published.
    pub body: Bytes,
    /// The properties, as they were published, and the death if it had one.
    pub properties: Properties,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Whether it was delivered before, to anyone.
    pub redelivered: bool,
    /// How often it was delivered before. Exact on quorum queues and in memory; 0 or 1 on classic queues.
    pub delivery_count: u32,
    pub(crate) ticket: Ticket,
}

impl Delivery {
    /// Done: the broker forgets it.
    pub fn ack(self) {
        self.ticket.settle(Settlement::Ack);
    }

    /// Not done, and not its fault: the broker delivers it again, to anyone.
    pub fn give_back(self) {
        self.ticket.settle(Settlement::GiveBack);
    }

    /// It will never be done: the broker makes it a dead letter.
    pub fn reject(self) {
        self.ticket.settle(Settlement::Reject);
    }

    /// Whether settling it still means something. `false` once its connection or channel is gone: then the broker
    /// delivers it again, whatever is done here.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ticket.is_live()
    }
}

/// Acks all of them, with one message to the broker where they are the oldest of their channel.
pub fn ack_all(deliveries: Vec<Delivery>) {
    let mut channels: BTreeMap<*const amqp::Channel, (Arc<amqp::Channel>, Vec<u64>)> = BTreeMap::new();
    for mut ticket in deliveries.into_iter().filter_map(|delivery| delivery.ticket.acked()) {
        match ticket.held.take() {
            Some(Held::Amqp(channel, tag)) => {
                channels.entry(Arc::as_ptr(&channel)).or_insert_with(|| (channel, Vec::new())).1.push(tag);
            }
            Some(Held::Memory(receipt)) => receipt.settle(Settlement::Ack),
            Some(Held::Part(_)) | None => {}
        }
    }
    for (channel, tags) in channels.into_values() {
        channel.ack_all(tags);
    }
}

/// What is done with a delivery, from what needs least of the broker to what needs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Settlement {
    Ack,
    Reject,
    GiveBack,
}

/// The right to settle one delivery, used up by settling; dropping it gives the delivery back.
pub(crate) struct Ticket {
    held: Option<Held>,
}

enum Held {
    Amqp(Arc<amqp::Channel>, u64),
    Memory(memory::Receipt),
    Part(Arc<Whole>),
}

impl Ticket {
    pub(crate) fn amqp(channel: Arc<amqp::Channel>, tag: u64) -> Self {
        Self { held: Some(Held::Amqp(channel, tag)) }
    }

    pub(crate) fn memory(receipt: memory::Receipt) -> Self {
        Self { held: Some(Held::Memory(receipt)) }
    }

    pub(crate) fn part(whole: Arc<Whole>) -> Self {
        Self { held: Some(Held::Part(whole)) }
    }

    pub(crate) fn is_live(&self) -> bool {
        match &self.held {
            Some(Held::Amqp(channel, _)) => channel.is_open(),
            Some(Held::Memory(receipt)) => receipt.is_live(),
            Some(Held::Part(whole)) => whole.is_live(),
            None => false,
        }
    }

    /// What there is to ack: of a part nothing, until it is the last one.
    fn acked(mut self) -> Option<Self> {
        let Some(Held::Part(whole)) = &self.held else { return Some(self) };
        let whole = whole.clone();
        self.held = None;
        match whole.part(Settlement::Ack)? {
            (ticket, Settlement::Ack) => Some(ticket),
            (ticket, other) => {
                ticket.settle(other);
                None
            }
        }
    }

    fn settle(mut self, settlement: Settlement) {
        self.settle_once(settlement);
    }

    fn settle_once(&mut self, settlement: Settlement) {
        match self.held.take() {
            Some(Held::Amqp(channel, tag)) => channel.settle(tag, settlement),
            Some(Held::Memory(receipt)) => receipt.settle(settlement),
            Some(Held::Part(whole)) => {
                if let Some((ticket, settlement)) = whole.part(settlement) {
                    ticket.settle(settlement);
                }
            }
            None => {}
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle_once(Settlement::GiveBack);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.held {
            Some(Held::Amqp(_, tag)) => write!(f, "amqp tag {tag}"),
            Some(Held::Memory(_)) => f.write_str("memory"),
            Some(Held::Part(_)) => f.write_str("part"),
            None => f.write_str("settled"),
        }
    }
}
