//! How to connect and what to declare.

use std::{fmt, sync::Arc, time::Duration};

use lapin::uri::{AMQPScheme, AMQPUri};
use proto::topology::Topology;

use crate::Error;

/// How queues are kept. All queues of one broker should have one type: a queue never changes its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated, with a delivery limit: survives the loss of a broker node.
    #[default]
    Quorum,
    /// On one node, without a delivery limit: for tests and for bulk.
    Classic,
}

/// Who makes the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Declare {
    /// We do.
    #[default]
    Active,
    /// An operator does; we only check that they exist.
    Passive,
}

/// Everything a connection pair needs to know.
#[derive(Clone)]
pub struct Settings {
    /// `amqp://user:password@host:port/vhost`; an absent or empty vhost is `/`.
    pub url: String,
    /// What the management page shows; the role is added to it.
    pub connection_name: String,
    /// The names of everything.
    pub topology: Topology,
    /// The type of queues we declare.
    pub queue_type: QueueType,
    /// Whether we declare at all.
    pub declare: Declare,
    /// Messages published and not yet confirmed, at most.
    pub window_messages: usize,
    /// Their bytes, at most; at least the limit of one message.
    pub window_bytes: usize,
    /// For TCP, handshake and login together.
    pub connect_timeout: Duration,
    /// How long a publish may wait for its confirm; and a channel with an older one is given up.
    pub confirm_timeout: Duration,
    /// A peer that is silent for twice this long is dead. Whole seconds; `?heartbeat=` in the url goes first.
    pub heartbeat: Duration,
    /// Told, for each confirmed message, how long the confirm took.
    pub on_confirm: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

impl Settings {
    /// The defaults for a url: quorum queues, declared by us, a window of 512 messages and 32 MiB, 10 s to connect,
    /// 30 s to confirm, heartbeats of 10 s.
    pub fn new(url: impl Into<String>, topology: Topology) -> Self {
        Self {
            url: url.into(),
            connection_name: "leveret".to_owned(),
            topology,
            queue_type: QueueType::default(),
            declare: Declare::default(),
            window_messages: 512,
            window_bytes: 32 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            on_confirm: None,
        }
    }

    /// The url, read, with our heartbeat in it.
    pub(super) fn uri(&self) -> Result<AMQPUri, Error> {
        // The parser's own words may repeat the url.
        let expected = "it must read amqp://user:password@host:port/vhost, with special characters escaped as %XX";
        let mut uri: AMQPUri = self.url.parse().map_err(|_| Error::Url { reason: expected.to_owned() })?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(Error::Url { reason: "amqps is not built in; use amqp, or a TLS proxy beside us".to_owned() });
        }
        if let Some(host) = bracketed_host(&self.url) {
            host.clone_into(&mut uri.authority.host);
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        let seconds = u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
        uri.query.heartbeat.get_or_insert(seconds);
        Ok(uri)
    }
}

/// The IPv6 address of a url. lapin's parser takes only names and silently puts `localhost` instead.
fn bracketed_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(address, _)| address)
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The url holds a password.
        f.debug_struct("Settings")
            .field("connection_name", &self.connection_name)
            .field("topology", &self.topology)
            .field("queue_type", &self.queue_type)
            .field("declare", &self.declare)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(url: &str) -> Result<AMQPUri, Error> {
        Settings::new(url, Topology::default()).uri()
    }

    #[test]
    fn urls_are_read() {
        let plain = uri("amqp://me:p%40ss@mq.example:5673/").expect("valid");
        assert_eq!((plain.authority.host.as_str(), plain.authority.port), ("mq.example", 5673));
        assert_eq!((plain.vhost.as_str(), plain.query.heartbeat), ("/", Some(10)));
        assert_eq!(plain.authority.userinfo.password, "p@ss");
        assert_eq!(uri("amqp://h/prod?heartbeat=5").expect("valid").query.heartbeat, Some(5));
        assert_eq!(uri("amqp://u:p@[::1]:5672/%2f").expect("valid").authority.host, "::1");
    }

    #[test]
    fn wrong_urls_are_refused_without_showing_them() {
        for wrong in ["http://me:secret@h", "amqps://me:secret@h", "me:secret@h"] {
            let said = uri(wrong).expect_err("wrong").to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
