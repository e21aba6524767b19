//! What a plugin answers.

use proto::json;
use serde::Deserialize;
use serde_json::{Deserializer, Value};

use crate::action::Error;

/// The most characters of an error's code.
const CODE_CHARS_MAX: usize = 64;

/// One JSON document. An unknown key is a mistake, such as `results`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    status: Status,
    result: Option<Value>,
    error: Option<Problem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Succeeded,
    Failed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Problem {
    code: String,
    message: String,
    #[serde(default)]
    details: Value,
}

/// The result or the failure that `stdout` tells, or how it breaks the rules: the end of a sentence about the response.
pub(super) fn read(stdout: &[u8]) -> Result<Result<Value, Error>, String> {
    json::check(stdout).map_err(|error| format!("cannot be taken: {error}"))?;
    let mut documents = Deserializer::from_slice(stdout).into_iter::<Response>();
    let response = match documents.next() {
        None => return Err("is empty: write one JSON document to stdout".to_owned()),
        Some(Err(error)) if error.is_data() => return Err(format!("is not of the form that it must have: {error}")),
        Some(Err(error)) => return Err(format!("is not JSON: {error}")),
        Some(Ok(response)) => response,
    };
    let rest = &stdout[documents.byte_offset()..];
    if !rest.iter().all(u8::is_ascii_whitespace) {
        return Err(
            "is followed by something else: stdout is for one JSON document, stderr for all other words".to_owned()
        );
    }
    match response {
        Response { status: Status::Succeeded, result, error: None } => Ok(Ok(result.unwrap_or_default())),
        Response { status: Status::Failed, result: None, error: Some(problem) } => failed(problem).map(Err),
        Response { status: Status::Succeeded, error: Some(_), .. } => {
            Err("has an `error` though its status is succeeded".to_owned())
        }
        Response { status: Status::Failed, error: None, .. } => {
            Err("has no `error` though its status is failed".to_owned())
        }
        Response { status: Status::Failed, result: Some(_), .. } => {
            Err("has a `result` though its status is failed: say it in `error.details`".to_owned())
        }
    }
}

fn failed(Problem { code, message, details }: Problem) -> Result<Error, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match !code.is_empty() && code.len() <= CODE_CHARS_MAX && code.chars().all(is_word) {
        true => Ok(Error::new(code, message).with_result(details)),
        false => Err(format!("has an `error.code` that is no word of 1 to {CODE_CHARS_MAX} of A-Z a-z 0-9 . _ -")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_and_failures_are_read() {
        let succeeded = |text: &str| read(text.as_bytes()).expect("valid").expect("succeeded");
        assert_eq!(succeeded(" {\"status\": \"succeeded\", \"result\": [1]}\n\n"), json!([1]));
        assert_eq!(succeeded("{\"status\": \"succeeded\"}"), Value::Null);
        let text =
            r#"{"status": "failed", "error": {"code": "disk_full", "message": "no room", "details": {"left": 0}}}"#;
        let error = read(text.as_bytes()).expect("valid").expect_err("failed");
        assert_eq!(error, Error::new("disk_full", "no room").with_result(json!({ "left": 0 })));
    }

    #[test]
    fn everything_else_is_told() {
        for (text, reason) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("done", "is not JSON"),
            ("{\"status\": \"succeeded\"", "is not JSON"),
            ("{\"status\": \"succeeded\"} {}", "is followed by something else"),
            ("{\"status\": \"succeeded\"}\ndone", "is followed by something else"),
            ("{\"status\": \"succeeded\", \"results\": 1}", "unknown field `results`"),
            ("{\"result\": 1}", "missing field `status`"),
            ("{\"status\": \"done\"}", "unknown variant `done`"),
            ("[]", "is not of the form"),
            ("7", "is not of the form"),
            ("{\"status\": \"failed\"}", "has no `error`"),
            (
                "{\"status\": \"failed\", \"result\": 1, \"error\": {\"code\": \"a\", \"message\": \"\"}}",
                "has a `result`",
            ),
            ("{\"status\": \"succeeded\", \"error\": {\"code\": \"a\", \"message\": \"\"}}", "has an `error`"),
            ("{\"status\": \"failed\", \"error\": {\"code\": \"a b\", \"message\": \"\"}}", "is no word"),
            ("{\"status\": \"failed\", \"error\": {\"code\": \"a\"}}", "missing field `message`"),
            ("{\"status\": \"succeeded\", \"result\": 123456789012345678901}", "cannot be taken"),
        ] {
            let told = read(text.as_bytes()).expect_err(text);
            assert!(told.contains(reason), "{text}: {told}");
        }
        assert!(read("[".repeat(1_000).as_bytes()).expect_err("too deep").contains("cannot be taken"));
        assert!(read(b"\xff").expect_err("no text").contains("is not JSON"));
    }
}
