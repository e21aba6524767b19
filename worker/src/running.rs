//! What this worker runs now, for its heartbeats.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use proto::{id::Shard, work::WorkKey};

/// Work that has begun here, by shard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Running(Arc<Mutex<BTreeMap<Shard, Vec<WorkKey>>>>);

/// One piece of work; forgets itself when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    all: Running,
    shard: Shard,
    key: WorkKey,
}

impl Running {
    pub(crate) fn enter(&self, shard: Shard, key: &WorkKey) -> Entry {
        self.with(|all| all.entry(shard).or_default().push(key.clone()));
        Entry { all: self.clone(), shard, key: key.clone() }
    }

    /// Everything that runs, by shard.
    pub(crate) fn by_shard(&self) -> BTreeMap<Shard, Vec<WorkKey>> {
        self.with(|all| all.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<Shard, Vec<WorkKey>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.with(|all| {
            let Some(keys) = all.get_mut(&self.shard) else { return };
            if let Some(at) = keys.iter().position(|key| *key == self.key) {
                keys.swap_remove(at);
            }
            if keys.is_empty() {
                all.remove(&self.shard);
            }
        });
    }
}
