//! References to values: small ones as they are, large ones by digest, results of items as parts of a list.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{id::Digest, items::ItemSet, json::Json, limits::INLINE_BYTES_MAX};

/// A JSON value, or where to find it. Whoever holds one need not look inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRef {
    /// The value itself, in its canonical bytes.
    Inline(Json),
    /// A value kept by the values service.
    Stored(Stored),
    /// A list put together from parts when something reads it. Shared: it may have as many parts as items.
    List(Arc<List>),
}

/// A value's digest and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// BLAKE3 of the canonical bytes.
    pub digest: Digest,
    /// How many bytes those are.
    pub bytes: u64,
}

/// A list in parts, each the JSON array of some items' values in item order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// With `Some(n)` the list has `n` places, `null` where no part has a value; with `None` it has just
    /// the values that its parts hold, in item order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<u32>,
    /// The parts. No item counts in two of them.
    pub parts: Vec<Part>,
    /// The list that the items come from: JSON arrays and how many values each has, in order. Only where a part of
    /// [`Form::Error`] needs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<(u32, ValueRef)>,
}

/// Values of some items, in item order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whose values these are.
    pub items: ItemSet,
    /// Their values: [`ValueRef::Inline`] or [`ValueRef::Stored`].
    pub values: ValueRef,
    /// How `values` holds them.
    #[serde(default, skip_serializing_if = "Form::is_array")]
    pub form: Form,
    /// Items whose value here does not count: an earlier part has it, and the first report of an item wins.
    #[serde(default, skip_serializing_if = "ItemSet::is_empty")]
    pub ignored: ItemSet,
}

/// How a part holds the values of its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A JSON array of as many values.
    #[default]
    Array,
    /// One value, that of each.
    Each,
    /// One error, for which each item has an entry `{index, item, error}`. The item is found in [`List::source`].
    Error,
}

impl Form {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_array(&self) -> bool {
        *self == Self::Array
    }
}

impl ValueRef {
    /// A reference to `json`, inline when it is at most [`INLINE_BYTES_MAX`] bytes.
    #[must_use]
    pub fn of(json: Json) -> Self {
        match json.as_bytes().len() {
            0..=INLINE_BYTES_MAX => Self::Inline(json),
            _ => Self::Stored(Stored::of(json.as_bytes())),
        }
    }

    /// A reference to the list that `list` describes.
    #[must_use]
    pub fn list(list: List) -> Self {
        Self::List(Arc::new(list))
    }

    /// JSON `null`.
    #[must_use]
    pub fn null() -> Self {
        Self::Inline(Json::null())
    }

    /// How many bytes of JSON it stands for; parts of a list are added up.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Inline(json) => json.as_bytes().len() as u64,
            Self::Stored(stored) => stored.bytes,
            Self::List(list) => list.parts.iter().map(|part| part.values.bytes()).sum(),
        }
    }

    /// Calls `visit` with each stored value that it needs.
    pub fn each_stored(&self, visit: &mut impl FnMut(Stored)) {
        match self {
            Self::Inline(_) => {}
            Self::Stored(stored) => visit(*stored),
            Self::List(list) => {
                let source = list.source.iter().map(|(_, values)| values);
                list.parts.iter().map(|part| &part.values).chain(source).for_each(|value| value.each_stored(visit));
            }
        }
    }
}

impl Stored {
    /// The reference that `bytes` have.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), bytes: bytes.len() as u64 }
    }
}
