//! A value that templates read: JSON, shared behind `Arc`s, so that a clone costs the same whatever its size.

use std::{fmt::Write as _, sync::Arc};

use proto::{
    json::{Error, Json, check},
    limits::JSON_DEPTH_MAX,
};
use serde::de::Error as _;
use tera::value::{Key, ValueKind};

/// A JSON value in the form that templates work on.
#[derive(Clone, Debug)]
pub struct Value(Form);

#[derive(Clone, Debug)]
enum Form {
    Tera(tera::Value),
    /// A map that was filled in, such as an input, sorted by key. Most become JSON and are read by no template, and
    /// Tera's table of hashes costs more than all else about a small one.
    Filled(Arc<[(Key<'static>, Value)]>),
}

impl Value {
    /// JSON `null`.
    #[must_use]
    pub fn null() -> Self {
        tera::Value::none().into()
    }

    /// A boolean.
    #[must_use]
    pub fn from_bool(value: bool) -> Self {
        tera::Value::from(value).into()
    }

    /// A text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        tera::Value::from(text).into()
    }

    /// A whole number.
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        tera::Value::from(number).into()
    }

    /// A list.
    #[must_use]
    pub fn from_list(values: Vec<Value>) -> Self {
        tera::Value::from(values.into_iter().map(Value::into_tera).collect::<Vec<_>>()).into()
    }

    /// A map, in the order given.
    #[must_use]
    pub fn from_map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Key::from(key), value.into_tera()));
        tera::Value::from(entries.collect::<tera::Map>()).into()
    }

    /// A map of `entries` that are sorted by key, each a text that is there once.
    pub(crate) fn filled(entries: Vec<(Key<'static>, Value)>) -> Self {
        Self(Form::Filled(entries.into()))
    }

    /// Reads JSON, without a tree of `serde_json` in between.
    ///
    /// # Errors
    /// When it is not JSON, is nested too deep, or has a number beyond 64 bits.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        check(text)?;
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let transcoder = serde_transcode::Transcoder::new(&mut deserializer);
        let value = tera::Value::try_from_serializable(&transcoder).map_err(serde_json::Error::custom)?;
        deserializer.end()?;
        Ok(value.into())
    }

    /// Writes canonical JSON: sorted keys, numbers of at most 64 bits.
    ///
    /// # Errors
    /// [`Error::NumberOutOfRange`] also for a number that is not finite, [`Error::TooDeep`].
    pub fn to_json(&self) -> Result<Json, Error> {
        let mut text = Vec::new();
        write(self, 0, &mut text)?;
        let text =
            String::from_utf8(text).expect("keys and texts are UTF-8, and so is all that is written around them");
        Ok(Json::from_canonical(text)?)
    }

    /// From a tree of `serde_json`.
    #[must_use]
    pub fn from_serde(value: &serde_json::Value) -> Self {
        tera::Value::from_serializable(value).into()
    }

    /// As a tree of `serde_json`.
    ///
    /// # Errors
    /// As [`Value::to_json`].
    pub fn to_serde(&self) -> Result<serde_json::Value, Error> {
        tree(self, 0)
    }

    /// The boolean that it is.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        self.as_tera()?.as_bool()
    }

    /// The text that it is.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_tera()?.as_str()
    }

    /// The whole number that it is; `2.0` is one too.
    #[must_use]
    pub fn as_whole(&self) -> Option<i128> {
        let number = self.as_tera()?;
        let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e18);
        // Within the range just checked the conversion is exact.
        #[allow(clippy::cast_possible_truncation)]
        number.as_i128().or_else(|| float().map(|float| float as i128))
    }

    /// The number that it is.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        let number = self.as_tera()?;
        // What is rounded here are numbers of more than 53 bits.
        #[allow(clippy::cast_precision_loss)]
        number.as_f64().or_else(|| number.as_i128().map(|number| number as f64))
    }

    /// The elements of the list that it is.
    #[must_use]
    pub fn as_list(&self) -> Option<impl ExactSizeIterator<Item = Value> + '_> {
        self.as_tera()?.as_array().map(|list| list.iter().cloned().map(Value::from))
    }

    /// The entries of the map that it is.
    #[must_use]
    pub fn as_map(&self) -> Option<impl ExactSizeIterator<Item = (String, Value)> + '_> {
        let entries: Vec<(String, Value)> = match &self.0 {
            Form::Tera(value) => {
                value.as_map()?.iter().map(|(key, value)| (key.to_string(), value.clone().into())).collect()
            }
            Form::Filled(entries) => entries.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(),
        };
        Some(entries.into_iter())
    }

    /// The value under `key` of the map that it is.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        match &self.0 {
            Form::Tera(value) => value.as_map()?.get(&Key::Str(key)).cloned().map(Value::from),
            Form::Filled(entries) => {
                entries.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value.clone())
            }
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_tera().is_some_and(tera::Value::is_none)
    }

    /// What it is, for messages: `a list`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.as_tera().map_or("a map", kind)
    }

    /// About how many bytes of memory it takes, as if it shared nothing: for budgets of caches.
    ///
    /// Parsed values take 7 to 9 times their JSON; `tests/heap.rs` holds this against an allocator that counts.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Tera(value) => heap_bytes(value),
            Form::Filled(entries) => {
                let inside: usize = entries.iter().map(|(_, value)| value.heap_bytes()).sum();
                let keys: usize =
                    entries.iter().filter_map(|(key, _)| key.as_str()).map(|key| block(ARC + key.len())).sum();
                block(ARC + size_of_val::<[_]>(entries)) + keys + inside
            }
        }
    }

    pub(crate) fn into_tera(self) -> tera::Value {
        match self.0 {
            Form::Tera(value) => value,
            Form::Filled(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.clone(), value.clone().into_tera()));
                entries.collect::<tera::Map>().into()
            }
        }
    }

    /// As Tera has it, unless it is a map that was filled in.
    fn as_tera(&self) -> Option<&tera::Value> {
        match &self.0 {
            Form::Tera(value) => Some(value),
            Form::Filled(_) => None,
        }
    }
}

