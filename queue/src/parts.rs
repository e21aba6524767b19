//! Messages that travelled as one are taken apart, and the broker hears of the one when all of them are settled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    Content, Delivery, Properties,
    delivery::{Settlement, Ticket},
};

/// Lines of one message that become deliveries of their own, at most.
pub(crate) const PARTS_MAX: usize = 256;

/// A message that arrived, and its parts that are not settled.
pub(crate) struct Whole(Mutex<Open>);

struct Open {
    /// Gone once it is used.
    ticket: Option<Ticket>,
    left: usize,
    /// What the whole needs for the part that needs most.
    settlement: Settlement,
}

impl Whole {
    /// One part is settled. For the last of them, gives what settles the whole, and how: as the part that needs most, so
    /// if one is given back all come again.
    pub(crate) fn part(&self, settlement: Settlement) -> Option<(Ticket, Settlement)> {
        let mut open = self.open();
        open.settlement = open.settlement.max(settlement);
        open.left -= 1;
        let settlement = open.settlement;
        (open.left == 0).then(|| open.ticket.take()).flatten().map(|ticket| (ticket, settlement))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.open().ticket.as_ref().is_some_and(Ticket::is_live)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// Whether several messages travelled as this one. One of more than [`PARTS_MAX`] is nobody's who keeps to the rules,
    /// and stays whole.
    pub(crate) fn has_parts(&self) -> bool {
        let is_lines = self.properties.content_type.as_deref() == Some(Content::JsonLines.media_type());
        is_lines && self.body.iter().filter(|byte| **byte == b'\n').count() < PARTS_MAX
    }

    /// The messages that travelled as this one. They have no ids of their own.
    pub(crate) fn parts(self) -> Vec<Self> {
        let Self { body, properties, exchange, routing_key, redelivered, delivery_count, ticket } = self;
        let properties =
            Properties { message_id: None, content_type: Some(Content::Json.media_type().to_owned()), ..properties };
        let lines = lines(&body);
        let open = Open { ticket: Some(ticket), left: lines.len(), settlement: Settlement::Ack };
        let whole = Arc::new(Whole(Mutex::new(open)));
        let part = |body| Self {
            body,
            properties: properties.clone(),
            exchange: exchange.clone(),
            routing_key: routing_key.clone(),
            redelivered,
            delivery_count,
            ticket: Ticket::part(whole.clone()),
        };
        lines.into_iter().map(part).collect()
    }
}

/// At least one, empty or not: each is somebody's to settle.
fn lines(body: &Bytes) -> Vec<Bytes> {
    body.split(|byte| *byte == b'\n').map(|line| body.slice_ref(line)).collect()
}
