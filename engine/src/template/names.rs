//! Which names a template may read, and where.

use crate::spec::TaskIndex;

/// Names whose values come from the run's snapshot: only these appear in read sets.
pub const SNAPSHOT_ROOTS: [&str; 4] = ["parameters", "workflow", "task", "signal"];

/// Every name that templates can read.
pub const ROOTS: [&str; 13] = [
    "parameters",
    "workflow",
    "task",
    "signal",
    "run",
    "attempt",
    "env",
    "item",
    "index",
    "result",
    "error",
    "item_errors",
    "secrets",
];

/// What a task's value has: `task.<name>.<field>`.
pub const TASK_FIELDS: [&str; 5] = ["status", "result", "error", "attempts", "item_errors"];

/// Functions that ask how the action ended.
pub const OUTCOME_FUNCTIONS: [&str; 6] = ["succeeded", "failed", "timed_out", "crashed", "canceled", "completed"];

/// Every other function.
pub const FUNCTIONS: [&str; 3] = ["now", "range", "throw"];

/// Tera's tests.
pub const TESTS: [&str; 17] = [
    "string",
    "number",
    "map",
    "bool",
    "array",
    "integer",
    "float",
    "none",
    "iterable",
    "defined",
    "undefined",
    "odd",
    "even",
    "divisible_by",
    "starting_with",
    "ending_with",
    "containing",
];

/// What a field is for, which decides what it may read and in which phase it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One of the run's `vars`.
    Vars,
    /// One of the run's `output`.
    Output,
    /// The run's `timeout` or `concurrency`.
    Limits,
    /// What must be known before a task is sent: its `delay`, its `pool`, how long it waits for a signal.
    Delay,
    /// `with_items`, `concurrency` or `tolerate`.
    Items,
    /// A task's `input`.
    Input,
    /// The `input` of a task that runs a workflow: the parameters of its child, which are stored.
    Parameters,
    /// A task's `timeout`.
    Timeout,
    /// One of `retry.*`.
    Retry,
    /// `when` or `publish` of a transition.
    Transition,
}

/// Where a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The task it belongs to.
    pub task: Option<TaskIndex>,
    /// Whether that task has items.
    pub has_items: bool,
    /// What it is for.
    pub purpose: Purpose,
}

/// Why a name that exists cannot be read in some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// What is wrong, to stand behind the name.
    pub reason: &'static str,
}

impl Place {
    /// Why `root`, one of [`ROOTS`], cannot be read here.
    #[must_use]
    pub fn refuses(self, root: &str) -> Option<Refusal> {
        match root {
            "result" | "error" | "item_errors" if !self.is_after_action() => Some(Refusal {
                code: "result_before_action",
                reason: "is known only after the action: read it in `when`, `publish` or `retry`, or later as `task.<name>`",
            }),
            "item" | "index" if !self.is_per_item() => Some(Refusal {
                code: "item_outside_items",
                reason: "is known only in `input`, `timeout` and `retry` of a task with `with_items`",
            }),
            "secrets" if self.purpose == Purpose::Parameters => Some(Refusal {
                code: "secret_outside_input",
                reason: "cannot be handed to a child run, whose parameters are stored: read it in the child's own tasks",
            }),
            "secrets" if self.purpose != Purpose::Input => {
                Some(Refusal { code: "secret_outside_input", reason: "can be read in `input` only" })
            }
            _ => None,
        }
    }

    /// Why a function of [`OUTCOME_FUNCTIONS`] cannot be called here.
    #[must_use]
    pub fn refuses_outcome(self) -> Option<Refusal> {
        (!self.is_after_action()).then_some(Refusal {
            code: "outcome_before_action",
            reason: "is known only after the action: ask it in `when`, `publish` or `retry`",
        })
    }

    fn is_after_action(self) -> bool {
        matches!(self.purpose, Purpose::Transition | Purpose::Retry)
    }

    fn is_per_item(self) -> bool {
        let is_of_item =
            matches!(self.purpose, Purpose::Input | Purpose::Parameters | Purpose::Timeout | Purpose::Retry);
        self.has_items && is_of_item
    }
}

/// The candidate that someone who wrote `name` most likely meant, if any is close.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::osa_distance(&name.to_lowercase(), &candidate.to_lowercase());
    let (best, distance) = candidates
        .into_iter()
        .map(|candidate| (candidate, distance(candidate)))
        .min_by_key(|(_, distance)| *distance)?;
    // A third of the letters may be wrong: more is another word.
    (distance <= name.chars().count().div_ceil(3)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!(nearest("paramters", ROOTS), Some("parameters"));
        assert_eq!(nearest("tasks", ROOTS), Some("task"));
        assert_eq!(nearest("banana", ROOTS), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn names_are_readable_where_they_are_known() {
        let place = |purpose, has_items| Place { task: Some(TaskIndex(0)), has_items, purpose };
        let code = |place: Place, root| place.refuses(root).map(|refusal| refusal.code);
        assert_eq!(code(place(Purpose::Input, false), "result"), Some("result_before_action"));
        assert_eq!(code(place(Purpose::Transition, false), "result"), None);
        assert_eq!(code(place(Purpose::Retry, false), "item"), Some("item_outside_items"));
        assert_eq!(code(place(Purpose::Retry, true), "item"), None);
        assert_eq!(code(place(Purpose::Transition, true), "item"), Some("item_outside_items"));
        assert_eq!(code(place(Purpose::Output, false), "secrets"), Some("secret_outside_input"));
        assert_eq!(code(place(Purpose::Input, false), "secrets"), None);
        assert!(place(Purpose::Delay, false).refuses_outcome().is_some());
    }
}
