//! What every delivery of this process shares: caches, actions, slots, and the two steps of a stop.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use engine::value::Value;
use proto::{
    SCHEMA, codec,
    id::{Shard, WorkerId},
    outcome::{FromWorker, Outcome, Report},
    topology::Topology,
    work::WorkKey,
};
use queue::{PublishError, Queue};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    action::registry::Actions,
    claim::Claims,
    mail::{self, Mail},
    metrics::Metrics,
    revoked::Revoked,
    running::Running,
    secrets::Secrets,
    snapshots::Snapshots,
};

/// A worker's shared parts.
pub(crate) struct Station {
    pub id: WorkerId,
    pub queue: Queue,
    pub mail: Mail,
    pub topology: Topology,
    pub snapshots: Snapshots,
    pub actions: Actions,
    pub secrets: Secrets,
    /// What templates read as `env`.
    pub env: Vec<(String, Value)>,
    pub metrics: Arc<Metrics>,
    pub revoked: Revoked,
    pub claims: Claims,
    pub running: Running,
    /// One permit is one item at work.
    pub slots: Arc<Semaphore>,
    /// The first step of a stop: nothing new begins.
    pub stop: CancellationToken,
    /// The second: what runs is killed, and its work goes back.
    pub kill: CancellationToken,
    /// For tasks without a `timeout`.
    pub default_timeout: Duration,
    /// For templates that loop.
    pub template_timeout: Duration,
}

impl Station {
    /// Publishes an outcome and waits until the broker has it. Gives up only when this worker is killed: then the work
    /// is delivered again.
    pub(crate) async fn send(&self, shard: Shard, key: &WorkKey, part: u32, report: Report) -> Result<(), Killed> {
        // A range that goes on is known by the same key as what it has reported: should a message die, it must not die with
        // those of others.
        let alone = matches!(report, Report::Items(_));
        let outcome = Outcome { schema: SCHEMA, key: key.clone(), worker: self.id.clone(), report };
        let body = Bytes::from(codec::encode(&FromWorker::Outcome(Box::new(outcome))));
        self.mail.send(shard, format!("{key}.{part}"), body, alone).await
    }

    /// Publishes one message to the shard's outcomes queue.
    pub(crate) async fn publish(&self, shard: Shard, id: Option<String>, body: Bytes) -> Result<(), PublishError> {
        self.queue.publish(mail::publication(&self.topology, shard, id, body)).await
    }
}

/// The worker goes, and nothing of this delivery was reported: it is to be delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Killed;
