//! Lines on a terminal that show how far a run's tasks are: items done, failed, rate and estimate.

use std::{collections::HashMap, fmt::Write, io::IsTerminal, sync::LazyLock, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use proto::{
    id::TaskName,
    view::{ItemCounts, Run, Task},
};

/// How often lines move though nothing changed.
const TICK: Duration = Duration::from_millis(120);
/// More tasks than this are not shown at once; most terminals have no room for them.
const LINES_MAX: usize = 20;

/// Everything on the terminal below what scrolls.
static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How far a run is, as a person sees it.
pub enum Progress {
    /// Nothing is shown.
    Hidden,
    /// A line per task.
    Lines(HashMap<TaskName, ProgressBar>),
}

/// Writes to stderr by `write`, with the lines kept below.
pub fn above<T>(write: impl FnOnce() -> T) -> T {
    LINES.suspend(write)
}

impl Progress {
    /// Lines when stderr is a terminal.
    pub fn on_terminal() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::Lines(HashMap::new()),
            false => Self::Hidden,
        }
    }

    /// Shows `run` as it is now.
    pub fn update(&mut self, run: &Run) {
        let Self::Lines(lines) = self else { return };
        for (name, task) in &run.tasks {
            if task.instances == 0 || (!lines.contains_key(name) && lines.len() >= LINES_MAX) {
                continue;
            }
            let line = lines.entry(name.clone()).or_insert_with(|| started(name, task));
            show(line, task);
        }
    }

    /// Takes the lines away.
    pub fn clear(&mut self) {
        if let Self::Lines(lines) = self {
            for line in lines.values() {
                line.finish_and_clear();
            }
            lines.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn started(name: &TaskName, task: &Task) -> ProgressBar {
    let line = match &task.items {
        Some(_) => ProgressBar::new(0),
        None => ProgressBar::new_spinner(),
    };
    let line = LINES.add(line.with_prefix(name.to_string()));
    line.enable_steady_tick(TICK);
    line
}

fn show(line: &ProgressBar, task: &Task) {
    let is_going = matches!(task.status.as_str(), "running" | "waiting");
    match (is_going, line.is_finished()) {
        // One that ended stands still.
        (false, true) => return,
        // A task may be started again.
        (true, true) => {
            line.reset();
            line.enable_steady_tick(TICK);
        }
        (true | false, false) => {}
    }
    match &task.items {
        Some(items) => {
            let tail = if is_going { " {rate} eta {eta}" } else { "" };
            show_items(line, items, tail);
        }
        None => {
            line.set_style(style("{spinner} {prefix:20} {msg}"));
            let attempt = if task.attempts > 1 { format!(", attempt {}", task.attempts) } else { String::new() };
            line.set_message(format!("{}{attempt}", task.status));
        }
    }
    if !is_going {
        line.abandon();
    }
}

fn show_items(line: &ProgressBar, items: &ItemCounts, tail: &str) {
    line.set_style(style(&format!("{{spinner}} {{prefix:20}} {{bar:30}} {{pos}}/{{len}}{{msg}}{tail}")));
    line.set_length(u64::from(items.total));
    line.set_position(u64::from(items.succeeded) + u64::from(items.failed));
    line.set_message(match items.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    });
}

fn style(template: &str) -> ProgressStyle {
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        // Nobody is there to be told when a line cannot be drawn.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    ProgressStyle::with_template(template).expect("templates of ours are valid").with_key("rate", rate)
}
