//! A flowchart of Mermaid.
//!
//! Nodes are called by number: as names, `end` and `default` would be words of Mermaid's own. Labels stand in double
//! quotes and hold nothing but letters, digits and a few marks; everything else is an entity such as `#35;`. Mermaid
//! looks for its own syntax within labels too, in several passes: directives (`%%{`), HTML, Markdown (`1. ` becomes
//! "unsupported list"), mathematics (`$$`), and a `style…:…#…;` whose last semicolon it drops.

use super::{Exit, Place, Sketch};

/// Marks that mean nothing to Mermaid, wherever they stand in a quoted label but at the beginning of a line.
const PLAIN: &str = " .,()={}'/+!?…→";

pub(super) fn render(sketch: &Sketch<'_>) -> String {
    let mut lines = vec!["flowchart TD".to_owned(), format!("  start([{}])", label(&[sketch.name]))];
    for (position, task) in sketch.tasks.iter().enumerate() {
        lines.push(format!("  t{position}[{}]", label(&task.lines())));
    }
    lines.extend(sketch.ends().iter().map(|(end, word)| format!("  {}([{}])", end.id(), label(&[word]))));
    lines.extend(sketch.entries.iter().map(|&entry| format!("  start --> {}", entry.id())));
    for (position, task) in sketch.tasks.iter().enumerate() {
        for exit in &task.exits {
            lines.extend(exit.places.iter().map(|&place| edge(position, exit, place)));
        }
    }
    lines.join("\n") + "\n"
}

fn edge(from: usize, exit: &Exit, to: Place) -> String {
    let labels = exit.labels(to);
    match labels.is_empty() {
        true => format!("  t{from} --> {}", to.id()),
        false => format!("  t{from} -->|{}| {}", label(&labels), to.id()),
    }
}

fn label(lines: &[&str]) -> String {
    format!("\"{}\"", lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br/>"))
}

fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(c) = characters.next() {
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_plain = match c {
            // Within a word neither stands for emphasis or for a line of a list.
            '_' | '-' => is_word(before) && is_word(characters.peek().copied()),
            // A number that begins a line may be a list to Markdown.
            '0'..='9' => before.is_some(),
            _ => c.is_alphabetic() || c.is_numeric() || (before.is_some() && PLAIN.contains(c)),
        };
        match is_plain {
            true => text.push(c),
            false => text.push_str(&format!("#{};", u32::from(c))),
        }
        before = Some(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mermaid_would_obey_is_an_entity() {
        assert_eq!(escaped("check_fleet-2 a - b"), "check_fleet-2 a #45; b");
        assert_eq!(escaped("1. x"), "#49;. x");
        assert_eq!(escaped("%%{init}"), "#37;#37;{init}");
        assert_eq!(escaped("a \"b\" [c] #d; <e>"), "a #34;b#34; #91;c#93; #35;d#59; #60;e#62;");
        assert_eq!(escaped("_x_ $y$ `z` style a:b \\n &"), "#95;x#95; #36;y#36; #96;z#96; style a#58;b #92;n #38;");
        assert_eq!(label(&["end", "größer"]), "\"end<br/>größer\"");
    }
}
