//! Cuts a template's source into text, expressions and tags, as Tera 2.4 itself does.
//!
//! Tera keeps its lexer private. This one must agree with it on where things begin and end; whatever it cannot
//! read it leaves to Tera, whose message users then get.

use std::ops::Range;

/// A part of a template's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text, a comment or a `raw` block: nothing is evaluated.
    Text {
        /// Whether it is white space only, and neither comment nor `raw`.
        is_blank: bool,
    },
    /// `{{ … }}`.
    Variable(Inside),
    /// `{% … %}`.
    Tag(Inside),
}

/// The tokens between two delimiters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// What lies between the delimiters, in bytes of the source.
    pub range: Range<usize>,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands in the source.
    pub range: Range<usize>,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword.
    Name,
    /// A string literal; its range includes the quotes.
    Text,
    /// A number.
    Number,
    /// An operator or a bracket.
    Symbol,
    /// A `}` right before another one, that Tera would take for the end of the expression: a space goes behind it.
    Brace,
}

/// The source cannot be cut; Tera says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// What ends a sequence of tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Variable,
    Tag,
    SourceEnd,
}

/// Longest first, so that `**` is not read as two `*`.
const SYMBOLS: [&str; 32] = [
    "...", "//", "**", "==", "!=", ">=", "<=", "</", "?.", "?[", "+", "-", "*", "/", "%", "!", ".", ",", ":", "~", "|",
    "=", ">", "<", "(", ")", "[", "]", "{", "}", "@", "?",
];

/// Cuts a whole template.
///
/// # Errors
/// When a delimiter or a string is not closed, or a character is foreign.
pub fn split(source: &str) -> Result<Vec<Piece>, Unreadable> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        if rest.starts_with("{{") || rest.starts_with("{%") {
            let start = at + if rest[2..].starts_with('-') { 3 } else { 2 };
            let is_tag = rest.starts_with("{%");
            if let Some(end) = is_tag.then(|| raw_end(source, start)).flatten() {
                pieces.push(Piece::Text { is_blank: false });
                at = end?;
                continue;
            }
            let (inside, end) = inside(source, start, if is_tag { Until::Tag } else { Until::Variable })?;
            pieces.push(if is_tag { Piece::Tag(inside) } else { Piece::Variable(inside) });
            at = end;
        } else if rest.starts_with("{#") {
            at += rest.find("#}").ok_or(Unreadable)? + 2;
            pieces.push(Piece::Text { is_blank: false });
        } else {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let length = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min().unwrap_or(rest.len());
            let length = length.max(first);
            pieces.push(Piece::Text { is_blank: rest[..length].trim().is_empty() });
            at += length;
        }
    }
    Ok(pieces)
}

/// Cuts an expression written without braces.
///
/// # Errors
/// As [`split`]; also when it holds `}}` outside of strings and maps.
pub fn expression(source: &str) -> Result<Inside, Unreadable> {
    inside(source, 0, Until::SourceEnd).map(|(inside, _)| inside)
}

/// The end of the `raw` block whose tag's inside begins at `start`, if it is one.
fn raw_end(source: &str, start: usize) -> Option<Result<usize, Unreadable>> {
    let mut at = tag_end(source, start, "raw")?;
    while let Some(open) = source[at..].find("{%") {
        at += open + 2;
        let inner = if source[at..].starts_with('-') { at + 1 } else { at };
        if let Some(end) = tag_end(source, inner, "endraw") {
            return Some(Ok(end));
        }
    }
    Some(Err(Unreadable))
}

/// The position behind the tag that is just `name`, whose inside begins at `start`.
fn tag_end(source: &str, start: usize, name: &str) -> Option<usize> {
    let rest = source[start..].trim_ascii_start().strip_prefix(name)?.trim_ascii_start();
    let rest = rest.strip_prefix('-').unwrap_or(rest).strip_prefix("%}")?;
    Some(source.len() - rest.len())
}

