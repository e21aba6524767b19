//! Runs: submit, list, show, follow, cancel.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::BytesRejection},
    http::StatusCode,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use engine::machine::fact::Fact;
use futures_util::{Stream, StreamExt, stream};
use proto::{
    SCHEMA, codec,
    id::RunId,
    job::{Command, Order},
    view::{ListDocument, Run, RunDocument},
};
use serde::Deserialize;
use tokio::sync::watch;

use super::{Api, problem::Refused};
use crate::{call::Call, desk, store::Filter};

/// Runs in one list, unless asked for fewer.
const LIST_MAX: u32 = 1_000;
const LIST_DEFAULT: u32 = 50;
/// An output up to this many bytes is shown with its run.
const SHOWN_OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// `POST /api/v1/runs`: the same body as a job on the queue. 201 with the run's id, 200 when it was accepted before.
pub(super) async fn submit(State(api): State<Api>, body: Result<Bytes, BytesRejection>) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| Refused::body(&rejection))?;
    let answer = api.ask(|answer| Call::Submit { body, answer }).await.ok_or_else(Refused::unavailable)??;
    let status = if answer.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(answer)).into_response())
}

/// `GET /api/v1/runs?status=&workflow=&label=k=v&since=1h&limit=`: newest first.
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ListDocument>, Refused> {
    let filter = filter_of(query)?;
    Ok(Json(ListDocument { schema: SCHEMA, runs: api.store.list(&filter).await? }))
}

/// `GET /api/v1/runs/{id}`: the run, its fan-outs as counts.
pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<RunDocument>, Refused> {
    let run = run_id(&id)?;
    Ok(Json(RunDocument { schema: SCHEMA, run: find(&api, &run).await? }))
}

