//! The words of the language, for pages and tests that must lack none.

use crate::{
    parse::{keys::Place, transition},
    template::names,
};

/// Every map of a file with each key that belongs there, such as `("retry", "count")`.
pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    let places = [
        ("workflow", Place::Workflow),
        ("task", Place::NamedTask),
        ("finally", Place::Finally),
        ("wait_for", Place::WaitFor),
        ("retry", Place::Retry),
        ("transition", Place::Transition),
        ("parameter", Place::Schema),
    ];
    places.into_iter().flat_map(|(name, place)| place.keys().iter().map(move |key| (name, *key)))
}

/// What `do` can say besides the name of a task.
pub fn targets() -> impl Iterator<Item = &'static str> {
    transition::RESERVED.into_iter()
}

/// What templates can begin a path with.
pub fn roots() -> impl Iterator<Item = &'static str> {
    names::ROOTS.into_iter()
}

/// What templates read of a task.
pub fn task_fields() -> impl Iterator<Item = &'static str> {
    names::TASK_FIELDS.into_iter()
}

/// What a condition can ask of how a task ended.
pub fn outcomes() -> impl Iterator<Item = &'static str> {
    names::OUTCOME_FUNCTIONS.into_iter()
}
