//! Runs as text for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::{
    failure::Failure,
    time::Timestamp,
    view::{Run, Summary, Task},
    work::RunStatus,
};

use crate::{
    ending::Exit,
    output::{self, Colour, Meaning},
    table::{Cell, Table},
};

/// The code of a command that waited for `run` to end.
pub fn exit(run: &Run) -> Exit {
    if run.status == RunStatus::Succeeded { Exit::Done } else { Exit::Failed }
}

/// The time by this machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The table of `leveret list`.
pub fn list(runs: &[Summary], now: Timestamp, colour: Colour) -> String {
    let mut table = Table::new(["ID", "WORKFLOW", "STATUS", "STARTED", "DURATION", "ERROR"]);
    for run in runs {
        let error = run.error.as_ref().map(short).unwrap_or_default();
        table.row([
            Cell::plain(run.id.to_string()),
            Cell::plain(run.workflow.to_string()),
            status_cell(run.status.as_str(), colour),
            Cell::plain(format!("{} ago", duration(now.since(run.started_at)))),
            Cell::plain(duration(run.finished_at.unwrap_or(now).since(run.started_at))),
            Cell::plain(error),
        ]);
    }
    table.render()
}

/// All of a run: what it is, its tasks, its output.
pub fn full(run: &Run, now: Timestamp, colour: Colour) -> String {
    let mut head = Table::default();
    let mut line = |name: &str, value: Cell| head.row([Cell::painted(name, colour.paint(Meaning::Faint, name)), value]);
    line("run", Cell::plain(run.id.to_string()));
    line("workflow", Cell::plain(run.workflow.to_string()));
    line("status", status_cell(run.status.as_str(), colour));
    for (name, other) in [("parent", &run.parent), ("rerun of", &run.ancestor)] {
        if let Some(other) = other {
            line(name, Cell::plain(other.to_string()));
        }
    }
    for (name, value) in &run.labels {
        line("label", Cell::plain(format!("{name}={value}")));
    }
    line("started", Cell::plain(format!("{} ({} ago)", run.started_at, duration(now.since(run.started_at)))));
    line("duration", Cell::plain(duration(run.finished_at.unwrap_or(now).since(run.started_at))));
    if let Some(error) = &run.error {
        line("error", Cell::plain(failure(error)));
    }
    let mut parts = vec![head.render()];
    if !run.tasks.is_empty() {
        parts.push(tasks(run, colour));
    }
    if let Some(output) = &run.output {
        parts.push(format!("{}\n{}", colour.paint(Meaning::Faint, "output"), output::pretty(output.as_str())));
    }
    parts.join("\n\n")
}

/// The last words about a run that was waited for: how it ended, and what failed.
pub fn summary(run: &Run, colour: Colour) -> String {
    let took = duration(run.finished_at.unwrap_or(run.started_at).since(run.started_at));
    let begun = run.tasks.values().filter(|task| task.instances > 0);
    let tasks = begun.clone().count();
    let items: u64 = begun.clone().filter_map(|task| task.items).map(|items| u64::from(items.total)).sum();
    let failed: u64 = begun.filter_map(|task| task.items).map(|items| u64::from(items.failed)).sum();
    let mut text = format!(
        "{} {} in {took}: {}",
        run.workflow,
        colour.paint(meaning(run.status.as_str()), run.status.as_str()),
        counted(tasks as u64, "task")
    );
    if items > 0 {
        text.push_str(&format!(", {}", counted(items, "item")));
    }
    if failed > 0 {
        text.push_str(&format!(" ({failed} failed)"));
    }
    if let Some(error) = &run.error {
        text.push_str(&format!("\n{}", failure(error)));
    }
    text
}

/// `exit_code in task probe: …`.
pub fn failure(failure: &Failure) -> String {
    match &failure.task {
        Some(task) => format!("{} in task {task}: {}", failure.code, failure.message),
        None => format!("{}: {}", failure.code, failure.message),
    }
}

/// To be read at a glance: two units, or milliseconds.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn tasks(run: &Run, colour: Colour) -> String {
    let mut table = Table::new(["TASK", "STATUS", "ATTEMPTS", "ITEMS", "ERROR"]);
    for (name, task) in &run.tasks {
        table.row([
            Cell::plain(name.to_string()),
            status_cell(&task.status, colour),
            Cell::plain(attempts(task)),
            Cell::plain(items(task)),
            Cell::plain(said(task)),
        ]);
    }
    table.render()
}

