//! How long one rendering may take, and how much it may make.
//!
//! Tera cannot be interrupted from outside. What can go on for long is given a place where we look instead: each turn
//! of a loop and of a comprehension, and everything that makes a text or a list larger than what it began with. There
//! we look at a flag that a watchdog may have set, and spend from an allowance of bytes. Between two looks lies one
//! step over values of bounded size.
//!
//! A rendering never leaves its thread, so what it has left is kept there.

use std::{
    cell::{Cell, RefCell},
    fmt,
    time::Duration,
};

use proto::limits::{RENDERED_BYTES_MAX, VALUE_BYTES_MAX};
use tera::{Kwargs, State, Tera, TeraResult, Value, value::ValueKind};

use crate::snapshot::Stop;

/// What one rendering may make in all, in bytes of texts and of places in lists and maps: sixteen times the largest
/// text that it can give.
pub const MADE_BYTES_MAX: usize = 16 * RENDERED_BYTES_MAX;
/// What a place in a list or a map takes.
pub const PLACE_BYTES: usize = 32;

/// Stands before the body of a loop whose tag ends with `%}`.
pub const TURN: &str = "{{ __turn() }}";
/// Stands before the body of a loop whose tag ends with `-%}`: what it trims is still trimmed.
pub const TURN_TRIMMED: &str = "{{ __turn() -}}";
/// Stands behind what a comprehension asks for each element; `((` stands before it.
pub const EACH: &str = ") | __each)";
/// Stands behind a filter that makes a value larger.
pub const MADE: &str = " | __made";
/// Stands behind an expression that makes a value larger; `((` stands before it, as a filter binds tighter than `~`.
pub const MADE_WHOLE: &str = ") | __made)";

/// Why a rendering was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It took longer than this.
    Time(Duration),
    /// It made more than [`MADE_BYTES_MAX`].
    Size,
}

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    static TURN_BYTES: Cell<usize> = const { Cell::new(0) };
    static EXCESS: Cell<Option<Excess>> = const { Cell::new(None) };
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Adds what rewritten templates use to `tera`.
pub fn register(tera: &mut Tera) {
    tera.register_function("__turn", |_: Kwargs, _: &State| turn().map(|()| Value::from("")));
    tera.register_filter("__each", |value: Value, _: Kwargs, _: &State| turn().map(|()| value));
    tera.register_filter("__made", |value: Value, _: Kwargs, _: &State| made(&value).map(|()| value));
}

/// Runs `render`, of which each turn of a loop makes up to `turn_bytes` without being seen. Beside what it gives is
/// why it was ended before it was done, if it was.
pub fn within<T>(stop: Option<&Stop>, turn_bytes: usize, render: impl FnOnce() -> T) -> (T, Option<Excess>) {
    // Filters may evaluate: what this one spends is none of the outer one's.
    let outer = (
        LEFT.replace(MADE_BYTES_MAX),
        TURN_BYTES.replace(turn_bytes),
        EXCESS.replace(None),
        STOP.replace(stop.cloned()),
    );
    let rendered = render();
    LEFT.set(outer.0);
    TURN_BYTES.set(outer.1);
    STOP.replace(outer.3);
    (rendered, EXCESS.replace(outer.2))
}

/// Spends `bytes`, before they are made if that can be known.
///
/// # Errors
/// When so much is not left, or the rendering was told to stop.
pub fn spend(bytes: usize) -> TeraResult<()> {
    if let Some(limit) = STOP.with_borrow(|stop| stop.as_ref().filter(|stop| stop.is_set()).map(Stop::limit)) {
        return Err(ended(Excess::Time(limit)));
    }
    match LEFT.get().checked_sub(bytes) {
        Some(left) => {
            LEFT.set(left);
            Ok(())
        }
        None => Err(ended(Excess::Size)),
    }
}

/// Spends what `value` has taken to make, what lies in it not included. That as a whole it is no larger than a value may
/// be is looked at too: a list may hold another one many times over, and cost nothing until someone goes through it.
///
/// # Errors
/// As [`spend`].
pub fn made(value: &Value) -> TeraResult<()> {
    spend(shallow(value))?;
    let mut left = VALUE_BYTES_MAX;
    match take(value, &mut left) {
        true => Ok(()),
        false => Err(ended(Excess::Size)),
    }
}

fn turn() -> TeraResult<()> {
    spend(TURN_BYTES.get().max(PLACE_BYTES))
}

fn ended(excess: Excess) -> tera::Error {
    EXCESS.set(Some(excess));
    tera::Error::message(excess)
}

fn shallow(value: &Value) -> usize {
    match value.kind() {
        ValueKind::Array | ValueKind::Map => value.len().unwrap_or(0) * PLACE_BYTES,
        _ => value.as_str().map_or(0, str::len),
    }
}

/// Takes what `value` makes of JSON, or a little less, from `left`; false when that is not enough, and then it goes no
/// further.
fn take(value: &Value, left: &mut usize) -> bool {
    // An element takes two bytes of JSON at the least.
    let bytes = value.as_str().map_or(2, |text| 2 + text.len());
    let Some(rest) = left.checked_sub(bytes) else { return false };
    *left = rest;
    match value.kind() {
        ValueKind::Array => value.as_array().unwrap_or_default().iter().all(|inner| take(inner, left)),
        ValueKind::Map => value.as_map().is_none_or(|map| map.values().all(|inner| take(inner, left))),
        _ => true,
    }
}

impl Excess {
    /// The code of the failure.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Time(_) => "template_timeout",
            Self::Size => "output_too_large",
        }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(limit) => {
                write!(f, "the evaluation took longer than {} and was stopped", crate::duration::format(*limit))
            }
            Self::Size => {
                write!(f, "the template makes more than {} MiB of texts and lists", MADE_BYTES_MAX / (1024 * 1024))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_spent_once() {
        let (inner, excess) = within(None, 0, || {
            spend(MADE_BYTES_MAX).expect("just enough");
            let (nested, excess) = within(None, 0, || spend(MADE_BYTES_MAX));
            assert!(nested.is_ok() && excess.is_none());
            spend(1)
        });
        assert!(inner.is_err());
        assert_eq!(excess, Some(Excess::Size));
        assert!(spend(usize::MAX).is_ok(), "outside of a rendering nothing is counted");
    }

    #[test]
    fn what_is_told_to_stop_stops() {
        let stop = Stop::after(Duration::from_secs(5));
        let (turned, excess) = within(Some(&stop), 0, || {
            turn().expect("not yet");
            stop.set();
            turn()
        });
        assert!(turned.is_err());
        assert_eq!(excess, Some(Excess::Time(Duration::from_secs(5))));
        assert!(turn().is_ok());
    }

    #[test]
    fn a_list_of_itself_is_weighed_and_not_walked() {
        let twice = (0..200).fold(Value::from("x"), |value, _| Value::from(vec![value.clone(), value]));
        let (made, excess) = within(None, 0, || made(&twice));
        assert!(made.is_err());
        assert_eq!(excess, Some(Excess::Size));
    }
}
