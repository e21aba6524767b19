//! What follows the end of an attempt or a task: another attempt, or the transitions that fire and what they publish.

use std::time::Duration;

use engine::{
    evaluate::{self, RetryDecision},
    program::Program,
    snapshot::Scope,
    spec::TaskIndex,
    value::Value,
};
use proto::{
    failure::Failure,
    id::KeyName,
    outcome::{Acted, Failed, Next, Settlement},
    value::ValueRef,
    work::Status,
};

use crate::{
    attempt::{chance, error_of, exhausted},
    perform::millis,
    upload::{Made, Upload},
    values,
};

/// Transitions that were asked, and what they publish.
#[derive(Debug)]
pub(crate) struct Settled {
    fired: Vec<u16>,
    published: Vec<(KeyName, Made)>,
    retries: Option<u32>,
}

/// What follows an attempt that ended elsewhere, as that of a child run.
pub(crate) struct Asked {
    status: Status,
    failure: Option<(Failure, Made)>,
    next: Following,
}

/// What an attempt leads to.
pub(crate) enum Following {
    Retry(Duration),
    Settled(Settled),
    Unable(Failure),
}

/// Asks `retry`, and the transitions when it is not tried again.
pub(crate) fn ask(program: &Program, task: TaskIndex, scope: &Scope, status: Status, retries: u32) -> Asked {
    let failed = |failure: Failure| {
        let error = error_of(&failure, Value::null());
        let made = Made::of("error", error.clone()).unwrap_or_else(|_| Made::null());
        let scope = scope.clone().with_failed(error);
        Asked {
            next: follow(program, task, &scope, Status::Failed),
            status: Status::Failed,
            failure: Some((failure, made)),
        }
    };
    match evaluate::retry(program, task, scope, status, retries, chance()) {
        Ok(RetryDecision::Again(delay)) => Asked { status, failure: None, next: Following::Retry(delay) },
        Ok(RetryDecision::Done) => Asked { status, failure: None, next: follow(program, task, scope, status) },
        Ok(RetryDecision::Exhausted) => failed(exhausted(retries)),
        Err(failure) => failed(failure),
    }
}

/// Asks the transitions of `task`.
pub(crate) fn follow(program: &Program, task: TaskIndex, scope: &Scope, status: Status) -> Following {
    settle(program, task, scope, status).map_or_else(Following::Unable, Following::Settled)
}

/// Asks the transitions of `task`, which ended with `status`.
pub(crate) fn settle(program: &Program, task: TaskIndex, scope: &Scope, status: Status) -> Result<Settled, Failure> {
    let evaluate::Settled { fired, published, retries } = evaluate::settle(program, task, scope, status)?;
    let made = |(name, value): (KeyName, Value)| {
        let made = Made::of(&format!("workflow.{name}"), value)?;
        Ok((name, made))
    };
    Ok(Settled { fired, published: published.into_iter().map(made).collect::<Result<_, Failure>>()?, retries })
}

impl Settled {
    /// What the outcome says of it.
    pub(crate) async fn upload(&self, upload: &mut Upload<'_>) -> Result<Settlement, values::Error> {
        let mut settlement = Settlement { fired: self.fired.clone(), retries: self.retries, ..Settlement::default() };
        for (name, made) in &self.published {
            settlement.published.insert(name.clone(), upload.value(made).await?);
        }
        Ok(settlement)
    }
}

impl Following {
    /// What the outcome says of it.
    pub(crate) async fn upload(&self, upload: &mut Upload<'_>) -> Result<Next, values::Error> {
        Ok(match self {
            Self::Retry(delay) => Next::Retry { delay_ms: millis(*delay) },
            Self::Settled(settled) => Next::Settled(settled.upload(upload).await?),
            Self::Unable(failure) => Next::Unable(failure.clone()),
        })
    }
}

impl Asked {
    /// What the outcome says of it. The scheduler has the result already: it came from there.
    pub(crate) async fn upload(&self, upload: &mut Upload<'_>) -> Result<Acted, values::Error> {
        let failure = match &self.failure {
            Some((failure, error)) => Some(Failed { failure: failure.clone(), error: upload.value(error).await? }),
            None => None,
        };
        let next = self.next.upload(upload).await?;
        Ok(Acted { status: self.status, result: ValueRef::null(), failure, next, busy_ms: 0 })
    }
}
