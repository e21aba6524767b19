//! Runs: submit, list, show, follow.

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
use engine::machine::{self, fact::Fact};
use futures_util::{Stream, StreamExt, stream};
use proto::{
    SCHEMA, codec,
    id::RunId,
    view::{ListDocument, Run, RunDocument, Summary, TimelineDocument},
};
use tokio::sync::watch;

use super::{Api, problem::Refused};
use crate::{
    call::Call,
    desk,
    programs::Known,
    store::{Filter, Head},
    timeline,
};

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

/// Which runs are asked for, beside a filter of the store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Any,
    ForSignal,
}

/// `GET /api/v1/runs?status=&workflow=&label=k=v&since=1h&waiting=true&limit=`: newest first. `waiting`: only runs with a
/// task that waits for a signal.
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ListDocument>, Refused> {
    let (filter, waiting) = filter_of(query)?;
    let runs = match waiting {
        Waiting::Any => api.store.list(&filter).await?,
        Waiting::ForSignal => {
            api.ask(|answer| Call::Waiting { filter, answer }).await.ok_or_else(Refused::unavailable)?
        }
    };
    Ok(Json(ListDocument { schema: SCHEMA, runs }))
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

/// `GET /api/v1/runs/{id}/timeline`: every start of a task, when, how long, and how it ended.
pub(super) async fn timeline(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<TimelineDocument>, Refused> {
    let run = run_id(&id)?;
    let head = head(&api, &run).await?;
    let (facts, known) = desk::history(&api.store, &api.programs, &run, &head).await?;
    let Summary { started_at, finished_at, .. } = head.summary;
    let tasks = timeline::of(known.program.workflow(), &facts);
    Ok(Json(TimelineDocument { schema: SCHEMA, id: run, started_at, finished_at, tasks }))
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

/// The run as it is: from the loop's memory while it lives, else from the store.
async fn find(api: &Api, run: &RunId) -> Result<Run, Refused> {
    let asked = run.clone();
    let live = api.ask(|answer| Call::View { run: asked, answer }).await.flatten();
    let mut view = match live {
        Some(view) => view,
        None => {
            let (restored, known) = restored(api, run).await?;
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

/// The run as the store has it.
pub(super) async fn restored(api: &Api, run: &RunId) -> Result<(machine::Run, Arc<Known>), Refused> {
    let head = head(api, run).await?;
    Ok(desk::restore(&api.store, &api.programs, run, &head).await?)
}

async fn head(api: &Api, run: &RunId) -> Result<Head, Refused> {
    let mut heads = api.store.heads(std::slice::from_ref(run)).await?;
    heads.remove(run).ok_or_else(|| Refused::no_run(run))
}

fn filter_of(query: Vec<(String, String)>) -> Result<(Filter, Waiting), Refused> {
    let bad = |key: &str, why: String| Refused::new(StatusCode::BAD_REQUEST, "query_invalid", format!("{key}: {why}"));
    let mut filter = Filter { limit: LIST_DEFAULT, ..Filter::default() };
    let mut waiting = Waiting::Any;
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
            "waiting" => match value.as_str() {
                "true" => waiting = Waiting::ForSignal,
                "false" => waiting = Waiting::Any,
                _ => return Err(bad("waiting", "write true or false".into())),
            },
            "limit" => {
                let limit: u32 = value.parse().map_err(|_| bad("limit", format!("{value:?} is no number")))?;
                filter.limit = limit.clamp(1, LIST_MAX);
            }
            other => return Err(bad(other, "no such filter: status, workflow, label, since, waiting, limit".into())),
        }
    }
    filter.labels = labels.into_iter().collect();
    Ok((filter, waiting))
}

pub(super) fn run_id(text: &str) -> Result<RunId, Refused> {
    text.parse()
        .map_err(|error: proto::id::Error| Refused::new(StatusCode::BAD_REQUEST, "id_invalid", error.to_string()))
}
