//! A `leveret` process: its lines as they come, its end, each with a deadline.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// No wait of these tests takes longer, on a machine however busy.
const DEADLINE: Duration = Duration::from_secs(60);
const LINES_MAX: usize = 100_000;

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A process that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    lines: Receiver<Line>,
    stdout: String,
    stderr: String,
}

enum Line {
    Stdout(String),
    Stderr(String),
}

/// Runs `leveret` with `words` to its end.
pub fn leveret(words: &[&str]) -> Ended {
    start(words, &[]).end()
}

/// Starts `leveret` with `words` and nothing of our own environment but what programs need, and `variables`.
pub fn start(words: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.env_clear().args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let kept = ["PATH", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.envs(kept).envs(variables.iter().copied());
    let mut child = command.spawn().expect("the binary starts");
    let (sender, lines) = sync_channel(LINES_MAX);
    read(child.stdout.take().expect("piped"), sender.clone(), Line::Stdout);
    read(child.stderr.take().expect("piped"), sender, Line::Stderr);
    Running { child, lines, stdout: String::new(), stderr: String::new() }
}

fn read(from: impl Read + Send + 'static, to: SyncSender<Line>, wrap: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(wrap(line)).is_err() {
                return;
            }
        }
    });
}

impl Running {
    /// Waits for a line on stderr that holds `text`, and gives it.
    pub fn said(&mut self, text: &str) -> String {
        self.wait(&format!("{text:?} on stderr"), |line| match line {
            Line::Stderr(line) => line.contains(text),
            Line::Stdout(_) => false,
        })
    }

    /// Waits for a line on stdout that holds `text`, and gives it.
    pub fn printed(&mut self, text: &str) -> String {
        self.wait(&format!("{text:?} on stdout"), |line| match line {
            Line::Stdout(line) => line.contains(text),
            Line::Stderr(_) => false,
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("process numbers are small");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        // Both pipes close when it ends.
        while let Some(line) = self.next(deadline, "its end") {
            self.keep(&line);
        }
        let status: ExitStatus = self.child.wait().expect("it is ours");
        let code = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}\n{}", self.stderr));
        Ended { code, stdout: std::mem::take(&mut self.stdout), stderr: std::mem::take(&mut self.stderr) }
    }

    fn wait(&mut self, what: &str, is_it: impl Fn(&Line) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        while let Some(line) = self.next(deadline, what) {
            self.keep(&line);
            if is_it(&line) {
                return match line {
                    Line::Stdout(text) | Line::Stderr(text) => text,
                };
            }
        }
        panic!("it ended before {what}\n{}{}", self.stdout, self.stderr);
    }

    fn next(&mut self, deadline: Instant, what: &str) -> Option<Line> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {what}\n{}{}", self.stdout, self.stderr),
        }
    }

    fn keep(&mut self, line: &Line) {
        let (kept, text) = match line {
            Line::Stdout(text) => (&mut self.stdout, text),
            Line::Stderr(text) => (&mut self.stderr, text),
        };
        kept.push_str(text);
        kept.push('\n');
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a process that has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Asserts the exit code, showing what it said otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}
