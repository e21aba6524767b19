//! Health and metrics of a worker, and nothing else.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::station::Station;

/// `/livez`, `/readyz` and `/metrics`.
pub(crate) fn router(station: Arc<Station>, slots: u32) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state((station, slots))
}

/// 200 while this process can answer at all: a broker that is down must not restart a fleet.
async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while it takes work: connected, not blocked, not stopping.
async fn readyz(State((station, _)): State<(Arc<Station>, u32)>) -> Response {
    let state = *station.queue.state().borrow();
    let checks = [
        (state.publish, "not connected to the broker for publishing"),
        (state.consume, "not connected to the broker for consuming"),
        (!state.blocked, "the broker blocks publishers: memory or disk alarm"),
        (!station.stop.is_cancelled(), "stopping"),
    ];
    let missing: Vec<&str> = checks.into_iter().filter(|(is_fine, _)| !is_fine).map(|(_, what)| what).collect();
    match missing.as_slice() {
        [] => "ok\n".into_response(),
        missing => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n"))).into_response(),
    }
}

/// Prometheus text.
async fn metrics(State((station, slots)): State<(Arc<Station>, u32)>) -> Response {
    let metrics = &station.metrics;
    let state = *station.queue.state().borrow();
    for (role, is_up) in [("publish", state.publish), ("consume", state.consume)] {
        metrics.broker_connected.with_label_values(&[role]).set(i64::from(is_up));
    }
    let free = station.slots.available_permits();
    metrics.slots.set(i64::from(slots));
    metrics.slots_busy.set(i64::from(slots) - i64::try_from(free).unwrap_or(0));
    let text = metrics.render_text(&station.snapshots.counters(), station.snapshots.heap_bytes());
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}
