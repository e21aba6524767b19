//! What goes out and what comes in, in our own words rather than lapin's.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use proto::limits::MESSAGE_BYTES_MAX;

use crate::{PublishError, parts::PARTS_MAX};

/// AMQP writes names (exchange, routing key, ids) with a length of one byte.
const NAME_BYTES_MAX: usize = 255;

/// Whether a message that reaches no queue is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// It comes back as [`PublishError::Unroutable`]: jobs, work, outcomes.
    Mandatory,
    /// It is gone and counts as published: events, control, replies.
    BestEffort,
}

/// What a body is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// One JSON text.
    #[default]
    Json,
    /// JSON texts, one in each line. Who consumes outcomes or dead letters gets each as a delivery of its own.
    JsonLines,
}

impl Content {
    /// The AMQP `content_type`.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
        }
    }
}

/// One message to publish. All are persistent; in a queue that is not durable the broker keeps them in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The exchange; empty is the default exchange, whose routing key is the name of a queue.
    pub exchange: String,
    /// The routing key, up to 255 bytes.
    pub routing_key: String,
    /// The body, up to [`MESSAGE_BYTES_MAX`].
    pub body: Bytes,
    /// What the body is made of.
    pub content: Content,
    /// Stays the same when the message is sent again. A mandatory message without one is given one, because that
    /// is how a returned message is told from its neighbours.
    pub message_id: Option<String>,
    /// The AMQP `type`.
    pub kind: Option<String>,
    /// For the client that waits for an answer.
    pub correlation_id: Option<String>,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// Headers, `traceparent` among them.
    pub headers: BTreeMap<String, String>,
    /// Whether it must reach a queue.
    pub routing: Routing,
}

impl Publication {
    /// A mandatory message without properties.
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            body: body.into(),
            content: Content::Json,
            message_id: None,
            kind: None,
            correlation_id: None,
            reply_to: None,
            headers: BTreeMap::new(),
            routing: Routing::Mandatory,
        }
    }

    /// Several messages for one place that travel as one: to the broker they are. At most [`PARTS_MAX`].
    ///
    /// # Panics
    /// When there are more, or one of the JSON texts in `bodies` has a line break. None has that was written without
    /// indentation.
    pub fn lines(exchange: impl Into<String>, routing_key: impl Into<String>, bodies: &[Bytes]) -> Self {
        assert!(bodies.len() <= PARTS_MAX, "{} messages are too many for one", bodies.len());
        assert!(bodies.iter().all(|body| !body.contains(&b'\n')), "a line break would make two messages of one");
        Self { content: Content::JsonLines, ..Self::new(exchange, routing_key, bodies.join(&b'\n')) }
    }

    /// The same, if AMQP and our limits can carry it; a mandatory message without an id is given one.
    pub(crate) fn checked(mut self: Arc<Self>) -> Result<Arc<Self>, PublishError> {
        self.check()?;
        if self.routing == Routing::Mandatory && self.message_id.is_none() {
            Arc::make_mut(&mut self).message_id = Some(fresh_id());
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), PublishError> {
        if self.body.len() > MESSAGE_BYTES_MAX {
            return Err(PublishError::TooLarge { what: "body", bytes: self.body.len(), bytes_max: MESSAGE_BYTES_MAX });
        }
        let names = [("exchange", Some(&self.exchange)), ("routing key", Some(&self.routing_key))];
        let properties = [
            ("message_id", self.message_id.as_ref()),
            ("type", self.kind.as_ref()),
            ("correlation_id", self.correlation_id.as_ref()),
            ("reply_to", self.reply_to.as_ref()),
        ];
        let headers = self.headers.keys().map(|key| ("header name", Some(key)));
        for (what, name) in names.into_iter().chain(properties).chain(headers) {
            let bytes = name.map_or(0, String::len);
            if bytes > NAME_BYTES_MAX {
                return Err(PublishError::TooLarge { what, bytes, bytes_max: NAME_BYTES_MAX });
            }
        }
        Ok(())
    }
}

/// Properties of a received message; what was not set is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The publisher's name for it, the same when sent again.
    pub message_id: Option<String>,
    /// The AMQP `type`.
    pub kind: Option<String>,
    /// Where an answer goes. Untrusted: check it before publishing there.
    pub reply_to: Option<String>,
    /// What an answer repeats.
    pub correlation_id: Option<String>,
    /// `application/json` from our own processes.
    pub content_type: Option<String>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// Headers whose values are text, `traceparent` among them.
    pub headers: BTreeMap<String, String>,
    /// Why the broker gave it up; only on what comes from the dead queue.
    pub death: Option<Death>,
}

/// Why and where the broker gave a message up, from the newest entry of its `x-death` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// `delivery_limit`, `rejected`, `expired` or `maxlen`.
    pub reason: String,
    /// The queue it died in.
    pub queue: String,
    /// How often it died there for that reason.
    pub count: u64,
}

/// An id that no other process and no other message has.
fn fresh_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(random);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// 64 random bits, from the keys that the standard library draws for its hash maps.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_amqp_cannot_carry_is_refused() {
        let long = "k".repeat(256);
        for wrong in [
            Publication::new("", long.clone(), ""),
            Publication::new(long.clone(), "", ""),
            Publication { message_id: Some(long.clone()), ..Publication::new("", "", "") },
            Publication { headers: [(long, String::new())].into(), ..Publication::new("", "", "") },
            Publication::new("", "", vec![0; MESSAGE_BYTES_MAX + 1]),
        ] {
            assert!(matches!(Arc::new(wrong).checked(), Err(PublishError::TooLarge { .. })));
        }
    }

    #[test]
    fn only_a_mandatory_message_is_given_an_id() {
        let named = |routing| {
            let publication = Publication { routing, ..Publication::new("", "", "") };
            Arc::new(publication).checked().expect("small")
        };
        let (one, two) = (named(Routing::Mandatory), named(Routing::Mandatory));
        assert!(one.message_id.is_some() && one.message_id != two.message_id);
        assert_eq!(named(Routing::BestEffort).message_id, None);
    }
}
