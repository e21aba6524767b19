//! Files on the worker's machine: `file.read_lines` and `file.write`.
//!
//! File systems have no way to wait without a thread, so each action runs on the blocking pool. Both want regular
//! files: reading a pipe could wait for ever, and replacing a device such as `/dev/null` would take it away from
//! everybody.

mod lines;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use self::lines::Wanted;
pub use self::write::{Content, Mode};
use super::{Action, Call, Error, object, read};

/// `file.read_lines`: the lines of a text file, or lists of at most `batch` of them, as a list to loop over.
#[derive(Debug)]
pub struct ReadLines;

#[derive(Deserialize)]
struct ReadInput {
    path: PathBuf,
    max_lines: Option<usize>,
    #[serde(default)]
    skip_blank: bool,
    batch: Option<usize>,
}

impl Action for ReadLines {
    fn name(&self) -> &str {
        "file.read_lines"
    }

    fn input_schema(&self) -> Value {
        let properties = json!({
            "path": { "type": "string", "minLength": 1 },
            "max_lines": { "type": "integer", "minimum": 0, "description": "stop after that many lines" },
            "skip_blank": { "type": "boolean", "description": "leave out lines of white space only" },
            "batch": { "type": "integer", "minimum": 1, "description": "give lists of that many lines" },
        });
        object(properties, &["path"])
    }

    fn output_schema(&self) -> Value {
        let line = json!({ "type": "string" });
        json!({ "type": "array", "items": { "anyOf": [line, { "type": "array", "items": line }] } })
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let input: ReadInput = read(input)?;
            let wanted = Wanted { lines_max: input.max_lines.unwrap_or(usize::MAX), skip_blank: input.skip_blank };
            let cancel = call.cancel.clone();
            let lines = call.or_canceled(blocking(move || lines::read(&input.path, wanted, &cancel))).await?;
            Ok(match input.batch {
                None => lines.into_iter().map(Value::String).collect(),
                Some(batch) => lines.chunks(batch).map(|lines| json!(lines)).collect(),
            })
        })
    }
}

/// `file.write`: writes a text, or any other JSON in its readable form. The file is replaced as a whole, so that
/// nobody ever reads half of it; with `append` it grows.
#[derive(Debug)]
pub struct Write;

#[derive(Deserialize)]
struct WriteInput {
    path: PathBuf,
    content: Value,
    #[serde(default)]
    append: bool,
    mode: Option<String>,
}

impl Action for Write {
    fn name(&self) -> &str {
        "file.write"
    }

    fn input_schema(&self) -> Value {
        // The mode is a text only: YAML reads 0644 as the decimal number 644, which is another mode.
        let properties = json!({
            "path": { "type": "string", "minLength": 1 },
            "content": { "description": "a text, or any JSON" },
            "append": { "type": "boolean" },
            "mode": { "type": "string", "pattern": "^[0-7]{3,4}$", "description": "permissions, such as \"0640\"" },
        });
        object(properties, &["path", "content"])
    }

    fn output_schema(&self) -> Value {
        object(json!({ "path": { "type": "string" }, "bytes": { "type": "integer" } }), &["path", "bytes"])
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let WriteInput { path, content, append, mode } = read(input)?;
            let mode = mode.map(|mode| Mode::read(&mode)).transpose()?;
            let content = Content::of(content);
            match append {
                true => call.or_canceled(extend(path, content, mode)).await,
                false => call.or_canceled(replace(path, content, mode)).await,
            }
        })
    }
}

/// Replaces the file at `path` as a whole, and says what was written: `{path, bytes}`.
pub(super) async fn replace(path: PathBuf, content: Content, mode: Option<Mode>) -> Result<Value, Error> {
    blocking(move || write::replace(&path, &content, mode).map(|()| written(&path, &content))).await
}

async fn extend(path: PathBuf, content: Content, mode: Option<Mode>) -> Result<Value, Error> {
    blocking(move || write::extend(&path, &content, mode).map(|()| written(&path, &content))).await
}

fn written(path: &Path, content: &Content) -> Value {
    json!({ "path": path.to_string_lossy(), "bytes": content.as_bytes().len() })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("work on files does not panic")
}

/// The error of an operation on `path`.
fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::NotFound => "file_not_found",
        io::ErrorKind::PermissionDenied => "file_denied",
        _ => "file_error",
    };
    Error::new(code, format!("cannot {doing} {}: {error}", path.display()))
}

fn not_regular(path: &Path) -> Error {
    Error::new("file_not_regular", format!("{} is not a regular file", path.display()))
}