impl From<tera::Value> for Value {
    fn from(value: tera::Value) -> Self {
        Self(Form::Tera(value))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Tera(value), Form::Tera(other)) => value == other,
            (Form::Filled(entries), Form::Filled(others)) => entries == others,
            (Form::Tera(_), Form::Filled(_)) | (Form::Filled(_), Form::Tera(_)) => {
                self.clone().into_tera() == other.clone().into_tera()
            }
        }
    }
}

/// What kind of value it is, as messages say it.
pub(crate) fn kind(value: &tera::Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "undefined",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::String | ValueKind::Bytes => "a text",
        ValueKind::Array => "a list",
        ValueKind::Map => "a map",
        _ => "a number",
    }
}

fn write(value: &Value, depth: usize, text: &mut Vec<u8>) -> Result<(), Error> {
    let entries = match &value.0 {
        Form::Tera(value) => return write_tera(value, depth, text),
        Form::Filled(_) if depth > JSON_DEPTH_MAX => return Err(Error::TooDeep(JSON_DEPTH_MAX)),
        Form::Filled(entries) => entries,
    };
    text.push(b'{');
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut *text, key)?;
        text.push(b':');
        write(value, depth + 1, text)?;
    }
    text.push(b'}');
    Ok(())
}

fn write_tera(value: &tera::Value, depth: usize, text: &mut Vec<u8>) -> Result<(), Error> {
    if depth > JSON_DEPTH_MAX {
        return Err(Error::TooDeep(JSON_DEPTH_MAX));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => text.extend_from_slice(b"null"),
        ValueKind::Bool => text.extend_from_slice(if value.as_bool() == Some(true) { b"true" } else { b"false" }),
        ValueKind::Array => {
            text.push(b'[');
            for (index, element) in value.as_array().unwrap_or_default().iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write_tera(element, depth + 1, text)?;
            }
            text.push(b']');
        }
        ValueKind::Map => value.as_map().map_or(Ok(()), |map| write_map(map, depth, text))?,
        ValueKind::F64 => {
            let float = value.as_f64().unwrap_or(f64::NAN);
            if !float.is_finite() {
                return Err(Error::NumberOutOfRange(float.to_string()));
            }
            serde_json::to_writer(text, &float)?;
        }
        ValueKind::U64 | ValueKind::I64 | ValueKind::U128 | ValueKind::I128 => {
            if value.as_i64().is_none() && value.as_u64().is_none() {
                return Err(Error::NumberOutOfRange(value.to_string()));
            }
            text.extend_from_slice(value.to_string().as_bytes());
        }
        _ => match value.as_str() {
            Some(string) => serde_json::to_writer(text, string)?,
            None => serde_json::to_writer(text, &value.to_string())?,
        },
    }
    Ok(())
}

/// The same as [`write`], as a tree.
fn tree(value: &Value, depth: usize) -> Result<serde_json::Value, Error> {
    match &value.0 {
        Form::Tera(value) => tera_tree(value, depth),
        Form::Filled(_) if depth > JSON_DEPTH_MAX => Err(Error::TooDeep(JSON_DEPTH_MAX)),
        Form::Filled(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.to_string(), tree(value, depth + 1)?)));
            Ok(entries.collect::<Result<serde_json::Map<_, _>, Error>>()?.into())
        }
    }
}

