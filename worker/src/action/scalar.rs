//! Texts that a workflow may also write as a number or a boolean, as in `argv: [sleep, 5]`.

use std::fmt;

use serde::Deserialize;
use serde_json::{Number, Value, json};

/// A text, or a number or boolean that stands for its text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
}

/// The schema of a scalar.
#[must_use]
pub fn schema() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}
