//! Schedules: list, show, make or change, remove. Read from the store, changed by the loop.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use proto::{
    SCHEMA, codec,
    id::{RunId, ScheduleName},
    job::Problem,
    json,
    limits::{SCHEDULES_MAX, SUBMISSION_BYTES_MAX},
    schedule::{Definition, ScheduleDocument, SchedulesDocument},
    time::Timestamp,
};

use super::{Api, problem::Refused};
use crate::{
    call::Call,
    event_loop, intake,
    programs::{Names, problem},
    schedule::{Schedule, timetable},
    turn::{Change, Changed},
};

/// `GET /api/v1/schedules`: every schedule, by name.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<SchedulesDocument>, Refused> {
    let mut rows = Vec::new();
    for shard in event_loop::all_shards(api.store.shards()) {
        rows.extend(api.store.schedules(shard).await?);
    }
    rows.sort_by(|(left, _), (right, _)| left.cmp(right));
    // One that this version cannot read is in the log since it was to be taken up.
    let schedules: Vec<Schedule> =
        rows.into_iter().filter_map(|(name, body)| Schedule::read(name, &body).ok()).collect();
    let runs: Vec<RunId> = schedules.iter().filter_map(Schedule::last_run).cloned().collect();
    let heads = api.store.heads(&runs).await?;
    let status = |run: &RunId| heads.get(run).map(|head| head.summary.status);
    let schedules = schedules.iter().map(|schedule| schedule.view(schedule.last_run().and_then(status))).collect();
    Ok(Json(SchedulesDocument { schema: SCHEMA, schedules }))
}

/// `GET /api/v1/schedules/{name}`: when it is due, and what became of its latest tick.
pub(super) async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<ScheduleDocument>, Refused> {
    find(&api, name_of(&name)?).await
}

/// `PUT /api/v1/schedules/{name}` with a [`Definition`] as body: makes it, with 201, or changes it.
///
/// Its workflow must be registered and take these parameters now; each tick checks it again.
pub(super) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let name = name_of(&name)?;
    let definition = read(&body.map_err(|rejection| Refused::body(&rejection))?)?;
    let schedule =
        Schedule::new(name.clone(), definition).map_err(|error| Refused::problems(None, vec![told(&error)]))?;
    let sample = schedule.job(Timestamp::default());
    intake::check(&api.programs, &Names::new(), schedule.run(Timestamp::default()), sample, None).await?;
    let status = match change(&api, Change::Put(Box::new(schedule))).await? {
        Changed::Made => StatusCode::CREATED,
        Changed::Replaced => StatusCode::OK,
        Changed::Full => {
            let detail = format!("there are {SCHEDULES_MAX} schedules: remove one first");
            return Err(Refused::new(StatusCode::CONFLICT, "too_many_schedules", detail));
        }
        Changed::Removed | Changed::Unknown | Changed::Unavailable => return Err(Refused::unavailable()),
    };
    Ok((status, find(&api, name).await?).into_response())
}

/// `DELETE /api/v1/schedules/{name}`: no tick starts a run any more. Runs that were started go on. 204.
pub(super) async fn remove(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Refused> {
    let name = name_of(&name)?;
    match change(&api, Change::Remove(name.clone())).await? {
        Changed::Removed => Ok(StatusCode::NO_CONTENT),
        Changed::Unknown => Err(unknown(&name)),
        Changed::Made | Changed::Replaced | Changed::Full | Changed::Unavailable => Err(Refused::unavailable()),
    }
}

async fn change(api: &Api, change: Change) -> Result<Changed, Refused> {
    api.ask(|answer| Call::Schedule { change, answer }).await.ok_or_else(Refused::unavailable)
}

async fn find(api: &Api, name: ScheduleName) -> Result<Json<ScheduleDocument>, Refused> {
    let body = api.store.schedule(&name).await?.ok_or_else(|| unknown(&name))?;
    let schedule = Schedule::read(name, &body)
        .map_err(|error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "schedule_unreadable", error.to_string()))?;
    let status = match schedule.last_run() {
        Some(run) => api.store.heads(std::slice::from_ref(run)).await?.get(run).map(|head| head.summary.status),
        None => None,
    };
    Ok(Json(ScheduleDocument { schema: SCHEMA, schedule: schedule.view(status) }))
}

/// Reads a definition, in which a field that is not known is a mistake.
fn read(body: &[u8]) -> Result<Definition, Refused> {
    let invalid = |code: &str, why: String| Refused::problems(None, vec![problem(code, why)]);
    let unread = |error: codec::Error| match &error {
        codec::Error::TooLarge { .. } => invalid("submission_too_large", error.to_string()),
        codec::Error::Json(_) => invalid(error.code(), error.to_string()),
    };
    let fields: BTreeMap<String, json::Json> = codec::decode_within(body, SUBMISSION_BYTES_MAX).map_err(unread)?;
    if let Some(field) = fields.keys().find(|field| !Definition::FIELDS.contains(&field.as_str())) {
        let why = format!("a schedule has no field {field:?}: it has {}", Definition::FIELDS.join(", "));
        return Err(invalid("schedule_invalid", why));
    }
    codec::decode(body).map_err(|error| invalid("schedule_invalid", error.to_string()))
}

fn told(error: &timetable::Error) -> Problem {
    let code = match error {
        timetable::Error::Cron { .. } | timetable::Error::Field { .. } | timetable::Error::Never { .. } => {
            "cron_invalid"
        }
        timetable::Error::Zone(_) => "tz_invalid",
    };
    problem(code, error.to_string())
}

fn unknown(name: &ScheduleName) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "schedule_unknown", format!("there is no schedule {name}"))
}

fn name_of(text: &str) -> Result<ScheduleName, Refused> {
    text.parse()
        .map_err(|error: proto::id::Error| Refused::new(StatusCode::BAD_REQUEST, "name_invalid", error.to_string()))
}