fn tera_tree(value: &tera::Value, depth: usize) -> Result<serde_json::Value, Error> {
    if depth > JSON_DEPTH_MAX {
        return Err(Error::TooDeep(JSON_DEPTH_MAX));
    }
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => serde_json::Value::Null,
        ValueKind::Bool => (value.as_bool() == Some(true)).into(),
        ValueKind::Array => {
            let elements = value.as_array().unwrap_or_default().iter();
            elements.map(|element| tera_tree(element, depth + 1)).collect::<Result<Vec<_>, _>>()?.into()
        }
        ValueKind::Map => {
            let entries = value.as_map().into_iter().flatten();
            let entries = entries.map(|(key, value)| Ok((key.to_string(), tera_tree(value, depth + 1)?)));
            entries.collect::<Result<serde_json::Map<_, _>, Error>>()?.into()
        }
        ValueKind::F64 => {
            let float = value.as_f64().unwrap_or(f64::NAN);
            serde_json::Number::from_f64(float).ok_or_else(|| Error::NumberOutOfRange(float.to_string()))?.into()
        }
        ValueKind::U64 | ValueKind::I64 | ValueKind::U128 | ValueKind::I128 => match (value.as_i64(), value.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => return Err(Error::NumberOutOfRange(value.to_string())),
        },
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned).into(),
    })
}

/// Writes `map` with sorted keys. Most are sorted already: only what a template writes out may not be.
fn write_map(map: &tera::Map, depth: usize, text: &mut Vec<u8>) -> Result<(), Error> {
    let mut entry = |index: usize, key: &str, value: &tera::Value| {
        text.push(if index == 0 { b'{' } else { b',' });
        serde_json::to_writer(&mut *text, key)?;
        text.push(b':');
        write_tera(value, depth + 1, text)
    };
    let is_sorted = map.keys().all(|key| key.as_str().is_some()) && map.keys().is_sorted();
    if is_sorted {
        map.iter()
            .enumerate()
            .try_for_each(|(index, (key, value))| entry(index, key.as_str().unwrap_or_default(), value))?;
    } else {
        // Numbers and booleans can be keys in templates; in JSON they are texts.
        let sorted: std::collections::BTreeMap<String, _> =
            map.iter().map(|(key, value)| (key.to_string(), value)).collect();
        sorted.iter().enumerate().try_for_each(|(index, (key, value))| entry(index, key, value))?;
    }
    if map.is_empty() {
        text.push(b'{');
    }
    text.push(b'}');
    Ok(())
}

