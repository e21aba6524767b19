//! JSON in one form, so that equal values have equal bytes and equal digests.
//!
//! Sorted keys, no white space, finite numbers of at most 64 bits. Whoever holds a [`Json`] may hash it, store it
//! and send it on without looking inside.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use serde_json::value::RawValue;

use crate::limits::{JSON_DEPTH_MAX, VALUE_DEPTH_MAX};

/// The canonical bytes of a JSON value. Cloning shares them.
///
/// Deserializing takes the bytes of a message as they are: both ends are ours and write canonical JSON.
/// What strangers send goes through [`Json::canonical`].
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

/// Why bytes are no acceptable JSON.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON at all.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Arrays and objects nested too deep (`json_too_deep`).
    #[error("JSON is nested deeper than {0} levels")]
    TooDeep(usize),
    /// A number that 64 bits cannot hold (`number_out_of_range`).
    #[error("number {0} does not fit in 64 bits")]
    NumberOutOfRange(String),
}

impl Error {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "json_invalid",
            Self::TooDeep(_) => "json_too_deep",
            Self::NumberOutOfRange(_) => "number_out_of_range",
        }
    }
}

impl Json {
    /// JSON `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Brings `text` into canonical form.
    ///
    /// # Errors
    /// When it is not JSON, nested deeper than [`VALUE_DEPTH_MAX`], or has a number beyond 64 bits. A key that
    /// stands twice keeps its last value, as in JavaScript and Python.
    pub fn canonical(text: &[u8]) -> Result<Self, Error> {
        check_within(text, VALUE_DEPTH_MAX)?;
        let sorted: Sorted = serde_json::from_slice(text)?;
        Ok(Self::of(&sorted)?)
    }

    /// The JSON of `value`, whose maps must have sorted keys and whose numbers must be finite: structs of ours,
    /// `BTreeMap`s, template values.
    ///
    /// # Errors
    /// When `value` cannot be JSON, such as a map with keys that are no strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(|raw| Self(raw.into()))
    }

    /// Bytes that are canonical already, such as those of a stored value whose digest was checked.
    ///
    /// # Errors
    /// When they are not JSON.
    pub fn from_canonical(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(|raw| Self(raw.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.get().as_bytes()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it as `T`.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

/// Looks over JSON text before it is parsed: nesting, and numbers that parsing would round without a word.
///
/// # Errors
/// [`Error::TooDeep`] or [`Error::NumberOutOfRange`]. Text that is no JSON may pass: the parser says what is wrong.
pub fn check(text: &[u8]) -> Result<(), Error> {
    check_within(text, JSON_DEPTH_MAX)
}

fn check_within(text: &[u8], depth_max: usize) -> Result<(), Error> {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return Err(Error::TooDeep(depth_max));
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => at = number_end(text, at)?,
            _ => at += 1,
        }
    }
    Ok(())
}

/// The position behind the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The position behind the number that begins at `start`, if 64 bits can hold it.
fn number_end(text: &[u8], start: usize) -> Result<usize, Error> {
    let length = text[start..].iter().take_while(|b| b.is_ascii_digit() || b"+-.eE".contains(b)).count();
    let number = std::str::from_utf8(&text[start..start + length]).unwrap_or_default();
    let is_whole = number.bytes().all(|b| b == b'-' || b.is_ascii_digit());
    let fits = match is_whole {
        // Up to 18 digits always fit; the parser complains about anything malformed.
        true => length <= 18 || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok(),
        false => number.parse::<f64>().map_or(true, f64::is_finite),
    };
    match fits {
        true => Ok(start + length),
        false => Err(Error::NumberOutOfRange(number.chars().take(40).collect())),
    }
}

/// Any JSON value, with its maps sorted whatever `serde_json` was built with.
enum Sorted {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Sorted>),
    Map(BTreeMap<String, Sorted>),
}

impl Serialize for Sorted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => values.serialize(serializer),
            Self::Map(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Sorted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Sorted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_unit<E>(self) -> Result<Sorted, E> {
                Ok(Sorted::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Sorted, E> {
                Ok(Sorted::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Sorted, E> {
                Ok(Sorted::Signed(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Sorted, E> {
                Ok(Sorted::Unsigned(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Sorted, E> {
                Ok(Sorted::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Sorted, E> {
                Ok(Sorted::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Sorted, E> {
                Ok(Sorted::Text(value))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Sorted, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Sorted::List(values))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Sorted, A::Error> {
                let mut values = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    values.insert(key, value);
                }
                Ok(Sorted::Map(values))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_bytes() {
        let json = Json::canonical(br#" {"b": [1, 2.50, -7], "a": {"z": null, "y": "\u00e9\n"}} "#).expect("valid");
        assert_eq!(json.as_str(), r#"{"a":{"y":"é\n","z":null},"b":[1,2.5,-7]}"#);
        assert_eq!(Json::canonical(json.as_bytes()).expect("valid"), json);
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        for text in
            ["18446744073709551616", "-9223372036854775809", "1e999", "[0, -1e999]", r#"{"a":99999999999999999999}"#]
        {
            assert_eq!(Json::canonical(text.as_bytes()).expect_err(text).code(), "number_out_of_range", "{text}");
        }
        for text in ["18446744073709551615", "-9223372036854775808", "1e308", r#""99999999999999999999""#] {
            assert!(Json::canonical(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_before_parsing() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::canonical(nested(VALUE_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(Json::canonical(nested(100_000).as_bytes()).expect_err("deep").code(), "json_too_deep");
        assert!(Json::canonical(format!("\"{}\"", "[".repeat(500)).as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "nul", "[1,]", "\"\\", "1.2.3", "--1"] {
            assert!(Json::canonical(text.as_bytes()).is_err(), "{text}");
        }
    }
}
