//! `shell.run`: a program with its arguments, or a script for `/bin/sh`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use proto::json;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    Action, Call, Error, object,
    process::{self, Bounds, Ended, Exit},
    read,
    scalar::{self, Scalar},
};

/// `shell.run`. The program runs in a process group of its own, which is what a cancel ends: SIGTERM first, SIGKILL
/// after [`Settings::grace`]. A process that it leaves in the background when it ends by itself lives on, unheard.
#[derive(Debug, Default)]
pub struct Run {
    settings: Settings,
}

/// Bounds of `shell.run`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long to wait for the end of the output after the program ended: a process that it left behind may hold the
    /// pipe open for ever.
    pub linger: Duration,
    /// Bytes kept of each of the two outputs.
    pub output_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), linger: Duration::from_secs(1), output_bytes_max: 1024 * 1024 }
    }
}

#[derive(Deserialize)]
struct Input {
    argv: Option<Vec<Scalar>>,
    script: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    cwd: Option<PathBuf>,
    stdin: Option<String>,
    #[serde(default)]
    stdout_json: bool,
}

impl Run {
    /// The action with other bounds.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    async fn ended(&self, command: Command, input: Input, name: &str, call: &Call) -> Result<Value, Error> {
        let Settings { grace, linger, output_bytes_max } = self.settings;
        let bounds = Bounds { grace, linger, stdout_bytes_max: output_bytes_max, stderr_bytes_max: output_bytes_max };
        let stdin = input.stdin.map(String::into_bytes);
        let ended = process::run(command, stdin, &call.cancel, bounds, |_| {})
            .await
            .map_err(|error| Error::new("spawn_failed", format!("cannot run {name}: {error}")))?;
        let code = match ended.exit {
            Exit::Code(0) if input.stdout_json => return with_json(&ended, name),
            Exit::Code(0) => return Ok(result(&ended)),
            Exit::Code(code) => Error::new("exit_code", format!("{name} exited with {code}{}", last_words(&ended))),
            Exit::Signal(signal) => {
                Error::new("signal", format!("{name} was ended by {}", process::signal_name(signal)))
            }
            Exit::Canceled => Error::canceled(),
        };
        Err(code.with_result(result(&ended)))
    }
}

impl Action for Run {
    fn name(&self) -> &str {
        "shell.run"
    }

    fn input_schema(&self) -> Value {
        let properties = json!({
            "argv": { "type": "array", "minItems": 1, "items": scalar::schema() },
            "script": { "type": "string", "description": "run by /bin/sh -c" },
            "env": process::env_schema(),
            "cwd": { "type": "string", "minLength": 1 },
            "stdin": { "type": "string" },
            "stdout_json": { "type": "boolean", "description": "result.stdout is what stdout says as JSON" },
        });
        object(properties, &[])
    }

    fn output_schema(&self) -> Value {
        let properties = json!({
            "exit_code": { "type": ["integer", "null"], "description": "null when a signal ended it" },
            "stdout": { "description": "a text, or any JSON with stdout_json" },
            "stderr": { "type": "string" },
            "duration_ms": { "type": "integer" },
            "stdout_truncated": { "type": "boolean" },
            "stderr_truncated": { "type": "boolean" },
        });
        let required = ["exit_code", "stdout", "stderr", "duration_ms", "stdout_truncated", "stderr_truncated"];
        object(properties, &required)
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let input: Input = read(input)?;
            let (mut command, name) = match (&input.argv, &input.script) {
                (Some(argv), None) => process::program(argv)?,
                (None, Some(script)) => shell(script),
                (None, None) | (Some(_), Some(_)) => return Err(Error::input("input: give either argv or script")),
            };
            process::surround(&mut command, &input.env, input.cwd.as_deref(), call)?;
            self.ended(command, input, &name, call).await
        })
    }
}

fn shell(script: &str) -> (Command, String) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    (command, "the script".to_owned())
}

fn result(ended: &Ended) -> Value {
    let exit_code = match ended.exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::Canceled => None,
    };
    json!({
        "exit_code": exit_code,
        "stdout": ended.stdout.text(),
        "stderr": ended.stderr.text(),
        "duration_ms": u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX),
        "stdout_truncated": ended.stdout.is_truncated,
        "stderr_truncated": ended.stderr.is_truncated,
    })
}

fn with_json(ended: &Ended, name: &str) -> Result<Value, Error> {
    let mut result = result(ended);
    let bytes = &ended.stdout.bytes;
    let parsed = match ended.stdout.is_truncated {
        true => Err(format!("it was cut after {} bytes", bytes.len())),
        false => json::check(bytes)
            .map_err(|error| error.to_string())
            .and_then(|()| serde_json::from_slice(bytes).map_err(|error| error.to_string())),
    };
    match parsed {
        Ok(value) => {
            result["stdout"] = value;
            Ok(result)
        }
        Err(reason) => {
            let text = format!("stdout of {name} is not JSON: {reason}");
            Err(Error::new("stdout_not_json", text).with_result(result))
        }
    }
}

/// The last line of stderr, which mostly says what went wrong.
fn last_words(ended: &Ended) -> String {
    let stderr = ended.stderr.text();
    let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    match last.is_empty() {
        true => String::new(),
        false => format!(": {}", last.chars().take(300).collect::<String>()),
    }
}
