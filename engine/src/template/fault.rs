//! Turns what Tera says into a line for people, with the line of the source it is about.

use tera::{Context, ErrorKind, value::Key};

use super::{
    compile::{Form, Template},
    filters, guard, names,
    scan::{Path, Segment},
};

/// The most of a source line that a message shows, in characters.
const EXCERPT_CHARS_MAX: usize = 160;

/// Why Tera does not accept `source`, as the user wrote it; `None` when it does.
#[must_use]
pub fn syntax(source: &str, form: Form) -> Option<String> {
    let (wrapped, before) = match form {
        Form::Template => (source.to_owned(), 0),
        Form::Expression => (format!("{{{{ {source} }}}}"), 3),
    };
    rejection(&wrapped, source, |at| at.saturating_sub(before))
}

/// Why Tera does not accept what `template` was rewritten to; `None` when it does.
#[must_use]
pub fn rewritten(template: &Template) -> Option<String> {
    rejection(&template.rewritten(), &template.source, |at| template.original(at))
}

/// Why Tera does not accept `compiled`, with the line of `source` to which `original` leads.
fn rejection(compiled: &str, source: &str, original: impl Fn(usize) -> usize) -> Option<String> {
    let error = filters::tera().add_raw_template("template", compiled).err()?;
    Some(match error.kind() {
        ErrorKind::SyntaxError(report) => {
            let at = original(report.span().range.start);
            format!("{}\n  | {}", tidy(report.message()), excerpt(source, at))
        }
        _ => tidy(&first_report(&error.to_string())),
    })
}

/// What went wrong when `template` was rendered against `context`.
#[must_use]
pub fn evaluation(error: &tera::Error, template: &Template, context: &Context) -> String {
    let ErrorKind::RenderingError(report) = error.kind() else {
        return tidy(&first_report(&error.to_string()));
    };
    let at = template.original(report.span().range.start);
    let says = report.message();
    let is_undefined =
        says == guard::UNDEFINED || (says.contains("` is not defined") && !says.starts_with("Field `__"));
    let message = match is_undefined || says.contains("that is undefined") {
        true => undefined(template, at, context),
        false => tidy(says),
    };
    format!("{message}\n  | {}", excerpt(&template.source, at))
}

/// The message for a value of `template` that turned out undefined as a whole.
#[must_use]
pub fn undefined_value(template: &Template, context: &Context) -> String {
    let message = match &template.paths[..] {
        [path] => missing(path, &template.source, context),
        _ => "the value is not defined".to_owned(),
    };
    format!("{message}\n  | {}", excerpt(&template.source, 0))
}

fn undefined(template: &Template, at: usize, context: &Context) -> String {
    // A guard stands behind its operand; Tera itself points into the path.
    let end = template.source[..at].trim_end().len();
    let ending = template.paths.iter().filter(|path| path.range.end == end).max_by_key(|path| path.range.len());
    let around = || template.paths.iter().filter(|path| path.range.contains(&at)).min_by_key(|path| path.range.len());
    match ending.or_else(around) {
        Some(path) => missing(path, &template.source, context),
        None => "a value is not defined".to_owned(),
    }
}

/// Names the first part of `path` that does not exist, and what is there instead.
fn missing(path: &Path, source: &str, context: &Context) -> String {
    let written = &source[path.range.clone()];
    let Some(mut value) = context.get(&path.root).filter(|_| !path.is_local) else {
        return format!("`{}` is not defined", if path.is_local { written } else { &path.root });
    };
    let mut known = path.root.clone();
    for segment in &path.segments {
        let Segment::Name(name) = segment else { break };
        let Some(map) = value.as_map() else {
            return format!("`{written}` is not defined: `{known}` is {}", crate::value::kind(value));
        };
        match map.get(&Key::Str(name)) {
            Some(next) => value = next,
            None => {
                let near = names::nearest(name, map.keys().filter_map(Key::as_str));
                let near = near.map(|near| format!(", did you mean `{known}.{near}`?")).unwrap_or_default();
                return format!("`{known}.{name}` is not defined{near}");
            }
        }
        known = format!("{known}.{name}");
    }
    format!("`{written}` is not defined")
}

/// The line of `source` that byte `at` is in.
fn excerpt(source: &str, at: usize) -> String {
    let at = (0..=at.min(source.len())).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0);
    let start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = source[start..].lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The first line of Tera's report, which goes on with a drawing of the rewritten source.
fn first_report(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("error: ")).or_else(|| text.lines().next());
    line.unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Tera's sentences begin with a capital and end with a full stop; ours stand behind a field's name.
fn tidy(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default().trim_end_matches('.');
    let message = message.replace("map/struct", "map").replace("`none`", "null").replace("`array`", "a list");
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_one_line_and_short() {
        assert_eq!(excerpt("a\n  bé\nc", 5), "bé");
        assert_eq!(excerpt("", 9), "");
        assert_eq!(excerpt(&"x".repeat(500), 3).chars().count(), EXCERPT_CHARS_MAX + 1);
    }

    #[test]
    fn syntax_errors_are_said_in_a_line() {
        let says = |source, form| syntax(source, form).expect("wrong");
        assert_eq!(
            says("{{ a + }}", Form::Template),
            "found `}}` but expected one of: integer, float, string, bool, ident, `-`, `not`, `<`, `{`, `[` or `(`\n  | {{ a + }}"
        );
        assert!(says("{{ a ", Form::Template).starts_with("unexpected end of input"));
        assert!(says("a b", Form::Expression).ends_with("| a b"));
        assert_eq!(syntax("a", Form::Expression), None);
    }
}
