//! The client of the values service against a real server that is busy, broken or lying as the test wants it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use leveret_worker::{
    action::http::{self, Proxy},
    values::{Error, Settings, Values},
};
use proto::{id::Digest, limits::VALUE_BYTES_MAX, value::Stored};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

const DEADLINE: Duration = Duration::from_secs(15);

/// What the service does with a request instead of answering it.
enum Mood {
    Busy { after: Option<&'static str> },
    Status(StatusCode),
    Silent,
    BreakOff,
    Lie(&'static str),
}

struct Service {
    stored: Mutex<HashMap<String, Bytes>>,
    moods: Mutex<VecDeque<Mood>>,
    asked: AtomicUsize,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    gate: Semaphore,
}

type Shared = Arc<Service>;

async fn moody(service: &Service, headers: &HeaderMap) -> Option<Response> {
    service.asked.fetch_add(1, SeqCst);
    if headers.get("authorization").is_none_or(|token| token != "Bearer sesame") {
        return Some((StatusCode::UNAUTHORIZED, "who are you").into_response());
    }
    let mood = service.moods.lock().expect("unpoisoned").pop_front()?;
    Some(match mood {
        Mood::Busy { after: None } => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Busy { after: Some(after) } => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, after)]).into_response(),
        Mood::Status(status) => status.into_response(),
        Mood::Silent => std::future::pending().await,
        Mood::BreakOff => {
            let pieces = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures_util::stream::iter(pieces)).into_response()
        }
        Mood::Lie(text) => text.into_response(),
    })
}

