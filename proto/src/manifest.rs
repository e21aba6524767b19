//! Which values a piece of work reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::value::{Stored, ValueRef};

/// Paths such as `parameters.hosts`, `workflow.count` or `task.probe.result`, and their values.
///
/// Holds just what the templates of the work can read. Written with sorted keys, so that equal manifests have
/// equal bytes and one digest, by which workers keep the snapshot that they build from it.
pub type Manifest = BTreeMap<String, ValueRef>;

/// A manifest, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestRef {
    /// The manifest itself: at most [`crate::limits::MANIFEST_BYTES_MAX`] bytes.
    Inline(Manifest),
    /// A larger one, kept by the values service as JSON.
    Stored(Stored),
}
