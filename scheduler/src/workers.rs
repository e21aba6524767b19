//! Workers that have shown signs of life.

use std::collections::HashMap;

use engine::machine::FLIGHTS_FREE;
use proto::{
    id::{PoolName, WorkerId},
    outcome::Heartbeat,
    time::Timestamp,
};
use std::time::Duration;

/// A worker that has been silent for so long is gone: three heartbeats missed.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Ranges of one fan-out that may be with the broker at once, at the most.
const FLIGHTS_MAX: usize = 512;

/// Who is there, and how much can run at once.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    seen: HashMap<WorkerId, (Timestamp, Heartbeat)>,
}

impl Workers {
    pub(crate) fn heard(&mut self, heartbeat: Heartbeat, now: Timestamp) {
        self.seen.retain(|_, (at, _)| now.since(*at) < SILENCE_MAX);
        self.seen.insert(heartbeat.worker.clone(), (now, heartbeat));
    }

    /// How many ranges of one fan-out keep every slot busy: twice as many as there are slots, within bounds.
    pub(crate) fn flights_max(&self) -> usize {
        let slots: usize = self.seen.values().map(|(_, heartbeat)| heartbeat.slots as usize).sum();
        (slots * 2).clamp(FLIGHTS_FREE, FLIGHTS_MAX)
    }

    /// Workers of each pool that were heard of lately.
    pub(crate) fn by_pool(&self, now: Timestamp) -> HashMap<PoolName, usize> {
        let alive = self.seen.values().filter(|(at, _)| now.since(*at) < SILENCE_MAX);
        let mut pools = HashMap::new();
        for pool in alive.flat_map(|(_, heartbeat)| &heartbeat.pools) {
            *pools.entry(pool.clone()).or_default() += 1;
        }
        pools
    }
}
