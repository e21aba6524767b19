//! `process.plugin`: an action in any language, as an executable that reads one JSON request and writes one JSON response.
//!
//! Reading order: [`Run`] starts the executable by `process` as `shell.run` does, `request` is what it is asked, `listen`
//! is what it says meanwhile on stderr, and `response` is what it must answer.

mod listen;
mod request;
mod response;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use proto::limits::VALUE_BYTES_MAX;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use self::listen::{Heard, Listener};
use super::{
    Action, Call, Error, object,
    process::{self, Bounds, Ended, Exit},
    read,
    scalar::{self, Scalar},
};
use crate::blocking;

/// `process.plugin`. The executable runs in a process group of its own, which is what a cancel or a timeout ends: SIGTERM
/// first, SIGKILL after [`Settings::grace`].
#[derive(Debug, Default)]
pub struct Run {
    settings: Settings,
}

/// Bounds of `process.plugin`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long to wait for the end of the output after the executable ended: a process that it left behind may hold the
    /// pipe open for ever.
    pub linger: Duration,
    /// Bytes that a response has at most.
    pub response_bytes_max: usize,
    /// Bytes kept of stderr.
    pub stderr_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            response_bytes_max: VALUE_BYTES_MAX,
            stderr_bytes_max: 64 * 1024,
        }
    }
}

#[derive(Deserialize)]
struct Input {
    argv: Vec<Scalar>,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    cwd: Option<PathBuf>,
}

impl Run {
    /// The action with other bounds.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    async fn answer(&self, input: Input, call: &Call) -> Result<Value, Error> {
        let (mut command, name) = process::program(&input.argv)?;
        process::surround(&mut command, &input.env, input.cwd.as_deref(), call)?;
        let request = request::write(input.input, call).await;
        let mut listener = Listener::new(self.settings.stderr_bytes_max);
        let ended =
            self.ended(command, request, call, &mut listener).await.map_err(|error| unstarted(&name, &error))?;
        let heard = listener.end();
        let exit = ended.exit;
        let answer = match exit {
            Exit::Code(0) => self.response(ended, &name).await,
            Exit::Code(code) => Err(Error::new("plugin_exit", format!("{name} exited with {code}"))),
            Exit::Signal(signal) => {
                Err(Error::new("plugin_exit", format!("{name} was ended by {}", process::signal_name(signal))))
            }
            Exit::Canceled => Err(Error::canceled()),
        };
        answer.map_err(|error| explained(error, exit, &heard))
    }

    async fn ended(
        &self,
        command: Command,
        request: Vec<u8>,
        call: &Call,
        listener: &mut Listener,
    ) -> io::Result<Ended> {
        let Settings { grace, linger, response_bytes_max, .. } = self.settings;
        // The listener keeps what stderr says.
        let bounds = Bounds { grace, linger, stdout_bytes_max: response_bytes_max, stderr_bytes_max: 0 };
        let hear = |piece: &[u8]| listener.hear(piece, |percent| tracing::info!(key = call.key, percent, "progress"));
        process::run(command, Some(request), &call.cancel, bounds, hear).await
    }

    async fn response(&self, ended: Ended, name: &str) -> Result<Value, Error> {
        let stdout = ended.stdout;
        let invalid = |reason: String| Error::new("plugin_response", format!("the response of {name} {reason}"));
        if stdout.is_truncated {
            return Err(invalid(format!("has more than {} bytes", self.settings.response_bytes_max)));
        }
        let read = blocking::sized(stdout.bytes.len(), move || response::read(&stdout.bytes)).await;
        read.map_err(invalid)?
    }
}

impl Action for Run {
    fn name(&self) -> &str {
        "process.plugin"
    }

    fn input_schema(&self) -> Value {
        let properties = json!({
            "argv": { "type": "array", "minItems": 1, "items": scalar::schema() },
            "input": { "description": "what the executable gets as input, of any type" },
            "env": process::env_schema(),
            "cwd": { "type": "string", "minLength": 1 },
        });
        object(properties, &["argv"])
    }

    fn output_schema(&self) -> Value {
        json!(true)
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async { self.answer(read(input)?, call).await })
    }
}

/// Why there is no process. The system says "not found" of a script whose interpreter is missing, too.
fn unstarted(name: &str, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "it is not there, or the interpreter that its first line names is not".to_owned(),
        io::ErrorKind::PermissionDenied => "it is not an executable file; `chmod +x` makes it one".to_owned(),
        _ => error.to_string(),
    };
    Error::new("spawn_failed", format!("cannot run {name}: {reason}"))
}

/// The error with the last that the executable said, and with what there is to show: `{exit_code, stderr,
/// stderr_truncated, details}`, where the last are the executable's own.
fn explained(error: Error, exit: Exit, heard: &Heard) -> Error {
    let exit_code = match exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::Canceled => None,
    };
    let shown = json!({
        "exit_code": exit_code,
        "stderr": heard.text,
        "stderr_truncated": heard.is_truncated,
        "details": error.result,
    });
    let message = match heard.last.is_empty() || error.code != "plugin_exit" {
        true => error.message,
        false => format!("{}: {}", error.message, heard.last),
    };
    Error::new(error.code, message).with_result(shown)
}
