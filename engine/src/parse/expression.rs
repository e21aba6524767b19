//! Where templates are in a text, without understanding them: that is the matter of `program`.

use super::{habits, reader::Reader};
use crate::{diagnostic::Diagnostic, spec::Span};

/// Whether Tera would do anything with `text`.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|opening| text.contains(opening))
}

/// The expression of a text that, trimmed, is exactly one `{{ … }}`.
pub(super) fn lone(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?;
    let end = closing(inner, "}}")?;
    // A dash at the braces only trims white space around them.
    let expression = inner[..end].strip_prefix('-').unwrap_or(&inner[..end]);
    let expression = expression.strip_suffix('-').unwrap_or(expression);
    (end + 2 == inner.len()).then(|| expression.trim())
}

/// Tells what in a template or an expression comes from another system.
pub(super) fn check(reader: &mut Reader<'_>, text: &str, span: Span) {
    let trimmed = text.trim();
    if trimmed.starts_with("${{") && trimmed.ends_with("}}") {
        let help = "`${{ … }}` is GitHub Actions; here, write `{{ … }}`";
        reader.refuse(
            "foreign_expression",
            span,
            "a `$` stands before the template and would become part of the text",
            help,
        );
    } else if text.contains("${{") {
        let warning =
            Diagnostic::warning("foreign_expression", span, "the `$` before `{{ … }}` becomes part of the text");
        reader.push(warning.with_help("leave the `$` out unless it is meant"));
    }
    for code in codes(text) {
        check_code(reader, code, span);
    }
}

/// Tells an expression in the YAQL of Orquesta, `<% … %>`, which would be taken for plain text.
pub(super) fn check_yaql(reader: &mut Reader<'_>, text: &str, span: Span) {
    const MARKS: [&str; 7] = ["ctx(", "$.", "item(", "result(", "task(", "succeeded(", "failed("];
    let Some((_, inner)) = text.split_once("<%") else {
        return;
    };
    let Some((inner, _)) = inner.split_once("%>") else {
        return;
    };
    if MARKS.iter().any(|mark| inner.contains(mark)) {
        let help = "`<% … %>` is Orquesta; here, write `{{ … }}`, with `workflow.NAME`, `parameters.NAME` and `task.NAME.result`";
        reader.refuse("foreign_expression", span, "an expression in `<% … %>` is a plain text here", help);
    }
}

/// Tells the functions of other systems in `code`.
pub(super) fn check_code(reader: &mut Reader<'_>, code: &str, span: Span) {
    for name in called(code) {
        if let Some(help) = habits::function(name) {
            reader.refuse("foreign_expression", span, format!("there is no function `{name}`"), help);
        }
    }
}

/// What stands between the braces of a template, comments and `raw` blocks left out.
fn codes(text: &str) -> Vec<&str> {
    let mut codes = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['{']) {
        let (opening, behind) = (rest[start..].get(..2), rest[start..].get(2..).unwrap_or_default());
        let (end, is_code) = match opening {
            Some("{{") => (closing(behind, "}}"), true),
            Some("{%") => (closing(behind, "%}"), true),
            Some("{#") => (behind.find("#}"), false),
            Some(_) | None => {
                rest = &rest[start + 1..];
                continue;
            }
        };
        let Some(end) = end else { break };
        let code = &behind[..end];
        rest = &behind[end + 2..];
        if code.trim_matches(['-', ' ']) == "raw" {
            rest = rest.find("endraw").map_or("", |end| &rest[end..]);
        } else if is_code {
            codes.push(code);
        }
    }
    codes
}

/// Where in `code` the first `mark` stands outside quotes.
fn closing(code: &str, mark: &str) -> Option<usize> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, byte) in code.bytes().enumerate() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if byte == b'\\' => is_escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if code.as_bytes()[at..].starts_with(mark.as_bytes()) => return Some(at),
            None if matches!(byte, b'"' | b'\'' | b'`') => quote = Some(byte),
            None => {}
        }
    }
    None
}

/// The names in `code` that are called as functions: not filters, tests or members.
fn called(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = code[at..].chars().next() {
        if matches!(c, '"' | '\'' | '`') {
            let inner = &code[at + 1..];
            let end = closing_quote(inner, c);
            at += 1 + end;
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = code[at..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let name = &code[at..at + length];
            at += length;
            if code[at..].trim_start().starts_with('(') && !matches!(before, '.' | '|') {
                names.push(name);
            }
            before = 'a';
        } else {
            if !c.is_whitespace() {
                before = c;
            }
            at += c.len_utf8();
        }
    }
    names
}

/// How much of `inner` lies before and at the quote that ends it.
fn closing_quote(inner: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    inner.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_expression_is_told_from_text_with_expressions() {
        for (text, expression) in [
            ("{{ a }}", Some("a")),
            (" {{a.b|length}}\n", Some("a.b|length")),
            ("{{- -1 -}}", Some("-1")),
            ("{{ -1 }}", Some("-1")),
            ("{{ '}}' ~ a }}", Some("'}}' ~ a")),
            (r#"{{ "\"}}" }}"#, Some(r#""\"}}""#)),
            ("{{ a }} and {{ b }}", None),
            ("x {{ a }}", None),
            ("{{ a", None),
            ("{{ 'a }}", None),
            ("{% if a %}{{ b }}{% endif %}", None),
            ("a", None),
        ] {
            assert_eq!(lone(text), expression, "{text}");
        }
    }

    #[test]
    fn code_is_told_from_text() {
        assert_eq!(
            codes("ctx() {{ a }}{% if b %}{# ctx() #}{% raw %}{{ ctx() }}{% endraw %}{{ c }} {"),
            [" a ", " if b ", " c "]
        );
        assert_eq!(called("a(1) + x.b() | c() ~ 'd()' ~ e (f())"), ["a", "e", "f"]);
        assert_eq!(called("'unclosed ctx("), Vec::<&str>::new());
    }
}
