//! What keeps work from being done: for a while, which is waited out, or for good, which is a failure.

use std::time::Duration;

use proto::failure::Failure;
use tokio_util::sync::CancellationToken;

use crate::{snapshots, station::Killed, values};

/// Pauses while the values service does not answer. The delivery stays here: to give it back would bring it nearer to
/// the broker's delivery limit, for no fault of its own.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What kept something from being done.
pub(crate) enum Hindrance {
    /// It never will be.
    Refused(Failure),
    /// The values service does not answer now.
    Service(String),
}

impl From<snapshots::Error> for Hindrance {
    fn from(error: snapshots::Error) -> Self {
        match error.is_passing() {
            true => Self::Service(error.to_string()),
            false => Self::Refused(Failure::new(error.code(), error.to_string())),
        }
    }
}

impl From<values::Error> for Hindrance {
    fn from(error: values::Error) -> Self {
        match error.is_passing() {
            true => Self::Service(error.to_string()),
            false => Self::Refused(Failure::new(error.code(), error.to_string())),
        }
    }
}

impl From<Failure> for Hindrance {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// Tries until the values service answers, or `over`, which ends the pauses and no attempt.
pub(crate) async fn until_answered<T, F, Fut>(
    over: &CancellationToken,
    mut attempt: F,
) -> Result<Result<T, Failure>, Killed>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Hindrance>>,
{
    let mut pause = RETRY_MIN;
    loop {
        match attempt().await {
            Ok(value) => return Ok(Ok(value)),
            Err(Hindrance::Refused(failure)) => return Ok(Err(failure)),
            Err(Hindrance::Service(why)) => tracing::warn!(%why, "the values service does not answer, trying again"),
        }
        tokio::select! {
            () = over.cancelled() => return Err(Killed),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}