async fn fetch(State(service): State<Shared>, Path(digest): Path<String>, headers: HeaderMap) -> Response {
    if let Some(response) = moody(&service, &headers).await {
        return response;
    }
    let inside = service.inside.fetch_add(1, SeqCst) + 1;
    service.most_inside.fetch_max(inside, SeqCst);
    let _passed = service.gate.acquire().await.expect("open");
    service.inside.fetch_sub(1, SeqCst);
    match service.stored.lock().expect("unpoisoned").get(&digest) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn store(
    State(service): State<Shared>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    if let Some(response) = moody(&service, &headers).await {
        return response;
    }
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    service.stored.lock().expect("unpoisoned").insert(digest, bytes);
    StatusCode::NO_CONTENT.into_response()
}

/// A service, and what talks to it.
struct Lab {
    service: Shared,
    base: String,
    _serving: JoinSet<()>,
}

impl Lab {
    async fn open(moods: impl IntoIterator<Item = Mood>) -> Self {
        let service = Arc::new(Service {
            stored: Mutex::default(),
            moods: Mutex::new(moods.into_iter().collect()),
            asked: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
            gate: Semaphore::new(1_000),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}/prefix/", listener.local_addr().expect("bound"));
        let router = Router::new()
            .route("/prefix/values/{digest}", get(fetch).put(store))
            .layer(DefaultBodyLimit::max(VALUE_BYTES_MAX))
            .with_state(service.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { service, base, _serving: serving }
    }

    fn values(&self) -> Values {
        self.values_with(Settings::default())
    }

    fn values_with(&self, settings: Settings) -> Values {
        let client = http::client(Proxy::None).expect("a client");
        Values::with_settings(&self.base, Some("sesame".to_owned()), client, settings).expect("an address")
    }

    fn keep(&self, bytes: &'static [u8]) -> Stored {
        let stored = Stored::of(bytes);
        let mut all = self.service.stored.lock().expect("unpoisoned");
        all.insert(stored.digest.to_string(), Bytes::from_static(bytes));
        stored
    }

    fn asked(&self) -> usize {
        self.service.asked.load(SeqCst)
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("in time")
}

#[tokio::test]
async fn what_is_stored_comes_back() {
    let lab = Lab::open([]).await;
    let values = lab.values();
    for bytes in [Bytes::from_static(b"[1]"), Bytes::from(vec![b'7'; 5 << 20])] {
        let stored = within(values.put(&bytes)).await.expect("stored");
        assert_eq!(stored, Stored::of(&bytes));
        assert_eq!(within(values.put(&bytes)).await.expect("stored again"), stored);
        assert_eq!(within(values.get(&stored)).await.expect("fetched"), bytes);
    }
}

#[tokio::test]
async fn a_bad_moment_is_waited_out() {
    let moods = || {
        [
            Mood::Busy { after: None },
            Mood::Status(StatusCode::BAD_GATEWAY),
            Mood::BreakOff,
            Mood::Busy { after: Some("Wed, 21 Oct 2026 07:28:00 GMT") },
        ]
    };
    let lab = Lab::open(moods()).await;
    let stored = lab.keep(b"\"here\"");
    assert_eq!(within(lab.values().get(&stored)).await.expect("fetched"), "\"here\"");
    assert_eq!(lab.asked(), 5);
    let lab = Lab::open([Mood::Busy { after: None }, Mood::Status(StatusCode::INTERNAL_SERVER_ERROR)]).await;
    within(lab.values().put(&Bytes::from_static(b"1"))).await.expect("stored");
    assert_eq!(lab.asked(), 3);
}

#[tokio::test]
async fn a_busy_service_is_left_alone_as_long_as_it_asks() {
    let lab = Lab::open([Mood::Busy { after: Some("1") }]).await;
    let stored = lab.keep(b"1");
    let began = Instant::now();
    within(lab.values().get(&stored)).await.expect("fetched");
    assert!(began.elapsed() >= Duration::from_secs(1));
    for after in ["3600", "18446744073709551615"] {
        let lab = Lab::open([Mood::Busy { after: Some(after) }]).await;
        let error = within(lab.values().get(&stored)).await.expect_err("an hour is too long");
        assert!(matches!(error, Error::Unavailable { tries: 1, .. }), "{error}");
    }
}

#[tokio::test]
async fn patience_has_an_end() {
    let settings = Settings { patience: Duration::from_millis(300), ..Settings::default() };
    let lab = Lab::open((0..100).map(|_| Mood::Busy { after: None })).await;
    let error = within(lab.values_with(settings.clone()).get(&Stored::of(b"1"))).await.expect_err("always busy");
    assert!(matches!(&error, Error::Unavailable { tries: 2.., last } if last.contains("503")), "{error}");
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let client = http::client(Proxy::None).expect("a client");
    let values = Values::with_settings(&format!("http://{gone}"), None, client, settings).expect("an address");
    let error = within(values.get(&Stored::of(b"1"))).await.expect_err("nobody listens");
    assert!(matches!(&error, Error::Unavailable { last, .. } if last.contains("refused")), "{error}");
}

#[tokio::test]
async fn a_silent_service_costs_one_try() {
    let lab = Lab::open([Mood::Silent]).await;
    let stored = lab.keep(b"1");
    let settings = Settings { attempt: Duration::from_millis(100), ..Settings::default() };
    within(lab.values_with(settings).get(&stored)).await.expect("fetched");
    assert_eq!(lab.asked(), 2);
}

#[tokio::test]
async fn what_cannot_get_better_is_not_tried_again() {
    let lab = Lab::open([]).await;
    let stored = Stored::of(b"nobody has it");
    let error = within(lab.values().get(&stored)).await.expect_err("absent");
    assert!(matches!(error, Error::Absent(digest) if digest == stored.digest), "{error}");
    let client = http::client(Proxy::None).expect("a client");
    let stranger = Values::new(&lab.base, None, client).expect("an address");
    let error = within(stranger.get(&stored)).await.expect_err("no token");
    assert!(matches!(&error, Error::Refused { status: 401, reason } if reason == "who are you"), "{error}");
    assert_eq!(lab.asked(), 2);
}

#[tokio::test]
async fn what_came_is_checked() {
    let lab = Lab::open(["12", "7", ""].map(Mood::Lie)).await;
    let values = lab.values();
    for _ in 0..3 {
        let error = within(values.get(&Stored::of(b"1"))).await.expect_err("not what was asked for");
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
    assert_eq!(lab.asked(), 3);
}

#[tokio::test]
async fn values_have_a_largest_size() {
    let lab = Lab::open([Mood::Status(StatusCode::PAYLOAD_TOO_LARGE)]).await;
    let values = lab.values();
    let large = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    assert!(matches!(values.put(&large).await, Err(Error::TooLarge { .. })));
    let stored = Stored { bytes: VALUE_BYTES_MAX as u64 + 1, ..Stored::of(b"1") };
    assert!(matches!(values.get(&stored).await, Err(Error::TooLarge { .. })));
    assert_eq!(lab.asked(), 0, "the service is not even asked");
    assert!(matches!(within(values.put(&Bytes::from_static(b"1"))).await, Err(Error::TooLarge { bytes: 1 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_transfers_run_at_once() {
    let lab = Lab::open([]).await;
    let stored = lab.keep(b"1");
    let all = lab.service.gate.acquire_many(1_000).await.expect("open");
    let values = Arc::new(lab.values_with(Settings { transfers_max: 3, ..Settings::default() }));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let values = values.clone();
        callers.spawn(async move { values.get(&stored).await.expect("fetched") });
    }
    let three = async {
        while lab.service.inside.load(SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    };
    within(three).await;
    drop(all);
    assert_eq!(within(callers.join_all()).await.len(), 20);
    assert_eq!(lab.service.most_inside.load(SeqCst), 3);
}

#[test]
fn addresses_and_tokens_are_checked() {
    let make = |base: &str, token: Option<&str>| {
        Values::new(base, token.map(str::to_owned), http::client(Proxy::None).expect("a client")).map(drop)
    };
    assert!(matches!(make("localhost:7780", None), Err(Error::Address(_))));
    assert!(matches!(make("ftp://a", None), Err(Error::Address(_))));
    assert!(matches!(make("http://a", Some("x\ny")), Err(Error::Token)));
    assert!(make("https://a/b", Some("x")).is_ok());
}