/// Why a task failed, or what it waits for.
fn said(task: &Task) -> String {
    match (&task.error, &task.waiting_for) {
        (Some(error), _) => short(error),
        (None, Some(signal)) => format!("waits for the signal {signal}"),
        (None, None) => String::new(),
    }
}

fn attempts(task: &Task) -> String {
    match (task.instances, task.attempts) {
        (0, _) => String::new(),
        (1, attempts) => attempts.to_string(),
        (instances, attempts) => format!("{attempts}, started {instances} times"),
    }
}

/// `8/10, 2 failed, 1 running`, of a task with items.
pub fn items(task: &Task) -> String {
    let Some(items) = &task.items else { return String::new() };
    let done = items.succeeded + items.failed;
    let mut text = format!("{done}/{}", items.total);
    if items.failed > 0 {
        text.push_str(&format!(", {} failed", items.failed));
    }
    if items.running > 0 {
        text.push_str(&format!(", {} running", items.running));
    }
    text
}

pub fn status_cell(status: &str, colour: Colour) -> Cell {
    Cell::painted(status, painted(status, colour))
}

/// A status in the colour of its meaning.
pub fn painted(status: &str, colour: Colour) -> String {
    colour.paint(meaning(status), status)
}

fn meaning(status: &str) -> Meaning {
    match status {
        "succeeded" => Meaning::Good,
        "failed" | "timed_out" | "crashed" | "canceled" => Meaning::Bad,
        "not_run" => Meaning::Faint,
        _ => Meaning::Active,
    }
}

/// A failure in a table: one line of it.
fn short(failure: &Failure) -> String {
    let line = failure.message.lines().next().unwrap_or_default();
    cut(&format!("{}: {line}", failure.code))
}

/// As much of `text` as fits into a table.
pub fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use proto::view::{ItemCounts, RunDocument};

    use super::*;

    fn run() -> Run {
        let text = r#"{"schema":1,"run":{"id":"r1","workflow":"fleet","status":"failed","labels":{"team":"ops"},
            "error":{"code":"exit_code","message":"it ended with 3","task":"probe"},
            "started_at":"2026-01-01T00:00:00.000Z","finished_at":"2026-01-01T00:01:30.000Z",
            "definition":"0000000000000000000000000000000000000000000000000000000000000000",
            "output":{"n":1},"tasks":{"page":{"status":"not_run","attempts":0,"instances":0}}}}"#;
        let document: RunDocument = serde_json::from_str(text).expect("a document");
        let mut run = document.run;
        let items = ItemCounts { total: 10, succeeded: 6, failed: 2, running: 1 };
        let probe = Task {
            status: "failed".into(),
            attempts: 2,
            instances: 1,
            items: Some(items),
            error: run.error.clone(),
            ..Task::default()
        };
        run.tasks.insert("probe".parse().expect("a name"), probe);
        run
    }

    #[test]
    fn a_run_is_shown() {
        let now: Timestamp = "2026-01-02T02:00:00Z".parse().expect("a time");
        insta::assert_snapshot!(full(&run(), now, Colour::None), @r#"
        run       r1
        workflow  fleet
        status    failed
        label     team=ops
        started   2026-01-01T00:00:00.000Z (1d2h ago)
        duration  1m30s
        error     exit_code in task probe: it ended with 3

        TASK   STATUS   ATTEMPTS  ITEMS                      ERROR
        page   not_run
        probe  failed   2         8/10, 2 failed, 1 running  exit_code: it ended with 3

        output
        {
          "n": 1
        }
        "#);
        insta::assert_snapshot!(summary(&run(), Colour::None), @r"
        fleet failed in 1m30s: 1 task, 10 items (2 failed)
        exit_code in task probe: it ended with 3
        ");
    }

    #[test]
    fn durations_have_two_units() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!([7, 1_250, 61_000, 3_720_000, 90_000_000].map(shown), ["7ms", "1.2s", "1m1s", "1h2m", "1d1h"]);
    }
}
