//! Which messages wait on a channel, and which answer belongs to which.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use lapin::{Confirmation, message::BasicReturnMessage};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::Request;
use crate::{
    Publication, PublishError,
    amqp::link::{code, explain},
};

/// How the confirm of the message with this number ended.
pub(super) type Outcome = (u64, lapin::Result<Confirmation>);

/// The books of one channel.
#[derive(Default)]
pub(super) struct Books {
    next: u64,
    /// By order of writing, so the first is the oldest.
    waiting: BTreeMap<u64, Waiting>,
    /// Requests some of whose messages wait, by the number of their first message.
    requests: HashMap<u64, Open>,
    /// Message ids that came back and whose confirms did not yet.
    returned: HashMap<String, u32>,
}

struct Waiting {
    publication: Arc<Publication>,
    sent: Instant,
    /// The number of the first message of its request.
    first: u64,
}

/// A request that is not answered yet.
struct Open {
    answer: oneshot::Sender<Vec<Result<(), PublishError>>>,
    /// Ends with the request.
    _share: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    /// Of each message; who has none yet is lost if the channel ends now.
    verdicts: Vec<Result<(), PublishError>>,
    waiting: usize,
}

impl Books {
    /// Enters the messages of a request and gives their numbers.
    pub(super) fn open(&mut self, request: Request) -> Vec<(u64, Arc<Publication>)> {
        let Request { publications, answer, share } = request;
        let (first, sent) = (self.next, Instant::now());
        let count = publications.len();
        self.next += count as u64;
        let verdicts = vec![Err(PublishError::Disconnected); count];
        self.requests.insert(first, Open { answer, _share: share, verdicts, waiting: count });
        let numbered: Vec<_> = (first..).zip(publications).collect();
        self.waiting.extend(numbered.iter().map(|(seq, publication)| {
            let publication = publication.clone();
            (*seq, Waiting { publication, sent, first })
        }));
        numbered
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the message that waits longest was written.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.values().next().map(|waiting| waiting.sent)
    }

    /// Settles all outcomes that are ready at a time, and says whether the channel has ended.
    ///
    /// lapin hands a returned message to whichever confirm it completes first, rarely its own (measured: wrong in 42
    /// of 50 rounds). But it hands it out no later than it completes the message's own confirm; so when that one is
    /// seen, the bearer is ready as well. Hence all at once: take every returned id, then give verdicts.
    pub(super) fn settle(
        &mut self,
        ready: Vec<Outcome>,
        on_confirm: Option<&(dyn Fn(Duration) + Send + Sync)>,
    ) -> bool {
        let mut broken = false;
        let mut verdicts = Vec::with_capacity(ready.len());
        for (seq, outcome) in ready {
            let verdict = match outcome {
                Ok(Confirmation::Ack(returned)) => self.note(returned, Ok(())),
                Ok(Confirmation::Nack(returned)) => self.note(returned, Err(PublishError::Refused)),
                // Not a confirming channel: nothing is known about the message.
                Ok(Confirmation::NotRequested) => Err(PublishError::Disconnected),
                Err(error) => {
                    broken = true;
                    self.failed(seq, &error)
                }
            };
            verdicts.push((seq, verdict));
        }
        for (seq, verdict) in verdicts {
            self.conclude(seq, verdict, on_confirm);
        }
        broken
    }

    /// Tells everyone who still waits that the channel is gone.
    pub(super) fn abandon(self) {
        self.requests.into_values().for_each(Open::conclude);
    }

    fn note(
        &mut self,
        returned: Option<BasicReturnMessage>,
        verdict: Result<(), PublishError>,
    ) -> Result<(), PublishError> {
        if let Some(id) = returned.and_then(|message| message.delivery.properties.message_id().clone()) {
            *self.returned.entry(id.to_string()).or_default() += 1;
        }
        verdict
    }

    /// A missing exchange ends the whole channel; only the messages for it are unroutable.
    fn failed(&self, seq: u64, error: &lapin::Error) -> Result<(), PublishError> {
        match self.waiting.get(&seq) {
            Some(waiting) if code(error) == Some(404) => {
                let publication = &waiting.publication;
                let named = explain(error).contains(&format!("'{}'", publication.exchange));
                Err(if named { unroutable(publication) } else { PublishError::Disconnected })
            }
            Some(_) | None => Err(PublishError::Disconnected),
        }
    }

    fn conclude(
        &mut self,
        seq: u64,
        verdict: Result<(), PublishError>,
        on_confirm: Option<&(dyn Fn(Duration) + Send + Sync)>,
    ) {
        let Some(waiting) = self.waiting.remove(&seq) else {
            return;
        };
        let publication = &waiting.publication;
        let id = publication.message_id.as_deref();
        let came_back = id.is_some_and(|id| take_one(&mut self.returned, id));
        let verdict = if came_back { Err(unroutable(publication)) } else { verdict };
        if let (Ok(()), Some(on_confirm)) = (&verdict, on_confirm) {
            on_confirm(waiting.sent.elapsed());
        }
        let open = self.requests.get_mut(&waiting.first).expect("a request is open while a message of it waits");
        open.verdicts[usize::try_from(seq - waiting.first).expect("few")] = verdict;
        open.waiting -= 1;
        if open.waiting == 0
            && let Some(open) = self.requests.remove(&waiting.first)
        {
            open.conclude();
        }
    }
}

