//! The lease on shards: renewed beside the loop, so that no slow commit lets it run out, and given back at a stop.

use std::{sync::Arc, time::Duration};

use proto::id::Shard;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    health::Health,
    store::{self, Store},
};

/// How long a silent owner keeps its shards.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// How often it says that it is there: four renewals may fail before others take over.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// What is renewed, and for whom.
pub(crate) struct Lease {
    pub store: Arc<Store>,
    pub owner: String,
    pub health: Health,
    /// No turn will be committed any more.
    pub over: CancellationToken,
}

impl Lease {
    /// Renews until `over`, then gives every shard back. A store that does not answer is asked again: nobody else can
    /// commit to it either, or our own commits are refused by their epoch.
    ///
    /// # Errors
    /// When a shard has another owner.
    pub(crate) async fn keep(self) -> Result<(), store::Error> {
        let mut renew = interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // `cancelled` and `tick` are cancel safe.
            tokio::select! {
                () = self.over.cancelled() => break,
                _ = renew.tick() => {}
            }
            let renewed = self.store.renew(&self.owner, LEASE).await;
            self.health.renewed(&renewed);
            match renewed {
                Ok(owned) => self.check(&owned)?,
                Err(error) => tracing::warn!(%error, "lease not renewed"),
            }
        }
        if let Err(error) = self.store.release(&self.owner).await {
            tracing::warn!(%error, "lease not given back: others wait until it is over");
        }
        Ok(())
    }

    fn check(&self, owned: &[Shard]) -> Result<(), store::Error> {
        match (0..self.store.shards()).map(Shard).find(|shard| !owned.contains(shard)) {
            Some(shard) => Err(store::Error::Fenced { shard }),
            None => Ok(()),
        }
    }
}
