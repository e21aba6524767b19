//! One attempt of a task or an item: input rendered, action run, and what it came to.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{
    evaluate::{self, RetryDecision},
    program::Program,
    snapshot::Scope,
    spec::TaskIndex,
    value::Value,
};
use futures_util::FutureExt;
use proto::{
    failure::Failure,
    id::{Attempt, ItemIndex},
    work::{Status, WorkKey},
};
use tokio_util::sync::CancellationToken;

use crate::{
    action::{self, Call},
    blocking, perform,
    secrets::Revealed,
    station::{Killed, Station},
    upload::Made,
};

/// How long an action that was told to stop may take to do so, beyond its own grace.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// What an attempt is made with.
pub(crate) struct Try<'a> {
    pub program: &'a Arc<Program>,
    pub task: TaskIndex,
    pub scope: &'a Scope,
    pub secrets: &'a Revealed,
    pub key: &'a WorkKey,
    pub item: Option<ItemIndex>,
    pub attempt: Attempt,
    /// Retries that were used up before this attempt.
    pub retries: u32,
    /// How long its templates may take, when that is not known beforehand.
    pub limit: Option<Duration>,
    /// Cancelled with the run.
    pub cancel: &'a CancellationToken,
}

/// What one attempt came to. Holds no secret.
#[derive(Debug, Clone)]
pub(crate) struct Attempted {
    pub status: Status,
    pub result: Made,
    pub failure: Option<Failure>,
    pub busy: Duration,
}

/// What an action came to.
struct Done {
    status: Status,
    result: serde_json::Value,
    failure: Option<Failure>,
}

impl Station {
    /// Renders, runs, and waits. A failure of any of these is what the attempt came to.
    pub(crate) async fn attempt(&self, attempt: &Try<'_>) -> Result<Attempted, Killed> {
        // A thousand items that do next to nothing must let others have their turn.
        tokio::task::coop::consume_budget().await;
        let task = attempt.program.workflow().task(attempt.task);
        let begun = Instant::now();
        let prepared = prepare(attempt).await;
        self.metrics.render.observe(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let name = task.action().unwrap_or_default();
        let done = match prepared {
            Ok((input, timeout)) => self.run(name, input, timeout, attempt).await,
            Err(failure) => Done::failed(attempt.secrets.masked_failure(failure), serde_json::Value::Null),
        };
        if self.kill.is_cancelled() && done.status == Status::Canceled {
            return Err(Killed);
        }
        let busy = begun.elapsed();
        let action = if self.actions.get(name).is_some() { name } else { "unknown" };
        self.metrics.action_duration.with_label_values(&[action, done.status.as_str()]).observe(busy.as_secs_f64());
        Ok(done.into_attempted(busy, attempt.secrets).await)
    }

    async fn run(&self, name: &str, input: serde_json::Value, timeout: Option<Duration>, attempt: &Try<'_>) -> Done {
        let failed = |error: action::Error| Done::of(Status::Failed, error, attempt.secrets);
        let input = match self.actions.check(name, input) {
            Ok(input) => input,
            Err(error) => return failed(error),
        };
        let Some(action) = self.actions.get(name).cloned() else {
            return failed(action::Error::new("action_unknown", format!("this worker has no action {name}")));
        };
        if attempt.cancel.is_cancelled() {
            return Done::canceled(serde_json::Value::Null);
        }
        let limit = timeout.unwrap_or(self.default_timeout);
        let call = Call {
            key: attempt.key.idempotency_key(attempt.item),
            run: attempt.key.run.clone(),
            task: attempt.program.workflow().task(attempt.task).name.clone(),
            attempt: attempt.attempt,
            item: attempt.item,
            deadline: perform::now().plus(limit),
            cancel: attempt.cancel.child_token(),
        };
        let mut running = std::pin::pin!(caught(async { action.run(input, &call).await }));
        let stopped_in_vain = async {
            attempt.cancel.cancelled().await;
            tokio::time::sleep(STOP_PATIENCE).await;
        };
        // Whatever is not chosen is dropped with this function, except `running`, which is only borrowed.
        tokio::select! {
            biased;
            ended = &mut running => match ended {
                Ok(result) => Done { status: Status::Succeeded, result, failure: None },
                Err(error) if attempt.cancel.is_cancelled() => Done::canceled(error.result),
                Err(error) => failed(error),
            },
            () = stopped_in_vain => {
                tracing::warn!(action = name, key = %attempt.key, "action does not stop when told to: dropped");
                Done::canceled(serde_json::Value::Null)
            }
            () = tokio::time::sleep(limit) => {
                call.cancel.cancel();
                let left = tokio::time::timeout(STOP_PATIENCE, running).await;
                let result = left.ok().map_or(serde_json::Value::Null, |left| left.unwrap_or_else(|error| error.result));
                let failure = too_long(limit, timeout.is_none());
                Done { status: Status::TimedOut, result, failure: Some(failure) }
            }
        }
    }
}

/// The input as the action gets it, and how long it may take.
async fn prepare(attempt: &Try<'_>) -> Result<(serde_json::Value, Option<Duration>), Failure> {
    let Try { task, limit, .. } = *attempt;
    let program = attempt.program.clone();
    let evaluated = move |scope: &Scope| {
        let input = evaluate::input(&program, task, scope)?;
        let input = input.to_serde().map_err(|error| Failure::new(error.code(), format!("input: {error}")))?;
        // It names no secret: that is refused when the workflow is registered.
        Ok((input, evaluate::timeout(&program, task, scope)?))
    };
    // In place whatever the size of the context: an input reads a small part of it, and there may be many items.
    blocking::evaluated(limit, 0, attempt.secrets.within(attempt.scope), evaluated).await
}

/// What `running` comes to. A panic costs this attempt, and not what else its delivery holds.
async fn caught(
    running: impl Future<Output = Result<serde_json::Value, action::Error>>,
) -> Result<serde_json::Value, action::Error> {
    AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Err(action::Error::new("action_panicked", format!("the action panicked: {text}")))
    })
}

