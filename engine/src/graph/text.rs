//! Lines for a terminal: each task in file order with what is particular about it, and under it where it leads.

use super::{Card, Exit, Place, Sketch};

pub(super) fn render(sketch: &Sketch<'_>) -> String {
    let mut lines = vec![format!("{} starts with {}", sketch.name, names(sketch, &sketch.entries))];
    for task in &sketch.tasks {
        lines.push(String::new());
        lines.push(format!("{}  {}", task.name, task.action));
        lines.extend(task.marks.iter().map(|mark| format!("│ {mark}")));
        lines.extend(exits(sketch, task));
    }
    lines.join("\n") + "\n"
}

/// The conditions stand below each other, and so do the places that they lead to.
fn exits(sketch: &Sketch<'_>, task: &Card<'_>) -> Vec<String> {
    let width = |exit: &Exit| condition(exit).chars().count();
    let widest = task.exits.iter().map(width).max().unwrap_or_default();
    let last = task.exits.len() - 1;
    let line = |(at, exit): (usize, &Exit)| {
        let corner = if at == last { '└' } else { '├' };
        let padding = "─".repeat(widest - width(exit));
        let publish = exit.publish.as_deref().map(|publish| format!("  ({publish})")).unwrap_or_default();
        format!("{corner}─{}{padding}─▶ {}{publish}", condition(exit), names(sketch, &exit.places))
    };
    task.exits.iter().enumerate().map(line).collect()
}

/// The condition with a blank on either side.
fn condition(exit: &Exit) -> String {
    exit.when.as_deref().map(|when| format!(" {when} ")).unwrap_or_default()
}

fn names(sketch: &Sketch<'_>, places: &[Place]) -> String {
    let name = |place: &Place| match place {
        Place::Task(position) => sketch.task(*position),
        Place::Again(_) => "retry",
        Place::End(word) => word.unwrap_or("end"),
        Place::Fail => "fail",
    };
    places.iter().map(name).collect::<Vec<_>>().join(", ")
}
