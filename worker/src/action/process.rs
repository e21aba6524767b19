//! One process from start to end: what it is started with, its pipes, its group, and how both are let go of.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    pin::Pin,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::{FutureExt, future::FusedFuture};
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
    select,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Call, Error,
    scalar::{self, Scalar},
};

/// What a program gets of the worker's environment; the worker's secrets stay with the worker.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// How often a group that was told to end is looked at: the kernel has no event for the end of a group.
const GROUP_LOOK: Duration = Duration::from_millis(20);

/// Bounds of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long to wait for the end of the output after the program ended.
    pub linger: Duration,
    /// Bytes kept of stdout.
    pub stdout_bytes_max: usize,
    /// Bytes kept of stderr.
    pub stderr_bytes_max: usize,
}

/// A process that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub exit: Exit,
    pub stdout: Captured,
    pub stderr: Captured,
    pub duration: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    /// We ended it.
    Canceled,
}

/// The beginning of an output.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub bytes: Vec<u8>,
    pub is_truncated: bool,
}

impl Captured {
    /// The text, without a character that was cut in two; what is not UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        let whole = match std::str::from_utf8(&self.bytes) {
            Err(error) if self.is_truncated && error.error_len().is_none() => &self.bytes[..error.valid_up_to()],
            Ok(_) | Err(_) => &self.bytes,
        };
        String::from_utf8_lossy(whole).into_owned()
    }
}

/// The command of a program with its arguments, and how messages call it.
pub(super) fn program(argv: &[Scalar]) -> Result<(Command, String), Error> {
    let (name, arguments) = argv.split_first().ok_or_else(|| Error::input("input.argv: it is empty"))?;
    let name = name.to_string();
    let mut command = Command::new(&name);
    command.args(arguments.iter().map(Scalar::to_string));
    Ok((command, name))
}

/// Sets the environment and the folder.
pub(super) fn surround(
    command: &mut Command,
    env: &BTreeMap<String, Scalar>,
    cwd: Option<&Path>,
    call: &Call,
) -> Result<(), Error> {
    command.env_clear();
    command.envs(ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
    command.envs(env.iter().map(|(name, value)| (name, value.to_string())));
    command.env("LEVERET_KEY", &call.key);
    if let Some(cwd) = cwd {
        // Otherwise a missing folder reads as if the program were missing.
        if !cwd.is_dir() {
            return Err(Error::new("spawn_failed", format!("cwd {} is not a folder", cwd.display())));
        }
        command.current_dir(cwd);
    }
    Ok(())
}

/// The schema of the variables that a program gets besides those of [`surround`].
pub(super) fn env_schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": scalar::schema(),
    })
}

/// Runs `command` until it ends, or ends it when `cancel` is cancelled. When this future is dropped, its group is
/// killed. What it says on stderr is handed to `hear`, piece by piece as it comes.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn run(
    mut command: Command,
    input: Option<Vec<u8>>,
    cancel: &CancellationToken,
    bounds: Bounds,
    hear: impl FnMut(&[u8]),
) -> io::Result<Ended> {
    let began = Instant::now();
    command.process_group(0).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let feeding = feed(child.stdin.take(), input.unwrap_or_default());
    let reading = (child.stdout.take(), child.stderr.take());
    let exit = {
        // One future for all three pipes: whichever the program waits for, none of them is left alone.
        let pipes = async {
            let read_stdout = capture(reading.0, &mut stdout, bounds.stdout_bytes_max, |_| {});
            let read_stderr = capture(reading.1, &mut stderr, bounds.stderr_bytes_max, hear);
            tokio::join!(feeding, read_stdout, read_stderr);
        };
        let mut pipes = pin!(pipes.fuse());
        let status = loop {
            // All arms may be dropped at any time: `wait` and `cancelled` keep nothing, `pipes` is only borrowed.
            select! {
                status = child.wait() => break Some(status?),
                () = cancel.cancelled() => break None,
                () = &mut pipes => {}
            }
        };
        match status {
            Some(status) => {
                group.is_ours = false;
                // As above; here nothing but the output is still missing.
                select! {
                    () = finished(pipes) => {}
                    () = sleep(bounds.linger) => {}
                    () = cancel.cancelled() => {}
                }
                Exit::of(status)
            }
            None => {
                stop(&mut child, &mut group, pipes, bounds).await;
                Exit::Canceled
            }
        }
    };
    Ok(Ended { exit, stdout, stderr, duration: began.elapsed() })
}

impl Exit {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// `SIGKILL (9)`, for people.
pub(super) fn signal_name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(known) => format!("{known} ({signal})"),
        Err(_) => format!("signal {signal}"),
    }
}

/// Ends the whole group: asks first, then does not ask. Its output is read meanwhile, so that nobody waits for a full
/// pipe while cleaning up.
async fn stop<P>(child: &mut Child, group: &mut Group, mut pipes: Pin<&mut P>, bounds: Bounds)
where
    P: FusedFuture<Output = ()>,
{
    group.signal(Signal::SIGTERM);
    let polite = async {
        let gone = async {
            // An error means that there is no such child any more.
            let _ = child.wait().await;
            while group.is_alive() {
                sleep(GROUP_LOOK).await;
            }
        };
        let mut gone = pin!(gone);
        loop {
            // `gone` and `pipes` are only borrowed.
            select! {
                () = &mut gone => break,
                () = &mut pipes => {}
            }
        }
    };
    // Out of time is no error: SIGKILL is next either way.
    let _ = timeout(bounds.grace, polite).await;
    group.signal(Signal::SIGKILL);
    group.is_ours = false;
    // A process that hangs in the kernel cannot be waited for; tokio reaps it when it does end.
    let _ = timeout(bounds.linger, async { tokio::join!(child.wait(), finished(pipes)) }).await;
}

/// Waits for the end of pipes that may have ended before: a fused future that has ended is silent for ever.
async fn finished(pipes: Pin<&mut impl FusedFuture<Output = ()>>) {
    if !pipes.is_terminated() {
        pipes.await;
    }
}

/// The process group of a child. Killed when dropped while it is ours.
///
/// Its number stays taken while any process of it lives. Once none does, a new process may get it in theory, but only
/// after the kernel went through all other numbers.
#[derive(Debug)]
struct Group {
    id: Option<Pid>,
    is_ours: bool,
}

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { id, is_ours: true }
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // A group that is gone already is what we want.
            let _ = killpg(id, signal);
        }
    }

    fn is_alive(&self) -> bool {
        self.id.is_some_and(|id| killpg(id, None) != Err(Errno::ESRCH))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_ours {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// Writes the whole input, and closes the pipe. A program need not read it: a broken pipe is no error.
async fn feed(pipe: Option<ChildStdin>, input: Vec<u8>) {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(&input).await;
    }
}

/// Keeps the first `bytes_max` bytes, and reads on without keeping them, so that the program can go on.
async fn capture(
    pipe: Option<impl AsyncRead + Unpin>,
    captured: &mut Captured,
    bytes_max: usize,
    mut hear: impl FnMut(&[u8]),
) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = [0; 8 * 1024];
    // A pipe that cannot be read any more is at its end.
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        let piece = &piece[..length];
        hear(piece);
        let kept = length.min(bytes_max - captured.bytes.len());
        captured.bytes.extend_from_slice(&piece[..kept]);
        captured.is_truncated |= kept < length;
    }
}
