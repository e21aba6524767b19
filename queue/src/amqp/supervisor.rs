//! Keeps one role connected: watches its link, and makes the next one with back-off when it ends.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{Event, uri::AMQPUri};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Shared,
    link::{Flow, Link, Opened, Role},
    topology,
};
use crate::{Error, message::random};

/// A link that lived this long was sound: the next attempt comes soon.
const SOUND: Duration = Duration::from_secs(10);
/// How long a broken connection or channel may take to say good-bye.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// Why a link is no longer watched.
enum End {
    Broken,
    Closed,
}

/// Until `closed`: watch the link, retire it, make the next.
pub(super) async fn run(shared: Arc<Shared>, uri: AMQPUri, first: Opened) {
    let mut backoff = Backoff::default();
    let mut opened = first;
    loop {
        let began = Instant::now();
        let end = watch_link(&shared, &mut opened).await;
        announce(&shared, opened.role, None);
        match end {
            End::Closed => return opened.link.close(super::ANSWER_TIMEOUT).await,
            End::Broken => opened.link.close(GOODBYE).await,
        }
        tracing::warn!(role = ?opened.role, "connection to the broker lost");
        if began.elapsed() >= SOUND {
            backoff = Backoff::default();
        }
        let Some(next) = reconnect(&shared, &uri, opened.role, &mut backoff).await else {
            return;
        };
        tracing::info!(role = ?next.role, "connected to the broker again");
        announce(&shared, next.role, Some(next.link.clone()));
        opened = next;
    }
}

/// Follows the events of a link until it ends.
async fn watch_link(shared: &Shared, opened: &mut Opened) -> End {
    let Opened { role, link, events } = opened;
    loop {
        // Cancel safe: `next` and `cancelled` lose nothing.
        let event = tokio::select! {
            event = events.next() => event,
            () = link.fault.cancelled() => return End::Broken,
            () = shared.closed.cancelled() => return End::Closed,
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                tracing::warn!(?role, reason, "the broker takes no messages");
                set_flow(shared, *role, link, Flow::Blocked);
            }
            Some(Event::ConnectionUnblocked) => set_flow(shared, *role, link, Flow::Free(Instant::now())),
            // Errors of a single channel come here too; they end only that channel.
            Some(_) if link.is_up() => {}
            Some(_) | None => return End::Broken,
        }
    }
}

/// Makes the next link, declaring on it whatever was declared before. `None` when closed meanwhile.
async fn reconnect(shared: &Shared, uri: &AMQPUri, role: Role, backoff: &mut Backoff) -> Option<Opened> {
    loop {
        tokio::select! {
            () = sleep(backoff.delay()) => {}
            () = shared.closed.cancelled() => return None,
        }
        let attempt = async {
            let opened = Link::open(&shared.settings, uri, role).await?;
            topology::declare(&opened.link, &shared.settings, &shared.remembered()).await?;
            Ok::<_, Error>(opened)
        };
        // Dropping an attempt half way is fine: whatever it made ends with it.
        let made = tokio::select! {
            made = attempt => made,
            () = shared.closed.cancelled() => return None,
        };
        match made {
            Ok(opened) => return Some(opened),
            Err(error) => tracing::warn!(?role, %error, "cannot reconnect yet"),
        }
    }
}

fn announce(shared: &Shared, role: Role, link: Option<Arc<Link>>) {
    let up = link.is_some();
    links(shared, role).send_replace(link);
    shared.state.send_modify(|state| match role {
        Role::Publish => {
            state.publish = up;
            state.blocked = false;
        }
        Role::Consume => state.consume = up,
    });
}

fn set_flow(shared: &Shared, role: Role, link: &Link, flow: Flow) {
    link.flow.send_replace(flow);
    if role == Role::Publish {
        shared.state.send_modify(|state| state.blocked = flow == Flow::Blocked);
    }
}

fn links(shared: &Shared, role: Role) -> &watch::Sender<Option<Arc<Link>>> {
    match role {
        Role::Publish => &shared.publish,
        Role::Consume => &shared.consume,
    }
}

/// Growing delays with jitter, so that a fleet does not return to a restarted broker in one moment.
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Duration::from_millis(100) }
    }
}

impl Backoff {
    const MAX: Duration = Duration::from_secs(10);

    /// The delay before the next attempt: half of the step for sure, the other half drawn.
    pub(super) fn delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(Self::MAX);
        #[allow(clippy::cast_precision_loss, reason = "a draw needs no precision")]
        let share = random() as f64 / u64::MAX as f64;
        step.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit_and_vary() {
        let mut backoff = Backoff::default();
        let first = backoff.delay();
        assert!((50..=100).contains(&first.as_millis()));
        let late: Vec<_> = (0..20).map(|_| backoff.delay()).skip(10).collect();
        assert!(late.iter().all(|delay| (5_000..=10_000).contains(&delay.as_millis())));
        assert!(late.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
