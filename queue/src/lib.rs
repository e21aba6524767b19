//! Carrying bytes: RabbitMQ through lapin, and a memory twin with the same semantics.
//!
//! Nothing here knows what a run or a task is. One process holds one [`Queue`]; whatever happens to the broker, the
//! handle stays the same: connections, channels, declared queues and consumers are made anew behind it.
//!
//! Parts in reading order: `message` is what goes out and what comes in, `declare` says which exchanges and queues
//! Leveret has and how they are shaped, `delivery` settles what was received, `parts` takes messages apart that
//! travelled as one, `handle` is the closed set of
//! carriers, [`amqp`] is the real one and [`memory`] its twin. `tests/queue` runs every case on both.

pub mod amqp;
mod declare;
mod delivery;
mod error;
mod handle;
pub mod memory;
mod message;
mod parts;

pub use declare::{Declared, Source};
pub use delivery::{Delivery, ack_all};
pub use error::{Error, PublishError};
pub use handle::{Consumer, Queue, State};
pub use message::{Content, Death, Properties, Publication, Routing};

/// The log directive that every process must set: lapin writes the whole body of a returned message at WARN, and
/// bodies hold user data.
pub const LOG_DIRECTIVE: &str = "lapin::returned_messages=off";