/// What a block takes in the allocator of the `leveret` binary: jemalloc's size classes, four to each doubling.
fn block(bytes: usize) -> usize {
    match bytes {
        0..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}

/// Two counters in front of what an `Arc` holds.
const ARC: usize = 16;
/// Tera keeps texts up to this length in the value itself.
const INLINE_TEXT_BYTES: usize = 21;
/// An entry of Tera's maps: hash, key and value, aligned to 16 bytes.
const ENTRY_BYTES: usize = (8 + size_of::<Key<'static>>() + size_of::<tera::Value>()).next_multiple_of(16);

fn heap_bytes(value: &tera::Value) -> usize {
    if let Some(text) = value.as_str() {
        return if text.len() > INLINE_TEXT_BYTES { block(ARC + text.len()) } else { 0 };
    }
    if let Some(list) = value.as_array() {
        // Read from JSON, a list grows by doubling.
        let capacity = if list.is_empty() { 0 } else { list.len().next_power_of_two().max(4) };
        let inside: usize = list.iter().map(heap_bytes).sum();
        return block(ARC + 24) + block(capacity * size_of::<tera::Value>()) + inside;
    }
    if let Some(map) = value.as_map() {
        let buckets = (map.len() * 8 / 7 + 1).next_power_of_two().max(4);
        let table = block(buckets * 9 + 16);
        let entries = block((buckets * 7 / 8).max(map.len()) * ENTRY_BYTES);
        let keys: usize = map.keys().filter_map(Key::as_str).map(|key| block(ARC + key.len())).sum();
        let inside: usize = map.values().map(heap_bytes).sum();
        return block(ARC + 72) + table + entries + keys + inside;
    }
    0
}

/// A readable form of `value` for messages: its JSON, cut.
#[must_use]
pub fn shown(value: &Value) -> String {
    let json = value.to_json().map_or_else(|error| error.to_string(), |json| json.as_str().to_owned());
    let mut shown: String = json.chars().take(60).collect();
    if shown.len() < json.len() {
        let _ = write!(shown, "…");
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(text: &str) -> Result<String, Error> {
        Ok(Value::from_json(text.as_bytes())?.to_json()?.as_str().to_owned())
    }

    #[test]
    fn json_is_written_in_one_form() {
        for (text, canonical) in [
            (
                r#" {"b": [1, 2.50, -7, 1e2], "a": {"z": null, "y": "\u00e9\n"}, "c": {}} "#,
                r#"{"a":{"y":"é\n","z":null},"b":[1,2.5,-7,100.0],"c":{}}"#,
            ),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-0.0", "-0.0"),
            ("[]", "[]"),
            (
                r#""a string that is longer than what fits inline""#,
                r#""a string that is longer than what fits inline""#,
            ),
        ] {
            assert_eq!(through(text).expect(text), canonical);
        }
        for text in ["18446744073709551616", "-9223372036854775809", "1e999"] {
            assert_eq!(through(text).expect_err(text).code(), "number_out_of_range");
        }
        for text in ["", "[1,]", "1 2", "nul"] {
            assert_eq!(through(text).expect_err(text).code(), "json_invalid", "{text}");
        }
        assert_eq!(through(&"[".repeat(500)).expect_err("deep").code(), "json_too_deep");
    }

    #[test]
    fn numbers_of_templates_are_narrowed_or_refused() {
        let json = |value: tera::Value| Value::from(value).to_json();
        assert_eq!(json(5i128.into()).expect("fits").as_str(), "5");
        assert_eq!(json(u128::from(u64::MAX).into()).expect("fits").as_str(), "18446744073709551615");
        for value in [tera::Value::from(u128::MAX), i128::MIN.into(), f64::NAN.into(), f64::INFINITY.into()] {
            assert_eq!(json(value).expect_err("too large").code(), "number_out_of_range");
        }
        let deep = (0..200).fold(tera::Value::from(1), |inner, _| tera::Value::from(vec![inner]));
        assert_eq!(json(deep).expect_err("deep").code(), "json_too_deep");
        let keys: tera::Map =
            [(Key::I64(2), 1.into()), (Key::Bool(true), 2.into()), (Key::Str("10"), 3.into())].into_iter().collect();
        assert_eq!(json(keys.into()).expect("valid").as_str(), r#"{"10":3,"2":1,"true":2}"#);
    }

    #[test]
    fn a_map_that_was_filled_in_is_like_any_other() {
        let inner = vec![(Key::from("c".to_owned()), Value::null())];
        let entries = vec![(Key::Str("a"), Value::from_u64(1)), (Key::Str("b"), Value::filled(inner))];
        let (filled, read) = (Value::filled(entries), Value::from_json(br#"{"a":1,"b":{"c":null}}"#).expect("valid"));
        assert_eq!(filled, read);
        assert_eq!(read, filled);
        assert_eq!(filled, filled.clone());
        assert_ne!(filled, Value::filled(Vec::new()));
        assert_eq!(Value::from(filled.clone().into_tera()), read);
        assert_eq!(filled.to_json().expect("valid"), read.to_json().expect("valid"));
        assert_eq!(filled.to_serde().expect("valid"), read.to_serde().expect("valid"));
        assert_eq!((filled.get("b"), filled.get("c")), (read.get("b"), None));
        assert!(filled.as_map().expect("a map").eq(read.as_map().expect("a map")));
        assert_eq!((filled.kind(), filled.is_null(), filled.as_str()), ("a map", false, None));
        assert_eq!(Value::filled(Vec::new()).to_json().expect("valid").as_str(), "{}");
        let deep = (0..200).fold(Value::null(), |inner, _| Value::filled(vec![(Key::Str("a"), inner)]));
        assert_eq!(deep.to_json().expect_err("deep").code(), "json_too_deep");
        assert_eq!(deep.to_serde().expect_err("deep").code(), "json_too_deep");
    }

    #[test]
    fn whole_numbers_are_known() {
        let whole = |text: &str| Value::from_json(text.as_bytes()).expect("valid").as_whole();
        assert_eq!(
            (whole("3"), whole("-3"), whole("3.0"), whole("3.5"), whole("\"3\"")),
            (Some(3), Some(-3), Some(3), None, None)
        );
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            (-1e300f64..1e300).prop_map(Into::into),
            ".{0,30}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::hash_map(".{0,12}", inner, 0..8).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_is_canonical_and_reads_back(tree in any_json()) {
            let text = serde_json::to_vec(&tree).expect("valid");
            let value = Value::from_json(&text).expect("valid");
            prop_assert_eq!(value.to_json().expect("valid"), Json::canonical(&text).expect("valid"));
            prop_assert_eq!(Value::from_serde(&tree), value.clone());
            prop_assert_eq!(value.to_serde().expect("valid"), tree);
        }
    }
}
