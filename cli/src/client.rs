//! The scheduler's HTTP interface, from the side of those who call it.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, StreamExt, stream::BoxStream};
use proto::{
    codec,
    explain::ExplainDocument,
    id::{Digest, KeyName, RunId, ScheduleName, TaskName, WorkflowName},
    job::{Answer, Message, Problem},
    json::Json,
    limits::VALUE_BYTES_MAX,
    schedule::{Definition, ScheduleDocument, SchedulesDocument},
    time::Timestamp,
    view::{ContextDocument, ItemsDocument, ListDocument, Run, RunDocument, TimelineDocument},
};
use reqwest::{Method, Request, Response, StatusCode, Url, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ending::{Error, Exit},
    options::Server,
    output, sse,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A scheduler that says nothing for so long is gone; its streams say something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A scheduler, seen by its HTTP interface.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// The document of `GET /api/v1/workflows`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workflows {
    pub schema: u16,
    pub workflows: Vec<Registered>,
}

/// A registered workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    pub name: WorkflowName,
    pub digest: Digest,
    pub registered_at: Timestamp,
}

/// What is done again of a run: the body of `POST /api/v1/runs/{id}/rerun`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Again {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TaskName>,
    pub failed_items: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_id: Option<RunId>,
}

/// A fact about a run, as `GET /api/v1/runs/{id}/facts` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Happened {
    pub at: Timestamp,
    pub what: Json,
}

/// What the scheduler says when it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    detail: String,
    #[serde(default)]
    errors: Vec<Problem>,
}

/// The views of a run, as they change.
pub struct Views {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    reader: sse::Reader,
}

