//! Letters: events, answers, and what is kept because it could not be read. Stored with the turn, published after it.

use engine::machine::{News, Run, fact::ReplyTo};
use proto::{
    codec,
    id::{Digest, RunId, Shard},
    job::Answer,
    json::Json,
};
use queue::Delivery;

use super::{Error, Origin, Source, Turn};
use crate::{
    call::Refusal,
    intake::Rejection,
    letters,
    metrics::Count,
    outbox::{Letter, Row},
    store::{OutboxKind, OutboxRow},
};

/// The most bytes of output that an answer carries.
const ANSWER_OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Letters of one run, on their way to one row.
pub(super) struct Post {
    row: Row,
    /// That of the first letter.
    key: String,
    kind: OutboxKind,
    /// A list in the making.
    body: Vec<u8>,
}

impl Turn<'_> {
    pub(super) async fn announce(&mut self, id: &RunId, position: usize, news: &News) -> Result<(), Error> {
        let run = &self.desk.live[id].run;
        let (key, letter) = letters::event(&self.desk.topology, run, news, position, self.now);
        if let News::TaskEnded(_, status, _) = news {
            let workflow = run.info().workflow.as_str().to_owned();
            self.counts.push(Count::TaskEnded { workflow, status: status.as_str() });
        }
        let end = match (news, run.finished(), run.reply().cloned()) {
            (News::Run, Some(_), Some(reply)) => Some((reply, self.end_of(run).await?)),
            (News::Run | News::TaskStarted(_) | News::TaskEnded(..), _, _) => None,
        };
        self.post(id, key, OutboxKind::Event, letter);
        if let Some((reply, end)) = end {
            self.post(id, format!("{id}/finished"), OutboxKind::Reply, letters::answer(&reply, &end));
        }
        Ok(())
    }

    /// How a run ended, with its output when that is not too large for a message.
    pub(super) async fn end_of(&self, run: &Run) -> Result<Answer, Error> {
        let stored = letters::stored_output(run);
        let output = match stored {
            Some(stored) if stored.bytes <= ANSWER_OUTPUT_BYTES_MAX => self.value(stored.digest).await?,
            Some(_) => None,
            None => letters::inline_output(run),
        };
        let stored = stored.filter(|_| output.is_none());
        Ok(letters::finished(run, output, stored))
    }

    /// A value's JSON: of this very turn, or from the store.
    async fn value(&self, digest: Digest) -> Result<Option<Json>, Error> {
        let bytes = match self.commit.values.iter().find(|(fresh, _)| *fresh == digest) {
            Some((_, bytes)) => Some(bytes.clone()),
            None => self.desk.store.value(digest).await?,
        };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        Ok(text.and_then(|text| Json::from_canonical(text).ok()))
    }

    /// Stores a letter, called `key`, and publishes it after the commit. Those of one run share a row.
    pub(super) fn post(&mut self, run: &RunId, key: String, kind: OutboxKind, letter: Letter) {
        let post = self.posts.entry(run.clone()).or_insert_with(|| Post {
            row: Row::of(key.clone()),
            key: key.clone(),
            kind,
            body: Vec::new(),
        });
        let letter = Letter { key, ..letter };
        post.body.push(if post.body.is_empty() { b'[' } else { b',' });
        post.body.extend_from_slice(&codec::encode(&letter));
        self.envelopes.push(letter.envelope(&post.row));
    }

    /// Makes rows of the letters.
    pub(super) fn write_letters(&mut self) {
        for (run, Post { key, kind, mut body, .. }) in std::mem::take(&mut self.posts) {
            body.push(b']');
            let shard = self.desk.shard_of(&run);
            self.add_row(OutboxRow { key, run, shard, kind, body: Some(body.into()) });
        }
    }

    /// Adds a row, in place of one with the same key: the same message, sent again.
    pub(super) fn add_row(&mut self, row: OutboxRow) {
        match self.rows.get(&row.key) {
            Some(&at) => self.commit.outbox_add[at] = row,
            None => {
                self.rows.insert(row.key.clone(), self.commit.outbox_add.len());
                self.commit.outbox_add.push(row);
            }
        }
    }

    /// Answers, counts and keeps what cannot be accepted.
    pub(super) fn refuse(&mut self, rejection: Rejection, reply: Option<&ReplyTo>, source: Source) {
        let code = rejection.problems.first().map_or("rejected", |problem| problem.code.as_str()).to_owned();
        self.counts.push(Count::Rejected { code: code.clone() });
        match source {
            Source::Call(asker) => {
                let Rejection { id, problems } = rejection;
                self.answers.push((asker, Err(Refusal::Problems { id, problems })));
            }
            Source::Own => {}
            Source::Delivery(origin, delivery) => {
                self.keep(&rejection, &code, origin, &delivery, reply);
                self.deliveries.push(*delivery);
            }
        }
    }

    fn keep(
        &mut self,
        rejection: &Rejection,
        code: &str,
        origin: Origin,
        delivery: &Delivery,
        reply: Option<&ReplyTo>,
    ) {
        let Rejection { id, problems } = rejection;
        let message = problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
        tracing::warn!(%code, %message, "message refused");
        let topology = &self.desk.topology;
        let from = match origin {
            Origin::Jobs => topology.jobs_queue(),
            Origin::Outcomes => topology.outcomes_queue(Shard(delivery.routing_key.parse().unwrap_or_default())),
            Origin::Dead => topology.dead_queue(),
        };
        let kept = letters::keep(topology, &delivery.body, &from, code, &message);
        let name = name_of(delivery);
        let run = id.clone().unwrap_or_else(|| name.parse().expect("hexadecimal digits make a run id"));
        self.post(&run, format!("{name}/kept"), OutboxKind::Reply, kept);
        if let Some(reply) = reply {
            let letter = letters::answer(reply, &letters::rejected(id.clone(), problems.clone()));
            self.post(&run, format!("{name}/rejected"), OutboxKind::Reply, letter);
        }
    }
}

/// The same for a message that comes again, and for no other one: two clients may both get one id wrong.
pub(super) fn name_of(delivery: &Delivery) -> String {
    let properties = &delivery.properties;
    let said = (&properties.message_id, &properties.reply_to, &properties.correlation_id);
    let mut bytes = codec::encode(&said);
    bytes.extend_from_slice(&delivery.body);
    format!("message-{}", Digest::of(&bytes))
}

/// A suffix that tells the answers to several clients of one run apart.
pub(super) fn mark_of(reply: &ReplyTo) -> Digest {
    Digest::of(&codec::encode(reply))
}
