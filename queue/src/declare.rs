//! Which exchanges and queues Leveret has, and how they are shaped: plain data that both carriers follow.

use proto::{
    id::{PoolName, Shard},
    topology::{JOB_KEY, Topology},
};

/// How often a message may be given back or lost with its worker before it is a dead letter. A fuse against
/// messages that kill workers, not a retry counter: before RabbitMQ 4.3 every hand-back counts.
pub(crate) const DELIVERY_LIMIT: u32 = 20;
/// Dead letters are never given up: RabbitMQ 4 would drop them after 20 deliveries unless told otherwise.
pub(crate) const DELIVERY_LIMIT_NONE: u32 = 1_000_000_000;
/// How many rejected messages are kept; the oldest goes first.
pub(crate) const REJECTED_MAX: u32 = 10_000;

/// A part of the topology that a process needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Declared {
    /// All exchanges, and the queues of jobs, dead letters and rejected messages.
    Core,
    /// The outcomes queue of a shard.
    Outcomes(Shard),
    /// The work queue of a pool.
    Pool(PoolName),
}

/// What a consumer reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Submitted jobs.
    Jobs,
    /// A pool's work.
    Pool(PoolName),
    /// A shard's outcomes.
    Outcomes(Shard),
    /// Dead letters.
    Dead,
    /// Control messages: a queue of this consumer alone, which goes with its connection.
    Control,
    /// Any queue by name, a reply queue or the rejected queue for instance.
    Named(String),
}

impl Source {
    /// The queue's name; `None` for control, which the server names.
    pub(crate) fn queue(&self, topology: &Topology) -> Option<String> {
        match self {
            Self::Jobs => Some(topology.jobs_queue()),
            Self::Pool(pool) => Some(topology.work_queue(pool)),
            Self::Outcomes(shard) => Some(topology.outcomes_queue(*shard)),
            Self::Dead => Some(topology.dead_queue()),
            Self::Control => None,
            Self::Named(name) => Some(name.clone()),
        }
    }

    /// Whether messages of it may be taken apart. Workers alone send such, and what they send may die. Any client could say so
    /// of a job, which is one thing whatever it says.
    pub(crate) fn may_have_parts(&self) -> bool {
        match self {
            Self::Outcomes(_) | Self::Dead => true,
            Self::Jobs | Self::Pool(_) | Self::Control | Self::Named(_) => false,
        }
    }

    /// The part of the topology that holds the queue, by which a deleted queue is made again.
    pub(crate) fn part(&self, topology: &Topology) -> Option<Declared> {
        match self {
            Self::Jobs | Self::Dead => Some(Declared::Core),
            Self::Pool(pool) => Some(Declared::Pool(pool.clone())),
            Self::Outcomes(shard) => Some(Declared::Outcomes(*shard)),
            Self::Named(name) => (*name == topology.rejected_queue()).then_some(Declared::Core),
            Self::Control => None,
        }
    }
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeKind {
    /// To the queues bound with that very key.
    Direct,
    /// To the queues bound with a pattern of that key.
    Topic,
    /// To every bound queue.
    Fanout,
}

/// An exchange as it is declared.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeShape {
    pub name: String,
    pub kind: ExchangeKind,
}

/// What a queue is for, which decides its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Limited deliveries, then the dead exchange.
    Work,
    /// Keeps everything until it is settled.
    Dead,
    /// Keeps the newest [`REJECTED_MAX`].
    Rejected,
}

/// A queue as it is declared, with its one binding if it has one besides the default exchange.
#[derive(Clone, Debug)]
pub(crate) struct QueueShape {
    pub name: String,
    pub purpose: Purpose,
    pub binding: Option<(String, String)>,
}

/// Exchanges first, queues then: the order in which they are declared.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub exchanges: Vec<ExchangeShape>,
    pub queues: Vec<QueueShape>,
}

impl Declared {
    /// What is to be declared. A pool or a shard brings the exchanges it touches, so that a worker may start first.
    pub(crate) fn shape(&self, topology: &Topology) -> Shape {
        let exchange = |name, kind| ExchangeShape { name, kind };
        let work =
            |name, exchange, key: String| QueueShape { name, purpose: Purpose::Work, binding: Some((exchange, key)) };
        let dead = exchange(topology.dead_exchange(), ExchangeKind::Topic);
        match self {
            Self::Core => Shape {
                exchanges: vec![
                    dead,
                    exchange(topology.jobs_exchange(), ExchangeKind::Direct),
                    exchange(topology.work_exchange(), ExchangeKind::Direct),
                    exchange(topology.outcomes_exchange(), ExchangeKind::Direct),
                    exchange(topology.events_exchange(), ExchangeKind::Topic),
                    exchange(topology.control_exchange(), ExchangeKind::Fanout),
                ],
                queues: vec![
                    QueueShape {
                        name: topology.dead_queue(),
                        purpose: Purpose::Dead,
                        binding: Some((topology.dead_exchange(), "#".to_owned())),
                    },
                    QueueShape { name: topology.rejected_queue(), purpose: Purpose::Rejected, binding: None },
                    work(topology.jobs_queue(), topology.jobs_exchange(), JOB_KEY.to_owned()),
                ],
            },
            Self::Outcomes(shard) => Shape {
                exchanges: vec![dead, exchange(topology.outcomes_exchange(), ExchangeKind::Direct)],
                queues: vec![work(topology.outcomes_queue(*shard), topology.outcomes_exchange(), shard.to_string())],
            },
            Self::Pool(pool) => Shape {
                exchanges: vec![dead, exchange(topology.work_exchange(), ExchangeKind::Direct)],
                queues: vec![work(topology.work_queue(pool), topology.work_exchange(), pool.to_string())],
            },
        }
    }
}
