//! An explanation for people.

use proto::{
    explain::{Cause, Given, Item, Origin, Read, Source},
    json::Json,
    time::Timestamp,
    value::ValueRef,
};

use super::Explanation;
use crate::{
    output::{self, Colour, Meaning},
    table::{Cell, Table},
    view,
};

/// All of it: what the task is, its input, its settings, its read set, hints.
pub fn full(told: &Explanation, colour: Colour) -> String {
    let title = |text: &str| colour.paint(Meaning::Faint, text);
    let mut parts = vec![head(told, colour)];
    parts.push(format!("{}\n{}", title("input"), output::pretty(told.input.as_str())));
    if !told.settings.is_empty() {
        let mut table = Table::default();
        for (name, json) in &told.settings {
            table.row([Cell::painted(name, title(name)), Cell::plain(plain(json))]);
        }
        parts.push(table.render());
    }
    if !told.given.paths.is_empty() {
        parts.push(paths(&told.given));
    }
    if !told.hints.is_empty() {
        let hints: Vec<String> = told.hints.iter().map(|hint| format!("{} {hint}", title("hint:"))).collect();
        parts.push(hints.join("\n"));
    }
    parts.join("\n\n")
}

/// Bytes, to be read at a glance.
#[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
pub fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

fn head(told: &Explanation, colour: Colour) -> String {
    let Given { outcome, info, .. } = &told.given;
    let mut table = Table::default();
    let mut line =
        |name: &str, value: Cell| table.row([Cell::painted(name, colour.paint(Meaning::Faint, name)), value]);
    line("run", Cell::plain(format!("{} of {}", told.run, info.workflow)));
    line("task", Cell::plain(start(told)));
    line("status", view::status_cell(&outcome.status, colour));
    if let Some(error) = &outcome.error {
        line("error", Cell::plain(view::failure(error)));
    }
    for (at, retried) in (1..).zip(&outcome.retried) {
        let why = retried.error.as_ref().map_or_else(String::new, |error| format!(": {}", view::failure(error)));
        line("attempt", Cell::plain(format!("{at} {} at {}{why}", retried.status.as_str(), retried.at)));
    }
    line("started", Cell::plain(after(&told.given)));
    let sent = told.given.sent_at.map_or_else(|| "not yet".to_owned(), |at| at.to_string());
    let pool = told.given.pool.as_ref().map_or_else(String::new, |pool| format!(" to pool {pool}"));
    line("sent", Cell::plain(format!("{sent}{pool}, attempt {}", told.given.attempt)));
    if let Some(at) = outcome.ended_at {
        let result = outcome.result_bytes.map_or_else(String::new, |bytes| format!(", result of {}", size(bytes)));
        line("ended", Cell::plain(format!("{at}{result}")));
    }
    match (&told.given.item, told.given.items) {
        (Some(item), count) => {
            line("item", Cell::plain(item_line(item, count)));
            if let Some(error) = item.error.as_ref() {
                line("item error", Cell::plain(shown(error)));
            }
        }
        (None, Some(count)) => line("items", Cell::plain(format!("{count}; --item 0 shows the first"))),
        (None, None) => {}
    }
    table.render()
}

/// `probe#4, of starts 1, 4`.
fn start(told: &Explanation) -> String {
    let given = &told.given;
    match given.instances.as_slice() {
        [] | [_] => format!("{}#{}", told.task, given.instance),
        several => {
            let numbers: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("{}#{}; its starts are {}", told.task, given.instance, numbers.join(", "))
        }
    }
}

fn after(given: &Given) -> String {
    match &given.after {
        Some(cause) => format!("{} after {}", given.started_at, caused(cause)),
        None => given.started_at.to_string(),
    }
}

fn item_line(item: &Item, count: Option<u32>) -> String {
    let of = count.map_or_else(String::new, |count| format!(" of {count}"));
    let value = item.value.as_ref().map_or_else(String::new, |value| format!(": {}", shown(value)));
    format!("{}{of}, {}{value}", item.index, item.status)
}

fn paths(given: &Given) -> String {
    let mut table = Table::new(["READS", "SIZE", "FROM", "VALUE"]);
    for read in &given.paths {
        let size = if is_there(read) { size(read.bytes) } else { String::new() };
        let value = read.value.as_ref().map(shown).unwrap_or_default();
        table.row([
            Cell::plain(read.path.clone()),
            Cell::plain(size),
            Cell::plain(from(given, read)),
            Cell::plain(value),
        ]);
    }
    table.render()
}

fn is_there(read: &Read) -> bool {
    read.value.is_some() || read.omitted
}

/// `published by probe#1 at 09:00:04`.
fn from(given: &Given, read: &Read) -> String {
    let Some(Origin { at, from }) = &read.source else {
        return if is_there(read) { "it has not run".to_owned() } else { "not there".to_owned() };
    };
    let what = match from {
        Source::Parameter => "given with the job".to_owned(),
        Source::Default => "default, or the same given with the job".to_owned(),
        Source::Var => "vars".to_owned(),
        Source::Imported { run: Some(run) } => format!("from run {run}, which this one does again"),
        Source::Imported { run: None } => "from another run's context".to_owned(),
        Source::Signal => "the signal that it took".to_owned(),
        Source::Published(cause) => format!("published by {}", caused(cause)),
        Source::Ended(cause) => format!("end of {}", caused(cause)),
    };
    format!("{what} at {}", clock(*at, given.started_at))
}

fn caused(cause: &Cause) -> String {
    format!("{}#{}", cause.task, cause.instance)
}

/// The time of day, where the day is that of `beside`.
fn clock(at: Timestamp, beside: Timestamp) -> String {
    let (at, beside) = (at.to_string(), beside.to_string());
    match (at.split_once('T'), beside.split_once('T')) {
        (Some((day, time)), Some((same, _))) if day == same => time.chars().take(8).collect(),
        (_, _) => at,
    }
}

/// A value in one line.
fn shown(value: &ValueRef) -> String {
    const CHARS_MAX: usize = 60;
    let words = match value {
        ValueRef::Inline(json) => json.as_str().to_owned(),
        ValueRef::Stored(stored) => format!("value {}", stored.digest),
        ValueRef::List(_) => "a list".to_owned(),
    };
    match words.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// A text without its quotes, anything else as JSON.
fn plain(json: &Json) -> String {
    json.parse::<String>().unwrap_or_else(|_| json.as_str().to_owned())
}
