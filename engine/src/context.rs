//! What a branch of a run has seen: paths and their values, shared between branches until one writes.

use std::{ops::Bound, sync::Arc};

use imbl::{OrdMap, ordmap::DiffItem};
use proto::{id::TaskName, json::Json, manifest::Manifest, value::ValueRef, work::Status};

use crate::spec::Workflow;

/// An immutable map from paths such as `workflow.count` and `task.probe.result` to values. Cloning and writing share
/// the rest.
///
/// Each entry knows the sequence of its write, which counts through the whole run. So a merge takes the latest write
/// of every path, and the order in which branches arrive changes nothing. The fields of a task are written all at
/// once, by its end: a later start of it that ends without an error leaves none of an earlier one, in a merge neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Paths below `parameters` and `workflow`.
    values: OrdMap<Arc<str>, Entry<Arc<ValueRef>>>,
    outcomes: OrdMap<TaskName, Entry<Arc<Outcome>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<T> {
    write: u64,
    value: T,
}

/// How a task ended, as templates read it below `task.<name>`.
// `Eq` lets two `Arc`s of the same outcome be equal without a look at what may be a list of many parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `status`.
    pub status: Status,
    /// `attempts`.
    pub attempts: u32,
    /// `result`; null when it did not come to one.
    pub result: Option<ValueRef>,
    /// `error`, unless it succeeded. Boxed, as `item_errors` is: most tasks have neither, and loops write many.
    pub error: Option<Box<ValueRef>>,
    /// `item_errors` of a task with items.
    pub item_errors: Option<Box<ValueRef>>,
}

impl Outcome {
    /// Every field that has a value.
    fn fields(&self) -> impl Iterator<Item = (&'static str, ValueRef)> {
        let whole = |json: Result<Json, _>| Some(ValueRef::Inline(json.expect("a text and a number are JSON")));
        let fields = [
            ("attempts", whole(Json::of(&self.attempts))),
            ("error", self.error.as_deref().cloned()),
            ("item_errors", self.item_errors.as_deref().cloned()),
            ("result", Some(self.result.clone().unwrap_or_else(ValueRef::null))),
            ("status", whole(Json::of(self.status.as_str()))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    fn bytes(&self) -> u64 {
        [self.result.as_ref(), self.error.as_deref(), self.item_errors.as_deref()]
            .into_iter()
            .flatten()
            .map(ValueRef::bytes)
            .sum()
    }
}

impl Context {
    /// Writes `value` at `path`, which is `parameters.<name>` or `workflow.<name>`, as write number `write`.
    pub fn set(&mut self, path: &str, write: u64, value: Arc<ValueRef>) {
        self.values.insert(path.into(), Entry { write, value });
    }

    /// Writes how `task` ended, in place of how it ended before.
    pub fn end(&mut self, task: &TaskName, write: u64, outcome: Outcome) {
        let Some(entry) = self.outcomes.get_mut(task) else {
            self.outcomes.insert(task.clone(), Entry { write, value: Arc::new(outcome) });
            return;
        };
        entry.write = write;
        // In a loop nobody else has seen the one before, and its memory serves again.
        match Arc::get_mut(&mut entry.value) {
            Some(known) => *known = outcome,
            None => entry.value = Arc::new(outcome),
        }
    }

    /// Writes what another run's context had at `path`. Of tasks, those that `spec` has too; what nothing here can read
    /// is left out.
    pub fn import(&mut self, spec: &Workflow, path: &str, write: u64, value: Arc<ValueRef>) {
        let mut parts = path.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("task"), Some(name), Some(field)) => {
                let name: Option<TaskName> = name.parse().ok();
                if let Some(name) = name.filter(|name| spec.find(name).is_some()) {
                    self.import_outcome(name, field, write, &value);
                }
            }
            (Some("parameters" | "workflow" | "signal"), Some(_), None) => self.set(path, write, value),
            _ => {}
        }
    }

    fn import_outcome(&mut self, task: TaskName, field: &str, write: u64, value: &ValueRef) {
        let known = self.outcomes.get(&task).map(|entry| entry.value.as_ref().clone());
        let mut outcome = known.unwrap_or(Outcome {
            status: Status::Succeeded,
            attempts: 1,
            result: None,
            error: None,
            item_errors: None,
        });
        let inline = |value: &ValueRef| match value {
            ValueRef::Inline(json) => Some(json.clone()),
            ValueRef::Stored(_) | ValueRef::List(_) => None,
        };
        match field {
            "result" => outcome.result = Some(value.clone()),
            "error" => outcome.error = Some(Box::new(value.clone())),
            "item_errors" => outcome.item_errors = Some(Box::new(value.clone())),
            "status" => outcome.status = inline(value).and_then(|json| json.parse().ok()).unwrap_or(outcome.status),
            "attempts" => outcome.attempts = inline(value).and_then(|json| json.parse().ok()).unwrap_or(1),
            _ => return,
        }
        self.end(&task, write, outcome);
    }

    /// Every path with its value, as a manifest of everything would say it.
    #[must_use]
    pub fn all(&self) -> Manifest {
        let mut manifest = Manifest::new();
        for root in ["parameters", "workflow", "signal", "task"] {
            self.project(root, &mut manifest);
        }
        manifest
    }

    /// Takes over each path of `other` that was written later there. What both have from a common ancestor is not
    /// looked at.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.values, &other.values);
        merge(&mut self.outcomes, &other.outcomes);
    }

