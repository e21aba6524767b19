//! The values service: immutable bytes by their digest, for workers.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use proto::{id::Digest, limits::VALUE_BYTES_MAX};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{Api, problem::Refused};

/// A value is written out in pieces of this length, so that its transfer is known to go on until the last of them.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a value may take to arrive: a sender that has gone silent must not keep its place.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);

/// `GET /values/{digest}`: the bytes, 404 when there are none, 503 with `Retry-After` when too many are on their way.
pub(super) async fn get(State(api): State<Api>, Path(digest): Path<String>) -> Result<Response, Refused> {
    let digest = digest_of(&digest)?;
    let transfer = begin(&api)?;
    let bytes = api.store.value(digest).await?;
    let bytes = bytes
        .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "value_unknown", format!("there is no value {digest}")))?;
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".into()), (header::CONTENT_LENGTH, bytes.len().to_string())];
    Ok((headers, pieces(bytes, transfer)).into_response())
}

/// `PUT /values/{digest}`: stores the bytes after checking them against the digest. The same again changes nothing.
pub(super) async fn put(State(api): State<Api>, Path(digest): Path<String>, body: Body) -> Result<StatusCode, Refused> {
    let digest = digest_of(&digest)?;
    // Before the body is read: those that wait must not fill the memory.
    let _transfer = begin(&api)?;
    let arrived = timeout(ARRIVAL_MAX, to_bytes(body, VALUE_BYTES_MAX)).await;
    let late = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "value_late", "the value did not arrive in time");
    let body = arrived.map_err(late)?.map_err(|error| {
        let detail = format!("the value did not arrive whole, or is longer than {VALUE_BYTES_MAX} bytes: {error}");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "value_too_large", detail)
    })?;
    api.store.put_value(digest, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn begin(api: &Api) -> Result<OwnedSemaphorePermit, Refused> {
    api.transfers.clone().try_acquire_owned().map_err(|_| Refused::unavailable())
}

/// Holds on to `transfer` until the last piece was taken.
fn pieces(bytes: Bytes, transfer: OwnedSemaphorePermit) -> Body {
    Body::from_stream(stream::unfold((bytes, transfer), |(mut rest, transfer)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Some((Ok::<_, Infallible>(piece), (rest, transfer)))
    }))
}

fn digest_of(text: &str) -> Result<Digest, Refused> {
    text.parse()
        .map_err(|error: proto::id::Error| Refused::new(StatusCode::BAD_REQUEST, "digest_invalid", error.to_string()))
}
