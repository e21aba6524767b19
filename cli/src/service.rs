//! What the commands that serve have in common: who they are, and how they are told to stop.

use std::{fmt::Display, time::Duration};

use proto::id::{RunId, WorkerId};
use tokio_util::sync::CancellationToken;

use crate::{
    ending::{Error, Exit},
    interrupts::Interrupts,
};

/// How long a stop that was asked for twice may still take.
const NOW_GRACE: Duration = Duration::from_secs(5);

/// A name for this process that no other has: host and a random part, for leases, workers and logs. Process numbers
/// would not do, because in containers they are all alike.
pub fn identity() -> WorkerId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let host: String = host.trim().chars().filter(allowed).take(64).collect();
    let fresh = RunId::fresh();
    let random = fresh.as_str().rsplit('-').next().unwrap_or_default();
    let host = if host.is_empty() { "leveret" } else { &host };
    format!("{host}:{random}").parse().expect("made of what ids are made of")
}

/// Waits for `stop`, which takes its time, unless it is asked for again: then `now` is cancelled, and it is given a
/// few seconds more.
///
/// # Errors
/// When a part of what stops had failed.
pub async fn stopped<E: Display>(
    interrupts: &mut Interrupts,
    now: CancellationToken,
    stop: impl Future<Output = Result<(), E>>,
) -> Result<Exit, Error> {
    let mut stop = std::pin::pin!(stop);
    // Both are kept over the loop's turns or cancel safe.
    let outcome = tokio::select! {
        outcome = &mut stop => outcome,
        () = interrupts.next() => {
            tracing::warn!("asked again: stopping now");
            now.cancel();
            match tokio::time::timeout(NOW_GRACE, &mut stop).await {
                Ok(outcome) => outcome,
                Err(_) => return Ok(Exit::Done),
            }
        }
    };
    match outcome {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Error::failed(format!("did not stop cleanly: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_has_its_own_name() {
        assert_ne!(identity(), identity());
    }
}
