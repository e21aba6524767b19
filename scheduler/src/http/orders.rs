//! Orders for runs: cancel, pause, resume, signal, rerun.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use proto::{
    id::{RunId, TaskName},
    job::{Answer, Command, CommandName, Message, Submission},
    json::Json as Payload,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Api, problem::Refused, runs::run_id};
use crate::call::Call;

/// A header by which a signal that is sent again is known, as `?id=` is.
const SIGNAL_ID: &str = "idempotency-key";

type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Why {
    reason: Option<String>,
}

/// `POST /api/v1/runs/{id}/cancel`, optionally with `{"reason": …}`. 202 also when it has ended already.
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Result<Response, Refused> {
    let Why { reason } = read(body)?;
    accepted(&api, &id, CommandName::Cancel, Message { reason, ..Message::default() }).await
}

/// `POST /api/v1/runs/{id}/pause`, optionally with `{"reason": …}`. 409 when it has ended already.
pub(super) async fn pause(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Result<Response, Refused> {
    let Why { reason } = read(body)?;
    accepted(&api, &id, CommandName::Pause, Message { reason, ..Message::default() }).await
}

/// `POST /api/v1/runs/{id}/resume`. 409 when it has ended already.
pub(super) async fn resume(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refused> {
    accepted(&api, &id, CommandName::Resume, Message::default()).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SignalQuery {
    id: Option<String>,
}

/// `POST /api/v1/runs/{id}/signals/{name}?id=`: the body is the payload, any JSON; none is `null`. Sent again with the
/// same `id`, or header `idempotency-key`, it is one signal. 409 when the run has ended, or has too many.
pub(super) async fn signal(
    State(api): State<Api>,
    Path((id, name)): Path<(String, String)>,
    Query(query): Query<SignalQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| Refused::body(&rejection))?;
    let payload = match body.is_empty() {
        true => Payload::null(),
        false => Payload::canonical(&body)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()))?,
    };
    let name = name
        .parse()
        .map_err(|error: proto::id::Error| Refused::new(StatusCode::BAD_REQUEST, "name_invalid", error.to_string()))?;
    let of_header = || headers.get(SIGNAL_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let message = Message {
        name: Some(name),
        payload: Some(payload),
        signal_id: query.id.or_else(of_header),
        ..Message::default()
    };
    accepted(&api, &id, CommandName::Signal, message).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Again {
    from: Option<TaskName>,
    failed_items: bool,
    new_id: Option<RunId>,
}

/// `POST /api/v1/runs/{id}/rerun`: what failed, or `{"from": TASK}`, or `{"failed_items": true}`; `new_id` names the new
/// run. 201 with its id, 200 when the same was asked before.
pub(super) async fn rerun(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Result<Response, Refused> {
    let Again { from, failed_items, new_id } = read(body)?;
    let message = Message { from, failed_items: Some(failed_items), new_id, ..Message::default() };
    let answer = order(&api, &id, CommandName::Rerun, message).await?;
    let status = if answer.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(answer)).into_response())
}

async fn accepted(api: &Api, id: &str, name: CommandName, message: Message) -> Result<Response, Refused> {
    Ok((StatusCode::ACCEPTED, Json(order(api, id, name, message).await?)).into_response())
}

/// The same way as a command that comes by queue.
async fn order(api: &Api, id: &str, name: CommandName, message: Message) -> Result<Answer, Refused> {
    let command = command(Message { id: Some(run_id(id)?), command: Some(name), ..message })?;
    let answered = api.ask(|answer| Call::Command { command, answer }).await.ok_or_else(Refused::unavailable)?;
    Ok(answered?)
}

fn command(message: Message) -> Result<Command, Refused> {
    let refused = |why: String| Refused::new(StatusCode::BAD_REQUEST, "submission_invalid", why);
    match Submission::try_from(message) {
        Ok(Submission::Command(command)) => Ok(command),
        Ok(Submission::Job(_)) => Err(refused("it is no command".into())),
        Err(unclear) => Err(refused(unclear.to_string())),
    }
}

/// A body of JSON; none is one without fields.
fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, Refused> {
    let body = body.map_err(|rejection| Refused::body(&rejection))?;
    match body.is_empty() {
        true => Ok(T::default()),
        false => serde_json::from_slice(&body)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "json_invalid", error.to_string())),
    }
}
