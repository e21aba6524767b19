//! The language of Graphviz.
//!
//! Nodes are called by number, and every text is a quoted string. Within one, a backslash begins an escape (`\n` ends a
//! line, `\N` is the node's name) and `&` an entity of HTML, so both are written as what they would otherwise begin.

use super::{Exit, Place, Sketch};

pub(super) fn render(sketch: &Sketch<'_>) -> String {
    let mut lines = vec![
        format!("digraph {} {{", quoted(&[sketch.name])),
        "  node [shape=box, style=rounded];".to_owned(),
        format!("  start [label={}, shape=oval];", quoted(&[sketch.name])),
    ];
    for (position, task) in sketch.tasks.iter().enumerate() {
        lines.push(format!("  t{position} [label={}];", quoted(&task.lines())));
    }
    let end = |(end, word): &(Place, &str)| format!("  {} [label={}, shape=oval];", end.id(), quoted(&[word]));
    lines.extend(sketch.ends().iter().map(end));
    lines.extend(sketch.entries.iter().map(|&entry| format!("  start -> {};", entry.id())));
    for (position, task) in sketch.tasks.iter().enumerate() {
        for exit in &task.exits {
            lines.extend(exit.places.iter().map(|&place| edge(position, exit, place)));
        }
    }
    lines.push("}".to_owned());
    lines.join("\n") + "\n"
}

fn edge(from: usize, exit: &Exit, to: Place) -> String {
    let labels = exit.labels(to);
    match labels.is_empty() {
        true => format!("  t{from} -> {};", to.id()),
        false => format!("  t{from} -> {} [label={}];", to.id(), quoted(&labels)),
    }
}

fn quoted(lines: &[&str]) -> String {
    let escaped = |line: &&str| line.replace('&', "&amp;").replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", lines.iter().map(escaped).collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_graphviz_would_obey_is_escaped() {
        assert_eq!(quoted(&[r#"a "b" \N"#, "&lt;c"]), r#""a \"b\" \\N\n&amp;lt;c""#);
        assert_eq!(quoted(&["\\"]), r#""\\""#);
    }
}
