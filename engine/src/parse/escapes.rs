//! Characters that JSON escapes as two halves, which YAML, otherwise a superset, does not know.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The text to scan, and where in `source` its characters begin, unless each is one byte.
///
/// They differ only for JSON with characters escaped as two halves (`\ud83d\ude00`), as many writers of JSON do:
/// YAML writes them as one (`\U0001f600`).
pub(super) fn prepared(source: &str) -> (Cow<'_, str>, Option<Vec<usize>>) {
    let may_have_halves = source.contains(r"\ud") || source.contains(r"\uD");
    if may_have_halves && serde_json::from_str::<IgnoredAny>(source).is_ok() {
        let (text, offsets) = joined(source);
        return (text.into(), Some(offsets));
    }
    let offsets = (!source.is_ascii()).then(|| source.char_indices().map(|(offset, _)| offset).collect());
    (source.into(), offsets)
}

/// `source` with two halves of a character joined.
fn joined(source: &str) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(source.len());
    let mut offsets = Vec::with_capacity(source.len());
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        // An escape is taken as a whole, so that an escaped backslash does not begin another.
        let (piece, length) = match (c, two_halves(&source[at..])) {
            (_, Some(whole)) => (format!(r"\U{:08x}", u32::from(whole)), r"\ud83d\ude00".len()),
            ('\\', None) => (source[at..].chars().take(2).collect(), 2),
            (_, None) => (c.to_string(), c.len_utf8()),
        };
        offsets.extend(piece.chars().map(|_| at));
        text.push_str(&piece);
        at += length;
    }
    (text, offsets)
}

/// The character whose two halves `text` begins with.
fn two_halves(text: &str) -> Option<char> {
    let half = |at: usize| u16::from_str_radix(text.get(at..at + 6)?.strip_prefix(r"\u")?, 16).ok();
    let whole = char::decode_utf16([half(0)?, half(6)?]).next()?.ok()?;
    (u32::from(whole) > 0xffff).then_some(whole)
}
