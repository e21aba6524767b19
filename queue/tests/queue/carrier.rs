//! What a case runs on, and waiting with a deadline.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use leveret_queue::{Consumer, Declared, Delivery, Publication, Queue, amqp::Settings, memory};
use proto::{
    id::PoolName,
    topology::{JOB_KEY, Topology},
};

/// No single step of a test takes this long on a working machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A broker under a prefix of its own.
pub enum Carrier {
    Memory(memory::Broker),
    Rabbit { topology: Topology, declared: Mutex<BTreeSet<Declared>> },
}

impl Carrier {
    pub fn memory() -> Self {
        Self::Memory(memory::Broker::new(Topology::new("test")))
    }

    pub fn rabbit() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let topology = Topology::new(format!("test-{}-{number}", std::process::id()));
        Self::Rabbit { topology, declared: Mutex::default() }
    }

    pub fn topology(&self) -> Topology {
        match self {
            Self::Memory(_) => Topology::new("test"),
            Self::Rabbit { topology, .. } => topology.clone(),
        }
    }

    pub fn settings(&self) -> Settings {
        Settings::new(super::broker::url(), self.topology())
    }

    /// A new connection.
    pub async fn connect(&self) -> Queue {
        match self {
            Self::Memory(broker) => broker.connect(),
            Self::Rabbit { .. } => within(Queue::connect(self.settings())).await.unwrap(),
        }
    }

    /// A new connection, with the core and these parts declared.
    pub async fn ready(&self, parts: &[Declared]) -> Queue {
        let queue = self.connect().await;
        for part in [&Declared::Core].into_iter().chain(parts) {
            self.will_declare(part.clone());
            within(queue.declare(part.clone())).await.unwrap();
        }
        queue
    }

    /// Notes a part for cleaning up.
    pub fn will_declare(&self, part: Declared) {
        if let Self::Rabbit { declared, .. } = self {
            declared.lock().unwrap().insert(part);
        }
    }

    /// Deletes what was declared, so that many tests share one broker.
    pub async fn clean(self) {
        let Self::Rabbit { topology, declared } = self else {
            return;
        };
        let channel = raw_channel().await;
        for part in declared.into_inner().unwrap() {
            let queue = match part {
                Declared::Core => topology.jobs_queue(),
                Declared::Outcomes(shard) => topology.outcomes_queue(shard),
                Declared::Pool(pool) => topology.work_queue(&pool),
            };
            delete_queue(&channel, &queue).await;
        }
        for queue in [topology.dead_queue(), topology.rejected_queue()] {
            delete_queue(&channel, &queue).await;
        }
        for exchange in [
            topology.jobs_exchange(),
            topology.work_exchange(),
            topology.outcomes_exchange(),
            topology.events_exchange(),
            topology.control_exchange(),
            topology.dead_exchange(),
        ] {
            within(channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default())).await.unwrap();
        }
    }
}

/// A channel of plain lapin, for what our own interface does not offer.
pub async fn raw_channel() -> lapin::Channel {
    let properties = lapin::ConnectionProperties::default();
    let connection = within(lapin::Connection::connect(super::broker::url(), properties)).await.unwrap();
    within(connection.create_channel()).await.unwrap()
}

pub async fn delete_queue(channel: &lapin::Channel, queue: &str) {
    within(channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await.unwrap();
}

/// A job with this id.
pub fn job(topology: &Topology, id: &str) -> Publication {
    let mut publication = Publication::new(topology.jobs_exchange(), JOB_KEY, id.to_owned());
    publication.message_id = Some(id.to_owned());
    publication
}

pub fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

/// Publishes jobs with these ids, one after the other.
pub async fn publish_jobs(queue: &Queue, ids: impl IntoIterator<Item = &str>) {
    for id in ids {
        within(queue.publish(job(queue.topology(), id))).await.unwrap();
    }
}

pub async fn next(consumer: &mut Consumer) -> Delivery {
    within(consumer.recv()).await.expect("the consumer goes on")
}

/// The bodies of the next deliveries, acked.
pub async fn take(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let delivery = next(consumer).await;
        bodies.push(text(&delivery));
        delivery.ack();
    }
    bodies
}

pub fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body.to_vec()).unwrap()
}

/// Waits, but not for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("done within the deadline")
}
