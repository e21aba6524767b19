//! A task without items: one attempt, and what follows decided on the same snapshot.

use std::time::Duration;

use engine::{program::Program, snapshot::Scope, spec::TaskIndex};
use proto::{
    failure::Failure,
    outcome::{Acted, Failed, Report},
};

use crate::{
    attempt::{Attempted, Try},
    blocking,
    follow::{Following, follow},
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
        cancel: &guard.cancel,
    };
    let mut attempted = station.attempt(&attempt).await?;
    let again = attempted.retried(&attempt);
    let ending = {
        let (program, attempted, scope) = (program.clone(), attempted.clone(), attempted.scope(scope));
        let bytes = assignment.weight.max(attempted.result.json.as_bytes().len());
        blocking::sized(bytes, move || end(&program, task, &scope, &attempted, again)).await
    };
    let told = until_answered(&station.kill, || tell(station, &attempted, &ending)).await?;
    Ok(told.unwrap_or_else(Report::Unable))
}

fn end(program: &Program, task: TaskIndex, scope: &Scope, attempted: &Attempted, again: Option<Duration>) -> Ending {
    let error = attempted.failure.as_ref().map(|_| {
        // What the action returned may lie so deep that one more level is too much for it.
        let error = Made::of("error", attempted.error()).or_else(|_| Made::of("error", attempted.bare_error()));
        error.unwrap_or_else(|_| Made::null())
    });
    let next = match again {
        Some(delay) => Following::Retry(delay),
        None => follow(program, task, scope, attempted.status),
    };
    Ending { error, next }
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
