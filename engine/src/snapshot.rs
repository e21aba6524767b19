//! What templates read: a snapshot that many evaluations share, and the scope that lays over it what is one's own.
//!
//! A snapshot never changes and is shared behind an `Arc`. Its values are `Arc`s too, few roots at the top, so a
//! scope costs the same whatever the size of the context: nothing in here copies a value.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::{
    failure::Failure,
    id::{Attempt, ItemIndex, KeyName, RunId},
    time::Timestamp,
    work::{RunInfo, Status},
};
use tera::{Context, Map, value::Key};

use crate::{
    template::{filters, names},
    value::Value,
};

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
            context.insert_value(root, tree.into_value());
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

/// A snapshot and what is laid over it: everything that one evaluation can read.
///
/// Build it once for a piece of work, and clone it for each item.
#[derive(Clone, Debug)]
pub struct Scope {
    context: Context,
    stop: Option<Stop>,
}

/// Tells evaluations that they have taken too long. They have no clock: whoever waits for one keeps the time.
#[derive(Clone, Debug)]
pub struct Stop {
    is_set: Arc<AtomicBool>,
    limit: Duration,
}

impl Scope {
    /// The scope of `snapshot` alone.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        Self { context: snapshot.0.context.clone(), stop: None }
    }

    /// Ends what is evaluated in this scope as `template_timeout` once `stop` is set.
    #[must_use]
    pub fn with_stop(self, stop: Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Adds `run`.
    #[must_use]
    pub fn with_run(self, info: &RunInfo, id: &RunId) -> Self {
        let labels = info.labels.iter().map(|(key, label)| (key.clone(), Value::from_text(label)));
        let error = info.error.as_ref().map_or_else(Value::null, failure);
        let entries = [
            ("error", error),
            ("id", Value::from_text(id.as_str())),
            ("key", Value::from_text(id.as_str())),
            ("labels", Value::from_map(labels)),
            ("started_at", Value::from_text(&info.started_at.to_string())),
            ("status", Value::from_text(info.status.as_str())),
            ("workflow", Value::from_text(info.workflow.as_str())),
        ];
        self.with("run", Value::from_map(entries.map(|(key, value)| (key.to_owned(), value))))
    }

    /// Adds `item` and `index`.
    #[must_use]
    pub fn with_item(self, item: Value, index: ItemIndex) -> Self {
        self.with("item", item).with("index", Value::from_u64(index.0.into()))
    }

    /// Adds `attempt`.
    #[must_use]
    pub fn with_attempt(self, attempt: Attempt) -> Self {
        self.with("attempt", Value::from_u64(attempt.0.into()))
    }

    /// Adds what is known after the action: `result`, `error`, `item_errors`, and what `succeeded()` and the others say.
    #[must_use]
    pub fn with_ended(mut self, status: Status, result: Value, error: Value, item_errors: Value) -> Self {
        self.context.insert_value(filters::STATUS, filters::status_value(status));
        self.with("result", result).with("error", error).with("item_errors", item_errors)
    }

    /// Adds what `succeeded()` and the others say of a task whose result the manifest brought along.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.context.insert_value(filters::STATUS, filters::status_value(status));
        self
    }

    /// Makes a failure of what had ended: `error` is another one now, and what the outcome functions say.
    #[must_use]
    pub fn with_failed(self, error: Value) -> Self {
        self.with_status(Status::Failed).with("error", error)
    }

    /// Adds `secrets`.
    #[must_use]
    pub fn with_secrets(self, secrets: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.with("secrets", Value::from_map(secrets))
    }

    /// Adds `env`: the variables that templates may read.
    #[must_use]
    pub fn with_env(self, env: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.with("env", Value::from_map(env))
    }

    /// Adds the time that `now()` gives.
    #[must_use]
    pub fn with_now(mut self, now: Timestamp) -> Self {
        self.context.insert_value(filters::NOW, now.to_string().into());
        self
    }

    /// Puts `value` into `workflow`, as a var or a publish does.
    pub fn publish(&mut self, key: &KeyName, value: Value) {
        // Shared with the snapshot the map is copied once, its values never.
        let mut workflow = self.context.remove("workflow").and_then(tera::Value::into_map).unwrap_or_default();
        workflow.insert(Key::from(key.as_str().to_owned()), value.into_tera());
        self.context.insert_value("workflow", workflow.into());
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// This scope with those of `tasks` that it does not know, as not run; `None` when it knows all.
    pub(crate) fn naming<'t>(&self, tasks: impl Iterator<Item = &'t str>) -> Option<Self> {
        let known = self.context.get("task").and_then(tera::Value::as_map);
        let missing: Vec<&str> =
            tasks.filter(|task| known.is_none_or(|known| !known.contains_key(&Key::Str(task)))).collect();
        if missing.is_empty() {
            return None;
        }
        let mut named = known.cloned().unwrap_or_default();
        named.extend(missing.into_iter().map(|task| (Key::from(task.to_owned()), not_run())));
        let mut scope = self.clone();
        scope.context.insert_value("task", named.into());
        Some(scope)
    }

    fn with(mut self, root: &'static str, value: Value) -> Self {
        self.context.insert_value(root, value.into_tera());
        self
    }
}

impl Stop {
    /// One that is to be set after `limit`, which messages name.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { is_set: Arc::default(), limit }
    }

    /// Stops what is evaluated, at the next turn of a loop or the next text or list that is made.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// After how long it was to be set.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// The value of a task that has not run.
fn not_run() -> tera::Value {
    static VALUE: LazyLock<tera::Value> =
        LazyLock::new(|| [(Key::Str("status"), NOT_RUN.into())].into_iter().collect::<Map>().into());
    VALUE.clone()
}

/// A failure as templates read it, without `details`.
fn failure(failure: &Failure) -> Value {
    let task = failure.task.as_ref().map_or_else(Value::null, |task| Value::from_text(task.as_str()));
    let entries =
        [("code", Value::from_text(&failure.code)), ("message", Value::from_text(&failure.message)), ("task", task)];
    Value::from_map(entries.map(|(key, value)| (key.to_owned(), value)))
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

    #[test]
    fn publishing_changes_no_other_scope() {
        let scope = Scope::new(&Snapshot::build([("workflow.a".to_owned(), Value::from_u64(1))]));
        let mut later = scope.clone();
        later.publish(&"a".parse().expect("valid"), Value::from_u64(2));
        let a = |scope: &Scope| scope.context.get("workflow").and_then(|workflow| workflow.get_from_path("a").cloned());
        assert_eq!((a(&scope), a(&later)), (Some(1u64.into()), Some(2u64.into())));
    }
}
