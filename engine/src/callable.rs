//! The names of all that templates may call, for pages and messages.

use crate::template::{filters, names};

/// The filters, in no order.
pub fn filters() -> impl Iterator<Item = &'static str> {
    filters::names()
}

/// The functions, in no order.
pub fn functions() -> impl Iterator<Item = &'static str> {
    names::OUTCOME_FUNCTIONS.into_iter().chain(names::FUNCTIONS)
}

/// The tests, in no order.
pub fn tests() -> impl Iterator<Item = &'static str> {
    names::TESTS.into_iter()
}
