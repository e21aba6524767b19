//! What a YAML scalar means: the core schema of YAML 1.2 (chapter 10.3), in which `yes` and `no` are texts.

use saphyr_parser::{ScalarStyle, Tag};

use super::yaml::{Content, Number, quoted};

/// A scalar that is no JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// A number that is not finite or needs more than 64 bits.
    #[error("the number {0} does not fit in 64 bits")]
    NumberOutOfRange(String),
    /// A tag of the core schema that the text does not fulfil.
    #[error("{text} is not of the type that its tag `!!{tag}` says")]
    TagMismatch { text: String, tag: String },
    /// Any other tag.
    #[error("the YAML tag `{0}` has no meaning here")]
    UnknownTag(String),
}

impl Error {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NumberOutOfRange(_) => "number_out_of_range",
            Self::TagMismatch { .. } => "tag_mismatch",
            Self::UnknownTag(_) => "unknown_tag",
        }
    }
}

/// The value of a scalar.
pub(super) fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Content, Error> {
    let Some(tag) = tag.filter(|tag| !is_plain(tag)) else {
        let is_text = style != ScalarStyle::Plain || tag.is_some();
        return if is_text { Ok(Content::Text(text.to_owned())) } else { plain(text) };
    };
    if !tag.is_yaml_core_schema() {
        return Err(Error::UnknownTag(tag.to_string().chars().take(40).collect()));
    }
    if tag.suffix == "str" {
        return Ok(Content::Text(text.to_owned()));
    }
    let value = plain(text)?;
    match (tag.suffix.as_str(), value) {
        ("float", Content::Number(Number::Signed(number))) => Ok(Content::Number(Number::Float(number as f64))),
        ("float", value @ Content::Number(_))
        | ("int", value @ Content::Number(Number::Signed(_) | Number::Unsigned(_)))
        | ("bool", value @ Content::Bool(_))
        | ("null", value @ Content::Null) => Ok(value),
        (tag, _) => Err(Error::TagMismatch { text: quoted(text), tag: tag.chars().take(40).collect() }),
    }
}

/// Whether `tag` is the tag `!!name` of the core schema.
pub(super) fn is_core(tag: &Tag, name: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == name
}

/// Whether `tag` is a lone `!`, which says: do not guess.
pub(super) fn is_plain(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

/// Whether `text` is a decimal number that begins with a zero it does not need, as ids and file modes do.
pub(super) fn loses_zeros(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A scalar without quotes.
fn plain(text: &str) -> Result<Content, Error> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Content::Null),
        "true" | "True" | "TRUE" => Ok(Content::Bool(true)),
        "false" | "False" | "FALSE" => Ok(Content::Bool(false)),
        _ => match number(text) {
            Some(Ok(number)) => Ok(Content::Number(number)),
            Some(Err(error)) => Err(error),
            None => Ok(Content::Text(text.to_owned())),
        },
    }
}

/// `None` when it is no number at all.
fn number(text: &str) -> Option<Result<Number, Error>> {
    let out_of_range = || Error::NumberOutOfRange(text.chars().take(40).collect());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(text, ".nan" | ".NaN" | ".NAN") || matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(Err(out_of_range()));
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix).filter(|digits| is_digits(digits, radix)) {
            let parsed = u64::from_str_radix(digits, radix);
            return Some(parsed.map(whole).map_err(|_| out_of_range()));
        }
    }
    if is_digits(unsigned, 10) {
        let signed = text.parse().map(Number::Signed);
        let parsed = signed.or_else(|_| text.parse().map(whole));
        return Some(parsed.map_err(|_| out_of_range()));
    }
    let float = is_float(unsigned).then(|| text.parse::<f64>().ok())??;
    Some(if float.is_finite() { Ok(Number::Float(float)) } else { Err(out_of_range()) })
}

fn whole(number: u64) -> Number {
    i64::try_from(number).map_or(Number::Unsigned(number), Number::Signed)
}

fn is_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_digit(radix))
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = [whole, decimals].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let exponent_fits = exponent.is_none_or(|text| is_digits(text.strip_prefix(['-', '+']).unwrap_or(text), 10));
    all_digits && !(whole.is_empty() && decimals.is_empty()) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_is_kept() {
        for text in [
            "yes", "no", "on", "off", "y", "1_000", "0b11", "1:30", "0o9", "0xg", "e3", ".", "-", "+", "1.2.3", "1e",
            "- 1",
        ] {
            assert_eq!(plain(text), Ok(Content::Text(text.into())), "{text}");
        }
        for (text, number) in [("7", 7), ("007", 7), ("+7", 7), ("-0", 0), ("0o17", 15), ("0xff", 255)] {
            assert_eq!(plain(text), Ok(Content::Number(Number::Signed(number))), "{text}");
        }
        for (text, number) in [("1.", 1.0), (".5", 0.5), ("-1.5e3", -1500.0), ("1e2", 100.0)] {
            assert_eq!(plain(text), Ok(Content::Number(Number::Float(number))), "{text}");
        }
        assert_eq!(plain("18446744073709551615"), Ok(Content::Number(Number::Unsigned(u64::MAX))));
        for text in ["18446744073709551616", "-9223372036854775809", ".inf", "-.INF", ".nan", "1e999"] {
            assert!(plain(text).is_err(), "{text}");
        }
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(plain(text), Ok(Content::Null));
        }
    }

    #[test]
    fn quotes_and_tags_decide() {
        let core = |suffix: &str| Tag { handle: "tag:yaml.org,2002:".into(), suffix: suffix.into() };
        assert_eq!(resolve("7", ScalarStyle::SingleQuoted, None), Ok(Content::Text("7".into())));
        assert_eq!(resolve("7", ScalarStyle::Plain, Some(&core("str"))), Ok(Content::Text("7".into())));
        assert_eq!(resolve("7", ScalarStyle::DoubleQuoted, Some(&core("int"))), Ok(Content::Number(Number::Signed(7))));
        assert!(resolve("x", ScalarStyle::Plain, Some(&core("int"))).is_err());
        assert!(resolve("x", ScalarStyle::Plain, Some(&core("binary"))).is_err());
        assert!(resolve("x", ScalarStyle::Plain, Some(&Tag { handle: "!".into(), suffix: "x".into() })).is_err());
        assert!(loses_zeros("007") && loses_zeros("-01") && !loses_zeros("0") && !loses_zeros("0.5"));
    }
}
