//! Conditions, fields and names as the short texts that a picture shows.

use crate::{
    duration,
    spec::{DurationField, Field, Node, OutcomeTest, When},
};

/// The most characters of a condition or of any other field that are drawn.
const SHOWN_CHARS_MAX: usize = 60;

/// The most names in a row that are drawn; of the others only their number is.
const NAMES_MAX: usize = 6;

/// The condition as it is written; `None` when it always holds.
pub(super) fn condition(when: &When) -> Option<String> {
    match when {
        When::Outcome(OutcomeTest::Constant(true)) => None,
        When::Outcome(test) => Some(short(&outcome(test))),
        When::Expression(field) => Some(value(field)),
    }
}

/// The test as users write it, with the parentheses that it needs: `not` binds more than `and`, and that more than `or`.
fn outcome(test: &OutcomeTest) -> String {
    let enclosed = |inner: &OutcomeTest| format!("({})", outcome(inner));
    let in_and =
        |inner: &OutcomeTest| if matches!(inner, OutcomeTest::Or(..)) { enclosed(inner) } else { outcome(inner) };
    let in_not =
        |inner: &OutcomeTest| if matches!(inner, OutcomeTest::And(..)) { enclosed(inner) } else { in_and(inner) };
    match test {
        OutcomeTest::Constant(value) => value.to_string(),
        OutcomeTest::Succeeded => "succeeded()".to_owned(),
        OutcomeTest::Failed => "failed()".to_owned(),
        OutcomeTest::TimedOut => "timed_out()".to_owned(),
        OutcomeTest::Crashed => "crashed()".to_owned(),
        OutcomeTest::Canceled => "canceled()".to_owned(),
        OutcomeTest::Completed => "completed()".to_owned(),
        OutcomeTest::Not(inner) => format!("not {}", in_not(inner)),
        OutcomeTest::And(left, right) => format!("{} and {}", in_and(left), in_and(right)),
        OutcomeTest::Or(left, right) => format!("{} or {}", outcome(left), outcome(right)),
    }
}

/// The duration as written.
pub(super) fn time(field: &DurationField) -> String {
    match field {
        DurationField::Known(time) => duration::format(*time),
        DurationField::Evaluated(field) => value(field),
    }
}

/// What a field says, without the braces where it is one expression.
pub(super) fn value(field: &Field) -> String {
    match &field.node {
        Node::Literal(json) => match json.parse::<String>() {
            Ok(text) => short(&text),
            Err(_) => short(json.as_str()),
        },
        Node::Template(text) => short(bare(&text.source)),
        Node::Expression(text) => short(&text.source),
        Node::List(nodes) => format!("a list of {}", nodes.len()),
        Node::Map(entries) => {
            let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            short(&listed(&keys))
        }
    }
}

/// The inside of a template that is one pair of braces. Should a brace stand in a text within it, both stay.
fn bare(template: &str) -> &str {
    let inside = template.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    match inside.filter(|inside| !inside.contains("{{") && !inside.contains("}}")) {
        Some(inside) => inside.trim_start_matches('-').trim_end_matches('-').trim(),
        None => template,
    }
}

/// The names in a row, up to a bound.
pub(super) fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// One line of at most [`SHOWN_CHARS_MAX`] characters, in which white space is one blank and nothing is left that a
/// terminal or a reader of the picture would obey: control characters, and marks that turn the direction of writing.
pub(super) fn short(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line
        .chars()
        .map(|c| if obeyed(c) { char::REPLACEMENT_CHARACTER } else { c })
        .take(SHOWN_CHARS_MAX + 1)
        .collect();
    if shown.chars().count() > SHOWN_CHARS_MAX {
        shown.pop();
        shown.pop();
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    /// The first condition of a task as it is drawn.
    fn drawn(when: &str) -> Option<String> {
        let source = format!("name: a\ntasks:\n  a:\n    next: [{{ when: '{when}', do: noop }}]\n");
        let (workflow, _) = parse(&source, "a.yaml").expect("valid");
        condition(&workflow.tasks[0].next[0].when)
    }

    #[test]
    fn conditions_are_drawn_as_written() {
        for when in [
            "succeeded()",
            "failed() or timed_out() or crashed()",
            "failed() and not (timed_out() or crashed()) and completed()",
            "not (failed() and canceled()) or not succeeded()",
            "(failed() or succeeded()) and completed()",
            "false",
            "succeeded() and result.status == 200",
        ] {
            assert_eq!(drawn(when).as_deref(), Some(when));
        }
        assert_eq!(drawn("{{ result > 1 }}").as_deref(), Some("result > 1"));
        assert_eq!(drawn("true"), None);
    }

    #[test]
    fn texts_are_one_short_harmless_line() {
        assert_eq!(short(" a\n\t b\u{1b}[31m \u{202e}c "), "a b\u{fffd}[31m \u{fffd}c");
        let long = short(&"ü".repeat(1_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (SHOWN_CHARS_MAX, true));
        assert_eq!(short(&"ü".repeat(SHOWN_CHARS_MAX)).chars().last(), Some('ü'));
        assert_eq!(listed(&["a"; 9]), "a, a, a, a, a, a and 3 more");
    }

    #[test]
    fn only_the_braces_of_one_expression_go() {
        for (template, shown) in [
            ("{{ a.b }}", "a.b"),
            (" {{- a -}} ", "a"),
            ("{{ a }} and {{ b }}", "{{ a }} and {{ b }}"),
            ("{{ \"}}\" }}", "{{ \"}}\" }}"),
            ("{% if a %}b{% endif %}", "{% if a %}b{% endif %}"),
        ] {
            assert_eq!(bare(template), shown);
        }
    }
}
