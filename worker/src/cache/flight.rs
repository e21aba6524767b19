//! Single flight: however many want a key, one loads it, and all have what came of it.

use std::{
    hash::Hash,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::DashMap;
use tokio::sync::{Semaphore, SemaphorePermit};

type Outcome<V, E> = Result<V, Arc<E>>;

/// The loads in progress, by key.
pub(super) struct Flights<K, V, E>(DashMap<K, Arc<Flight<V, E>>>);

/// One load in progress. Its one permit is the turn to load; closing the semaphore wakes all who wait for it.
struct Flight<V, E> {
    turn: Semaphore,
    outcome: OnceLock<Outcome<V, E>>,
    /// Changed only under the lock of the map's shard, so that the last to leave knows that it is the last.
    seats: AtomicUsize,
}

/// One caller's part in a flight. The last one to be dropped removes a flight that did not land, as when everybody
/// who asked was cancelled.
pub(super) struct Seat<'a, K: Eq + Hash, V, E> {
    flights: &'a Flights<K, V, E>,
    key: &'a K,
    flight: Arc<Flight<V, E>>,
}

impl<'a, K: Eq + Hash + Clone, V: Clone, E> Seat<'a, K, V, E> {
    /// A seat in the flight of `key`, which begins if there is none.
    pub(super) fn take(flights: &'a Flights<K, V, E>, key: &'a K) -> Self {
        let flight = flights.0.entry(key.clone()).or_default();
        flight.seats.fetch_add(1, Relaxed);
        Self { flights, key, flight: Arc::clone(&flight) }
    }

    /// Waits for the turn to load, or `None` once somebody else's load has landed.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.flight.turn.acquire().await.ok()
    }

    /// What the load of this flight came to.
    pub(super) fn landed(&self) -> Outcome<V, E> {
        self.flight.outcome.get().expect("the turn is closed only after the outcome was set").clone()
    }

    /// Ends the flight with `outcome` and wakes all who wait. Called by the one whose turn it is.
    pub(super) fn land(&self, outcome: Outcome<V, E>) {
        let is_first = self.flight.outcome.set(outcome).is_ok();
        assert!(is_first, "a flight lands once: its turn is closed afterwards");
        self.flights.0.remove_if(self.key, |_, flight| Arc::ptr_eq(flight, &self.flight));
        self.flight.turn.close();
    }
}

impl<K: Eq + Hash, V, E> Drop for Seat<'_, K, V, E> {
    fn drop(&mut self) {
        self.flights.0.remove_if(self.key, |_, flight| {
            Arc::ptr_eq(flight, &self.flight) && flight.seats.fetch_sub(1, Relaxed) == 1
        });
    }
}

impl<K: Eq + Hash, V, E> Flights<K, V, E> {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl<K: Eq + Hash, V, E> Default for Flights<K, V, E> {
    fn default() -> Self {
        Self(DashMap::new())
    }
}

impl<V, E> Default for Flight<V, E> {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), outcome: OnceLock::new(), seats: AtomicUsize::new(0) }
    }
}