fn too_long(limit: Duration, is_default: bool) -> Failure {
    let limit = engine::duration::format(limit);
    let message = match is_default {
        true => format!("took longer than {limit}, the default: set `timeout` on the task if it needs more"),
        false => format!("took longer than its timeout of {limit}"),
    };
    Failure::new("timed_out", message)
}

impl Done {
    fn of(status: Status, error: action::Error, secrets: &Revealed) -> Self {
        // Masked before it is cut: half a secret would not be found.
        let failure = Failure::new(error.code, secrets.masked_text(error.message));
        Self { status, result: error.result, failure: Some(failure) }
    }

    fn failed(failure: Failure, result: serde_json::Value) -> Self {
        Self { status: Status::Failed, result, failure: Some(failure) }
    }

    fn canceled(result: serde_json::Value) -> Self {
        let failure = Failure::new("canceled", "the run was cancelled");
        Self { status: Status::Canceled, result, failure: Some(failure) }
    }

    /// A result that cannot be told fails the attempt.
    async fn into_attempted(self, busy: Duration, secrets: &Revealed) -> Attempted {
        let Self { status, result, failure } = self;
        let secrets = secrets.clone();
        let made = blocking::sized(blocking::weight(&result), move || {
            let result = secrets.masked(result);
            Made::of("result", Value::from_serde(&result))
        });
        match made.await {
            Ok(result) => Attempted { status, result, failure, busy },
            Err(untold) if status == Status::Succeeded => {
                Attempted { status: Status::Failed, result: Made::null(), failure: Some(untold), busy }
            }
            Err(_) => Attempted { status, result: Made::null(), failure, busy },
        }
    }
}

impl Attempted {
    /// What templates read as `error`: null, or code, message and the action's whole result.
    pub(crate) fn error(&self) -> Value {
        self.error_with(self.result.value.clone())
    }

    /// The same, without what the action returned.
    pub(crate) fn bare_error(&self) -> Value {
        self.error_with(Value::null())
    }

    fn error_with(&self, details: Value) -> Value {
        match &self.failure {
            None => Value::null(),
            Some(failure) => error_of(failure, details),
        }
    }

    /// The scope in which transitions and `retry.when` are asked.
    pub(crate) fn scope(&self, scope: &Scope) -> Scope {
        scope.clone().with_ended(self.status, self.result.value.clone(), self.error(), Value::null())
    }

    /// Decides whether the attempt is made again. One whose condition still holds after the last retry has failed.
    pub(crate) async fn retried(&mut self, attempt: &Try<'_>) -> Option<Duration> {
        let Try { program, task, retries, limit, .. } = *attempt;
        if self.status == Status::Canceled || program.workflow().task(task).retry.is_none() {
            return None;
        }
        let (program, scope, status) = (program.clone(), self.scope(attempt.scope), self.status);
        let asked = move |scope: &Scope| evaluate::retry(&program, task, scope, status, retries, chance());
        match blocking::evaluated(limit, 0, scope, asked).await {
            Ok(RetryDecision::Again(delay)) => return Some(delay),
            Ok(RetryDecision::Done) => {}
            Ok(RetryDecision::Exhausted) => {
                self.status = Status::Failed;
                self.failure = Some(exhausted(retries));
            }
            Err(failure) => {
                self.status = Status::Failed;
                self.failure = Some(failure);
            }
        }
        None
    }
}

/// What templates read as `error` of a failure.
pub(crate) fn error_of(failure: &Failure, details: Value) -> Value {
    Value::from_map([
        ("code".to_owned(), Value::from_text(&failure.code)),
        ("details".to_owned(), details),
        ("message".to_owned(), Value::from_text(&failure.message)),
    ])
}

/// That `retry.when` still holds after the last retry.
pub(crate) fn exhausted(retries: u32) -> Failure {
    Failure::new("retries_exhausted", format!("`retry.when` still held after {retries} retries"))
}

/// Any number will do: it only spreads retries. The keys of the standard library's hasher are random enough for that.
pub(crate) fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}
