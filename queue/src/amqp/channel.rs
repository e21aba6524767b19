//! A consuming channel: which deliveries are unsettled on it, and settling them without waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::FutureExt;
use lapin::{
    message::Delivery as LapinDelivery,
    options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::link::OwnChannel;
use crate::{
    Death, Delivery, Properties,
    delivery::{Settlement, Ticket},
};

/// A channel with its unsettled tags. Deliveries hold it, so it stays open until the last of them is settled.
#[derive(Debug)]
pub(crate) struct Channel {
    lapin: OwnChannel,
    /// Delivered and not settled. Settling writes its frame under this lock: a multiple ack covers every older tag,
    /// so no settlement of an older one may still be on its way to the wire.
    unsettled: Mutex<BTreeSet<u64>>,
}

impl Channel {
    pub(super) fn new(lapin: OwnChannel) -> Self {
        Self { lapin, unsettled: Mutex::default() }
    }

    pub(super) fn lapin(&self) -> &lapin::Channel {
        &self.lapin
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lapin.status().connected()
    }

    /// Takes a delivery into the books.
    pub(super) fn receive(self: &Arc<Self>, delivery: LapinDelivery) -> Delivery {
        let tag = delivery.delivery_tag;
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).insert(tag);
        let (properties, counted) = read_properties(&delivery.properties);
        Delivery {
            body: Bytes::from(delivery.data),
            properties,
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
            delivery_count: counted.unwrap_or(u32::from(delivery.redelivered)),
            ticket: Ticket::amqp(self.clone(), tag),
        }
    }

    /// Settles one delivery.
    pub(crate) fn settle(&self, tag: u64, settlement: Settlement) {
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        if unsettled.remove(&tag) {
            match settlement {
                Settlement::Ack => self.write_ack(tag, false),
                Settlement::GiveBack => {
                    let options = BasicNackOptions { multiple: false, requeue: true };
                    written(self.lapin.basic_nack(tag, options).now_or_never());
                }
                Settlement::Reject => {
                    let options = BasicRejectOptions { requeue: false };
                    written(self.lapin.basic_reject(tag, options).now_or_never());
                }
            }
        }
    }

    /// Acks many: those that are the oldest unsettled ones with one frame, each other with its own.
    pub(crate) fn ack_all(&self, mut tags: Vec<u64>) {
        tags.sort_unstable();
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = unsettled.iter().zip(&tags).take_while(|(open, tag)| open == tag).count();
        for tag in &tags {
            unsettled.remove(tag);
        }
        let (oldest, others) = tags.split_at(prefix);
        match oldest {
            [] => {}
            [tag] => self.write_ack(*tag, false),
            [.., newest] => self.write_ack(*newest, true),
        }
        for tag in others {
            self.write_ack(*tag, false);
        }
    }

    fn write_ack(&self, tag: u64, multiple: bool) {
        written(self.lapin.basic_ack(tag, BasicAckOptions { multiple }).now_or_never());
    }
}

/// The first poll of a lapin settlement queues its frame; what is left is only waiting for the socket, two thread
/// hops that nobody needs. An error means that the channel is gone, and then the broker delivers again.
fn written(polled: Option<lapin::Result<()>>) {
    if let Some(Err(error)) = polled {
        tracing::debug!(%error, "a delivery was settled after its channel had gone");
    }
}

/// Our view of AMQP properties, and the count of a quorum queue if there is one.
fn read_properties(from: &lapin::BasicProperties) -> (Properties, Option<u32>) {
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let mut properties = Properties {
        message_id: text(from.message_id()),
        kind: text(from.kind()),
        reply_to: text(from.reply_to()),
        correlation_id: text(from.correlation_id()),
        content_type: text(from.content_type()),
        ..Properties::default()
    };
    let Some(headers) = from.headers() else {
        return (properties, None);
    };
    properties.headers = headers
        .inner()
        .iter()
        .filter_map(|(key, value)| Some((key.to_string(), read_text(value)?)))
        .collect::<BTreeMap<_, _>>();
    properties.traceparent = properties.headers.get("traceparent").cloned();
    properties.death = read_death(headers);
    let counted = headers.inner().get("x-delivery-count").and_then(read_number);
    (properties, counted.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
}

/// The newest entry of `x-death`, which RabbitMQ puts first.
fn read_death(headers: &FieldTable) -> Option<Death> {
    let newest = headers.inner().get("x-death")?.as_array()?.as_slice().first()?;
    let entry = newest.as_field_table()?.inner();
    Some(Death {
        reason: entry.get("reason").and_then(read_text)?,
        queue: entry.get("queue").and_then(read_text)?,
        count: entry.get("count").and_then(read_number).unwrap_or(1),
    })
}

fn read_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Brokers write small numbers in whatever width fits.
fn read_number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::ShortShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::Timestamp(number) => Some(*number),
        _ => None,
    }
}