    /// Copies into `manifest` what stands at `path` and below it.
    pub fn project(&self, path: &str, manifest: &mut Manifest) {
        let mut parts = path.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("task"), None, _) => {
                self.outcomes.iter().for_each(|(task, entry)| put(task, &entry.value, |_| true, manifest));
            }
            (Some("task"), Some(name), field) => {
                let found = name.parse().ok().and_then(|name: TaskName| self.outcomes.get_key_value(&name));
                if let Some((task, entry)) = found {
                    put(task, &entry.value, |name| field.is_none_or(|field| field == name), manifest);
                }
            }
            _ => self.project_values(path, manifest),
        }
    }

    fn project_values(&self, path: &str, manifest: &mut Manifest) {
        let from = (Bound::Included(Arc::<str>::from(path)), Bound::Unbounded);
        for (key, entry) in self.values.range(from).take_while(|(key, _)| key.starts_with(path)) {
            let is_whole = key.len() == path.len() || key.as_bytes()[path.len()] == b'.';
            if is_whole {
                manifest.insert(key.to_string(), entry.value.as_ref().clone());
            }
        }
    }

    /// The number of the write that what stands at `path` came by. The fields of a task have one write.
    #[must_use]
    pub fn write_of(&self, path: &str) -> Option<u64> {
        match path.strip_prefix("task.") {
            Some(below) => {
                let task: TaskName = below.split('.').next()?.parse().ok()?;
                self.outcomes.get(&task).map(|entry| entry.write)
            }
            None => self.values.get(path).map(|entry| entry.write),
        }
    }

    /// Bytes of JSON that its values stand for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let values: u64 = self.values.values().map(|entry| entry.value.bytes()).sum();
        values + self.outcomes.values().map(|entry| entry.value.bytes()).sum::<u64>()
    }
}

/// Goes over the difference alone: maps that come from one another share all that neither has written since.
fn merge<K: Ord + Clone, T: Clone + Eq>(ours: &mut OrdMap<K, Entry<T>>, theirs: &OrdMap<K, Entry<T>>) {
    if ours.is_empty() {
        ours.clone_from(theirs);
        return;
    }
    let base = ours.clone();
    for change in base.diff(theirs) {
        match change {
            DiffItem::Add(key, theirs) => drop(ours.insert(key.clone(), theirs.clone())),
            DiffItem::Update { old, new } if old.1.write < new.1.write => {
                ours.insert(new.0.clone(), new.1.clone());
            }
            DiffItem::Update { .. } | DiffItem::Remove(..) => {}
        }
    }
}

fn put(task: &TaskName, outcome: &Outcome, is_asked: impl Fn(&str) -> bool, manifest: &mut Manifest) {
    let fields = outcome.fields().filter(|(name, _)| is_asked(name));
    manifest.extend(fields.map(|(name, value)| (format!("task.{task}.{name}"), value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u32) -> Arc<ValueRef> {
        Arc::new(ValueRef::of(Json::of(&n).expect("a number is JSON")))
    }

    fn name(text: &str) -> TaskName {
        text.parse().expect("valid")
    }

    fn outcome(error: Option<u32>) -> Outcome {
        let status = if error.is_some() { Status::Failed } else { Status::Succeeded };
        let error = error.map(|n| Box::new(number(n).as_ref().clone()));
        Outcome { status, attempts: 1, result: None, error, item_errors: None }
    }

    fn manifest(context: &Context, path: &str) -> Manifest {
        let mut manifest = Manifest::new();
        context.project(path, &mut manifest);
        manifest
    }

    #[test]
    fn a_merge_takes_the_latest_write_in_either_order() {
        let mut left = Context::default();
        left.set("workflow.a", 1, number(1));
        let mut right = left.clone();
        left.set("workflow.a", 2, number(2));
        left.set("workflow.l", 4, number(4));
        right.set("workflow.a", 3, number(3));
        let (mut one, mut two) = (left.clone(), right.clone());
        one.merge(&right);
        two.merge(&left);
        assert_eq!(one, two);
        let merged = manifest(&one, "workflow");
        assert_eq!(merged["workflow.a"], *number(3));
        assert_eq!(merged["workflow.l"], *number(4));
    }

    #[test]
    fn an_error_that_a_later_pass_does_not_have_stays_away_in_a_merge() {
        let mut old = Context::default();
        old.end(&name("a"), 1, outcome(Some(7)));
        let mut new = old.clone();
        new.end(&name("a"), 2, outcome(None));
        for (mut one, other) in [(old.clone(), &new), (new.clone(), &old)] {
            one.merge(other);
            assert_eq!(one, new);
            assert!(!manifest(&one, "task").contains_key("task.a.error"));
        }
    }

    #[test]
    fn a_projection_takes_a_path_and_what_is_below() {
        let mut context = Context::default();
        for task in ["a", "ab", "b"] {
            context.end(&name(task), 1, outcome(Some(1)));
        }
        for path in ["workflow.x", "workflow.xy", "parameters.x"] {
            context.set(path, 1, number(1));
        }
        let paths = |path: &str| manifest(&context, path).into_keys().collect::<Vec<_>>();
        assert_eq!(paths("task.a"), ["task.a.attempts", "task.a.error", "task.a.result", "task.a.status"]);
        assert_eq!(paths("task.a.error"), ["task.a.error"]);
        assert_eq!(paths("task").len(), 12);
        assert_eq!(paths("workflow.x"), ["workflow.x"]);
        assert_eq!(paths("workflow").len(), 2);
        assert!(paths("task.c").is_empty());
        assert_eq!(manifest(&context, "task.a.result")["task.a.result"], ValueRef::null());
    }
}
