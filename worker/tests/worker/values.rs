//! A values service over HTTP that keeps its values in a map, counts, and can be down.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use proto::{
    id::Digest,
    value::{Stored, ValueRef},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// The service; stops when it is dropped.
pub struct Service {
    pub addr: SocketAddr,
    kept: Arc<Kept>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Kept {
    values: Mutex<HashMap<Digest, Bytes>>,
    fetches: Mutex<HashMap<Digest, u32>>,
    fetched_bytes: AtomicU64,
    is_down: AtomicBool,
    /// Requests that were turned away.
    refused: watch::Sender<u32>,
}

impl Kept {
    fn refusal(&self) -> Option<Response> {
        if !self.is_down.load(SeqCst) {
            return None;
        }
        self.refused.send_modify(|refused| *refused += 1);
        Some((StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "0")]).into_response())
    }
}

async fn fetch(State(kept): State<Arc<Kept>>, Path(digest): Path<Digest>) -> Response {
    if let Some(refusal) = kept.refusal() {
        return refusal;
    }
    *kept.fetches.lock().expect("unpoisoned").entry(digest).or_default() += 1;
    let value = kept.values.lock().expect("unpoisoned").get(&digest).cloned();
    match value {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(bytes) => {
            kept.fetched_bytes.fetch_add(bytes.len() as u64, SeqCst);
            bytes.into_response()
        }
    }
}

async fn store(State(kept): State<Arc<Kept>>, Path(digest): Path<Digest>, body: Bytes) -> Response {
    if let Some(refusal) = kept.refusal() {
        return refusal;
    }
    if Digest::of(&body) != digest {
        return StatusCode::BAD_REQUEST.into_response();
    }
    kept.values.lock().expect("unpoisoned").insert(digest, body);
    StatusCode::NO_CONTENT.into_response()
}

impl Service {
    pub async fn start() -> Self {
        let kept = Arc::new(Kept::default());
        let router = Router::new()
            .route("/values/{digest}", get(fetch).put(store))
            .layer(DefaultBodyLimit::disable())
            .with_state(kept.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { addr, kept, _serving: serving }
    }

    /// Stores a value as a scheduler does.
    pub fn put(&self, bytes: impl Into<Bytes>) -> Stored {
        let bytes = bytes.into();
        let stored = Stored::of(&bytes);
        self.kept.values.lock().expect("unpoisoned").insert(stored.digest, bytes);
        stored
    }

    /// The JSON that `value` stands for.
    pub fn read(&self, value: &ValueRef) -> serde_json::Value {
        let parse = |bytes: &[u8]| serde_json::from_slice(bytes).expect("JSON");
        match value {
            ValueRef::Inline(json) => parse(json.as_bytes()),
            ValueRef::Stored(stored) => {
                let values = self.kept.values.lock().expect("unpoisoned");
                let bytes = values.get(&stored.digest).expect("it was stored before it was named");
                assert_eq!(bytes.len() as u64, stored.bytes);
                parse(bytes)
            }
            ValueRef::List(list) => panic!("workers make no lists in parts: {list:?}"),
        }
    }

    pub fn set_down(&self, is_down: bool) {
        self.kept.is_down.store(is_down, SeqCst);
    }

    /// Requests that were turned away.
    pub fn refusals(&self) -> u32 {
        *self.kept.refused.borrow()
    }

    /// Waits until more than `before` requests were turned away.
    pub async fn refused_after(&self, before: u32) {
        let mut refused = self.kept.refused.subscribe();
        super::stage::within(refused.wait_for(|refused| *refused > before)).await.expect("the sender lives");
    }

    pub fn fetches(&self, stored: Stored) -> u32 {
        self.kept.fetches.lock().expect("unpoisoned").get(&stored.digest).copied().unwrap_or(0)
    }

    pub fn fetched_bytes(&self) -> u64 {
        self.kept.fetched_bytes.load(SeqCst)
    }
}