/// `GET /api/v1/runs/{id}/facts`: everything that happened to it, in order.
pub(super) async fn facts(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Vec<Fact>>, Refused> {
    let run = run_id(&id)?;
    let rows = api.store.facts(&run).await?;
    if rows.is_empty() {
        return Err(Refused::no_run(&run));
    }
    let facts: Result<Vec<Fact>, _> = rows.iter().map(|row| codec::decode_within(row, usize::MAX)).collect();
    facts.map(Json).map_err(|error| desk::Error::History { run, why: error.to_string() }.into())
}

/// `GET /api/v1/runs/{id}/events`: server-sent events named `run`, each the run as it is then; the last is terminal.
pub(super) async fn follow(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refused> {
    let run = run_id(&id)?;
    let watched = run.clone();
    let watcher = api.ask(|answer| Call::Watch { run: watched, answer }).await.ok_or_else(Refused::unavailable)?;
    let Some(watcher) = watcher else {
        let last = find(&api, &run).await?;
        return Ok(sse(stream::iter([last])));
    };
    Ok(sse(stream::unfold(Following::First(watcher), move |following| next(api.clone(), run.clone(), following))))
}

/// How far somebody who follows a run has come.
enum Following {
    First(Watcher),
    Later(Watcher),
    Over,
}

type Watcher = watch::Receiver<Arc<Run>>;

/// The next view to show: at once the first, then each that comes, and last the run as the store has it.
async fn next(api: Api, run: RunId, following: Following) -> Option<(Run, Following)> {
    let mut watcher = match following {
        Following::First(watcher) => watcher,
        Following::Later(mut watcher) => match watcher.changed().await {
            Ok(()) => watcher,
            // The loop lost sight of it, and may have ended itself: then the client comes again.
            Err(_) => {
                let last = find(&api, &run).await.ok()?;
                return last.status.is_terminal().then_some((last, Following::Over));
            }
        },
        Following::Over => return None,
    };
    let view = watcher.borrow_and_update().as_ref().clone();
    match view.status.is_terminal() {
        // Once more from the store, for an output too large to be in the loop's view.
        true => Some((find(&api, &run).await.unwrap_or(view), Following::Over)),
        false => Some((view, Following::Later(watcher))),
    }
}

fn sse(views: impl Stream<Item = Run> + Send + 'static) -> Response {
    let events = views.map(|run| {
        let text = String::from_utf8(codec::encode(&RunDocument { schema: SCHEMA, run })).unwrap_or_default();
        Ok::<_, Infallible>(Event::default().event("run").data(text))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CancelBody {
    reason: Option<String>,
}

/// `POST /api/v1/runs/{id}/cancel`, optionally with `{"reason": …}`. 202 also when it has ended already.
pub(super) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| Refused::body(&rejection))?;
    let body: CancelBody = match body.is_empty() {
        true => CancelBody::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "json_invalid", error.to_string()))?,
    };
    let command = Command { run: run_id(&id)?, order: Order::Cancel { reason: body.reason } };
    let answer = api.ask(|answer| Call::Command { command, answer }).await.ok_or_else(Refused::unavailable)??;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// The run as it is: from the loop's memory while it lives, else from the store.
async fn find(api: &Api, run: &RunId) -> Result<Run, Refused> {
    let asked = run.clone();
    let live = api.ask(|answer| Call::View { run: asked, answer }).await.flatten();
    let mut view = match live {
        Some(view) => view,
        None => {
            let heads = api.store.heads(std::slice::from_ref(run)).await?;
            let head = heads.get(run).ok_or_else(|| Refused::no_run(run))?;
            let (restored, known) = desk::restore(&api.store, &api.programs, run, head).await?;
            restored.view(known.program.workflow())
        }
    };
    if let Some(stored) = view.output_stored.filter(|stored| stored.bytes <= SHOWN_OUTPUT_BYTES_MAX)
        && let Some(bytes) = api.store.value(stored.digest).await?
        && let Ok(json) = proto::json::Json::from_canonical(String::from_utf8_lossy(&bytes).into_owned())
    {
        view.output = Some(json);
        view.output_stored = None;
    }
    Ok(view)
}

fn filter_of(query: Vec<(String, String)>) -> Result<Filter, Refused> {
    let bad = |key: &str, why: String| Refused::new(StatusCode::BAD_REQUEST, "query_invalid", format!("{key}: {why}"));
    let mut filter = Filter { limit: LIST_DEFAULT, ..Filter::default() };
    let mut labels = HashMap::new();
    for (key, value) in query {
        match key.as_str() {
            "status" => {
                filter.status =
                    Some(value.parse().map_err(|e: proto::work::UnknownStatus| bad("status", e.to_string()))?)
            }
            "workflow" => {
                filter.workflow = Some(value.parse().map_err(|e: proto::id::Error| bad("workflow", e.to_string()))?)
            }
            "label" => {
                let (name, text) =
                    value.split_once('=').ok_or_else(|| bad("label", "write it as name=value".into()))?;
                labels.insert(name.to_owned(), text.to_owned());
            }
            "since" => {
                let ago = engine::duration::parse(&value).map_err(|error| bad("since", error.to_string()))?;
                let now = crate::clock::Clock::system().now();
                filter.since = Some(proto::time::Timestamp::from_millis(
                    now.as_millis() - i64::try_from(ago.as_millis()).unwrap_or(0),
                ));
            }
            "limit" => {
                let limit: u32 = value.parse().map_err(|_| bad("limit", format!("{value:?} is no number")))?;
                filter.limit = limit.clamp(1, LIST_MAX);
            }
            other => return Err(bad(other, "no such filter: status, workflow, label, since, limit".into())),
        }
    }
    filter.labels = labels.into_iter().collect();
    Ok(filter)
}

pub(super) fn run_id(text: &str) -> Result<RunId, Refused> {
    text.parse()
        .map_err(|error: proto::id::Error| Refused::new(StatusCode::BAD_REQUEST, "id_invalid", error.to_string()))
}
