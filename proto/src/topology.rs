//! Names of exchanges, queues and routing keys, all under one prefix.

use crate::id::{PoolName, Shard};

/// The routing key of jobs.
pub const JOB_KEY: &str = "job";

/// Every name that Leveret uses on a broker. The default prefix is `leveret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
}

impl Default for Topology {
    fn default() -> Self {
        Self::new("leveret")
    }
}

impl Topology {
    /// Names under `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix itself.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Direct exchange where clients publish jobs, with routing key [`JOB_KEY`].
    #[must_use]
    pub fn jobs_exchange(&self) -> String {
        self.named("jobs")
    }

    /// Queue of jobs.
    #[must_use]
    pub fn jobs_queue(&self) -> String {
        self.named("jobs")
    }

    /// Direct exchange of work; the routing key is the pool.
    #[must_use]
    pub fn work_exchange(&self) -> String {
        self.named("work")
    }

    /// Queue of a pool's work.
    #[must_use]
    pub fn work_queue(&self, pool: &PoolName) -> String {
        self.named(&format!("work.{pool}"))
    }

    /// Direct exchange of outcomes; the routing key is the shard.
    #[must_use]
    pub fn outcomes_exchange(&self) -> String {
        self.named("outcomes")
    }

    /// Queue of a shard's outcomes.
    #[must_use]
    pub fn outcomes_queue(&self, shard: Shard) -> String {
        self.named(&format!("outcomes.{shard}"))
    }

    /// Topic exchange of events.
    #[must_use]
    pub fn events_exchange(&self) -> String {
        self.named("events")
    }

    /// Fanout exchange of control messages.
    #[must_use]
    pub fn control_exchange(&self) -> String {
        self.named("control")
    }

    /// Topic exchange where the broker puts what it gave up delivering.
    #[must_use]
    pub fn dead_exchange(&self) -> String {
        self.named("dead")
    }

    /// Queue of what the broker gave up delivering.
    #[must_use]
    pub fn dead_queue(&self) -> String {
        self.named("dead")
    }

    /// Queue of what could not be read or accepted, with the reason in its headers.
    #[must_use]
    pub fn rejected_queue(&self) -> String {
        self.named("rejected")
    }

    /// The prefix that a `reply_to` must have, unless it is RabbitMQ's direct reply-to.
    #[must_use]
    pub fn reply_prefix(&self) -> String {
        self.named("reply.")
    }

    fn named(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }
}
