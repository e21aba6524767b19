//! One delivery: read, evaluated, done, reported, acknowledged.

use std::{sync::Arc, time::Duration};

use engine::{
    program::Program,
    snapshot::{Scope, Snapshot},
    spec::{OnLost, TaskIndex},
};
use proto::{
    codec,
    failure::Failure,
    outcome::{ItemsReport, Report},
    time::Timestamp,
    work::{Phase, Work},
};
use queue::Delivery;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    act, blocking, call,
    claim::{self, Answer},
    hindrance::{Hindrance, until_answered},
    phases, range,
    revoked::Guard,
    secrets::Revealed,
    snapshots::JSON_GROWTH,
    station::{Killed, Station},
};

/// Work with everything that its evaluation needs.
pub(crate) struct Assignment<'a> {
    pub work: &'a Work,
    pub program: Arc<Program>,
    pub task: Option<TaskIndex>,
    pub scope: Scope,
    /// What its input may read besides.
    pub secrets: Revealed,
    /// About how many bytes of JSON its templates can read.
    pub weight: usize,
}

impl Assignment<'_> {
    /// How long its templates may take, when their data do not say: with loops in them, little may take long.
    pub(crate) fn limit(&self, station: &Station) -> Option<Duration> {
        self.program.may_be_slow(self.task, self.work.key.phase).then_some(station.template_timeout)
    }
}

impl Assignment<'_> {
    /// Whether this must not be begun a second time, should its worker be lost.
    fn is_begun_once(&self) -> bool {
        let task = self.task.filter(|_| self.work.key.phase == Phase::Act);
        task.is_some_and(|task| self.program.workflow().task(task).on_lost == OnLost::Fail)
    }
}

/// Handles one delivery to its end. Once the outcome is confirmed the delivery is given back to be acknowledged; in all
/// other cases it is settled here. Whatever drops this before gives the delivery back to the broker.
pub(crate) async fn perform(station: Arc<Station>, delivery: Delivery) -> Option<Delivery> {
    // A stop that comes while it waits for a slot sends it to another worker.
    let permit = tokio::select! {
        biased;
        () = station.stop.cancelled() => {
            delivery.give_back();
            return None;
        }
        permit = station.slots.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
    };
    if delivery.redelivered {
        station.metrics.redelivered.inc();
    }
    // Only now: a message that waits for a slot is bytes, and what it becomes may be many times as large.
    let body = delivery.body.clone();
    let work: Work = match blocking::sized(body.len() / 8, move || codec::decode(&body)).await {
        Ok(work) => work,
        Err(error) => {
            tracing::error!(message_id = ?delivery.properties.message_id, %error, "work that cannot be read");
            delivery.reject();
            return None;
        }
    };
    let _running = station.running.enter(work.shard, &work.key);
    match handle(&station, &work, &delivery, permit).await {
        Ok(()) => Some(delivery),
        Err(Killed) => {
            delivery.give_back();
            None
        }
    }
}

async fn handle(
    station: &Arc<Station>,
    work: &Work,
    delivery: &Delivery,
    permit: OwnedSemaphorePermit,
) -> Result<(), Killed> {
    // Registered before anything is asked, so that no cancel falls between the question and the registration.
    let guard = station.revoked.begin(work, &station.kill);
    if station.revoked.contains(work) {
        return hand_back(station, work).await;
    }
    station.metrics.queue_wait.observe(now().since(work.dispatched_at).as_secs_f64());
    // What is not chosen is dropped: nothing has begun, and fetching can be begun anew.
    let assigned = tokio::select! {
        biased;
        () = station.stop.cancelled() => return Err(Killed),
        () = revoked(work, &guard) => return hand_back(station, work).await,
        assigned = until_answered(&station.stop, || assign(station, work)) => assigned?,
    };
    let assignment = match assigned {
        Ok(assignment) => assignment,
        Err(failure) => return report(station, work, unable(work, failure)).await,
    };
    if station.revoked.contains(work) {
        return hand_back(station, work).await;
    }
    if let Some(task) = assignment.task
        && work.key.phase == Phase::Act
        && assignment.program.workflow().task(task).action().is_none()
    {
        let made = call::perform(station, &assignment, task).await?;
        return report(station, work, made).await;
    }
    if assignment.is_begun_once() {
        match claim::ask(station, work, delivery.redelivered).await {
            Answer::Granted => {}
            Answer::Refused => return Ok(()),
            // A claim may have been granted and the answer lost: who only gave the delivery back would be taken for one
            // that had begun.
            Answer::Unanswered => return hand_back(station, work).await,
        }
    }
    if work.range.is_some() {
        return range::perform(station, &assignment, &guard, permit).await;
    }
    let made = match work.key.phase {
        Phase::Act => act::perform(station, &assignment, &guard).await?,
        Phase::Prepare | Phase::Items | Phase::Settle | Phase::Output => phases::perform(station, &assignment).await?,
    };
    report(station, work, made).await
}

/// Waits until the run is cancelled; for ever when that does not matter.
async fn revoked(work: &Work, guard: &Guard) {
    match work.key.task {
        Some(_) => guard.cancel.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn report(station: &Station, work: &Work, report: Report) -> Result<(), Killed> {
    station.send(work.shard, &work.key, 0, report).await
}

async fn hand_back(station: &Station, work: &Work) -> Result<(), Killed> {
    let handed_back = match &work.range {
        Some(range) => Report::Items(ItemsReport { handed_back: range.items.clone(), ..ItemsReport::default() }),
        None => Report::HandedBack,
    };
    report(station, work, handed_back).await
}

/// What is reported of work that cannot even be begun.
fn unable(work: &Work, failure: Failure) -> Report {
    match (&work.range, work.key.phase) {
        (Some(range), _) => range::all_failed(range, &failure),
        (None, Phase::Prepare | Phase::Items | Phase::Act | Phase::Settle | Phase::Output) => Report::Unable(failure),
    }
}

async fn assign<'a>(station: &Station, work: &'a Work) -> Result<Assignment<'a>, Hindrance> {
    let program = station.snapshots.program(work.definition).await?;
    let snapshot: Snapshot = station.snapshots.snapshot(&work.manifest).await?;
    let mut task = None;
    let mut secrets = Revealed::default();
    if let Some((name, _)) = &work.key.task {
        let workflow = program.workflow();
        let unknown = || Failure::new("task_unknown", format!("the definition has no task {name}"));
        let index = workflow.find(name).ok_or_else(unknown)?;
        if work.key.phase == Phase::Act {
            secrets = station.secrets.of(workflow.task(index)).await;
        }
        task = Some(index);
    }
    let scope = Scope::new(&snapshot)
        .with_run(&work.run, &work.key.run)
        .with_attempt(work.attempt)
        .with_env(station.env.iter().cloned())
        .with_now(now());
    Ok(Assignment { work, program, task, scope, secrets, weight: snapshot.heap_bytes() / JSON_GROWTH })
}

/// Whole milliseconds, rounded up: a delay is never shorter than asked for.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// This machine's time.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
