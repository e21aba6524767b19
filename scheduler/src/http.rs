//! The HTTP side of a scheduler: runs, workflows and schedules for people, values for workers, health and metrics for machines.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use proto::limits::SUBMISSION_BYTES_MAX;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::{
    access::{Role, Tokens, Verdict},
    call::Call,
    health::Health,
    metrics::Metrics,
    programs::Programs,
    store::Store,
};

mod context;
mod explain;
mod orders;
mod problem;
mod runs;
mod schedules;
mod values;
mod workflows;

/// Values on their way at once; more are asked to come again.
const TRANSFERS_MAX: usize = 64;
/// Contexts that are put together at once, each of up to 64 MiB; more are asked to come again.
const EXPORTS_MAX: usize = 4;
/// How long a call waits for the loop, which may be writing a turn. What it asked for may happen after that.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long `/metrics` waits: a loop that is busy with a slow store still lets the other metrics be read.
const GAUGES_WITHIN: Duration = Duration::from_secs(2);

/// What every handler may use.
#[derive(Clone)]
pub(crate) struct Api {
    pub store: Arc<Store>,
    pub calls: mpsc::Sender<Call>,
    pub health: Health,
    pub metrics: Arc<Metrics>,
    /// For runs that are not in the loop's memory.
    pub programs: Programs,
    pub transfers: Arc<Semaphore>,
    pub exports: Arc<Semaphore>,
    pub tokens: Tokens,
}

impl Api {
    pub(crate) fn new(
        store: Arc<Store>,
        programs: Programs,
        calls: mpsc::Sender<Call>,
        health: Health,
        metrics: Arc<Metrics>,
        tokens: Tokens,
    ) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        let (transfers, exports) = (places(TRANSFERS_MAX), places(EXPORTS_MAX));
        Self { store, calls, health, metrics, programs, transfers, exports, tokens }
    }

    /// Asks the loop. `None` when it has ended or does not answer.
    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.calls.send(call(answer)).await.ok()?;
            answered.await.ok()
        };
        timeout(ANSWER_WITHIN, asked).await.ok()?
    }
}

/// Every route. Documented where its handler is.
pub(crate) fn router(api: Api) -> Router {
    let values = Router::new()
        .route("/values/{digest}", get(values::get).put(values::put))
        .layer(middleware::from_fn_with_state(api.clone(), workers_only));
    let people = Router::new()
        .route("/api/v1/runs", get(runs::list).post(runs::submit))
        .route("/api/v1/runs/{id}", get(runs::show))
        .route("/api/v1/runs/{id}/facts", get(runs::facts))
        .route("/api/v1/runs/{id}/explain", get(explain::show))
        .route("/api/v1/runs/{id}/events", get(runs::follow))
        .route("/api/v1/runs/{id}/timeline", get(runs::timeline))
        .route("/api/v1/runs/{id}/context", get(context::context))
        .route("/api/v1/runs/{id}/items", get(context::items))
        .route("/api/v1/runs/{id}/cancel", post(orders::cancel))
        .route("/api/v1/runs/{id}/pause", post(orders::pause))
        .route("/api/v1/runs/{id}/resume", post(orders::resume))
        .route("/api/v1/runs/{id}/rerun", post(orders::rerun))
        .route("/api/v1/runs/{id}/signals/{name}", post(orders::signal))
        .route("/api/v1/workflows", get(workflows::list))
        .route("/api/v1/workflows/{name}", get(workflows::show).put(workflows::register))
        .route("/api/v1/schedules", get(schedules::list))
        .route("/api/v1/schedules/{name}", get(schedules::show).put(schedules::put).delete(schedules::remove))
        .layer(DefaultBodyLimit::max(SUBMISSION_BYTES_MAX + 1024))
        .layer(middleware::from_fn_with_state(api.clone(), people_only));
    let machines =
        Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics));
    values.merge(people).merge(machines).fallback(no_such_route).with_state(api)
}

async fn no_such_route() -> problem::Refused {
    problem::Refused::new(StatusCode::NOT_FOUND, "route_unknown", "there is nothing here: see /api/v1/runs")
}

/// Values are for workers.
async fn workers_only(State(api): State<Api>, request: Request, next: Next) -> Response {
    guarded(&api, Role::Worker, request, next).await
}

/// To look needs the role `read`, to change something `operate`.
async fn people_only(State(api): State<Api>, request: Request, next: Next) -> Response {
    let needed = if request.method() == Method::GET { Role::Read } else { Role::Operate };
    guarded(&api, needed, request, next).await
}

async fn guarded(api: &Api, needed: Role, request: Request, next: Next) -> Response {
    let refuse = |status, code, detail| problem::Refused::new(status, code, detail).into_response();
    match api.tokens.allow(needed, request.headers()) {
        Verdict::Allowed => next.run(request).await,
        Verdict::Unknown => refuse(
            StatusCode::UNAUTHORIZED,
            "token_unknown",
            "give a token: `Authorization: Bearer …`, or LEVERET_TOKEN",
        ),
        Verdict::Forbidden => refuse(StatusCode::FORBIDDEN, "token_forbids", "this token's role does not allow it"),
    }
}

/// `GET /livez`: 200 while this process can answer at all.
async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 when store and broker answer, else 503 and what is missing.
async fn readyz(State(api): State<Api>) -> Response {
    match api.health.missing().as_slice() {
        [] => "ok\n".into_response(),
        missing => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n"))).into_response(),
    }
}

/// `GET /metrics`: Prometheus text.
async fn metrics(State(api): State<Api>) -> Response {
    let (publish, consume) = api.health.connections();
    for (role, is_up) in [("publish", publish), ("consume", consume)] {
        api.metrics.broker_connected.with_label_values(&[role]).set(i64::from(is_up));
    }
    let _ = timeout(GAUGES_WITHIN, api.ask(|answer| Call::Gauges { answer })).await;
    ([("content-type", "text/plain; version=0.0.4")], api.metrics.render()).into_response()
}
