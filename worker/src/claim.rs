//! Work that must not be begun twice: the scheduler is asked first, and only one who asks may begin.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use proto::{
    SCHEMA, codec,
    outcome::{Claim, FromWorker},
    work::{Work, WorkKey},
};
use tokio::sync::oneshot;

use crate::station::Station;

/// After so long without an answer it is asked again: control messages may be lost.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked. Then the work goes back: a scheduler that takes over may need as long.
const ASKED_MAX: u32 = 30;

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It may be begun here.
    Granted,
    /// Somebody else has it, or nobody wants it any more.
    Refused,
    /// Nobody answered, for as long as is waited, or until this worker stops: nothing was begun.
    Unanswered,
}

/// Claims of this process that wait for an answer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Claims {
    waiting: Arc<DashMap<WorkKey, Vec<Waiting>>>,
    count: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Waiting {
    nonce: String,
    answer: oneshot::Sender<Answer>,
}

impl Claims {
    /// The scheduler has granted `key` to whoever claimed it with `nonce`.
    pub(crate) fn told(&self, key: &WorkKey, nonce: &str) {
        let Some((_, waiting)) = self.waiting.remove(key) else { return };
        for Waiting { nonce: own, answer } in waiting {
            // Whoever asked may have gone.
            let _ = answer.send(if own == nonce { Answer::Granted } else { Answer::Refused });
        }
    }

    fn wait(&self, key: &WorkKey, nonce: &str) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.waiting.entry(key.clone()).or_default();
        waiting.retain(|other| !other.answer.is_closed());
        waiting.push(Waiting { nonce: nonce.to_owned(), answer });
        answered
    }

    fn forget(&self, key: &WorkKey) {
        self.waiting.remove_if_mut(key, |_, waiting| {
            waiting.retain(|other| !other.answer.is_closed());
            waiting.is_empty()
        });
    }
}

/// Asks whether `work` may be begun here.
pub(crate) async fn ask(station: &Station, work: &Work, redelivered: bool) -> Answer {
    let nonce = format!("{}.{}", station.id, station.claims.count.fetch_add(1, Relaxed));
    let claim = Claim { schema: SCHEMA, key: work.key.clone(), nonce: nonce.clone(), redelivered };
    let body = Bytes::from(codec::encode(&FromWorker::Claim(claim)));
    for _ in 0..ASKED_MAX {
        let answered = station.claims.wait(&work.key, &nonce);
        if let Err(error) = station.publish(work.shard, None, body.clone()).await {
            tracing::warn!(key = %work.key, %error, "claim not published, trying again");
        }
        // Cancel safe: an answer that comes too late is asked for again.
        tokio::select! {
            () = station.stop.cancelled() => break,
            Ok(answer) = answered => return answer,
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
        station.claims.forget(&work.key);
    }
    station.claims.forget(&work.key);
    Answer::Unanswered
}
