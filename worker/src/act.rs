//! A task without items: one attempt, and what follows decided on the same snapshot.

use engine::snapshot::Scope;
use proto::{
    failure::Failure,
    outcome::{Acted, Failed, Report},
};

use crate::{
    attempt::{Attempted, Try},
    blocking,
    follow::{self, Following},
    hindrance::{Hindrance, until_answered},
    perform::{Assignment, millis},
    revoked::Guard,
    station::{Killed, Station},
    upload::{Made, Upload},
};

/// What follows an attempt, ready to be told.
struct Ending {
    error: Option<Made>,
    next: Following,
}

/// Makes the attempt and says what came of it.
pub(crate) async fn perform(station: &Station, assignment: &Assignment<'_>, guard: &Guard) -> Result<Report, Killed> {
    let Assignment { work, program, task, scope, secrets, .. } = assignment;
    let Some(task) = *task else {
        return Ok(Report::Unable(Failure::new("work_unclear", format!("{} names no task", work.key))));
    };
    let attempt = Try {
        program,
        task,
        scope,
        secrets,
        key: &work.key,
        item: None,
        attempt: work.attempt,
        retries: work.retries,
        limit: assignment.limit(station),
        cancel: &guard.cancel,
    };
    let mut attempted = station.attempt(&attempt).await?;
    let again = attempted.retried(&attempt).await;
    let ending = {
        let (program, scope) = (program.clone(), attempted.scope(scope));
        let (status, bytes) = (attempted.status, assignment.weight.max(attempted.result.json.as_bytes().len()));
        let error = error(&attempted, bytes).await;
        let settled = move |scope: &Scope| follow::settle(&program, task, scope, status);
        let next = match again {
            Some(delay) => Following::Retry(delay),
            None => match blocking::evaluated(attempt.limit, bytes, scope, settled).await {
                Ok(settled) => Following::Settled(settled),
                Err(failure) => Following::Unable(failure),
            },
        };
        Ending { error, next }
    };
    let told = until_answered(&station.kill, || tell(station, &attempted, &ending)).await?;
    Ok(told.unwrap_or_else(Report::Unable))
}

/// What templates read as `error` from now on.
async fn error(attempted: &Attempted, bytes: usize) -> Option<Made> {
    attempted.failure.as_ref()?;
    let attempted = attempted.clone();
    let made = move || {
        // What the action returned may lie so deep that one more level is too much for it.
        let error = Made::of("error", attempted.error()).or_else(|_| Made::of("error", attempted.bare_error()));
        error.unwrap_or_else(|_| Made::null())
    };
    Some(blocking::sized(bytes, made).await)
}

async fn tell(station: &Station, attempted: &Attempted, ending: &Ending) -> Result<Report, Hindrance> {
    let mut upload = Upload::new(&station.snapshots);
    let result = upload.value(&attempted.result).await?;
    let failure = match (&attempted.failure, &ending.error) {
        (Some(failure), Some(error)) => Some(Failed { failure: failure.clone(), error: upload.value(error).await? }),
        (None, _) | (_, None) => None,
    };
    let next = ending.next.upload(&mut upload).await?;
    Ok(Report::Acted(Acted { status: attempted.status, result, failure, next, busy_ms: millis(attempted.busy) }))
}
