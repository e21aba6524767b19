//! How often a transfer is tried again, and when it is given up.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{Error, Settings};
use crate::action::http::cause;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// More than any patience; what a service asks for beyond it makes no difference.
const LONGEST_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What went wrong with one try.
#[derive(Debug)]
pub(super) enum Setback {
    /// Another try would end the same way.
    Final(Error),
    /// Another try may do.
    Again {
        /// What happened.
        what: String,
        /// How long the service asks to be left alone.
        after: Option<Duration>,
    },
}

impl Setback {
    /// A connection that was not made, or broke.
    pub(super) fn transfer(error: reqwest::Error) -> Self {
        Self::Again { what: cause(error), after: None }
    }
}

/// The time that one transfer has, all its tries together.
#[derive(Debug)]
pub(super) struct Patience {
    deadline: Instant,
    attempt: Duration,
    tries: u32,
    delay: Duration,
    last: Option<String>,
}

impl Patience {
    /// For a transfer of `bytes`, which gets a second more for every MiB.
    pub(super) fn new(settings: &Settings, bytes: u64) -> Self {
        let slack = Duration::from_secs(bytes >> 20);
        Self {
            deadline: Instant::now() + settings.patience + slack,
            attempt: settings.attempt + slack,
            tries: 0,
            delay: FIRST_DELAY,
            last: None,
        }
    }

    /// One try, cut off when it takes too long.
    pub(super) async fn limit<T>(&mut self, attempt: impl Future<Output = Result<T, Setback>>) -> Result<T, Setback> {
        self.tries += 1;
        let limit = self.attempt.min(self.deadline - Instant::now());
        timeout(limit, attempt).await.unwrap_or_else(|_| {
            // A last try that had no time to fail by itself says less than the one before it.
            let before = self.last.clone().filter(|_| limit < self.attempt);
            Err(Setback::Again { what: before.unwrap_or_else(|| format!("no end after {limit:?}")), after: None })
        })
    }

    /// Waits until the next try is due.
    ///
    /// # Errors
    /// The setback's own error when it is final, else [`Error::Unavailable`] when the next try would come too late.
    pub(super) async fn endure(&mut self, setback: Setback) -> Result<(), Error> {
        let (what, after) = match setback {
            Setback::Final(error) => return Err(error),
            Setback::Again { what, after } => (what, after),
        };
        // All workers meet the same busy service at the same moment: the jitter is what parts them.
        let after = after.unwrap_or_default().min(LONGEST_AFTER).mul_f64(1.0 + 0.5 * chance());
        let delay = after + self.delay.mul_f64(0.5 + 0.5 * chance());
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        if Instant::now() + delay >= self.deadline {
            return Err(Error::Unavailable { tries: self.tries, last: what });
        }
        self.last = Some(what);
        sleep(delay).await;
        Ok(())
    }
}

/// A number from 0 to 1. The keys of the standard library's hasher are random enough to part workers, for which a
/// crate of random numbers would be too much.
fn chance() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 32;
    bits as f64 / f64::from(u32::MAX)
}
