//! The twin of a broker inside this process: exchanges, routing, prefetch, redelivery, delivery limit, dead letters
//! and returns as RabbitMQ has them, without a clock, a thread or a random choice, so that simulations repeat.

mod broker;
mod routing;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proto::topology::Topology;
use tokio::sync::{Notify, watch};

use crate::{
    Declared, Delivery, Error, Publication, PublishError, Source, State,
    delivery::{Settlement, Ticket},
};
use broker::{Taken, World};

/// A broker that lives as long as its handles. Every connection to it fails on its own.
#[derive(Clone)]
pub struct Broker {
    world: Arc<Mutex<World>>,
    topology: Topology,
}

impl Broker {
    /// An empty broker: nothing is declared.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(&topology))), topology }
    }

    /// A new connection. Closing it is how a test takes a process away: what it had not settled comes again.
    #[must_use]
    pub fn connect(&self) -> crate::Queue {
        let connection = self.world().connect();
        let state = watch::Sender::new(State { publish: true, consume: true, blocked: false });
        crate::Queue::Memory(Queue { broker: self.clone(), connection, state: Arc::new(state) })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a [`Broker`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    broker: Broker,
    connection: u64,
    state: Arc<watch::Sender<State>>,
}

impl Queue {
    pub(crate) fn topology(&self) -> &Topology {
        &self.broker.topology
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn declare(&self, declared: &Declared) -> Result<(), Error> {
        self.open("declaring")?;
        self.broker.world().declare(&declared.shape(&self.broker.topology));
        Ok(())
    }

    pub(crate) fn remove(&self, parts: &[Declared]) -> Result<(), Error> {
        self.open("removing")?;
        let mut world = self.broker.world();
        parts.iter().for_each(|part| world.remove(&part.shape(&self.broker.topology)));
        Ok(())
    }

    pub(crate) fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        self.open("publishing").map_err(|_| PublishError::Disconnected)?;
        self.broker.world().publish(publication)
    }

    pub(crate) fn consume(&self, source: &Source, prefetch: u16) -> Result<Consumer, Error> {
        self.open("consuming")?;
        let wake = Arc::new(Notify::new());
        let mut world = self.broker.world();
        let queue = match source.queue(&self.broker.topology) {
            Some(queue) => queue,
            None => world.declare_control(&self.broker.topology.control_exchange())?,
        };
        let id = world.subscribe(self.connection, &queue, prefetch.max(1).into(), wake.clone())?;
        drop(world);
        Ok(Consumer { broker: self.broker.clone(), id, wake })
    }

    pub(crate) fn close(self) {
        self.state.send_replace(State::default());
        self.broker.world().disconnect(self.connection);
    }

    fn open(&self, doing: &str) -> Result<(), Error> {
        if self.state.borrow().publish {
            return Ok(());
        }
        Err(Error::Disconnected { doing: doing.to_owned(), reason: "closed".to_owned() })
    }
}

/// A consumer of the twin. Dropping it stops it.
#[derive(Debug)]
pub struct Consumer {
    broker: Broker,
    id: u64,
    wake: Arc<Notify>,
}

impl Consumer {
    pub(crate) async fn recv(&mut self) -> Option<Delivery> {
        loop {
            let taken = self.broker.world().take(self.id);
            match taken {
                Taken::Message(tag, message) => return Some(self.delivery(tag, *message)),
                Taken::Nothing => self.wake.notified().await,
                Taken::Gone => return None,
            }
        }
    }

    pub(crate) fn try_recv(&mut self) -> Option<Delivery> {
        let taken = self.broker.world().take(self.id);
        match taken {
            Taken::Message(tag, message) => Some(self.delivery(tag, *message)),
            Taken::Nothing | Taken::Gone => None,
        }
    }

    /// What dropping does, said aloud.
    pub(crate) fn stop(self) {}

    fn delivery(&self, tag: u64, message: broker::Message) -> Delivery {
        Delivery {
            body: message.body,
            properties: message.properties,
            exchange: message.exchange,
            routing_key: message.routing_key,
            redelivered: message.deliveries > 0,
            delivery_count: message.deliveries,
            ticket: Ticket::memory(Receipt { broker: self.broker.clone(), consumer: self.id, tag }),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.broker.world().stop(self.id);
    }
}

/// What settles one delivery.
pub(crate) struct Receipt {
    broker: Broker,
    consumer: u64,
    tag: u64,
}

impl Receipt {
    pub(crate) fn settle(&self, settlement: Settlement) {
        self.broker.world().settle(self.consumer, self.tag, settlement);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.broker.world().holds(self.consumer, self.tag)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({})", self.topology.prefix())
    }
}
