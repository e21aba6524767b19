//! Durations as inputs say them: `5`, `0.2`, `"500ms"`, `"1m30s"`.

use std::time::Duration;

use engine::duration;
use serde_json::{Value, json};

use super::Error;

/// The schema of a duration.
#[must_use]
pub fn schema() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "description": "seconds, or a text such as 500ms or 1m30s" })
}

/// The duration that the input `name` says.
///
/// # Errors
/// `input_invalid` when it is none, or longer than [`duration::LONGEST`].
pub fn of(name: &str, value: &Value) -> Result<Duration, Error> {
    let read = match value {
        Value::Number(number) => {
            duration::from_seconds(number.as_f64().unwrap_or(f64::NAN)).map_err(|error| error.to_string())
        }
        Value::String(text) => duration::parse(text).map_err(|error| error.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("write seconds, or a text such as 500ms or 1m30s".to_owned())
        }
    };
    read.map_err(|reason| Error::input(format!("input.{name}: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_durations() {
        for (value, millis) in [
            (json!(5), 5_000),
            (json!(0.25), 250),
            (json!("500ms"), 500),
            (json!("1m30s"), 90_000),
            (json!("1.5h"), 5_400_000),
            (json!(" 2d "), 172_800_000),
        ] {
            assert_eq!(of("timeout", &value), Ok(Duration::from_millis(millis)), "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [json!(""), json!("5"), json!("s"), json!("5 s"), json!("-5s"), json!("1.2.3s"), json!("5y")] {
            assert!(of("timeout", &value).is_err(), "{value}");
        }
        for value in [json!(-1), json!(1e300), json!("99999d"), json!(null), json!([5])] {
            assert!(of("timeout", &value).is_err(), "{value}");
        }
    }
}
