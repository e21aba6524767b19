//! What clients and listeners are told: answers, events, and messages kept because they could not be read.

use std::collections::BTreeMap;

use engine::machine::{News, Run, fact::ReplyTo};
use proto::{
    SCHEMA, codec,
    event::Event,
    id::RunId,
    job::{Answer, Problem},
    json::Json,
    time::Timestamp,
    topology::Topology,
    value::{Stored, ValueRef},
};

use crate::outbox::{EVENT, Letter};

/// An answer to the client at `reply`.
pub(crate) fn answer(reply: &ReplyTo, answer: &Answer) -> Letter {
    Letter {
        key: String::new(),
        exchange: String::new(),
        routing_key: reply.queue.clone(),
        kind: Some(answer.kind().to_owned()),
        correlation_id: reply.correlation_id.clone(),
        headers: BTreeMap::new(),
        body: text_of(answer),
    }
}

/// Says that a job was accepted, now or before.
pub(crate) fn accepted(run: &RunId, duplicate: bool) -> Answer {
    Answer { id: Some(run.clone()), duplicate, ..blank("accepted") }
}

/// Says everything that is wrong with a job.
pub(crate) fn rejected(run: Option<RunId>, problems: Vec<Problem>) -> Answer {
    Answer { id: run, errors: problems, ..blank("rejected") }
}

/// Says how a run ended. `output` is its bytes, when they are few enough for a message.
pub(crate) fn finished(run: &Run, output: Option<Json>, stored: Option<Stored>) -> Answer {
    Answer {
        id: Some(run.id().clone()),
        output,
        output_digest: stored,
        error: run.failure().cloned(),
        ..blank(run.status().as_str())
    }
}

fn blank(status: &str) -> Answer {
    Answer {
        schema: SCHEMA,
        id: None,
        status: status.to_owned(),
        output: None,
        output_digest: None,
        error: None,
        errors: Vec::new(),
        duplicate: false,
    }
}

/// An event, and its `message_id`.
pub(crate) fn event(topology: &Topology, run: &Run, news: &News, position: usize, now: Timestamp) -> (String, Letter) {
    let (task, status, error) = match news {
        News::Run => (None, run.status().as_str(), run.failure().cloned()),
        News::TaskStarted(task) => (Some(task.clone()), "started", None),
        News::TaskEnded(task, status, failure) => (Some(task.clone()), status.as_str(), failure.clone()),
    };
    let event = Event {
        schema: SCHEMA,
        sequence: run.facts(),
        run: run.id().clone(),
        workflow: run.info().workflow,
        task,
        status: status.to_owned(),
        error,
        at: now,
    };
    let letter = Letter {
        key: String::new(),
        exchange: topology.events_exchange(),
        routing_key: event.routing_key(),
        kind: Some(EVENT.into()),
        correlation_id: None,
        headers: BTreeMap::new(),
        body: text_of(&event),
    };
    (format!("{}/event.{}.{position}", run.id(), run.facts()), letter)
}

/// Bytes of a refused message that are kept. No job that could be accepted is as long.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the reason that fit beside it: all headers of a message share one frame.
const REASON_BYTES_MAX: usize = 2048;

/// A message that could not be read or accepted, kept with the reason for `leveret rejected`.
pub(crate) fn keep(topology: &Topology, body: &[u8], from: &str, code: &str, message: &str) -> Letter {
    let kept = &body[..body.len().min(KEPT_BYTES_MAX)];
    let message = &message[..message.floor_char_boundary(REASON_BYTES_MAX)];
    let mut headers = vec![("reason", code), ("message", message), ("source", from)];
    if kept.len() < body.len() {
        headers.push(("truncated", "true"));
    }
    Letter {
        key: String::new(),
        exchange: String::new(),
        routing_key: topology.rejected_queue(),
        kind: Some("rejected".into()),
        correlation_id: None,
        headers: headers.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        body: String::from_utf8_lossy(kept).into_owned(),
    }
}

/// The stored value that a run's output is, unless it is inline.
pub(crate) fn stored_output(run: &Run) -> Option<Stored> {
    match &run.finished()?.output {
        ValueRef::Stored(stored) => Some(*stored),
        ValueRef::Inline(_) | ValueRef::List(_) => None,
    }
}

/// A run's output, when it is inline.
pub(crate) fn inline_output(run: &Run) -> Option<Json> {
    match &run.finished()?.output {
        ValueRef::Inline(json) => Some(json.clone()),
        ValueRef::Stored(_) | ValueRef::List(_) => None,
    }
}

fn text_of<T: serde::Serialize>(message: &T) -> String {
    String::from_utf8(codec::encode(message)).expect("JSON is UTF-8")
}
