//! Gauges that are worked out when someone looks, so that turns need not keep them.

use std::collections::HashMap;

use proto::work::RunStatus;

use crate::desk::Desk;

/// Seconds per item until some were seen.
const ITEM_SECONDS_UNSEEN: f64 = 1.0;

/// Brings every gauge up to date.
pub(crate) fn set(desk: &Desk) {
    let metrics = &desk.metrics;
    let mut by_status: HashMap<RunStatus, i64> = HashMap::new();
    metrics.pools.reset();
    // A pool that is idle must be seen to be: whoever scales workers acts on the absence of a series last of all.
    metrics.pools.add_work(crate::dispatch::default_pool().as_str(), 0.0, 0);
    for live in desk.live.values() {
        *by_status.entry(live.run.status()).or_default() += 1;
        for (task, load) in live.run.load() {
            let named = || live.known.program.workflow().task(task).pool.named().cloned();
            let pool = load.pool.or_else(named).unwrap_or_else(crate::dispatch::default_pool);
            let item_seconds = load.item_us.map_or(ITEM_SECONDS_UNSEEN, |us| us as f64 / 1e6);
            metrics.pools.add_work(pool.as_str(), f64::from(load.items) * item_seconds, i64::from(load.in_flight));
        }
    }
    for status in RunStatus::ALL.into_iter().filter(|status| !status.is_terminal()) {
        let count = by_status.get(&status).copied().unwrap_or(0);
        metrics.runs.active.with_label_values(&[status.as_str()]).set(count);
    }
    for (pool, workers) in desk.workers.by_pool(desk.now()) {
        metrics.pools.add_workers(pool.as_str(), workers);
    }
    metrics.turns.outbox_unconfirmed.set(number(desk.outbox.unconfirmed()));
    metrics.turns.timers_pending.set(number(desk.timers.len()));
    metrics.shards_owned.set(number(desk.epochs.len()));
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
