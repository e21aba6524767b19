//! Deliveries of one pool: each becomes a task of its own, as many at once as there are slots.

use std::sync::Arc;

use proto::{codec, control::Control};
use queue::{Consumer, Delivery};
use tokio::task::{JoinError, JoinSet};

use crate::{perform::perform, station::Station};

/// Performs what `consumer` delivers until the worker stops; then hands back what has not begun and waits for the rest.
/// The prefetch bounds how much there is at once.
pub(crate) async fn consume(station: Arc<Station>, mut consumer: Consumer) {
    let mut performing = JoinSet::new();
    loop {
        // `recv`, `join_next` and `cancelled` are cancel safe.
        tokio::select! {
            () = station.stop.cancelled() => break,
            Some(joined) = performing.join_next() => settle(joined, &mut performing),
            delivery = consumer.recv() => match delivery {
                Some(delivery) => { performing.spawn(perform(station.clone(), delivery)); }
                None => break,
            }
        }
    }
    consumer.stop().await;
    while let Some(joined) = performing.join_next().await {
        settle(joined, &mut performing);
    }
}

/// Acknowledges what is done: all that has ended by now with one message to the broker, where that can be said.
fn settle(first: Result<Option<Delivery>, JoinError>, performing: &mut JoinSet<Option<Delivery>>) {
    let mut done = Vec::new();
    let mut ended = Some(first);
    while let Some(joined) = ended {
        match joined {
            Ok(delivery) => done.extend(delivery),
            Err(error) => complain(&error),
        }
        ended = performing.try_join_next();
    }
    queue::ack_all(done);
}

/// Listens to control messages until the worker is killed.
pub(crate) async fn listen(station: Arc<Station>, mut consumer: Consumer) {
    loop {
        // `recv` and `cancelled` are cancel safe.
        let delivery = tokio::select! {
            () = station.kill.cancelled() => break,
            delivery = consumer.recv() => delivery,
        };
        let Some(delivery) = delivery else { break };
        take_to_heart(&station, &delivery.body);
        delivery.ack();
    }
    consumer.stop().await;
}

fn take_to_heart(station: &Station, body: &[u8]) {
    match codec::decode::<Control>(body) {
        Ok(Control::Claimed { key, nonce }) => station.claims.told(&key, &nonce),
        Ok(control) => station.revoked.told(&control),
        // A newer scheduler may say what this worker does not know.
        Err(error) => tracing::warn!(%error, "control message not understood"),
    }
}

/// A task that panicked has dropped its delivery, which goes back to the broker; too often, and the run hears of it.
fn complain(error: &JoinError) {
    tracing::error!(%error, "a piece of work brought its task down");
}
