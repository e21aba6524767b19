//! Bare lapin: what the floor is made of, and how the generator itself speaks to the broker.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

/// Messages that are published and not yet confirmed, at most.
pub const WINDOW: usize = 512;
/// Messages that a consumer has and has not acknowledged, at most.
pub const PREFETCH: u16 = 512;
/// Messages that are acknowledged at once.
pub const ACKS: u32 = 64;
/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What is published.
pub struct Message {
    pub exchange: ShortString,
    pub key: ShortString,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

/// A consumer that acknowledges many messages at once, and none later than when it has nothing to do.
pub struct Inbox {
    channel: Channel,
    consumer: Consumer,
    /// The last one that was handed out, and how many are not acknowledged up to it.
    unsettled: Option<(u64, u32)>,
}

/// Connects under a name that the broker shows.
pub async fn connect(url: &str, name: &str) -> Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = tokio::time::timeout(PATIENCE, Connection::connect(url, properties));
    connecting.await.context("the broker does not answer")?.context("connecting to the broker")
}

/// A channel that confirms what is published on it.
pub async fn confirming(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await.context("opening a channel")?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.context("asking for confirms")?;
    Ok(channel)
}

/// Declares a durable quorum queue.
pub async fn declare(channel: &Channel, queue: &str) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await.with_context(|| format!("declaring {queue}"))?;
    Ok(())
}

/// Deletes a queue, with all that is in it.
pub async fn delete(channel: &Channel, queue: &str) -> Result<()> {
    let deleting = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
    deleting.await.with_context(|| format!("deleting {queue}"))?;
    Ok(())
}

/// The properties of a message that is to last.
pub fn persistent() -> BasicProperties {
    BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2)
}

/// Publishes one mandatory message and waits for its confirm.
pub async fn publish(channel: &Channel, message: &Message) -> Result<()> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let (exchange, key) = (message.exchange.clone(), message.key.clone());
    let publishing = channel.basic_publish(exchange, key, options, &message.body, message.properties.clone());
    match publishing.await.context("publishing")?.await.context("waiting for a confirm")? {
        Confirmation::Ack(None) => Ok(()),
        other => bail!("the broker did not take a message: {other:?}"),
    }
}

/// Publishes all, with at most [`WINDOW`] under way.
pub async fn publish_all(channel: &Channel, messages: impl Iterator<Item = Message>) -> Result<()> {
    let mut flying = FuturesUnordered::new();
    for message in messages {
        if flying.len() >= WINDOW
            && let Some(confirmed) = flying.next().await
        {
            confirmed?;
        }
        flying.push(async move { publish(channel, &message).await });
    }
    while let Some(confirmed) = flying.next().await {
        confirmed?;
    }
    Ok(())
}

impl Inbox {
    /// Begins to consume.
    pub async fn open(connection: &Connection, queue: &str) -> Result<Self> {
        let channel = connection.create_channel().await.context("opening a channel")?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.context("setting the prefetch")?;
        let consuming =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = consuming.await.with_context(|| format!("consuming {queue}"))?;
        Ok(Self { channel, consumer, unsettled: None })
    }

    /// The next message. It is acknowledged with others: when there are [`ACKS`], or when none is ready.
    pub async fn next(&mut self) -> Result<Delivery> {
        let found = match self.consumer.next().now_or_never() {
            Some(found) => found,
            None => {
                self.acknowledge().await?;
                tokio::time::timeout(PATIENCE, self.consumer.next()).await.context("waiting for a message")?
            }
        };
        let delivery = found.context("the consumer ended")?.context("consuming")?;
        let count = self.unsettled.map_or(0, |(_, count)| count) + 1;
        self.unsettled = Some((delivery.delivery_tag, count));
        if count >= ACKS {
            self.acknowledge().await?;
        }
        Ok(delivery)
    }

    /// Acknowledges all that was handed out.
    pub async fn acknowledge(&mut self) -> Result<()> {
        if let Some((tag, _)) = self.unsettled.take() {
            acknowledge(&self.channel, tag).await?;
        }
        Ok(())
    }
}

/// Acknowledges that message and all before it.
pub async fn acknowledge(channel: &Channel, tag: u64) -> Result<()> {
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.context("acknowledging")
}
