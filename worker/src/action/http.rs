//! `http.request`: one HTTP request, and its response within bounds.

mod client;
mod response;

use std::{collections::BTreeMap, path::PathBuf};

use futures_util::future::BoxFuture;
use reqwest::{
    Method, RequestBuilder, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use self::client::{Clients, Follow, Profile, Trust};
pub use self::client::{Proxy, client};
use super::{
    Action, Call, Error, duration, object, read,
    scalar::{self, Scalar},
};

/// Bytes of a response's body that are kept.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// `http.request`. Connections are kept and used again by all calls of the process.
#[derive(Debug)]
pub struct Request {
    clients: Clients,
}

#[derive(Deserialize)]
struct Input {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Scalar>,
    #[serde(default)]
    query: BTreeMap<String, OneOrMany<Scalar>>,
    #[serde(default, deserialize_with = "given")]
    json: Option<Value>,
    body: Option<String>,
    timeout: Option<Value>,
    expect_status: Option<OneOrMany<u16>>,
    follow: Option<bool>,
    #[serde(default)]
    tls: Tls,
}

#[derive(Default, Deserialize)]
struct Tls {
    verify: Option<bool>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new(Proxy::Environment)
    }
}

impl Request {
    /// The action with a client of its own.
    #[must_use]
    pub fn new(proxy: Proxy) -> Self {
        Self { clients: Clients::new(proxy) }
    }

    async fn send(&self, input: Input) -> Result<Value, Error> {
        let url = url(&input)?;
        let method = method(&input)?;
        let client = self.clients.get(profile(&input).await?).await?;
        let mut request = client.request(method.clone(), url.clone()).headers(headers(&input)?);
        if let Some(timeout) = &input.timeout {
            request = request.timeout(duration::of("timeout", timeout)?);
        }
        let what = response::What { method, url };
        let answer = with_body(request, &input)?.send().await.map_err(|error| what.failed(error))?;
        let expected = input.expect_status.as_ref().map(OneOrMany::as_slice);
        response::read(answer, expected, &what).await
    }
}

impl Action for Request {
    fn name(&self) -> &str {
        "http.request"
    }

    fn input_schema(&self) -> Value {
        let status = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        let one_or_many = |one: &Value, kinds: &[&str]| {
            let mut schema = one.clone();
            schema["type"] = [kinds, &["array"]].concat().into();
            schema["items"] = one.clone();
            schema
        };
        let properties = json!({
            "method": { "type": "string", "pattern": "^[A-Za-z]+$", "default": "GET" },
            "url": { "type": "string", "minLength": 1, "description": "http or https" },
            "headers": { "type": "object", "additionalProperties": scalar::schema() },
            "query": {
                "type": "object",
                "additionalProperties": one_or_many(&scalar::schema(), &["string", "number", "boolean"]),
            },
            "json": { "description": "sent as the body, with content-type application/json" },
            "body": { "type": "string" },
            "timeout": duration::schema(),
            "expect_status": one_or_many(&status, &["integer"]),
            "follow": { "type": "boolean", "default": true, "description": "follow up to 10 redirects" },
            "tls": object(json!({
                "verify": { "type": "boolean", "default": true },
                "ca_file": { "type": "string", "minLength": 1, "description": "PEM, trusted besides the system's" },
            }), &[]),
        });
        object(properties, &["url"])
    }

    fn output_schema(&self) -> Value {
        let properties = json!({
            "status": { "type": "integer" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } },
            "body": { "type": "string" },
            "body_truncated": { "type": "boolean" },
            "json": { "description": "the body as JSON when its content-type says so, else null" },
        });
        object(properties, &["status", "headers", "body", "body_truncated", "json"])
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async { call.or_canceled(self.send(read(input)?)).await })
    }
}

/// What lies at the bottom of a failed request, without its address. The errors around the innermost one say only that
/// a request was being sent.
pub(crate) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Null is a JSON body as well; only a missing key is none.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

fn url(input: &Input) -> Result<Url, Error> {
    let mut url = Url::parse(&input.url).map_err(|error| Error::input(format!("input.url: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::input(format!("input.url: {} is not http or https", url.scheme())));
    }
    if !input.query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, values) in &input.query {
            pairs.extend_pairs(values.as_slice().iter().map(|value| (name, value.to_string())));
        }
    }
    Ok(url)
}

fn method(input: &Input) -> Result<Method, Error> {
    let name = input.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    Method::from_bytes(name.as_bytes()).map_err(|error| Error::input(format!("input.method: {error}")))
}

/// The headers; an error names them and never shows their values, which are often secret.
fn headers(input: &Input) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in &input.headers {
        let bad = |what: &str| Error::input(format!("input.headers.{name}: not a valid {what}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("name"))?;
        headers.insert(name, HeaderValue::try_from(value.to_string()).map_err(|_| bad("value"))?);
    }
    if input.json.is_some() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

fn with_body(request: RequestBuilder, input: &Input) -> Result<RequestBuilder, Error> {
    match (&input.json, &input.body) {
        (None, None) => Ok(request),
        (Some(json), None) => Ok(request.body(json.to_string())),
        (None, Some(body)) => Ok(request.body(body.clone())),
        (Some(_), Some(_)) => Err(Error::input("input: give either json or body")),
    }
}

async fn profile(input: &Input) -> Result<Profile, Error> {
    let follow = match input.follow.unwrap_or(true) {
        true => Follow::Redirects,
        false => Follow::Nothing,
    };
    let trust = match (input.tls.verify.unwrap_or(true), &input.tls.ca_file) {
        (true, None) => Trust::System,
        (false, None) => Trust::Anyone,
        (true, Some(path)) => Trust::also(path).await?,
        (false, Some(_)) => return Err(Error::input("input.tls: ca_file has no meaning with verify: false")),
    };
    Ok(Profile { follow, trust })
}
