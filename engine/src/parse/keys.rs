//! Which keys belong into which map of the file.

/// A map of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Workflow,
    /// A task in a map of tasks.
    Task,
    /// A task in a list of tasks, which says its own name.
    NamedTask,
    /// The task that runs at the end: nothing points to it, and it to nothing.
    Finally,
    WaitFor,
    Retry,
    Transition,
    Schema,
}

impl Place {
    /// The keys that belong there.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Workflow => &WORKFLOW,
            Self::Task => &NAMED_TASK[1..],
            Self::NamedTask => &NAMED_TASK,
            Self::Finally => &NAMED_TASK[1..NAMED_TASK.len() - 2],
            Self::WaitFor => &["signal", "timeout"],
            Self::Retry => &["count", "delay", "backoff", "max_delay", "jitter", "when"],
            Self::Transition => &["when", "publish", "do"],
            Self::Schema => &SCHEMA,
        }
    }

    /// What it is called in messages.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Workflow => "a workflow",
            Self::Task | Self::NamedTask => "a task",
            Self::Finally => "`finally`",
            Self::WaitFor => "`wait_for`",
            Self::Retry => "`retry`",
            Self::Transition => "a transition",
            Self::Schema => "a parameter's schema",
        }
    }
}

/// Such as `when`, `publish` and `do`.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

const WORKFLOW: [&str; 11] = [
    "name",
    "version",
    "description",
    "parameters",
    "vars",
    "tasks",
    "output",
    "timeout",
    "concurrency",
    "exclusive",
    "finally",
];

const NAMED_TASK: [&str; 16] = [
    "name",
    "action",
    "workflow",
    "input",
    "pool",
    "with_items",
    "concurrency",
    "tolerate",
    "on_item_error",
    "retry",
    "timeout",
    "delay",
    "on_lost",
    "wait_for",
    "join",
    "next",
];

/// JSON Schema 2020-12 without references: with them, the time to check a value has no bound.
const SCHEMA: [&str; 50] = [
    "type",
    "default",
    "required",
    "enum",
    "const",
    "title",
    "description",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "unevaluatedItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "$anchor",
];
