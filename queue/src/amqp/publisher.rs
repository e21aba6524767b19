//! Publishing with confirms: one task writes, many callers wait, within a window by count and bytes.
//!
//! Callers may give up at any time; the task may not, for lapin keeps every confirm that nobody waits for. So a
//! message carries its share of the window until the broker answered it or its channel ended.

mod books;
mod flight;

use std::sync::Arc;

use lapin::options::ConfirmSelectOptions;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Shared,
    link::{Link, OwnChannel, answer},
    supervisor::{Backoff, GOODBYE},
};
use crate::{Error, Publication, PublishError};
use flight::{End, Flight};

/// What a message weighs besides its body: frames, properties and our own books, roughly.
const OVERHEAD_BYTES: usize = 256;

/// The callers' end.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    messages: Arc<Semaphore>,
    messages_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    requests: mpsc::Sender<Request>,
}

/// Messages on their way together, with their share of the window.
struct Request {
    publications: Vec<Arc<Publication>>,
    /// What became of each.
    answer: oneshot::Sender<Vec<Result<(), PublishError>>>,
    share: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// Both ends: the handle, and the task that publishes until `closing`.
pub(super) fn channel(shared: Arc<Shared>) -> (Publisher, impl Future<Output = ()> + Send) {
    let settings = &shared.settings;
    let messages_max = settings.window_messages.clamp(1, 1 << 16);
    let bytes_max = settings.window_bytes.clamp(proto::limits::MESSAGE_BYTES_MAX + OVERHEAD_BYTES, 1 << 30);
    // Whoever has a share of the window has a place here, so sending never waits.
    let (requests, incoming) = mpsc::channel(messages_max);
    let publisher = Publisher {
        shared: shared.clone(),
        messages: Arc::new(Semaphore::new(messages_max)),
        messages_max,
        bytes: Arc::new(Semaphore::new(bytes_max)),
        bytes_max,
        requests,
    };
    (publisher, run(shared, incoming))
}

impl Publisher {
    /// What became of each of `publications`, as many as fit into the window at a time.
    pub(super) async fn publish_all(&self, publications: Vec<Arc<Publication>>) -> Vec<Result<(), PublishError>> {
        let mut verdicts = Vec::with_capacity(publications.len());
        let mut rest = publications.into_iter().peekable();
        while rest.peek().is_some() {
            let mut part = Vec::new();
            let mut bytes = 0;
            while let Some(next) = rest.next_if(|next| part.is_empty() || bytes + weight(next) <= self.bytes_max) {
                bytes += weight(&next);
                part.push(next);
                if part.len() == self.messages_max {
                    break;
                }
            }
            verdicts.extend(self.publish_part(part, bytes).await);
        }
        verdicts
    }

    async fn publish_part(&self, part: Vec<Arc<Publication>>, bytes: usize) -> Vec<Result<(), PublishError>> {
        let count = part.len();
        let deadline = Instant::now() + self.shared.settings.confirm_timeout;
        let error = match timeout_at(deadline, self.deliver(part, bytes)).await {
            Ok(Some(verdicts)) => return verdicts,
            Ok(None) => PublishError::Disconnected,
            Err(_) if self.shared.state.borrow().publish => PublishError::TimedOut,
            Err(_) => PublishError::Disconnected,
        };
        vec![Err(error); count]
    }

    /// `None` when nobody publishes any more.
    async fn deliver(&self, part: Vec<Arc<Publication>>, bytes: usize) -> Option<Vec<Result<(), PublishError>>> {
        if self.shared.closing.is_cancelled() {
            return None;
        }
        let count = u32::try_from(part.len()).expect("at most 65,536 fit into a window");
        let bytes = u32::try_from(bytes.min(self.bytes_max)).expect("at most 1 GiB fits into a window");
        let messages = self.messages.clone().acquire_many_owned(count).await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.ok()?;
        let (answer, verdicts) = oneshot::channel();
        let request = Request { publications: part, answer, share: (messages, bytes) };
        self.requests.send(request).await.ok()?;
        verdicts.await.ok()
    }
}

/// What a message takes of the window's bytes.
fn weight(publication: &Publication) -> usize {
    publication.body.len() + OVERHEAD_BYTES
}

/// Publishes on one channel after another. While there is none, requests wait in the queue before us.
async fn run(shared: Arc<Shared>, mut incoming: mpsc::Receiver<Request>) {
    let mut links = shared.publish.subscribe();
    let mut backoff = Backoff::default();
    loop {
        let next = async {
            let link = links.wait_for(|link| link.as_ref().is_some_and(|link| link.is_up())).await.ok()?.clone()?;
            Some((confirming_channel(&link).await, link))
        };
        // Dropping this half way is fine: a channel half made closes by itself.
        let next = tokio::select! {
            next = next => next,
            () = shared.closing.cancelled() => None,
        };
        let Some((channel, link)) = next else { return };
        match channel {
            Ok(channel) => {
                backoff = Backoff::default();
                if publish_on(&shared, &link, &channel, &mut incoming).await == End::Closed {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot open a publishing channel");
                link.fault.cancel();
                tokio::select! {
                    () = sleep(backoff.delay()) => {}
                    () = shared.closing.cancelled() => return,
                }
            }
        }
    }
}

/// A channel on which every publish is confirmed.
async fn confirming_channel(link: &Link) -> Result<OwnChannel, Error> {
    let channel = link.channel().await?;
    answer("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Uses up one channel. Whatever it still owes at its end is answered before this returns.
async fn publish_on(
    shared: &Shared,
    link: &Link,
    channel: &lapin::Channel,
    incoming: &mut mpsc::Receiver<Request>,
) -> End {
    let mut flight = Flight::new(channel, &shared.settings);
    let end = flight.run(link, &shared.closing, incoming).await;
    if end == End::Overdue {
        tracing::warn!("a confirm did not come in time; giving the channel up");
        let closing = channel.close(200, "confirm overdue".into());
        if !matches!(timeout(GOODBYE, closing).await, Ok(Ok(()))) {
            link.fault.cancel();
        }
    }
    if end != End::Closed && !channel.status().connected() && !link.is_up() {
        link.fault.cancel();
    }
    flight.abandon().await;
    end
}
