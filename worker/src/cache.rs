//! What a process fetched or built once and many need: bounded in heap bytes, and loaded once however many wait.
//!
//! # Order of eviction
//!
//! A hit must cost next to nothing, since every item of a fan-out makes several. So a hit takes no lock of ours: it
//! writes the time of use, a tick of a logical clock, into the entry. The order of eviction is a map from the time at
//! which an entry was *filed* to its key, and only an insert looks at it: it takes the oldest file, and if the entry
//! was used since then, files it anew under that time and takes the next. An entry whose two times agree is older
//! than all others, so what goes is exactly the least recently used.
//!
//! Filing anew costs O(log n) and happens at most once per hit, so inserts and hits together are O(log n) each, with
//! the hits' share paid later. One insert after which *everything* was used would still pay for all at once; past
//! `REFILED_MAX` entries filed anew it therefore takes the oldest file as it is.

mod flight;

use std::{
    collections::BTreeMap,
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use dashmap::DashMap;

use self::flight::{Flights, Seat};

/// Entries that one eviction files anew before it takes the oldest file as it is.
const REFILED_MAX: usize = 1_000;

/// Values by key within a budget of heap bytes; the least recently used goes first.
///
/// A key always means the same value (keys are digests), so nothing is ever replaced. `V` is cheap to clone, such as
/// an `Arc`: what is evicted lives on with whoever holds it. `E` is why loading fails.
pub struct Cache<K, V, E> {
    entries: DashMap<K, Entry<V>>,
    flights: Flights<K, V, E>,
    order: Mutex<Order<K>>,
    clock: AtomicU64,
    budget_bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// A value and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<V> {
    /// The value.
    pub value: V,
    /// Heap bytes that keeping it costs.
    pub heap_bytes: usize,
}

/// What a cache did and holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers that needed no load of their own, those that waited for another's included.
    pub hits: u64,
    /// Loads begun.
    pub misses: u64,
    /// Entries put out to make room.
    pub evictions: u64,
    /// Heap bytes of all entries, [`Cache::ENTRY_BYTES`] each included.
    pub heap_bytes: usize,
    /// Entries.
    pub entries: usize,
    /// Loads that run now.
    pub loading: usize,
}

struct Entry<V> {
    value: V,
    heap_bytes: usize,
    used: AtomicU64,
}

/// Changed under its lock only, and `entries` gains and loses only under that lock too. It may be taken before a lock
/// of `entries`, never after one.
struct Order<K> {
    filed: BTreeMap<u64, K>,
    heap_bytes: usize,
}

impl<K: Eq + Hash + Clone, V: Clone, E> Cache<K, V, E> {
    /// What each entry costs besides its value, so that many small ones stay within the budget too.
    pub const ENTRY_BYTES: usize = 2 * (size_of::<(K, Entry<V>)>() + size_of::<(u64, K)>());

    /// An empty cache that keeps at most `budget_bytes` of heap.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            entries: DashMap::new(),
            flights: Flights::default(),
            order: Mutex::new(Order { filed: BTreeMap::new(), heap_bytes: 0 }),
            clock: AtomicU64::new(0),
            budget_bytes,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// The value of `key`, if it is here. That counts as a use; not finding it counts as nothing.
    pub fn get(&self, key: &K) -> Option<V> {
        let entry = self.entries.get(key)?;
        entry.used.fetch_max(self.tick(), Relaxed);
        self.hits.fetch_add(1, Relaxed);
        Some(entry.value.clone())
    }

    /// The value of `key`, loaded by `load` unless it is here or somebody is loading it already.
    ///
    /// Of all who ask at once only one `load` runs. When the caller that runs it is dropped, the next one in line runs
    /// its own. Waiting has no time limit of its own: `load` must have one, and must not ask for the same key. A value
    /// beyond the whole budget is handed out and not kept.
    ///
    /// # Errors
    /// What `load` failed with, to all who waited for it. It is not kept: whoever asks next loads again.
    pub async fn get_or_load<F>(&self, key: &K, load: F) -> Result<V, Arc<E>>
    where
        F: Future<Output = Result<Loaded<V>, E>>,
    {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        let seat = Seat::take(&self.flights, key);
        let Some(_turn) = seat.turn().await else {
            self.hits.fetch_add(1, Relaxed);
            return seat.landed();
        };
        // Between the first look and this turn another flight may have landed.
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        self.misses.fetch_add(1, Relaxed);
        let outcome = load.await.map_err(Arc::new).map(|loaded| self.insert(key, loaded));
        seat.land(outcome.clone());
        outcome
    }

    /// Keeps a value that was come by in another way, and hands it back. One that is here already stays.
    pub fn insert(&self, key: &K, loaded: Loaded<V>) -> V {
        let heap_bytes = loaded.heap_bytes.saturating_add(Self::ENTRY_BYTES);
        if heap_bytes > self.budget_bytes {
            return loaded.value;
        }
        // Taken out of the lock's reach before it is dropped: freeing a large snapshot takes milliseconds.
        let mut evicted = Vec::new();
        let mut order = self.order();
        if !self.entries.contains_key(key) {
            while order.heap_bytes + heap_bytes > self.budget_bytes {
                evicted.push(self.evict(&mut order));
            }
            let now = self.tick();
            order.filed.insert(now, key.clone());
            order.heap_bytes += heap_bytes;
            let entry = Entry { value: loaded.value.clone(), heap_bytes, used: AtomicU64::new(now) };
            self.entries.insert(key.clone(), entry);
        }
        drop(order);
        loaded.value
    }

    /// What it did since it was made, and holds now.
    pub fn counters(&self) -> Counters {
        let order = self.order();
        Counters {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            heap_bytes: order.heap_bytes,
            entries: order.filed.len(),
            loading: self.flights.count(),
        }
    }

    /// Takes out the least recently used entry; see the head of this file.
    fn evict(&self, order: &mut Order<K>) -> Entry<V> {
        let mut refiled = 0;
        loop {
            let (filed, key) = order.filed.pop_first().expect("bytes are counted only for entries in this order");
            let is_due = |entry: &Entry<V>| refiled >= REFILED_MAX || entry.used.load(Relaxed) == filed;
            if let Some((_, entry)) = self.entries.remove_if(&key, |_, entry| is_due(entry)) {
                order.heap_bytes -= entry.heap_bytes;
                self.evictions.fetch_add(1, Relaxed);
                return entry;
            }
            let used = self.entries.get(&key).expect("an entry goes only with its file").used.load(Relaxed);
            order.filed.insert(used, key);
            refiled += 1;
        }
    }

    /// The next time of the logical clock; each is given once, so that no two entries share one.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed)
    }

    fn order(&self) -> MutexGuard<'_, Order<K>> {
        self.order.lock().expect("whoever holds the order does not panic")
    }
}

impl<K: Eq + Hash + Clone, V: Clone, E> fmt::Debug for Cache<K, V, E> {
    /// The counters: the values themselves would fill the screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("budget_bytes", &self.budget_bytes).field("counters", &self.counters()).finish()
    }
}
