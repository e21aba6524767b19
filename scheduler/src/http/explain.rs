//! What a task of a run was given, told from the store's facts: the loop has no part in it.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use engine::{
    machine::explain::{self, Asked, Element, Explained},
    program::ReadPath,
};
use proto::{
    SCHEMA,
    explain::{ExplainDocument, Given},
    id::{Instance, ItemIndex, TaskName},
    json,
    value::ValueRef,
    work::Phase,
};
use serde::Deserialize;

use super::{Api, problem::Refused, runs::run_id};
use crate::{desk, lists};

/// A value up to this many bytes is shown, of a larger one its digest.
const SHOWN_BYTES_MAX: u64 = 1024 * 1024;
/// All values of one answer together.
const ALL_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    task: TaskName,
    #[serde(default)]
    instance: Option<u32>,
    #[serde(default)]
    item: Option<u32>,
}

/// `GET /api/v1/runs/{id}/explain?task=NAME&item=N&instance=K`: what a task's work was given when it last left for a
/// worker, and which fact each value came from. Stored values of up to 1 MiB come inline.
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<ExplainDocument>, Refused> {
    let bad = |why: QueryRejection| Refused::new(StatusCode::BAD_REQUEST, "query_invalid", why.body_text());
    let Query(question) = question.map_err(bad)?;
    let id = run_id(&id)?;
    let heads = api.store.heads(std::slice::from_ref(&id)).await?;
    let head = heads.get(&id).ok_or_else(|| Refused::no_run(&id))?;
    let (facts, known) = desk::history(&api.store, &api.programs, &id, head).await?;
    let definition = String::from_utf8_lossy(&known.source).into_owned();
    let Question { task, instance, item } = question;
    let index = known.program.workflow().find(&task).ok_or_else(|| {
        let detail = format!("{} has no task {task}", known.program.workflow().name);
        Refused::new(StatusCode::NOT_FOUND, "task_unknown", detail)
    })?;
    let asked = Asked { task: index, instance: instance.map(Instance), item: item.map(ItemIndex) };
    // A long history takes a while to replay.
    let replayed = tokio::task::spawn_blocking(move || {
        let reads = reads(&known.program, asked);
        explain::explain(known.program.workflow(), &facts, asked, &reads)
    });
    let explained = replayed.await.map_err(|error| desk::Error::History { run: id.clone(), why: error.to_string() })?;
    let explained = explained.ok_or_else(|| {
        let detail = match instance {
            Some(instance) => format!("{task} has no start {instance} in {id}"),
            None => format!("{task} has not started in {id}"),
        };
        Refused::new(StatusCode::NOT_FOUND, "start_unknown", detail)
    })?;
    if let Some(item) = item.filter(|_| explained.item_value.is_none()) {
        let detail = match explained.given.items {
            Some(count) => format!("{task} has no item {item}: it has {count}, counted from 0"),
            None => format!("{task} has no list of items, or not yet"),
        };
        return Err(Refused::new(StatusCode::NOT_FOUND, "item_unknown", detail));
    }
    let given = filled(&api, explained).await?;
    Ok(Json(ExplainDocument { schema: SCHEMA, run: id, definition, task, given }))
}

/// What the work of a task reads before its action ends, each path once.
fn reads(program: &engine::program::Program, asked: Asked) -> Vec<ReadPath> {
    let phases = [Phase::Prepare, Phase::Items, Phase::Act];
    let mut reads: Vec<ReadPath> =
        phases.iter().flat_map(|phase| program.reads(Some(asked.task), *phase).paths.clone()).collect();
    reads.sort_by(|left, right| left.path.cmp(&right.path).then(right.required.cmp(&left.required)));
    reads.dedup_by(|later, earlier| later.path == earlier.path);
    reads
}

/// Puts values themselves in the place of references to them.
async fn filled(api: &Api, explained: Explained) -> Result<Given, Refused> {
    // As many at once as other documents that are put together in memory.
    let _place = api.exports.clone().try_acquire_owned().map_err(|_| Refused::unavailable())?;
    let Explained { mut given, item_value, item_error } = explained;
    let mut room = ALL_BYTES_MAX;
    if let Some(item) = &mut given.item {
        item.value = picked(api, item_value, &mut room).await?;
        item.error = picked(api, item_error, &mut room).await?;
    }
    for read in &mut given.paths {
        let Some(value) = read.value.take() else { continue };
        read.value = match whole(api, &value, &mut room).await? {
            Some(json) => Some(ValueRef::Inline(json)),
            None => {
                read.omitted = true;
                Some(value).filter(|value| matches!(value, ValueRef::Stored(_)))
            }
        };
    }
    Ok(given)
}

/// The value, unless it is too large or the store does not have it.
async fn whole(api: &Api, value: &ValueRef, room: &mut u64) -> Result<Option<json::Json>, Refused> {
    let bytes = lists::weight(value);
    if bytes > SHOWN_BYTES_MAX.min(*room) {
        return Ok(None);
    }
    *room -= bytes;
    let mut stored = Vec::new();
    value.each_stored(&mut |one| stored.push(one.digest));
    let mut found = lists::Found::new();
    for digest in stored {
        found.extend(api.store.value(digest).await?.map(|bytes| (digest, bytes)));
    }
    let value = value.clone();
    let joined = tokio::task::spawn_blocking(move || lists::json(&value, &found)).await;
    Ok(joined.ok().and_then(Result::ok))
}

/// The element itself. Parts of lists are never larger than what is shown.
async fn picked(api: &Api, element: Option<Element>, room: &mut u64) -> Result<Option<ValueRef>, Refused> {
    let Some(Element { list, at }) = element else { return Ok(None) };
    let Some(json) = whole(api, &list, room).await? else { return Ok(None) };
    let Some(at) = at else { return Ok(Some(ValueRef::Inline(json))) };
    let pick = move || json.parse::<Vec<json::Json>>().ok()?.into_iter().nth(at as usize);
    // A part of a list may have a megabyte.
    Ok(tokio::task::spawn_blocking(pick).await.ok().flatten().map(ValueRef::Inline))
}