/// The tokens from `start` on, and the position behind the closing delimiter.
fn inside(source: &str, start: usize, until: Until) -> Result<(Inside, usize), Unreadable> {
    let close = match until {
        Until::Variable => Some("}}"),
        Until::Tag => Some("%}"),
        Until::SourceEnd => None,
    };
    let mut tokens: Vec<Token> = Vec::new();
    let mut braces = 0usize;
    let mut at = start;
    loop {
        at += source[at..].len() - source[at..].trim_ascii_start().len();
        let rest = &source[at..];
        if rest.is_empty() {
            let done = (Inside { range: start..at, tokens }, at);
            return if close.is_none() { Ok(done) } else { Err(Unreadable) };
        }
        let is_split_brace = until != Until::Tag && rest.starts_with("}}") && braces > 0;
        if let Some(close) = close.filter(|_| !is_split_brace) {
            let dashed = rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(close));
            if dashed || rest.starts_with(close) {
                let end = at + close.len() + usize::from(dashed);
                return Ok((Inside { range: start..at, tokens }, end));
            }
        }
        if until == Until::SourceEnd && rest.starts_with("}}") && !is_split_brace {
            return Err(Unreadable);
        }
        let (mut kind, length) = token(rest)?;
        match &rest[..length] {
            "{" if kind == Kind::Symbol => braces += 1,
            "}" if kind == Kind::Symbol => {
                braces = braces.saturating_sub(1);
                kind = if is_split_brace { Kind::Brace } else { kind };
            }
            _ => {}
        }
        tokens.push(Token { kind, range: at..at + length });
        at += length;
    }
}

/// The token at the beginning of `rest`, which is not empty and begins with no white space.
fn token(rest: &str) -> Result<(Kind, usize), Unreadable> {
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((Kind::Symbol, symbol.len()));
    }
    let bytes = rest.as_bytes();
    let first = bytes[0];
    if b"'\"`".contains(&first) {
        return text_length(bytes).map(|length| (Kind::Text, length)).ok_or(Unreadable);
    }
    if first.is_ascii_digit() {
        let whole = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let fraction = match bytes.get(whole) {
            Some(b'.') => 1 + bytes[whole + 1..].iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => 0,
        };
        return Ok((Kind::Number, whole + fraction));
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let length = bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        return Ok((Kind::Name, length));
    }
    Err(Unreadable)
}

/// The length of the string literal at the beginning of `bytes`, quotes included.
fn text_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            byte if byte == bytes[0] => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str, inside: &Inside) -> Vec<String> {
        inside.tokens.iter().map(|token| source[token.range.clone()].to_owned()).collect()
    }

    #[test]
    fn expressions_become_tokens() {
        let source = r#"a.b?.c["x\"}}"] ** 1.5 // -2 | f(k='v') ~ `t` not in [1, ...b]"#;
        let inside = expression(source).expect("readable");
        assert_eq!(
            words(source, &inside).join(" "),
            r#"a . b ?. c [ "x\"}}" ] ** 1.5 // - 2 | f ( k = 'v' ) ~ `t` not in [ 1 , ... b ]"#
        );
    }

    #[test]
    fn templates_become_pieces() {
        let source = "a {{- b -}} {# c }} #}{% raw %}{{ x {% endraw %}{% if d %}é{% endif %}\n";
        let pieces = split(source).expect("readable");
        let shape: Vec<&str> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text { is_blank: true } => "blank",
                Piece::Text { is_blank: false } => "text",
                Piece::Variable(_) => "variable",
                Piece::Tag(_) => "tag",
            })
            .collect();
        assert_eq!(shape, ["text", "variable", "blank", "text", "text", "tag", "text", "tag", "blank"]);
    }

    #[test]
    fn braces_of_maps_do_not_end_an_expression() {
        let source = r#"{{ {"a": {"b": "}}"}} }}"#;
        let [Piece::Variable(inside)] = &split(source).expect("readable")[..] else { panic!("one expression") };
        assert_eq!(inside.tokens.iter().filter(|token| token.kind == Kind::Brace).count(), 1);
        assert_eq!(expression(r#"{"a": {"b": 1}}"#).expect("readable").tokens.len(), 9);
    }

    #[test]
    fn what_is_not_closed_is_unreadable() {
        for source in ["{{ a", "{% if", "{# a", "{% raw %}{{ a }}", "{{ 'a }}", "{{ a \\ }}", "{{ é }}"] {
            assert_eq!(split(source), Err(Unreadable), "{source}");
        }
        assert_eq!(expression("a }} b"), Err(Unreadable));
    }
}