impl Open {
    /// Whether the caller still listens is its own affair.
    fn conclude(self) {
        let _ = self.answer.send(self.verdicts);
    }
}

fn unroutable(publication: &Publication) -> PublishError {
    PublishError::Unroutable { exchange: publication.exchange.clone(), routing_key: publication.routing_key.clone() }
}

fn take_one(returned: &mut HashMap<String, u32>, id: &str) -> bool {
    let Some(count) = returned.get_mut(id) else {
        return false;
    };
    *count -= 1;
    if *count == 0 {
        returned.remove(id);
    }
    true
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, message::Delivery};
    use tokio::sync::Semaphore;

    use super::*;

    type Answer = oneshot::Receiver<Vec<Result<(), PublishError>>>;

    fn enter(books: &mut Books, id: &str, window: &Arc<Semaphore>) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let share = || window.clone().try_acquire_owned().expect("room");
        let mut publication = Publication::new("e", "k", "");
        publication.message_id = Some(id.to_owned());
        books.open(Request { publications: vec![Arc::new(publication)], answer, share: (share(), share()) });
        receiver
    }

    fn returned(id: &str) -> Option<BasicReturnMessage> {
        let mut delivery = Delivery::mock(0, "e".into(), "k".into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_message_id(id.into());
        Some(BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() })
    }

    fn answers(answers: &mut [Answer]) -> Vec<&'static str> {
        let word = |verdict: &Result<(), PublishError>| match verdict {
            Ok(()) => "confirmed",
            Err(PublishError::Unroutable { .. }) => "unroutable",
            Err(PublishError::Refused) => "refused",
            Err(_) => "lost",
        };
        let words = |answer: &mut Answer| match answer.try_recv() {
            Ok(verdicts) => verdicts.iter().map(word).collect(),
            Err(_) => vec!["waits"],
        };
        answers.iter_mut().flat_map(words).collect()
    }

    #[test]
    fn a_returned_message_is_told_by_its_id_whoever_bears_it() {
        let window = Arc::new(Semaphore::new(8));
        let mut books = Books::default();
        let mut all = ["a", "b", "c", "d"].map(|id| enter(&mut books, id, &window));
        // Seen together, the bearer last: the message itself looks confirmed.
        let together = vec![(0, Ok(Confirmation::Ack(None))), (2, Ok(Confirmation::Ack(returned("a"))))];
        assert!(!books.settle(together, None));
        assert_eq!(answers(&mut all), ["unroutable", "waits", "confirmed", "waits"]);
        // Borne ahead of its own confirm, by one that was refused.
        books.settle(vec![(1, Ok(Confirmation::Nack(returned("d"))))], None);
        books.settle(vec![(3, Ok(Confirmation::Ack(None)))], None);
        assert_eq!(answers(&mut all)[3], "unroutable");
        assert!(books.is_empty() && books.returned.is_empty());
        assert_eq!(window.available_permits(), 8);
    }

    #[test]
    fn a_request_is_answered_when_its_last_message_is() {
        let window = Arc::new(Semaphore::new(8));
        let mut books = Books::default();
        let (answer, receiver) = oneshot::channel();
        let share = || window.clone().try_acquire_many_owned(3).expect("room");
        let publications =
            ["a", "b", "c"].map(|id| Publication { message_id: Some(id.to_owned()), ..Publication::new("e", "k", "") });
        let publications = publications.map(Arc::new);
        let entered = books.open(Request { publications: publications.into(), answer, share: (share(), share()) });
        assert_eq!(entered.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [0, 1, 2]);
        let mut all = [receiver];
        books.settle(vec![(2, Ok(Confirmation::Nack(None))), (0, Ok(Confirmation::Ack(None)))], None);
        assert_eq!(answers(&mut all), ["waits"]);
        assert_eq!(window.available_permits(), 2);
        books.settle(vec![(1, Ok(Confirmation::Ack(returned("b"))))], None);
        assert_eq!(answers(&mut all), ["confirmed", "unroutable", "refused"]);
        assert!(books.is_empty() && books.requests.is_empty());
        assert_eq!(window.available_permits(), 8);
    }

    #[test]
    fn a_lost_channel_answers_everyone() {
        let window = Arc::new(Semaphore::new(8));
        let mut books = Books::default();
        let mut all = ["a", "b"].map(|id| enter(&mut books, id, &window));
        let lost = lapin::Error::from(lapin::ErrorKind::MissingHeartbeatError);
        assert!(books.settle(vec![(1, Err(lost))], None));
        assert!(books.oldest().is_some());
        books.abandon();
        assert_eq!(answers(&mut all), ["lost", "lost"]);
        assert_eq!(window.available_permits(), 8);
    }
}
