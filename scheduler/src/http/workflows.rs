//! Registered workflows: a name, and the source that it stands for now.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use proto::{
    SCHEMA,
    id::{Digest, WorkflowName},
    time::Timestamp,
};
use serde::Serialize;

use super::{Api, problem::Refused};

/// The document of `GET /api/v1/workflows`.
#[derive(Debug, Serialize)]
pub(super) struct Workflows {
    schema: u16,
    workflows: Vec<Registered>,
}

/// A registered workflow.
#[derive(Debug, Serialize)]
pub(super) struct Registered {
    name: WorkflowName,
    digest: Digest,
    registered_at: Timestamp,
}

/// `GET /api/v1/workflows`: every registered name.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Workflows>, Refused> {
    let rows = api.store.workflows().await?;
    let workflows =
        rows.into_iter().map(|(name, digest, registered_at)| Registered { name, digest, registered_at }).collect();
    Ok(Json(Workflows { schema: SCHEMA, workflows }))
}

/// `GET /api/v1/workflows/{name}`: its source.
pub(super) async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Refused> {
    let name = name_of(&name)?;
    let unknown =
        || Refused::new(StatusCode::NOT_FOUND, "workflow_unknown", format!("no workflow {name} is registered"));
    let digest = api.store.registered(&name).await?.ok_or_else(unknown)?;
    let source = api.store.value(digest).await?.ok_or_else(unknown)?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], source).into_response())
}

/// `PUT /api/v1/workflows/{name}` with the YAML source as body: checks it and registers it under its name.
pub(super) async fn register(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Registered>, Refused> {
    let name = name_of(&name)?;
    let body = body.map_err(|rejection| Refused::body(&rejection))?;
    let source = String::from_utf8(body.to_vec())
        .map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "yaml_invalid", "the definition is not UTF-8"))?;
    let known = api.programs.compile(name.as_str(), &source)?;
    let own = &known.program.workflow().name;
    if *own != name {
        let detail = format!("the definition's name is {own}, not {name}");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "name_mismatch", detail));
    }
    let digest = known.stored.digest;
    api.store.put_value(digest, known.source.clone()).await?;
    api.store.define(digest, known.source.clone()).await?;
    let now = crate::clock::Clock::system().now();
    api.store.register(&name, digest).await?;
    Ok(Json(Registered { name, digest, registered_at: now }))
}

fn name_of(text: &str) -> Result<WorkflowName, Refused> {
    text.parse()
        .map_err(|error: proto::id::Error| Refused::new(StatusCode::BAD_REQUEST, "name_invalid", error.to_string()))
}
