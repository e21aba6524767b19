//! The most memory that each kind of process had.

use anyhow::Result;
use leveret_benches::report::Row;

use crate::{bench::Bench, fleet::Fleet, http};

/// Peaks of one sample, in MiB.
#[derive(Clone, Copy, Default)]
pub struct Peaks {
    scheduler: f64,
    /// Of the worker that had the most.
    worker: f64,
    /// Heap of its caches now.
    cache: f64,
    broker: f64,
}

impl Peaks {
    /// Since the processes started, and since the broker's peak was reset.
    pub fn of(bench: &Bench, fleet: &Fleet) -> Result<Self> {
        let mut cache = 0.0_f64;
        for worker in &fleet.workers {
            let metrics = http::get(worker.http, "/metrics")?;
            cache = cache.max(http::metric(&metrics, "leveret_cache_heap_bytes")? / 1024.0 / 1024.0);
        }
        Ok(Self {
            scheduler: fleet.scheduler.memory().peak_mib()?,
            worker: fleet.worker_peak_mib()?,
            cache,
            broker: bench.broker.memory()?.peak_mib()?,
        })
    }

    /// The largest of each.
    pub fn most(self, other: Self) -> Self {
        Self {
            scheduler: self.scheduler.max(other.scheduler),
            worker: self.worker.max(other.worker),
            cache: self.cache.max(other.cache),
            broker: self.broker.max(other.broker),
        }
    }

    /// The row with them beside it.
    pub fn beside(self, row: Row) -> Row {
        row.with("scheduler_peak_mib", self.scheduler)
            .with("worker_peak_mib", self.worker)
            .with("worker_cache_mib", self.cache)
            .with("broker_peak_mib", self.broker)
    }
}
