//! The filters that rewritten templates use, and how a typed value leaves a rendering.
//!
//! Tera renders text only. An expression's value is caught on its way out by a filter that puts it into a slot of
//! this thread; a rendering never leaves its thread.

use std::{cell::RefCell, io};

use proto::limits::RENDERED_BYTES_MAX;
use tera::{Kwargs, State, Tera, TeraResult, Value, value::ValueKind};

use super::budget;

/// Stands behind an operand that must be defined; `(` stands before it.
pub const DEFINED: &str = " | __defined)";
/// Stands behind an expression inside text.
pub const TEXT: &str = ") | __text";
/// Stands behind an expression whose value is caught.
pub const CAPTURE: &str = ") | __capture";

/// The message of the errors of [`DEFINED`] and of [`CAPTURE`], by which [`super::fault`] knows them.
pub const UNDEFINED: &str = "undefined";

thread_local! {
    static CAUGHT: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// Adds the filters to `tera`.
pub fn register(tera: &mut Tera) {
    tera.register_filter("__defined", defined);
    tera.register_filter("__text", text);
    tera.register_filter("__capture", capture);
}

/// Runs `render` and gives what its template caught.
///
/// What another rendering of this thread has caught stays as it is: filters may evaluate.
///
/// # Errors
/// As `render`.
pub fn catching<E>(render: impl FnOnce() -> Result<(), E>) -> Result<Option<Value>, E> {
    let outer = CAUGHT.take();
    let rendered = render();
    let caught = CAUGHT.replace(outer);
    rendered.map(|()| caught)
}

/// Whether `value` is undefined or holds something that is.
#[must_use]
pub fn holds_undefined(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined => true,
        ValueKind::Array => value.as_array().unwrap_or_default().iter().any(holds_undefined),
        ValueKind::Map => value.as_map().is_some_and(|map| map.values().any(holds_undefined)),
        _ => false,
    }
}

fn defined(value: Value, _: Kwargs, _: &State) -> TeraResult<Value> {
    match value.is_undefined() {
        false => Ok(value),
        true => Err(tera::Error::message(UNDEFINED)),
    }
}

fn text(value: Value, _: Kwargs, _: &State) -> TeraResult<Value> {
    let kind = match value.kind() {
        ValueKind::Undefined => return Err(tera::Error::message(UNDEFINED)),
        ValueKind::None => "null",
        ValueKind::Array => "a list",
        ValueKind::Map => "a map",
        _ => {
            // A block may take it up, and hand it to the next one.
            budget::spend(value.as_str().map_or(0, str::len))?;
            return Ok(value);
        }
    };
    Err(tera::Error::message(format!("{kind} cannot stand inside text: write `| to_json`")))
}

fn capture(value: Value, _: Kwargs, _: &State) -> TeraResult<Value> {
    if value.is_undefined() {
        return Err(tera::Error::message(UNDEFINED));
    }
    CAUGHT.replace(Some(value));
    Ok(Value::from(""))
}

/// Takes at most [`RENDERED_BYTES_MAX`] bytes.
#[derive(Debug, Default)]
pub struct Limited {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Limited {
    /// Whether more was written than fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// What was written.
    #[must_use]
    pub fn into_text(self) -> String {
        String::from_utf8(self.bytes).expect("templates and values are UTF-8, and so is what they render to")
    }
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > RENDERED_BYTES_MAX {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(value: i64) -> Result<(), ()> {
        CAUGHT.replace(Some(Value::from(value)));
        Ok(())
    }

    #[test]
    fn a_rendering_inside_another_keeps_its_value_apart() {
        let outer = catching(|| {
            caught(1)?;
            assert_eq!(catching(|| caught(2)), Ok(Some(Value::from(2))));
            assert_eq!(catching(|| Err::<(), ()>(())), Err(()));
            Ok::<(), ()>(())
        });
        assert_eq!(outer, Ok(Some(Value::from(1))));
        assert_eq!(catching(|| Ok::<(), ()>(())), Ok(None));
    }
}
