//! A consumer that outlives its connections: a task per consumer subscribes, forwards, and subscribes anew whenever
//! the stream ends, for that is all a client is told when its queue is deleted or its leader lost.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicQosOptions};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    ANSWER_TIMEOUT, Channel, Shared,
    link::{Link, answer},
    supervisor::Backoff,
    topology,
};
use crate::{Delivery, Error, Source};

/// The receiving end.
#[derive(Debug)]
pub struct Consumer {
    deliveries: mpsc::Receiver<Delivery>,
    stop: DropGuard,
}

impl Consumer {
    /// Deliveries of a connection that has gone meanwhile are skipped: they come again.
    pub(crate) async fn recv(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.recv().await?;
            if delivery.is_live() {
                return Some(delivery);
            }
        }
    }

    pub(crate) fn try_recv(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.try_recv().ok()?;
            if delivery.is_live() {
                return Some(delivery);
            }
        }
    }

    /// Dropping a delivery gives it back, so draining until the task has ended returns everything.
    pub(crate) async fn stop(mut self) {
        drop(self.stop);
        let drained = async { while self.deliveries.recv().await.is_some() {} };
        if timeout(ANSWER_TIMEOUT, drained).await.is_err() {
            tracing::warn!("a consumer did not stop in time; its deliveries come back with the connection's end");
        }
    }
}

/// The first subscription is made here, so that an absent queue is an error to the caller; the rest is the task's.
pub(super) async fn open(
    shared: Arc<Shared>,
    source: Source,
    prefetch: u16,
) -> Result<(Consumer, impl Future<Output = ()> + Send), Error> {
    // In AMQP a prefetch of 0 means no limit at all.
    let prefetch = prefetch.max(1);
    let (out, deliveries) = mpsc::channel(prefetch.into());
    let stop = shared.closing.child_token();
    let guard = stop.clone().drop_guard();
    let link = shared.consume_link("consuming").await?;
    let pump = Pump { shared, source, prefetch, out, stop };
    let first = pump.subscribe(link).await?;
    Ok((Consumer { deliveries, stop: guard }, pump.run(first)))
}

struct Pump {
    shared: Arc<Shared>,
    source: Source,
    prefetch: u16,
    out: mpsc::Sender<Delivery>,
    stop: CancellationToken,
}

/// A consumer on one channel of one link.
struct Subscription {
    link: Arc<Link>,
    channel: Arc<Channel>,
    stream: lapin::Consumer,
}

/// Why forwarding ended.
enum End {
    Stopped,
    Broken,
}

impl Pump {
    async fn run(self, first: Subscription) {
        let mut current = Some(first);
        while let Some(mut subscription) = current {
            match self.forward(&mut subscription).await {
                End::Stopped => return wind_down(subscription).await,
                End::Broken => {
                    tracing::warn!(source = ?self.source, "a consumer lost its queue or channel");
                    drop(subscription);
                    current = self.resubscribe().await;
                }
            }
        }
    }

    /// Hands deliveries on. Never more than the prefetch are under way, so the way out has room for them all.
    async fn forward(&self, subscription: &mut Subscription) -> End {
        loop {
            // Cancel safe: `next` and `cancelled` lose nothing.
            let item = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stopped,
                () = subscription.link.fault.cancelled() => return End::Broken,
                item = subscription.stream.next() => item,
            };
            let Some(Ok(delivery)) = item else {
                return End::Broken;
            };
            let delivery = subscription.channel.receive(delivery);
            // After a reconnect stale deliveries may still lie in the way; a delivery not sent is given back.
            tokio::select! {
                sent = self.out.send(delivery) => if sent.is_err() { return End::Stopped },
                () = self.stop.cancelled() => return End::Stopped,
            }
        }
    }

    /// `None` when stopped.
    async fn resubscribe(&self) -> Option<Subscription> {
        let mut backoff = Backoff::default();
        let mut links = self.shared.consume.subscribe();
        loop {
            let attempt = async {
                // The first retry waits too: a queue that was just deleted may be deleted again.
                sleep(backoff.delay()).await;
                let link = links.wait_for(Option::is_some).await.ok()?.clone()?;
                match self.subscribe(link.clone()).await {
                    Ok(subscription) => Some(subscription),
                    Err(error) => {
                        tracing::warn!(source = ?self.source, %error, "cannot consume yet");
                        None
                    }
                }
            };
            // Dropping an attempt half way is fine: its channel closes with it.
            tokio::select! {
                done = attempt => if done.is_some() { return done },
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// On a channel of its own: an error of one consumer ends no other. A queue that this process declared is
    /// declared again first, for it may have been deleted.
    async fn subscribe(&self, link: Arc<Link>) -> Result<Subscription, Error> {
        let settings = &self.shared.settings;
        if let Some(part) = self.source.part(&settings.topology)
            && self.shared.remembered().contains(&part)
        {
            topology::declare(&link, settings, [&part]).await?;
        }
        let channel = link.channel().await?;
        answer("setting the prefetch", channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let stream = topology::consume(&channel, settings, &self.source).await?;
        Ok(Subscription { link, channel: Arc::new(Channel::new(channel)), stream })
    }
}

/// Cancels the consumer at the broker and gives back what lapin had buffered. Deliveries in hand keep the channel.
async fn wind_down(mut subscription: Subscription) {
    let channel = subscription.channel.clone();
    let tag = subscription.stream.tag();
    let cancel = channel.lapin().basic_cancel(tag, BasicCancelOptions::default());
    if answer("cancelling a consumer", cancel).await.is_err() {
        return;
    }
    // After the broker's answer lapin ends the stream behind what it still holds.
    let drained = async {
        while let Some(Ok(delivery)) = subscription.stream.next().await {
            drop(channel.receive(delivery));
        }
    };
    if timeout(ANSWER_TIMEOUT, drained).await.is_err() {
        tracing::debug!("a cancelled consumer's stream did not end");
    }
}
