//! From a response to a result, and from what went wrong to an error.

use std::collections::BTreeMap;

use proto::json;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json};

use super::{BODY_BYTES_MAX, Error, cause};

/// What was requested, for messages.
#[derive(Debug)]
pub(super) struct What {
    pub method: Method,
    pub url: Url,
}

impl What {
    /// Without user, password and query, which may be secret.
    fn shown(&self) -> String {
        let Self { method, url } = self;
        let (host, path) = (url.host_str().unwrap_or_default(), url.path());
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{method} {}://{host}{port}{path}", url.scheme())
    }

    /// The error of a request that got no whole response.
    pub(super) fn failed(&self, error: reqwest::Error) -> Error {
        let code = if error.is_connect() {
            "http_connect"
        } else if error.is_timeout() {
            "http_timeout"
        } else if error.is_redirect() {
            "http_redirect"
        } else {
            "http_error"
        };
        let cause = cause(error);
        Error::new(code, format!("{}: {cause}", self.shown()))
    }
}

/// The result of a response whose status is one of `expected`, or 2xx where nothing is said.
///
/// # Errors
/// `http_status` with the result for any other status; as [`What::failed`] when it breaks off.
pub(super) async fn read(mut response: Response, expected: Option<&[u16]>, what: &What) -> Result<Value, Error> {
    let status = response.status();
    let (body, is_truncated) = body(&mut response, what).await?;
    let says_json = is_json(response.headers());
    let parsed = match says_json && !is_truncated && json::check(&body).is_ok() {
        true => serde_json::from_slice(&body).unwrap_or_default(),
        false => Value::Null,
    };
    let result = json!({
        "status": status.as_u16(),
        "headers": shown(response.headers()),
        "body": String::from_utf8_lossy(&body),
        "body_truncated": is_truncated,
        "json": parsed,
    });
    if expected.map_or(status.is_success(), |expected| expected.contains(&status.as_u16())) {
        return Ok(result);
    }
    let text = format!("{}: status {}", what.shown(), named(status));
    Err(Error::new("http_status", text).with_result(result))
}

/// The first [`BODY_BYTES_MAX`] bytes of the body, and whether there were more; those are not read.
async fn body(response: &mut Response, what: &What) -> Result<(Vec<u8>, bool), Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| what.failed(error))? {
        let room = BODY_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

/// The headers as texts; several of one name are joined by a comma, as HTTP reads them.
fn shown(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut shown = BTreeMap::<_, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        shown
            .entry(name.as_str())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    shown
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn named(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}
