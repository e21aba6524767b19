//! What one evaluation reads: a base that many share, and what is laid over it for one item or one attempt.
//!
//! Tera renders from a map of its own kind, which takes a copy of eight or so entries to change: a third of what a short
//! template costs. So the copy is made once for all items of a piece of work, and each writes its own over the last one's.

use std::{
    fmt,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
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
use smallvec::SmallVec;
use tera::{Context, Map, value::Key};

use super::{NOT_RUN, Snapshot};
use crate::{template::filters, value::Value};

/// Copies of a base that are kept for the next evaluation: one for each thread that is likely to ask at once.
const COPIES_MAX: usize = 8;

/// A snapshot and what is laid over it: everything that one evaluation can read.
///
/// Build it once for a piece of work, and clone it for each item: a clone costs the same whatever lies in it.
#[derive(Clone, Debug)]
pub struct Scope {
    base: Arc<Base>,
    /// Each root once.
    over: Overlay,
    stop: Option<Stop>,
}

/// An item and its index, most of the time.
type Overlay = SmallVec<[(&'static str, tera::Value); 2]>;

/// What scopes share. Written while only one scope has it.
struct Base {
    context: Context,
    copies: Mutex<Vec<Copied>>,
}

/// The context of a base with something laid over it.
struct Copied {
    context: Context,
    /// The roots that are not those of the base.
    over: SmallVec<[&'static str; 6]>,
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
        let base = Base { context: snapshot.0.context.clone(), copies: Mutex::default() };
        Self { base: Arc::new(base), over: Overlay::new(), stop: None }
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
    pub fn with_ended(self, status: Status, result: Value, error: Value, item_errors: Value) -> Self {
        self.with_status(status).with("result", result).with("error", error).with("item_errors", item_errors)
    }

    /// Adds what `succeeded()` and the others say of a task whose result the manifest brought along.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        self.with(filters::STATUS, filters::status_value(status).into())
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
    pub fn with_now(self, now: Timestamp) -> Self {
        self.with(filters::NOW, Value::from_text(&now.to_string()))
    }

    /// Puts `value` into `workflow`, as a var or a publish does.
    pub fn publish(&mut self, key: &KeyName, value: Value) {
        // Shared with the snapshot the map is copied once, its values never.
        let workflow = self.take("workflow").or_else(|| self.base.context.get("workflow").cloned());
        let mut workflow = workflow.and_then(tera::Value::into_map).unwrap_or_default();
        workflow.insert(Key::from(key.as_str().to_owned()), value.into_tera());
        self.lay("workflow", workflow.into());
    }

    /// What stands at `root`.
    pub(crate) fn get(&self, root: &str) -> Option<&tera::Value> {
        let over = self.over.iter().find(|(over, _)| *over == root).map(|(_, value)| value);
        over.or_else(|| self.base.context.get(root))
    }

    /// Hands everything that can be read to `evaluate`, in the form in which Tera reads it.
    pub(crate) fn read<T>(&self, evaluate: impl FnOnce(&Context) -> T) -> T {
        if self.over.is_empty() {
            return evaluate(&self.base.context);
        }
        let mut copied = self.base.copied();
        copied.lay(&self.base.context, &self.over);
        let evaluated = evaluate(&copied.context);
        self.base.keep(copied);
        evaluated
    }

    pub(crate) fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// This scope with those of `tasks` that it does not know, as not run; `None` when it knows all.
    pub(crate) fn naming<'t>(&self, tasks: impl Iterator<Item = &'t str>) -> Option<Self> {
        let known = self.get("task").and_then(tera::Value::as_map);
        let is_missing = |task: &&str| known.is_none_or(|known| !known.contains_key(&Key::Str(task)));
        let mut missing = tasks.filter(is_missing).peekable();
        missing.peek()?;
        let mut named = known.cloned().unwrap_or_default();
        named.extend(missing.map(|task| (Key::from(task.to_owned()), not_run())));
        let mut scope = self.clone();
        scope.lay("task", named.into());
        Some(scope)
    }

    fn with(mut self, root: &'static str, value: Value) -> Self {
        self.lay(root, value.into_tera());
        self
    }

    /// Puts `value` at `root`: into the base as long as no other scope has it, else over it.
    fn lay(&mut self, root: &'static str, value: tera::Value) {
        if let Some((_, over)) = self.over.iter_mut().find(|(over, _)| *over == root) {
            *over = value;
        } else if let Some(base) = Arc::get_mut(&mut self.base) {
            base.context.insert_value(root, value);
            base.copies = Mutex::default();
        } else {
            self.over.push((root, value));
        }
    }

    /// What was laid over the base at `root`, which is not there any more.
    fn take(&mut self, root: &str) -> Option<tera::Value> {
        let at = self.over.iter().position(|(over, _)| *over == root)?;
        Some(self.over.swap_remove(at).1)
    }
}

impl Base {
    fn copied(&self) -> Copied {
        let kept = self.copies().pop();
        kept.unwrap_or_else(|| Copied { context: self.context.clone(), over: SmallVec::new() })
    }

    fn keep(&self, copied: Copied) {
        let mut copies = self.copies();
        if copies.len() < COPIES_MAX {
            copies.push(copied);
        }
    }

    fn copies(&self) -> MutexGuard<'_, Vec<Copied>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copied {
    /// Makes it `base` with `over` laid over it, whatever it was before.
    fn lay(&mut self, base: &Context, over: &Overlay) {
        if !self.over.iter().eq(over.iter().map(|(root, _)| root)) {
            for root in self.over.drain(..) {
                match base.get(root) {
                    Some(value) => self.context.insert_value(root, value.clone()),
                    None => _ = self.context.remove(root),
                }
            }
            self.over.extend(over.iter().map(|(root, _)| *root));
        }
        for (root, value) in over {
            self.context.insert_value(*root, value.clone());
        }
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
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

    #[test]
    fn publishing_changes_no_other_scope() {
        let scope = Scope::new(&Snapshot::build([("workflow.a".to_owned(), Value::from_u64(1))]));
        let mut later = scope.clone();
        later.publish(&"a".parse().expect("valid"), Value::from_u64(2));
        let a = |scope: &Scope| scope.get("workflow").and_then(|workflow| workflow.get_from_path("a").cloned());
        assert_eq!((a(&scope), a(&later)), (Some(1u64.into()), Some(2u64.into())));
    }

    #[test]
    fn what_one_evaluation_laid_over_the_base_is_not_there_for_the_next() {
        let base = Scope::new(&Snapshot::build([("workflow.a".to_owned(), Value::from_u64(1))]));
        let item = |number: u32| base.clone().with_item(Value::from_u64(number.into()), ItemIndex(number));
        let seen = |scope: &Scope| {
            scope.read(|context| {
                let whole = |root| context.get(root).and_then(tera::Value::as_u64);
                let a = context.get("workflow").and_then(|workflow| workflow.get_from_path("a")?.as_u64());
                (whole("item"), whole("index"), whole("result"), a)
            })
        };
        let ended = item(8).with_ended(Status::Succeeded, Value::from_u64(5), Value::null(), Value::null());
        let mut published = base.clone();
        published.publish(&"a".parse().expect("valid"), Value::from_u64(2));
        for _ in 0..2 {
            assert_eq!(seen(&item(7)), (Some(7), Some(7), None, Some(1)));
            assert_eq!(seen(&ended), (Some(8), Some(8), Some(5), Some(1)));
            assert_eq!(seen(&published), (None, None, None, Some(2)));
            assert_eq!(seen(&base), (None, None, None, Some(1)));
        }
        assert_eq!(base.base.copies().len(), 1);
        // One evaluation inside another has a copy of its own.
        item(1).read(|_| assert_eq!(seen(&item(2)).0, Some(2)));
        assert_eq!(base.base.copies().len(), 2);
    }
}
