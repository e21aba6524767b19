//! Declaring on RabbitMQ, and what our arguments mean there.

use lapin::{
    ExchangeKind as LapinKind,
    options::{
        BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use proto::topology::Topology;

use super::{
    Declare, QueueType, Settings,
    link::{Link, answer},
};
use crate::{
    Declared, Error, Source,
    declare::{DELIVERY_LIMIT, DELIVERY_LIMIT_NONE, ExchangeKind, ExchangeShape, Purpose, QueueShape, REJECTED_MAX},
};

/// Declares parts of the topology, on a channel of its own: a refused declaration closes its channel.
pub(super) async fn declare(
    link: &Link,
    settings: &Settings,
    parts: impl IntoIterator<Item = &Declared>,
) -> Result<(), Error> {
    let channel = link.channel().await?;
    for part in parts {
        let shape = part.shape(&settings.topology);
        for exchange in &shape.exchanges {
            declare_exchange(&channel, settings, exchange).await?;
        }
        for queue in &shape.queues {
            declare_queue(&channel, settings, queue).await?;
        }
    }
    Ok(())
}

/// Deletes the queues of parts of the topology, and then their exchanges.
pub(super) async fn remove(link: &Link, settings: &Settings, parts: &[Declared]) -> Result<(), Error> {
    let channel = link.channel().await?;
    let shapes: Vec<_> = parts.iter().map(|part| part.shape(&settings.topology)).collect();
    for queue in shapes.iter().flat_map(|shape| &shape.queues) {
        let deleting = channel.queue_delete(short(&queue.name), QueueDeleteOptions::default());
        answer(&format!("queue {}", queue.name), deleting).await?;
    }
    for exchange in shapes.iter().flat_map(|shape| &shape.exchanges) {
        let deleting = channel.exchange_delete(short(&exchange.name), ExchangeDeleteOptions::default());
        answer(&format!("exchange {}", exchange.name), deleting).await?;
    }
    Ok(())
}

async fn declare_exchange(
    channel: &lapin::Channel,
    settings: &Settings,
    exchange: &ExchangeShape,
) -> Result<(), Error> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => LapinKind::Direct,
        ExchangeKind::Topic => LapinKind::Topic,
        ExchangeKind::Fanout => LapinKind::Fanout,
    };
    let options = ExchangeDeclareOptions {
        passive: settings.declare == Declare::Passive,
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declaring = channel.exchange_declare(short(&exchange.name), kind, options, FieldTable::default());
    answer(&format!("exchange {}", exchange.name), declaring).await
}

async fn declare_queue(channel: &lapin::Channel, settings: &Settings, queue: &QueueShape) -> Result<(), Error> {
    let doing = format!("queue {}", queue.name);
    let passive = settings.declare == Declare::Passive;
    let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
    let arguments = arguments(settings, queue.purpose);
    answer(&doing, channel.queue_declare(short(&queue.name), options, arguments)).await?;
    if let (Some((exchange, key)), false) = (&queue.binding, passive) {
        let (exchange, key) = (short(exchange), short(key));
        let options = QueueBindOptions::default();
        answer(&doing, channel.queue_bind(short(&queue.name), exchange, key, options, FieldTable::default())).await?;
    }
    Ok(())
}

/// The arguments of a queue. They are a contract: a queue that exists with others is refused with code 406.
fn arguments(settings: &Settings, purpose: Purpose) -> FieldTable {
    let quorum = settings.queue_type == QueueType::Quorum;
    let mut table = Arguments::default();
    table.text("x-queue-type", if quorum { "quorum" } else { "classic" });
    match purpose {
        Purpose::Work => {
            table.text("x-dead-letter-exchange", &settings.topology.dead_exchange());
            if quorum {
                // Dead letters at least once need a queue that refuses rather than drops when it is full.
                table.number("x-delivery-limit", DELIVERY_LIMIT);
                table.text("x-dead-letter-strategy", "at-least-once");
                table.text("x-overflow", "reject-publish");
            }
        }
        Purpose::Dead | Purpose::Rejected => {
            if quorum {
                table.number("x-delivery-limit", DELIVERY_LIMIT_NONE);
            }
            if purpose == Purpose::Rejected {
                table.number("x-max-length", REJECTED_MAX);
                table.text("x-overflow", "drop-head");
            }
        }
    }
    table.0
}

#[derive(Default)]
struct Arguments(FieldTable);

impl Arguments {
    fn text(&mut self, key: &str, value: &str) {
        self.0.insert(short(key), AMQPValue::LongString(value.into()));
    }

    fn number(&mut self, key: &str, value: u32) {
        self.0.insert(short(key), AMQPValue::LongLongInt(value.into()));
    }
}

/// Begins to consume on a channel whose prefetch is set already, and says from which queue.
pub(super) async fn consume(
    channel: &lapin::Channel,
    settings: &Settings,
    source: &Source,
) -> Result<lapin::Consumer, Error> {
    let queue = match source.queue(&settings.topology) {
        Some(queue) => queue,
        None => control_queue(channel, &settings.topology).await?,
    };
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(short(&queue), short(""), options, FieldTable::default());
    answer(&format!("queue {queue}"), consuming).await
}

/// A queue for this consumer alone, which goes with its connection. The server names it: RabbitMQ 4 has done away
/// with other queues that do not last.
async fn control_queue(channel: &lapin::Channel, topology: &Topology) -> Result<String, Error> {
    let doing = "the control queue";
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = answer(doing, channel.queue_declare(short(""), options, FieldTable::default())).await?;
    let name = queue.name().to_string();
    let exchange = topology.control_exchange();
    let options = QueueBindOptions::default();
    let binding = channel.queue_bind(short(&name), short(&exchange), short(""), options, FieldTable::default());
    answer(&format!("exchange {exchange}"), binding).await?;
    Ok(name)
}

/// A name on the wire. Ours are far below the limit of 255 bytes, and a queue name given by a user that is longer
/// names no queue, as its cut form does not.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_else(|_| ShortString::from("(name longer than 255 bytes)"))
}
