//! Errors as RFC 9457 problem documents.

use axum::{
    Json,
    extract::rejection::BytesRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use proto::{id::RunId, job::Problem, limits::SUBMISSION_BYTES_MAX};
use serde::Serialize;

use crate::{call::Refusal, desk, programs, store};

/// A problem document.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    body: Box<Document>,
}

#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    title: String,
    status: u16,
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RunId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let body = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            id: None,
            errors: Vec::new(),
        };
        Self { status, body: Box::new(body) }
    }

    pub(crate) fn no_run(run: &RunId) -> Self {
        Self::new(StatusCode::NOT_FOUND, "run_unknown", format!("there is no run {run}"))
    }

    pub(crate) fn unavailable() -> Self {
        let detail = "the scheduler's store does not answer or it is too busy: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// A body that did not arrive, or is longer than anything that is accepted here.
    pub(crate) fn body(rejection: &BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("a submission has at most {SUBMISSION_BYTES_MAX} bytes");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "submission_too_large", detail)
            }
            _ => Self::new(StatusCode::BAD_REQUEST, "body_incomplete", rejection.body_text()),
        }
    }

    pub(crate) fn problems(id: Option<RunId>, problems: Vec<Problem>) -> Self {
        let code = problems.first().map_or("invalid", |problem| problem.code.as_str()).to_owned();
        let status = match code.as_str() {
            "workflow_unknown" => StatusCode::NOT_FOUND,
            "run_unknown" => StatusCode::NOT_FOUND,
            "id_conflict" | "run_ended" | "run_not_finished" | "child_run" | "nothing_to_rerun" | "exclusive_busy"
            | "too_many_signals" => StatusCode::CONFLICT,
            "submission_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            "history_unreadable" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let detail = problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
        let mut refused = Self::new(status, &code, detail);
        refused.body.id = id;
        refused.body.errors = problems;
        refused
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Problems { id, problems } => Self::problems(id, problems),
            Refusal::NoRun(run) => Self::no_run(&run),
            Refusal::Unavailable => Self::unavailable(),
        }
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        if let store::Error::Mismatch { .. } = error {
            return Self::new(StatusCode::BAD_REQUEST, "digest_mismatch", error.to_string());
        }
        tracing::warn!(%error, "the store failed an HTTP call");
        Self::unavailable()
    }
}

impl From<desk::Error> for Refused {
    fn from(error: desk::Error) -> Self {
        match error {
            desk::Error::Store(error) => error.into(),
            desk::Error::History { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "history_unreadable", error.to_string())
            }
        }
    }
}

impl From<programs::Error> for Refused {
    fn from(error: programs::Error) -> Self {
        match error {
            programs::Error::Refused(problems) => Self::problems(None, problems),
            programs::Error::Store(error) => error.into(),
        }
    }
}
