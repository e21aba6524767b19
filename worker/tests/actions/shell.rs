//! `shell.run` with real processes, well and badly behaved.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use leveret_worker::action::{
    Action, Call, Error,
    shell::{Run, Settings},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{call, code, run, run_as, within};

async fn script(text: &str) -> Result<Value, Error> {
    run("shell.run", json!({ "script": text })).await
}

fn impatient() -> Run {
    Run::new(Settings { grace: Duration::from_millis(300), linger: Duration::from_millis(100), ..Settings::default() })
}

#[tokio::test]
async fn a_program_gets_its_arguments_as_they_are() {
    let input = json!({ "argv": ["printf", "%s|", "a b", "$HOME", 5, 1.5, true] });
    let result = run("shell.run", input).await.expect("runs");
    assert_eq!(result["stdout"], "a b|$HOME|5|1.5|true|");
    assert_eq!((&result["exit_code"], &result["stderr"]), (&json!(0), &json!("")));
}

#[tokio::test]
async fn the_environment_is_clean() {
    let input = json!({ "argv": ["env"], "env": { "A": 1, "LEVERET_KEY": "forged" } });
    let result = run("shell.run", input).await.expect("runs");
    let lines: Vec<_> = result["stdout"].as_str().expect("a text").lines().collect();
    assert!(lines.contains(&"A=1"));
    assert!(lines.contains(&"LEVERET_KEY=run-1/probe#1[0]"));
    let allowed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "A", "LEVERET_KEY"];
    for line in lines {
        let name = line.split('=').next().expect("a name");
        assert!(allowed.contains(&name), "{line}");
    }
}

#[tokio::test]
async fn scripts_folders_and_stdin_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = json!({ "script": "pwd; cat", "cwd": folder.path(), "stdin": "from stdin" });
    let result = run("shell.run", input).await.expect("runs");
    let path = folder.path().canonicalize().expect("exists");
    assert_eq!(result["stdout"], format!("{}\nfrom stdin", path.display()));
    let silent = run("shell.run", json!({ "argv": ["cat"] })).await.expect("stdin is empty, not the worker's");
    assert_eq!(silent["stdout"], "");
}

#[tokio::test]
async fn a_large_stdin_deadlocks_nobody() {
    let stdin = "0123456789abcde\n".repeat(256 * 1024);
    let count = run("shell.run", json!({ "argv": ["wc", "-c"], "stdin": stdin })).await.expect("runs");
    assert_eq!(count["stdout"].as_str().map(str::trim), Some("4194304"));
    let through = run("shell.run", json!({ "argv": ["cat"], "stdin": stdin })).await.expect("both ways at once");
    assert_eq!(through["stdout_truncated"], true);
    run("shell.run", json!({ "argv": ["true"], "stdin": stdin })).await.expect("nobody reads it");
}

#[tokio::test]
async fn large_outputs_are_cut_and_the_program_goes_on() {
    let text = "head -c 3000000 /dev/zero | tr '\\0' x; head -c 2000000 /dev/zero | tr '\\0' y >&2; exit 4";
    let error = script(text).await.expect_err("exit 4");
    assert_eq!(error.code, "exit_code");
    for (output, flag) in [("stdout", "stdout_truncated"), ("stderr", "stderr_truncated")] {
        assert_eq!(error.result[output].as_str().map(str::len), Some(1024 * 1024));
        assert_eq!(error.result[flag], true);
    }
}

#[tokio::test]
async fn outputs_need_not_be_utf8() {
    let result = script("printf 'a\\377b'").await.expect("runs");
    assert_eq!(result["stdout"], "a\u{fffd}b");
    let action = Run::new(Settings { output_bytes_max: 4, ..Settings::default() });
    let cut = run_as(action, json!({ "script": "printf 'ab€€'" }), &call()).await.expect("runs");
    assert_eq!((&cut["stdout"], &cut["stdout_truncated"]), (&json!("ab"), &json!(true)));
}

