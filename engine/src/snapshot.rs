//! What templates read: a snapshot that many evaluations share, and the [`scope`] that lays over it what is one's own.
//!
//! A snapshot never changes and is shared behind an `Arc`. Its values are `Arc`s too, few roots at the top, so a
//! scope costs the same whatever the size of the context: nothing in here copies a value.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use tera::{Context, Map, value::Key};

pub use self::scope::{Scope, Stop};
use crate::{template::names, value::Value};

mod scope;

/// The `status` of a task that has not run.
pub const NOT_RUN: &str = "not_run";

/// The values of a manifest, in the shape in which templates say them.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    context: Context,
    heap_bytes: usize,
}

/// A tree of paths on its way to becoming maps.
enum Tree {
    Leaf(tera::Value),
    Branch(BTreeMap<String, Tree>),
}

impl Snapshot {
    /// The snapshot of `entries`: paths as in [`proto::manifest`], such as `task.probe.result`, or a whole root such
    /// as `workflow`, and their values.
    ///
    /// Every task that is named has a `status`: [`NOT_RUN`] when no entry says otherwise.
    pub fn build(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        let mut roots: BTreeMap<String, Tree> =
            names::SNAPSHOT_ROOTS.map(|root| (root.to_owned(), Tree::Branch(BTreeMap::new()))).into();
        let mut heap_bytes = 0;
        for (path, value) in entries {
            heap_bytes += value.heap_bytes() + path.len() + 128;
            insert(&mut roots, &path, value.into_tera());
        }
        for task in roots.get_mut("task").map(Tree::branches).into_iter().flat_map(BTreeMap::values_mut) {
            task.branches().entry("status".to_owned()).or_insert_with(|| Tree::Leaf(NOT_RUN.into()));
        }
        let mut context = Context::new();
        for (root, tree) in roots {
            context.insert_value(known(root), tree.into_value());
        }
        Self(Arc::new(Inner { context, heap_bytes }))
    }

    /// A snapshot without values.
    #[must_use]
    pub fn empty() -> Self {
        Self::build([])
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("heap_bytes", &self.0.heap_bytes).finish_non_exhaustive()
    }
}

/// The name of a root without a text of its own: contexts are copied with their keys.
fn known(root: String) -> Cow<'static, str> {
    names::ROOTS.into_iter().find(|known| *known == root).map_or(Cow::Owned(root), Cow::Borrowed)
}

fn insert(roots: &mut BTreeMap<String, Tree>, path: &str, value: tera::Value) {
    let (parents, last) = match path.rsplit_once('.') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, path),
    };
    let branch = parents.into_iter().flat_map(|parents| parents.split('.')).fold(roots, |branch, segment| {
        branch.entry(segment.to_owned()).or_insert_with(|| Tree::Branch(BTreeMap::new())).branches()
    });
    // A map under a path is merged with what longer paths have put there.
    match branch.get_mut(last) {
        Some(tree @ Tree::Branch(_)) if value.is_map() => {
            let mut leaves = Tree::Leaf(value);
            let leaves = std::mem::take(leaves.branches());
            let inner = tree.branches();
            leaves.into_iter().for_each(|(key, leaf)| {
                inner.entry(key).or_insert(leaf);
            });
        }
        _ => {
            branch.insert(last.to_owned(), Tree::Leaf(value));
        }
    }
}

impl Tree {
    /// Its entries. A map becomes a branch for that; what is no map gives way.
    fn branches(&mut self) -> &mut BTreeMap<String, Tree> {
        if let Self::Leaf(value) = self {
            let map = value.as_map().into_iter().flatten();
            *self = Self::Branch(map.map(|(key, value)| (key.to_string(), Self::Leaf(value.clone()))).collect());
        }
        match self {
            Self::Branch(branches) => branches,
            Self::Leaf(_) => unreachable!("a leaf was just made a branch"),
        }
    }

    fn into_value(self) -> tera::Value {
        match self {
            Self::Leaf(value) => value,
            Self::Branch(branches) => {
                branches.into_iter().map(|(key, tree)| (Key::from(key), tree.into_value())).collect::<Map>().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(entries: &[(&str, &str)]) -> String {
        let entries =
            entries.iter().map(|(path, json)| ((*path).to_owned(), Value::from_json(json.as_bytes()).expect("valid")));
        let context = Snapshot::build(entries).0.context.clone();
        let roots =
            names::SNAPSHOT_ROOTS.map(|root| (root.to_owned(), context.get(root).cloned().expect("there").into()));
        Value::from_map(roots).to_json().expect("valid").as_str().to_owned()
    }

    #[test]
    fn paths_become_maps() {
        assert_eq!(built(&[]), r#"{"parameters":{},"signal":{},"task":{},"workflow":{}}"#);
        assert_eq!(
            built(&[
                ("parameters.a", "1"),
                ("task.x.result", "[1]"),
                ("task.y.status", "\"failed\""),
                ("workflow.k", "{}")
            ]),
            r#"{"parameters":{"a":1},"signal":{},"task":{"x":{"result":[1],"status":"not_run"},"y":{"status":"failed"}},"workflow":{"k":{}}}"#
        );
    }

    #[test]
    fn a_whole_root_and_its_parts_are_merged() {
        for entries in [
            [("workflow", r#"{"a":1,"b":2}"#), ("workflow.b", "3")],
            [("workflow.b", "3"), ("workflow", r#"{"a":1,"b":2}"#)],
        ] {
            assert!(built(&entries).ends_with(r#""workflow":{"a":1,"b":3}}"#), "{entries:?}");
        }
        assert!(built(&[("task", r#"{"x":{"result":1}}"#)]).contains(r#""x":{"result":1,"status":"not_run"}"#));
    }
}
