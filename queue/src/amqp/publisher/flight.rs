//! One channel in use: writes what comes in, and watches for confirms that do not come.

use std::{pin::Pin, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Request,
    books::{Books, Outcome},
};
use crate::{
    Publication, Routing,
    amqp::{
        Settings,
        link::{Flow, Link},
        topology::short,
    },
};

/// AMQP's mark for a message that is to be written to disk.
const PERSISTENT: u8 = 2;
/// How long the confirms of a channel that has ended may take to fail.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Why a channel is no longer used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was answered and no more is taken.
    Closed,
    /// A confirm is missing.
    Overdue,
    /// The channel or the connection ended.
    Broken,
}

/// One channel in use.
pub(super) struct Flight<'a> {
    channel: &'a lapin::Channel,
    settings: &'a Settings,
    confirms: FuturesUnordered<Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>>,
    books: Books,
}

impl<'a> Flight<'a> {
    pub(super) fn new(channel: &'a lapin::Channel, settings: &'a Settings) -> Self {
        Self { channel, settings, confirms: FuturesUnordered::new(), books: Books::default() }
    }

    /// Writes what comes in and hands out verdicts until the channel has to be given up or `closing` is done.
    pub(super) async fn run(
        &mut self,
        link: &Link,
        closing: &CancellationToken,
        incoming: &mut mpsc::Receiver<Request>,
    ) -> End {
        let mut alarm = Box::pin(sleep_until(Instant::now() + self.settings.confirm_timeout));
        let mut taking = true;
        loop {
            if !taking && self.books.is_empty() {
                return End::Closed;
            }
            // Cancel safe: `next`, `recv` and `cancelled` lose nothing.
            tokio::select! {
                biased;
                Some(first) = self.confirms.next() => if self.settle_ready(first) { return End::Broken },
                () = link.fault.cancelled() => return End::Broken,
                request = incoming.recv(), if taking => match request {
                    Some(request) => self.write(request),
                    None => taking = false,
                },
                () = closing.cancelled(), if taking => incoming.close(),
                () = &mut alarm => if self.overdue(link, &mut alarm) { return End::Overdue },
            }
        }
    }

    /// The channel has ended: its confirms fail now, and whoever still waits is told.
    pub(super) async fn abandon(mut self) {
        let aftermath = async {
            while let Some(outcome) = self.confirms.next().await {
                self.settle_ready(outcome);
            }
        };
        if timeout(AFTERMATH, aftermath).await.is_err() {
            tracing::debug!("confirms of a lost channel are still open");
        }
        self.books.abandon();
    }

    /// Writes the messages of a request, unless its caller has given up meanwhile.
    fn write(&mut self, request: Request) {
        if request.answer.is_closed() {
            return;
        }
        let channel = self.channel;
        for (seq, publication) in self.books.open(request) {
            // Polled in the order of this, so messages leave in the order of their requests.
            self.confirms.push(Box::pin(async move {
                let outcome = match send(channel, &publication).await {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                };
                (seq, outcome)
            }));
        }
    }

    /// Settles an outcome together with all others that are ready, and says whether the channel has ended.
    fn settle_ready(&mut self, first: Outcome) -> bool {
        let mut ready = vec![first];
        while let Some(Some(outcome)) = self.confirms.next().now_or_never() {
            ready.push(outcome);
        }
        self.books.settle(ready, self.settings.on_confirm.as_deref())
    }

    /// Whether the oldest message waits too long; else sets the alarm for when it would. While the broker blocks us
    /// nothing is overdue: it said so itself, and a new connection would fare no better.
    fn overdue(&self, link: &Link, alarm: &mut Pin<Box<Sleep>>) -> bool {
        let now = Instant::now();
        let since = match (*link.flow.borrow(), self.books.oldest()) {
            (Flow::Free(free), Some(oldest)) => oldest.max(free),
            (Flow::Free(_), None) | (Flow::Blocked, _) => now,
        };
        let due = since + self.settings.confirm_timeout;
        alarm.as_mut().reset(due);
        due <= now
    }
}

async fn send(channel: &lapin::Channel, publication: &Publication) -> lapin::Result<lapin::PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: publication.routing == Routing::Mandatory, immediate: false };
    let mut properties = BasicProperties::default()
        .with_content_type(publication.content.media_type().into())
        .with_delivery_mode(PERSISTENT);
    if let Some(id) = &publication.message_id {
        properties = properties.with_message_id(short(id));
    }
    if let Some(kind) = &publication.kind {
        properties = properties.with_type(short(kind));
    }
    if let Some(id) = &publication.correlation_id {
        properties = properties.with_correlation_id(short(id));
    }
    if let Some(to) = &publication.reply_to {
        properties = properties.with_reply_to(short(to));
    }
    if !publication.headers.is_empty() {
        let mut headers = FieldTable::default();
        for (key, value) in &publication.headers {
            headers.insert(short(key), AMQPValue::LongString(value.as_str().into()));
        }
        properties = properties.with_headers(headers);
    }
    let (exchange, key) = (short(&publication.exchange), short(&publication.routing_key));
    channel.basic_publish(exchange, key, options, &publication.body, properties).await
}