impl Client {
    /// A client of the scheduler at `server`. Nothing is connected yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(server: &Server) -> Result<Self, Error> {
        let base = server.server_url.clone();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("leveret/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_MAX);
        if is_loopback(&base) {
            // No proxy leads back to this machine.
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Reading the system's roots takes time, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| Error::failed("cannot set up HTTP").because(error))?;
        let token = server.token.clone().filter(|token| !token.is_empty());
        Ok(Self { http, base, token })
    }

    /// Hands in a job.
    pub async fn submit(&self, message: &Message) -> Result<Answer, Error> {
        self.call(Method::POST, &["api", "v1", "runs"], &[], codec::encode(message)).await
    }

    /// A run as it is. An output that is too large to come with it is fetched.
    pub async fn run(&self, id: &RunId) -> Result<RunDocument, Error> {
        let mut document: RunDocument = self.get(&["api", "v1", "runs", id.as_str()], &[]).await?;
        self.complete(&mut document.run).await?;
        Ok(document)
    }

    /// Fetches the output of `run` when it is too large to come with it.
    pub async fn complete(&self, run: &mut Run) -> Result<(), Error> {
        let Some(stored) = run.output_stored else { return Ok(()) };
        let fetched = self.bytes(Method::GET, &["values", &stored.digest.to_string()], &[], Vec::new()).await;
        let bytes = match fetched {
            Ok(bytes) => bytes,
            // Values are for workers. A token that may look at the run may not have them, which is no mistake.
            Err(error) if error.exit() == Exit::Usage => {
                output::note(&format!("the output of {} has {} bytes and is not shown", run.id, stored.bytes));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if Digest::of(&bytes) != stored.digest {
            return Err(Error::failed(format!("the output of {} arrived damaged", run.id)));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let output =
            Json::from_canonical(text).map_err(|error| Error::failed("the output is no JSON").because(error))?;
        run.output = Some(output);
        run.output_stored = None;
        Ok(())
    }

    /// Runs, newest first.
    pub async fn list(&self, filter: &[(&str, String)]) -> Result<ListDocument, Error> {
        self.get(&["api", "v1", "runs"], filter).await
    }

    /// Cancels a run.
    pub async fn cancel(&self, id: &RunId, reason: Option<&str>) -> Result<Answer, Error> {
        self.order(id, &["cancel"], codec::encode(&BTreeMap::from([("reason", reason)]))).await
    }

    /// Lets a run rest.
    pub async fn pause(&self, id: &RunId, reason: Option<&str>) -> Result<Answer, Error> {
        self.order(id, &["pause"], codec::encode(&BTreeMap::from([("reason", reason)]))).await
    }

    /// Lets a run that rests go on.
    pub async fn resume(&self, id: &RunId) -> Result<Answer, Error> {
        self.order(id, &["resume"], Vec::new()).await
    }

    /// Tells a run something. With a `signal_id` it is told once, however often this is called.
    pub async fn signal(
        &self,
        id: &RunId,
        name: &KeyName,
        payload: &Json,
        signal_id: Option<&str>,
    ) -> Result<Answer, Error> {
        let path = ["api", "v1", "runs", id.as_str(), "signals", name.as_str()];
        let query: Vec<_> = signal_id.map(|id| ("id", id.to_owned())).into_iter().collect();
        self.call(Method::POST, &path, &query, payload.as_bytes().to_vec()).await
    }

    /// Does a run again.
    pub async fn rerun(&self, id: &RunId, again: &Again) -> Result<Answer, Error> {
        self.order(id, &["rerun"], codec::encode(again)).await
    }

    async fn order(&self, id: &RunId, order: &[&str], body: Vec<u8>) -> Result<Answer, Error> {
        let path = [&["api", "v1", "runs", id.as_str()], order].concat();
        self.call(Method::POST, &path, &[], body).await
    }

    /// Everything that happened to a run, in order.
    pub async fn facts(&self, id: &RunId) -> Result<Vec<Happened>, Error> {
        self.get(&["api", "v1", "runs", id.as_str(), "facts"], &[]).await
    }

    /// When each task of a run started and ended.
    pub async fn timeline(&self, id: &RunId) -> Result<TimelineDocument, Error> {
        self.get(&["api", "v1", "runs", id.as_str(), "timeline"], &[]).await
    }

    /// Everything that a run has come to know.
    pub async fn context(&self, id: &RunId) -> Result<ContextDocument, Error> {
        self.get(&["api", "v1", "runs", id.as_str(), "context"], &[]).await
    }

    /// A page of the items of a run that failed.
    pub async fn failed_items(&self, id: &RunId, page: u32) -> Result<ItemsDocument, Error> {
        let query = [("status", "failed".to_owned()), ("page", page.to_string())];
        self.get(&["api", "v1", "runs", id.as_str(), "items"], &query).await
    }

    /// What a task of a run was given.
    pub async fn explain(&self, id: &RunId, query: &[(&str, String)]) -> Result<ExplainDocument, Error> {
        self.get(&["api", "v1", "runs", id.as_str(), "explain"], query).await
    }

    /// Every registered workflow.
    pub async fn workflows(&self) -> Result<Workflows, Error> {
        self.get(&["api", "v1", "workflows"], &[]).await
    }

    /// Registers a workflow under its name.
    pub async fn register(&self, name: &WorkflowName, source: &str) -> Result<Registered, Error> {
        self.call(Method::PUT, &["api", "v1", "workflows", name.as_str()], &[], source.as_bytes().to_vec()).await
    }

    /// Every schedule.
    pub async fn schedules(&self) -> Result<SchedulesDocument, Error> {
        self.get(&["api", "v1", "schedules"], &[]).await
    }

    /// Makes a schedule, or changes it.
    pub async fn put_schedule(&self, name: &ScheduleName, definition: &Definition) -> Result<ScheduleDocument, Error> {
        self.call(Method::PUT, &["api", "v1", "schedules", name.as_str()], &[], codec::encode(definition)).await
    }

    /// Removes a schedule.
    pub async fn remove_schedule(&self, name: &ScheduleName) -> Result<(), Error> {
        let removed = self.bytes(Method::DELETE, &["api", "v1", "schedules", name.as_str()], &[], Vec::new()).await;
        removed.map(|_nothing| ())
    }

    /// Follows a run: its view now, and each after a change. The last one is of a run that has ended, unless the
    /// scheduler goes away before.
    pub async fn views(&self, id: &RunId) -> Result<Views, Error> {
        let request = self.request(Method::GET, &["api", "v1", "runs", id.as_str(), "events"], &[], Vec::new());
        let response = self.send(request).await?;
        Ok(Views { bytes: response.bytes_stream().boxed(), reader: sse::Reader::default() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, Error> {
        self.call(Method::GET, path, query, Vec::new()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<T, Error> {
        let bytes = self.bytes(method, path, query, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("what {} answers is not understood", self.base);
            Error::failed(message).because(error).with_help("is that a Leveret scheduler, of about this version?")
        })
    }

    async fn bytes(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let response = self.send(self.request(method, path, query, body)).await?;
        // The output of a run comes with it, and values are the longest that there is.
        read(response.bytes_stream(), 2 * VALUE_BYTES_MAX).await.map_err(|error| self.unreachable(&error))
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)], body: Vec<u8>) -> Request {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http addresses have paths").pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::new(method, url);
        if let Some(value) = self.token.as_ref().and_then(|token| format!("Bearer {token}").parse().ok()) {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        *request.body_mut() = (!body.is_empty()).then(|| body.into());
        request
    }

    async fn send(&self, request: Request) -> Result<Response, Error> {
        let response = self.http.execute(request).await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(self.refused(status, response).await),
        }
    }

    async fn refused(&self, status: StatusCode, response: Response) -> Error {
        let body = read(response.bytes_stream(), VALUE_BYTES_MAX).await.unwrap_or_default();
        let refusal = serde_json::from_slice(&body).ok();
        let Refusal { detail, errors } = refusal
            .unwrap_or_else(|| Refusal { detail: format!("{} answers {status}", self.base), errors: Vec::new() });
        let detail = if errors.is_empty() { detail } else { "the scheduler refuses it".to_owned() };
        match status {
            StatusCode::NOT_FOUND => Error::missing(detail).with_problems(errors),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::usage(detail).with_help("give a token that may do this with --token or LEVERET_TOKEN")
            }
            status if status.is_server_error() => {
                Error::missing(detail).with_help("try again in a moment; its log says more")
            }
            _ => Error::usage(detail).with_problems(errors),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::missing(format!("cannot reach the scheduler at {}", self.base))
            .because(Underlying(error))
            .with_help("start one with `leveret dev`, or say where it is with --server or LEVERET_SERVER_URL")
    }
}

impl Views {
    /// The next one; `None` when the scheduler ended the stream. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Run, Error>> {
        loop {
            while let Some(event) = self.reader.next() {
                if event.name == "run" {
                    let document: Result<RunDocument, _> = serde_json::from_str(&event.data);
                    let run = document.map(|document| document.run);
                    return Some(run.map_err(|error| Error::failed("an event is not understood").because(error)));
                }
            }
            // What arrived is in the reader before anything is waited for again.
            match self.bytes.next().await? {
                Ok(bytes) => match self.reader.feed(&bytes) {
                    Ok(()) => {}
                    Err(error) => return Some(Err(Error::failed("an event is not understood").because(error))),
                },
                // To the one who follows, a broken stream is an ended one.
                Err(_) => return None,
            }
        }
    }
}

/// What went wrong below HTTP, without the address, which the message has already.
#[derive(Debug)]
struct Underlying<'a>(&'a reqwest::Error);

impl std::fmt::Display for Underlying<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut deepest: &dyn std::error::Error = self.0;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        write!(f, "{deepest}")
    }
}

impl std::error::Error for Underlying<'_> {}

async fn read(bytes: impl Stream<Item = reqwest::Result<bytes::Bytes>>, bytes_max: usize) -> reqwest::Result<Vec<u8>> {
    let mut bytes = std::pin::pin!(bytes);
    let mut all = Vec::new();
    while let Some(chunk) = bytes.next().await {
        all.extend_from_slice(&chunk?);
        if all.len() > bytes_max {
            // It will not parse, which is then said.
            break;
        }
    }
    Ok(all)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
