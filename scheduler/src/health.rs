//! Whether this process can do its work.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use queue::Queue;

/// What `/readyz` is made of. `/livez` never depends on it: a broker that is down must not restart a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Whether the last turn was stored.
    turns: Arc<AtomicBool>,
    /// Whether the last renewal of leases was stored, which is tried even when nothing happens.
    leases: Arc<AtomicBool>,
    queue: Queue,
}

impl Health {
    pub(crate) fn new(queue: Queue) -> Self {
        let fine = || Arc::new(AtomicBool::new(true));
        Self { turns: fine(), leases: fine(), queue }
    }

    pub(crate) fn turned<E>(&self, outcome: &Result<(), E>) {
        self.turns.store(outcome.is_ok(), Ordering::Relaxed);
    }

    pub(crate) fn renewed<T, E>(&self, outcome: &Result<T, E>) {
        self.leases.store(outcome.is_ok(), Ordering::Relaxed);
    }

    /// Whether the connections for publishing and for consuming are up.
    pub(crate) fn connections(&self) -> (bool, bool) {
        let state = *self.queue.state().borrow();
        (state.publish, state.consume)
    }

    /// What is missing; empty when it is ready.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let state = *self.queue.state().borrow();
        let checks = [
            (self.turns.load(Ordering::Relaxed), "the store does not take what is decided"),
            (self.leases.load(Ordering::Relaxed), "the store does not renew leases"),
            (state.publish, "not connected to the broker for publishing"),
            (state.consume, "not connected to the broker for consuming"),
            (!state.blocked, "the broker blocks publishers: memory or disk alarm"),
        ];
        checks.into_iter().filter(|(is_fine, _)| !is_fine).map(|(_, what)| what).collect()
    }
}
