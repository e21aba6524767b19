//! What a run has come to know: its context, and which of its items failed.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use proto::{
    SCHEMA, codec,
    id::{RunId, TaskName},
    limits::VALUE_BYTES_MAX,
    manifest::Manifest,
    value::{List, Stored, ValueRef},
    view::{ContextDocument, FailedItem, ItemsDocument},
};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Api,
    problem::Refused,
    runs::{restored, run_id},
};
use crate::{
    call::Call,
    lists::{self, Found},
};

/// Items on a page.
const PAGE_ITEMS: usize = 100;

/// `GET /api/v1/runs/{id}/context`: everything that the run's context holds, of all its branches. What it holds is put
/// together as it stands: 413 when that is more than 64 MiB, 503 when too many such are being made.
pub(super) async fn context(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refused> {
    let run = run_id(&id)?;
    let _place = begin(&api)?;
    let manifest = manifest(&api, &run).await?;
    let bytes = manifest.values().map(lists::weight).fold(0, u64::saturating_add);
    let mut stored = Vec::new();
    manifest.values().for_each(|value| value.each_stored(&mut |one| stored.push(one)));
    let found = fetch(&api, bytes, stored).await?;
    let written = on_the_side(move || document(&manifest, &found).map(|document| codec::encode(&document))).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], written).into_response())
}

async fn manifest(api: &Api, run: &RunId) -> Result<Manifest, Refused> {
    let asked = run.clone();
    let live = api.ask(|answer| Call::Context { run: asked, answer }).await.flatten();
    let context = match live {
        Some(context) => context,
        None => restored(api, run).await?.0.context(),
    };
    Ok(context.all())
}

fn document(manifest: &Manifest, found: &Found) -> Result<ContextDocument, lists::Error> {
    let mut document = ContextDocument { schema: Some(SCHEMA), ..ContextDocument::default() };
    for (path, value) in manifest {
        let json = lists::json(value, found)?;
        let mut parts = path.splitn(3, '.').map(str::to_owned);
        match (parts.next().as_deref(), parts.next(), parts.next()) {
            (Some("parameters"), Some(name), None) => drop(document.parameters.insert(name, json)),
            (Some("workflow"), Some(name), None) => drop(document.workflow.insert(name, json)),
            (Some("signal"), Some(name), None) => drop(document.signal.insert(name, json)),
            (Some("task"), Some(task), Some(field)) => {
                drop(document.task.entry(task).or_default().insert(field, json));
            }
            _ => {}
        }
    }
    Ok(document)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemsQuery {
    task: Option<TaskName>,
    #[serde(default)]
    status: Wanted,
    #[serde(default = "first")]
    page: u32,
}

/// Items that can be asked for: what those that succeeded came to is in the task's result.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    #[default]
    Failed,
}

fn first() -> u32 {
    1
}

/// `GET /api/v1/runs/{id}/items?task=&status=failed&page=`: items of the latest start of each task, or of one, that
/// failed or were never begun, with their errors. 100 to a page, the first of which is 1.
pub(super) async fn items(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<ItemsQuery>,
) -> Result<Json<ItemsDocument>, Refused> {
    let run = run_id(&id)?;
    let ItemsQuery { task, status: Wanted::Failed, page } = query;
    let _place = begin(&api)?;
    let failed = failed(&api, &run, task).await?;
    let first = (page.max(1) as usize - 1).saturating_mul(PAGE_ITEMS);
    let page = page.max(1);
    let (total, chosen) = on_the_side(move || Ok(choose(failed, first))).await?;
    let stored: Vec<Stored> = chosen.iter().flat_map(|(_, list, places)| lists::needed(list, places)).collect();
    let bytes = stored.iter().map(|stored| stored.bytes).sum();
    let found = fetch(&api, bytes, stored).await?;
    let items = on_the_side(move || {
        let mut items = Vec::new();
        for (task, list, places) in &chosen {
            let entries = lists::entries(list, places, &found)?;
            items.extend(entries.into_iter().map(|lists::Entry { index, item, error }| FailedItem {
                task: task.clone(),
                index,
                item,
                error,
            }));
        }
        Ok(items)
    });
    Ok(Json(ItemsDocument { schema: SCHEMA, page, total, items: items.await? }))
}

async fn failed(api: &Api, run: &RunId, task: Option<TaskName>) -> Result<Vec<(TaskName, ValueRef)>, Refused> {
    let (asked, of) = (run.clone(), task.clone());
    let live = api.ask(|answer| Call::Failed { run: asked, task: of, answer }).await.flatten();
    match live {
        Some(failed) => Ok(failed),
        None => {
            let (run, known) = restored(api, run).await?;
            Ok(run.item_errors(known.program.workflow(), task.as_ref()))
        }
    }
}

/// The errors of a task's items, and those of them that a page has.
type Chosen = (TaskName, Arc<List>, Vec<lists::Place>);

/// How many failed in all, and where those from number `first` are.
fn choose(failed: Vec<(TaskName, ValueRef)>, first: usize) -> (u32, Vec<Chosen>) {
    let (mut before, mut chosen) = (0, Vec::new());
    for (task, errors) in failed {
        // A context from elsewhere has a list that nobody here has seen in parts: those are not this run's items.
        let ValueRef::List(list) = errors else { continue };
        let mut places = lists::places(&list);
        let from = first.saturating_sub(before).min(places.len());
        let to = (first + PAGE_ITEMS).saturating_sub(before).min(places.len());
        before += places.len();
        places.truncate(to);
        places.drain(..from.min(to));
        if !places.is_empty() {
            chosen.push((task, list, places));
        }
    }
    (u32::try_from(before).unwrap_or(u32::MAX), chosen)
}

/// A place among those for whom much is put together in memory.
fn begin(api: &Api) -> Result<OwnedSemaphorePermit, Refused> {
    api.exports.clone().try_acquire_owned().map_err(|_| Refused::unavailable())
}

/// Stored values, unless what they are fetched for would be more than `bytes` may be.
async fn fetch(api: &Api, bytes: u64, stored: Vec<Stored>) -> Result<Found, Refused> {
    if bytes > VALUE_BYTES_MAX as u64 {
        let detail = format!("it is {bytes} bytes of JSON, and {VALUE_BYTES_MAX} are the most that are put together");
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "context_too_large", detail));
    }
    let mut found = Found::new();
    let digests: HashSet<_> = stored.into_iter().map(|stored| stored.digest).collect();
    for digest in digests {
        if let Some(bytes) = api.store.value(digest).await? {
            found.insert(digest, bytes);
        }
    }
    Ok(found)
}

/// Runs `work`, which may take long, beside what this thread has to do.
async fn on_the_side<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, lists::Error> + Send + 'static,
) -> Result<T, Refused> {
    let failed = |detail: String| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "value_unreadable", detail);
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?;
    done.map_err(|error| failed(error.to_string()))
}