#[tokio::test]
async fn stdout_can_be_json() {
    let ask = |text: &str| run("shell.run", json!({ "script": text, "stdout_json": true }));
    let result = ask(r#"echo '{"up": [1, null]}'"#).await.expect("json");
    assert_eq!(result["stdout"], json!({ "up": [1, null] }));
    let error = ask("echo up").await.expect_err("no json");
    assert_eq!((error.code.as_str(), &error.result["stdout"]), ("stdout_not_json", &json!("up\n")));
    assert_eq!(code(ask("echo 123456789012345678901234567890").await), "stdout_not_json", "64 bits cannot hold it");
    assert_eq!(code(ask("exit 1").await), "exit_code");
}

#[tokio::test]
async fn every_bad_end_has_its_code() {
    let error = script("echo out; echo first >&2; echo 'disk full' >&2; echo >&2; exit 3").await.expect_err("exit 3");
    assert_eq!(error.code, "exit_code");
    assert!(error.message.contains("exited with 3: disk full"), "{error}");
    assert_eq!((&error.result["exit_code"], &error.result["stdout"]), (&json!(3), &json!("out\n")));
    let error = script("kill -9 $$").await.expect_err("killed");
    assert_eq!((error.code.as_str(), &error.result["exit_code"]), ("signal", &Value::Null));
    assert!(error.message.contains("SIGKILL (9)"), "{error}");
    assert_eq!(code(run("shell.run", json!({ "argv": ["/no/such/program"] })).await), "spawn_failed");
    let error = run("shell.run", json!({ "argv": ["true"], "cwd": "/no/such" })).await.expect_err("no folder");
    assert!(error.message.contains("cwd /no/such is not a folder"), "{error}");
    assert_eq!(code(run("shell.run", json!({ "argv": ["a\0b"] })).await), "spawn_failed");
    assert_eq!(code(run("shell.run", json!({})).await), "input_invalid");
    assert_eq!(code(run("shell.run", json!({ "argv": ["a"], "script": "b" })).await), "input_invalid");
}

#[tokio::test]
async fn a_plain_end_waits_for_none_of_the_bounds() {
    let never = Duration::from_secs(3600);
    let patient = || Run::new(Settings { grace: never, linger: never, ..Settings::default() });
    run_as(patient(), json!({ "script": "echo a; echo b >&2" }), &call()).await.expect("runs");
    let lifeline = Lifeline::new();
    // One process only: orphans would stay as zombies where process 1 reaps nobody, as in some containers.
    let input = lifeline.script("echo a", "exec sleep 20");
    assert_eq!(cancel_once_up(patient(), &lifeline, input).await.code, "canceled");
}

/// A named pipe that processes hold open as file descriptor 3 from their beginning: a line says that they are up, and
/// its end says that the last of them is gone.
pub struct Lifeline {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Lifeline {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lifeline");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        Self { _folder: folder, path }
    }

    /// The input of a script that says on the line that it is up, after `prepare`, and then does `work`.
    fn script(&self, prepare: &str, work: &str) -> Value {
        json!({ "script": self.text(prepare, work) })
    }

    /// The script itself.
    pub fn text(&self, prepare: &str, work: &str) -> String {
        format!("exec 3>'{}'; {prepare}; echo up >&3; {work}", self.path.display())
    }

    /// Waits until the processes are up; what it gives ends when they all are gone.
    async fn up(&self) -> JoinHandle<()> {
        let line = within(spawn_blocking({
            let path = self.path.clone();
            move || read_line(&path)
        }));
        let mut line = line.await.expect("reads");
        spawn_blocking(move || {
            line.read_to_end(&mut Vec::new()).expect("reads on");
        })
    }
}

fn read_line(path: &Path) -> impl Read + use<> {
    let mut line = BufReader::new(std::fs::File::open(path).expect("opens"));
    let mut text = String::new();
    line.read_line(&mut text).expect("reads");
    assert_eq!(text, "up\n");
    line
}

/// Cancels the script once it is up; gives its outcome when all its processes are gone.
pub async fn cancel_once_up(action: impl Action, lifeline: &Lifeline, input: Value) -> Error {
    let call = call();
    let canceling = async {
        let gone = lifeline.up().await;
        call.cancel.cancel();
        within(gone).await.expect("reads on");
    };
    let (outcome, ()) = tokio::join!(run_as(action, input, &call), canceling);
    outcome.expect_err("canceled")
}

#[tokio::test]
async fn a_cancel_asks_politely_first() {
    let lifeline = Lifeline::new();
    let input = lifeline.script("trap 'echo bye; exit 7' TERM", "while :; do sleep 0.01; done");
    let error = cancel_once_up(Run::default(), &lifeline, input).await;
    assert_eq!(error.code, "canceled");
    assert_eq!(error.result["stdout"], "bye\n");
}

#[tokio::test]
async fn a_cancel_ends_what_does_not_listen() {
    let lifeline = Lifeline::new();
    let input = lifeline.script("trap '' TERM; echo on; sleep 20 & true", "sleep 20");
    let error = cancel_once_up(impatient(), &lifeline, input).await;
    assert_eq!((error.code.as_str(), &error.result["stdout"]), ("canceled", &json!("on\n")));
}

#[tokio::test]
async fn a_cancel_ends_a_grandchild_that_outlives_its_parent() {
    let lifeline = Lifeline::new();
    // The parent ends by SIGTERM at once; its child holds no pipe of ours and does not listen.
    let child = "(trap '' TERM; echo up >&3; sleep 20) >/dev/null 2>&1";
    let path = lifeline.path.display();
    let input = json!({ "script": format!("exec 3>'{path}'; {child} & wait") });
    assert_eq!(cancel_once_up(impatient(), &lifeline, input).await.code, "canceled");
}

#[tokio::test]
async fn a_grandchild_may_clean_up_after_its_parent_is_gone() {
    let lifeline = Lifeline::new();
    let child = "(trap 'sleep 0.2; echo bye; exit' TERM; echo up >&3; while :; do sleep 0.01; done)";
    let path = lifeline.path.display();
    let input = json!({ "script": format!("exec 3>'{path}'; {child} & wait") });
    let error = cancel_once_up(Run::default(), &lifeline, input).await;
    assert_eq!(error.result["stdout"], "bye\n");
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let lifeline = Lifeline::new();
    let input = lifeline.script("trap '' TERM; sleep 20 & true", "sleep 20");
    let call: Call = call();
    let running = run_as(Run::default(), input, &call);
    let gone = tokio::select! {
        outcome = running => panic!("ended by itself: {outcome:?}"),
        gone = lifeline.up() => gone,
    };
    within(gone).await.expect("reads on");
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_open_hangs_nobody() {
    let began = std::time::Instant::now();
    let input = json!({ "script": "sleep 20 & echo $!" });
    let result = run_as(impatient(), input, &call()).await.expect("runs");
    assert!(began.elapsed() < Duration::from_secs(10));
    let id = result["stdout"].as_str().and_then(|id| id.trim().parse().ok()).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGKILL).expect("what was left in the background lives on");
}
