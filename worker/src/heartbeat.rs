//! Signs of life: one message per shard whose work is here, every few seconds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use proto::{
    SCHEMA, codec,
    id::{PoolName, Shard},
    outcome::{FromWorker, Heartbeat},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::station::Station;

/// The first heartbeat comes soon, so that the scheduler knows how much can run at once.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// And then so often.
const EVERY: Duration = Duration::from_secs(5);

/// Beats until the worker is killed. One that is not published is not missed: the next one says the same.
pub(crate) async fn beat(station: Arc<Station>, pools: Vec<PoolName>, slots: u32) {
    let mut ticks = interval_at(Instant::now() + FIRST_AFTER, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let beating = async {
        loop {
            ticks.tick().await;
            once(&station, &pools, slots).await;
        }
    };
    // Dropping it is fine anywhere: what was published half is not missed either.
    station.kill.run_until_cancelled(beating).await;
}

async fn once(station: &Station, pools: &[PoolName], slots: u32) {
    // Shard 0 hears of every worker: there is always one.
    let mut by_shard: BTreeMap<_, _> = BTreeMap::from([(Shard(0), Vec::new())]);
    by_shard.extend(station.running.by_shard());
    for (shard, running) in by_shard {
        let heartbeat = Heartbeat { schema: SCHEMA, worker: station.id.clone(), pools: pools.to_vec(), slots, running };
        let body = Bytes::from(codec::encode(&FromWorker::Heartbeat(heartbeat)));
        if let Err(error) = station.publish(shard, None, body).await {
            tracing::debug!(%shard, %error, "heartbeat not published");
        }
    }
}
