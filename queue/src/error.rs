//! What can go wrong, by what the caller does next.

/// Connecting, declaring or consuming failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings are wrong: correct them.
    #[error("amqp url is not valid: {reason}")]
    Url {
        /// What is wrong; never the url itself, which holds a password.
        reason: String,
    },
    /// No connection was made: check that the broker runs there, then try again.
    #[error("cannot connect to rabbitmq at {address} as {user:?}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The user name.
        user: String,
        /// What the broker or the system said.
        reason: String,
    },
    /// A queue or exchange exists in another shape: delete it, or change the settings to match.
    #[error(
        "{name} exists on the broker in another shape; delete it once it is empty, or set what it was made with: {reason}"
    )]
    Mismatch {
        /// The queue or exchange.
        name: String,
        /// The broker's words, with the argument that differs.
        reason: String,
    },
    /// A queue or exchange is absent: declare it, or wait for whoever does.
    #[error("{name} does not exist on the broker: {reason}")]
    Missing {
        /// The queue or exchange.
        name: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker does not allow it: correct its permissions.
    #[error("the broker refuses {doing}: {reason}")]
    Refused {
        /// What was tried.
        doing: String,
        /// The broker's words.
        reason: String,
    },
    /// The connection is lost or was closed; it is being made again unless [`Queue::close`](crate::Queue::close) was
    /// called.
    #[error("not connected to the broker while {doing}: {reason}")]
    Disconnected {
        /// What was tried.
        doing: String,
        /// What is known about it.
        reason: String,
    },
}

/// A message was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No queue takes it: declare the queue, then send it again.
    #[error("no queue takes messages for exchange {exchange:?} with key {routing_key:?}")]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The queue is full or has failed: send it again later.
    #[error("the broker refused the message")]
    Refused,
    /// The connection was lost before the confirm. It may have arrived: send it again.
    #[error("the connection to the broker was lost before the confirm")]
    Disconnected,
    /// No confirm came in time. It may still arrive: send it again.
    #[error("the broker did not confirm in time")]
    TimedOut,
    /// It can never be sent.
    #[error("{what} has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}
