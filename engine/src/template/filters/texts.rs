//! Filters from and to text.

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use tera::{Kwargs, State, Tera, TeraResult, Value as TeraValue};

use crate::{duration, value::Value};

pub fn register(tera: &mut Tera) {
    tera.register_filter("to_json", to_json);
    tera.register_filter("from_json", from_json);
    tera.register_filter("b64encode", |text: &str, _: Kwargs, _: &State| BASE64_STANDARD.encode(text));
    tera.register_filter("b64decode", b64decode);
    tera.register_filter("sha256", |text: &str, _: Kwargs, _: &State| hex(&Sha256::digest(text)));
    tera.register_filter("url_encode", url_encode);
    tera.register_filter("shell_quote", shell_quote);
    tera.register_filter("to_seconds", to_seconds);
    tera.register_filter("to_duration", to_duration);
    tera.register_filter("basename", basename);
    tera.register_filter("dirname", dirname);
}

/// `to_json` or `to_json(pretty=true)`: with sorted keys.
fn to_json(value: TeraValue, kwargs: Kwargs, _: &State) -> TeraResult<String> {
    if value.is_undefined() {
        return Err(tera::Error::message("undefined has no JSON"));
    }
    let json = Value::from(value).to_json().map_err(tera::Error::message)?;
    if !kwargs.get("pretty")?.unwrap_or(false) {
        return Ok(json.as_str().to_owned());
    }
    let tree: serde_json::Value = json.parse().map_err(tera::Error::message)?;
    serde_json::to_string_pretty(&tree).map_err(tera::Error::message)
}

fn from_json(text: &str, _: Kwargs, _: &State) -> TeraResult<TeraValue> {
    Value::from_json(text.as_bytes()).map(Value::into_tera).map_err(tera::Error::message)
}

fn b64decode(text: &str, _: Kwargs, _: &State) -> TeraResult<String> {
    let bytes =
        BASE64_STANDARD.decode(text.trim()).map_err(|error| tera::Error::message(format!("not base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| tera::Error::message("what was decoded is no UTF-8 text"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3: for one part of a path or query.
fn url_encode(value: TeraValue, _: Kwargs, _: &State) -> TeraResult<String> {
    Ok(scalar_text(&value)?.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    }))
}

/// One word for a POSIX shell, whatever it holds.
fn shell_quote(value: TeraValue, _: Kwargs, _: &State) -> TeraResult<String> {
    let text = scalar_text(&value)?;
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&b));
    Ok(match is_plain {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    })
}

fn scalar_text(value: &TeraValue) -> TeraResult<String> {
    match value.is_string() || value.is_number() || value.is_bool() {
        true => Ok(value.to_string()),
        false => Err(tera::Error::message(format!("a text is needed, not {}", value.name()))),
    }
}

/// `"1m30s" | to_seconds`: a whole number when it is one.
fn to_seconds(text: &str, _: Kwargs, _: &State) -> TeraResult<TeraValue> {
    let duration = duration::parse(text).map_err(tera::Error::message)?;
    Ok(match duration.subsec_nanos() {
        0 => TeraValue::from(duration.as_secs()),
        _ => TeraValue::from(duration.as_secs_f64()),
    })
}

/// `90 | to_duration`: `1m30s`.
fn to_duration(seconds: f64, _: Kwargs, _: &State) -> TeraResult<String> {
    let duration: Duration = duration::from_seconds(seconds).map_err(tera::Error::message)?;
    Ok(duration::format(duration))
}

fn basename(path: &str, _: Kwargs, _: &State) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

fn dirname(path: &str, _: Kwargs, _: &State) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((directory, _)) => directory.trim_end_matches('/').to_owned(),
        None => ".".to_owned(),
    }
}
