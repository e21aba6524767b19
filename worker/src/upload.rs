//! Values on their way out: small ones inside the outcome, large ones to the values service first.

use bytes::Bytes;
use engine::value::Value;
use proto::{
    failure::Failure,
    json::Json,
    limits::{OUTCOME_VALUE_BYTES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX},
    value::{Stored, ValueRef},
};

use crate::{blocking, snapshots::Snapshots, values};

/// What one outcome carries at the most in values of its own; the next one is uploaded, however small.
const OUTCOME_BYTES_MAX: usize = 1024 * 1024;

/// A value that was made here, and its JSON.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// As templates read it.
    pub value: Value,
    /// As it travels.
    pub json: Json,
}

impl Made {
    /// Writes `value`, called `name` in errors.
    pub(crate) fn of(name: &str, value: Value) -> Result<Self, Failure> {
        let json = value.to_json().map_err(|error| Failure::new(error.code(), format!("{name}: {error}")))?;
        if depth(json.as_bytes()) > VALUE_DEPTH_MAX {
            let message = format!("{name} is nested deeper than {VALUE_DEPTH_MAX} levels");
            return Err(Failure::new("json_too_deep", message));
        }
        within_limit(name, &json)?;
        Ok(Self { value, json })
    }

    /// Null.
    pub(crate) fn null() -> Self {
        Self { value: Value::null(), json: Json::null() }
    }
}

fn within_limit(name: &str, json: &Json) -> Result<(), Failure> {
    let bytes = json.as_bytes().len();
    match bytes <= VALUE_BYTES_MAX {
        true => Ok(()),
        false => {
            let message = format!("{name} has {bytes} bytes, more than the limit of {VALUE_BYTES_MAX}");
            Err(Failure::new("value_too_large", message))
        }
    }
}

/// How deep the arrays and objects of `json`, which is valid, are nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth -= 1,
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// Values of one outcome.
pub(crate) struct Upload<'a> {
    snapshots: &'a Snapshots,
    room: usize,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(snapshots: &'a Snapshots) -> Self {
        Self { snapshots, room: OUTCOME_BYTES_MAX }
    }

    /// A reference to a value that later work may read here.
    pub(crate) async fn value(&mut self, made: &Made) -> Result<ValueRef, values::Error> {
        let reference = self.json(&made.json).await?;
        if let ValueRef::Stored(stored) = &reference {
            let value = made.value.clone();
            let heap_bytes = blocking::sized(made.json.as_bytes().len(), move || value.heap_bytes()).await;
            self.snapshots.keep(*stored, &made.value, heap_bytes);
        }
        Ok(reference)
    }

    /// A reference to `json`.
    pub(crate) async fn json(&mut self, json: &Json) -> Result<ValueRef, values::Error> {
        let bytes = json.as_bytes().len();
        if bytes <= OUTCOME_VALUE_BYTES_MAX.min(self.room) {
            self.room -= bytes;
            return Ok(ValueRef::Inline(json.clone()));
        }
        let stored: Stored = self.snapshots.service().put(&Bytes::copy_from_slice(json.as_bytes())).await?;
        Ok(ValueRef::Stored(stored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        for (json, expected) in
            [("1", 0), ("[]", 1), (r#"{"[[[":"\"[[\\"}"#, 1), (r#"[{"a":[1]},[[]]]"#, 3), (r#"["\\",[]]"#, 2)]
        {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn what_would_not_fit_into_a_message_is_refused() {
        let nested = |depth: usize| Value::from_json(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
        let made =
            |depth| Made::of("result", nested(depth).expect("valid")).map(|_| ()).map_err(|failure| failure.code);
        assert_eq!(made(VALUE_DEPTH_MAX), Ok(()));
        assert_eq!(made(VALUE_DEPTH_MAX + 1), Err("json_too_deep".to_owned()));
    }
}
