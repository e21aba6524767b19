//! What users of other systems write, and what to write here instead.
//!
//! A key that is near to none of ours but common elsewhere gets an answer that names that system and says what to
//! write here, so that a file brought from there is corrected in one go.

use self::systems::{ANSIBLE, ARGO, ATTUNE, GITHUB, ORQUESTA, STEP_FUNCTIONS};
use super::keys::Place;

/// The systems by name.
mod systems {
    pub(super) const ANSIBLE: &str = "Ansible";
    pub(super) const ARGO: &str = "Argo";
    pub(super) const ATTUNE: &str = "Attune";
    pub(super) const GITHUB: &str = "GitHub Actions";
    pub(super) const ORQUESTA: &str = "Orquesta";
    pub(super) const STEP_FUNCTIONS: &str = "Step Functions";
}

/// A key of another system, the system, and what to write here.
type Habit = (&'static str, &'static str, &'static str);

/// What to write at `place` instead of another system's `key`.
pub(super) fn key(place: Place, key: &str) -> Option<String> {
    let habit = habits(place).iter().find(|(name, ..)| name.replace('-', "_") == key.replace('-', "_"));
    habit.map(|(name, system, instead)| format!("`{name}` is {system}; here, {instead}"))
}

/// What to write instead of a function that another system has.
pub(super) fn function(name: &str) -> Option<String> {
    let habit = FUNCTION_HABITS.iter().find(|(habit, ..)| *habit == name);
    habit.map(|(name, system, instead)| format!("`{name}()` is {system}; here, {instead}"))
}

/// What to write instead of a name that expressions of another system begin with.
pub(super) fn root(name: &str) -> Option<String> {
    let habit = ROOT_HABITS.iter().find(|(habit, ..)| *habit == name);
    habit.map(|(name, system, instead)| format!("`{name}` is {system}; here, {instead}"))
}

fn habits(place: Place) -> &'static [Habit] {
    match place {
        Place::Workflow => WORKFLOW_HABITS,
        Place::Task | Place::NamedTask | Place::Finally => TASK_HABITS,
        Place::WaitFor => WAIT_HABITS,
        Place::Retry => RETRY_HABITS,
        Place::Transition => TRANSITION_HABITS,
        Place::Schema => SCHEMA_HABITS,
    }
}

const PARAMETERS: &str = "declare `parameters`, each with a JSON Schema";
const TASKS: &str = "`tasks` is a map of tasks, which `next: [{ do: … }]` connects";
const NO_TRIGGER: &str = "a workflow does not say when it runs: who submits it does";

const WORKFLOW_HABITS: &[Habit] = &[
    ("input", ORQUESTA, PARAMETERS),
    ("inputs", ARGO, PARAMETERS),
    ("arguments", ARGO, PARAMETERS),
    ("params", STEP_FUNCTIONS, PARAMETERS),
    ("parameter", ARGO, PARAMETERS),
    ("steps", GITHUB, TASKS),
    ("jobs", GITHUB, TASKS),
    ("templates", ARGO, TASKS),
    ("dag", ARGO, TASKS),
    ("states", STEP_FUNCTIONS, TASKS),
    ("do", ORQUESTA, TASKS),
    ("entrypoint", ARGO, "the tasks that nothing points to start the run"),
    ("on", GITHUB, NO_TRIGGER),
    ("triggers", ATTUNE, NO_TRIGGER),
    ("schedule", GITHUB, NO_TRIGGER),
    ("env", GITHUB, "use `vars`, or `input.env` of `shell.run`"),
    ("context", ORQUESTA, "use `vars`"),
    ("variables", STEP_FUNCTIONS, "use `vars`"),
    ("outputs", GITHUB, "use `output`, a map"),
    ("output_map", ATTUNE, "use `output`, a map"),
    ("output_schema", ATTUNE, "`output` has no schema: leave it out"),
    ("onExit", ARGO, "use `finally`"),
    ("on_failure", ATTUNE, "give the task a transition with `when: failed()`"),
    ("hosts", ANSIBLE, "declare a parameter and use `with_items`"),
    ("gather_facts", ANSIBLE, "leave it out"),
    ("handlers", ANSIBLE, TASKS),
    ("defaults", GITHUB, "use YAML anchors for what repeats"),
    ("ref", ATTUNE, "use `name`"),
    ("id", STEP_FUNCTIONS, "use `name`"),
    ("label", ATTUNE, "use `description`"),
    ("tags", ATTUNE, "labels belong to the job, not to the workflow"),
    ("labels", ARGO, "labels belong to the job, not to the workflow"),
    ("metadata", ARGO, "`name` stands at the top"),
    ("spec", ARGO, "its keys stand at the top"),
    ("apiVersion", ARGO, "leave it out"),
    ("kind", ARGO, "leave it out"),
];

const ITEMS: &str = "write `with_items: \"{{ … }}\"` and read `item`";
const POINT: &str = "the earlier task points to this one: `next: [{ do: THIS_TASK }]` there";
const GUARD: &str = "put `when` on the transition that leads to this task";
const LEAVING: &str = "write it into an entry of `next`: `next: [{ when: succeeded(), do: … }]`";
const UNSUCCESSFUL: &str = "write `next: [{ when: failed(), do: … }]`";
const SHELL: &str = "write `action: shell.run` with `input: { argv: [ … ] }`";
const INPUT: &str = "use `input`";
const HANDLED: &str = "write `next: [{ when: failed(), do: noop }]`";
const TIMEOUT: &str = "use `timeout: 10m`";

const TASK_HABITS: &[Habit] = &[
    (
        "with",
        "Orquesta and GitHub Actions",
        "items are `with_items: \"{{ … }}\"`, and an action's arguments are `input`",
    ),
    ("items", ORQUESTA, ITEMS),
    ("loop", ANSIBLE, ITEMS),
    ("loop_control", ANSIBLE, "the item is always called `item`, its position `index`"),
    ("with_list", ANSIBLE, ITEMS),
    ("with_dict", ANSIBLE, ITEMS),
    ("with_sequence", ANSIBLE, ITEMS),
    ("withItems", ARGO, ITEMS),
    ("withParam", ARGO, ITEMS),
    ("withSequence", ARGO, ITEMS),
    ("for_each", ATTUNE, ITEMS),
    ("foreach", ATTUNE, ITEMS),
    ("matrix", GITHUB, ITEMS),
    ("strategy", GITHUB, ITEMS),
    ("batch_size", ATTUNE, "use `concurrency`"),
    ("parallelism", ARGO, "use `concurrency`"),
    ("throttle", ANSIBLE, "use `concurrency`"),
    ("serial", ANSIBLE, "use `concurrency`"),
    ("needs", GITHUB, POINT),
    ("dependencies", ARGO, POINT),
    ("depends", ARGO, POINT),
    ("depends_on", ATTUNE, POINT),
    ("if", GITHUB, GUARD),
    ("when", "Ansible and Argo", GUARD),
    ("condition", STEP_FUNCTIONS, GUARD),
    ("do", ORQUESTA, LEAVING),
    ("publish", ATTUNE, LEAVING),
    ("on_success", ATTUNE, LEAVING),
    ("on_complete", ATTUNE, "write `next: [{ do: … }]`"),
    ("on_failure", ATTUNE, UNSUCCESSFUL),
    ("on_error", ATTUNE, UNSUCCESSFUL),
    ("on_timeout", ATTUNE, "write `next: [{ when: timed_out(), do: … }]`"),
    ("decision", ATTUNE, LEAVING),
    ("transitions", ATTUNE, "use `next`"),
    ("catch", STEP_FUNCTIONS, UNSUCCESSFUL),
    ("rescue", ANSIBLE, UNSUCCESSFUL),
    ("always", ANSIBLE, "write `next: [{ do: … }]`"),
    ("block", ANSIBLE, TASKS),
    ("steps", GITHUB, TASKS),
    ("tasks", ARGO, TASKS),
    ("uses", GITHUB, "use `action`"),
    ("template", ARGO, "use `action`"),
    ("module", ANSIBLE, "use `action`"),
    ("type", STEP_FUNCTIONS, "use `action`"),
    ("run", GITHUB, SHELL),
    ("shell", ANSIBLE, SHELL),
    ("command", ANSIBLE, SHELL),
    ("script", ARGO, SHELL),
    ("container", ARGO, SHELL),
    ("args", ANSIBLE, INPUT),
    ("arguments", ARGO, INPUT),
    ("inputs", ARGO, INPUT),
    ("params", ATTUNE, INPUT),
    ("parameters", STEP_FUNCTIONS, INPUT),
    ("env", GITHUB, "use `input.env` of `shell.run`"),
    ("vars", ANSIBLE, "use the workflow's `vars`, or `publish` in `next`"),
    ("register", ANSIBLE, "read `task.NAME.result`, or use `publish` in `next`"),
    ("set_fact", ANSIBLE, "use `publish` in `next`"),
    ("output", ATTUNE, "read `task.NAME.result`, or use `publish` in `next`"),
    ("outputs", ARGO, "read `task.NAME.result`, or use `publish` in `next`"),
    ("until", ANSIBLE, "use `retry: { when: … }`"),
    ("retries", ANSIBLE, "use `retry: { count: … }`"),
    ("retryStrategy", ARGO, "use `retry: { count: … }`"),
    ("ignore_errors", ANSIBLE, HANDLED),
    ("failed_when", ANSIBLE, "use `core.assert`, or a transition with `do: fail`"),
    ("continue-on-error", GITHUB, HANDLED),
    ("continueOn", ARGO, HANDLED),
    ("timeout-minutes", GITHUB, TIMEOUT),
    ("timeout_seconds", ATTUNE, TIMEOUT),
    ("activeDeadlineSeconds", ARGO, TIMEOUT),
    ("async", ANSIBLE, TIMEOUT),
    ("runs-on", GITHUB, "use `pool`"),
    ("queue", ATTUNE, "use `pool`"),
    ("delegate_to", ANSIBLE, "use `pool`"),
    ("nodeSelector", ARGO, "use `pool`"),
    ("become", ANSIBLE, "leave it out: the worker's user runs it"),
    ("notify", ANSIBLE, "write `next: [{ do: … }]`"),
    ("id", GITHUB, "the task's key is its name"),
    ("name", GITHUB, "the task's key is its name"),
    ("description", ATTUNE, "write a YAML comment"),
    ("label", ATTUNE, "write a YAML comment"),
    ("wait", STEP_FUNCTIONS, "use `delay`"),
    ("pause", ANSIBLE, "use `delay`"),
];

const WAIT_HABITS: &[Habit] = &[
    ("name", STEP_FUNCTIONS, "write `signal: approval`"),
    ("event", STEP_FUNCTIONS, "write `signal: approval`"),
    ("route", ORQUESTA, "write `signal: approval`; whoever sends the signal is asked by a task before"),
];

const RETRY_HABITS: &[Habit] = &[
    ("max_attempts", STEP_FUNCTIONS, "use `count`, the retries after the first attempt"),
    ("MaxAttempts", STEP_FUNCTIONS, "use `count`, the retries after the first attempt"),
    ("attempts", ATTUNE, "use `count`, the retries after the first attempt"),
    ("limit", ARGO, "use `count`"),
    ("retries", ANSIBLE, "use `count`"),
    ("interval", STEP_FUNCTIONS, "use `delay`"),
    ("duration", ARGO, "use `delay`"),
    ("factor", ARGO, "use `backoff: exponential`"),
    ("strategy", ATTUNE, "use `backoff`"),
    ("maxDuration", ARGO, "use `max_delay`"),
    ("max_interval", ATTUNE, "use `max_delay`"),
    ("retryPolicy", ARGO, "use `when`"),
    ("until", ANSIBLE, "use `when`, which says when to try again: the opposite"),
    ("condition", ATTUNE, "use `when`"),
    ("if", GITHUB, "use `when`"),
];

const TRANSITION_HABITS: &[Habit] = &[
    ("if", GITHUB, "use `when`"),
    ("condition", ATTUNE, "use `when`"),
    ("criteria", ORQUESTA, "use `when`"),
    ("then", ATTUNE, "use `do`"),
    ("next", STEP_FUNCTIONS, "use `do`"),
    ("goto", ATTUNE, "use `do`"),
    ("task", ARGO, "use `do`"),
    ("to", ATTUNE, "use `do`"),
    ("set", ATTUNE, "use `publish`"),
    ("vars", ANSIBLE, "use `publish`"),
    ("set_fact", ANSIBLE, "use `publish`"),
    ("output", ORQUESTA, "use `publish`"),
];

const NO_REFERENCE: &str = "a parameter's schema stands by itself: write the referenced part out";

const SCHEMA_HABITS: &[Habit] = &[
    ("$ref", "JSON Schema", NO_REFERENCE),
    ("$dynamicRef", "JSON Schema", NO_REFERENCE),
    ("$defs", "JSON Schema", NO_REFERENCE),
    ("definitions", "JSON Schema", NO_REFERENCE),
    ("$id", "JSON Schema", NO_REFERENCE),
    ("$schema", "JSON Schema", "every schema is of draft 2020-12"),
    ("nullable", "OpenAPI", "write `type: [string, \"null\"]`"),
    ("example", "OpenAPI", "use `examples`, a list"),
    ("optional", ATTUNE, "a parameter is optional unless `required: true`"),
    ("secret", ATTUNE, "read secrets as `secrets.NAME` in `input`"),
    ("value", ARGO, "use `default`"),
    ("options", GITHUB, "use `enum`"),
    ("choices", ANSIBLE, "use `enum`"),
    ("elements", ANSIBLE, "use `items: { type: … }`"),
];

const FUNCTION_HABITS: &[Habit] = &[
    ("ctx", ORQUESTA, "write `workflow.NAME` for vars and published values, `parameters.NAME` for parameters"),
    ("result", "Orquesta and Attune", "write `result`"),
    ("item", ORQUESTA, "write `item` or `item.NAME`"),
    ("task", ORQUESTA, "write `task.NAME.result`"),
    ("task_status", ORQUESTA, "write `task.NAME.status`"),
    ("st2kv", ORQUESTA, "write `secrets.NAME` in `input`"),
    ("success", GITHUB, "write `succeeded()`"),
    ("failure", GITHUB, "write `failed()`"),
    ("cancelled", GITHUB, "write `canceled()`"),
    ("always", GITHUB, "write `completed()`"),
    ("fromJSON", GITHUB, "write `… | from_json`"),
    ("toJSON", GITHUB, "write `… | to_json`"),
    ("lookup", ANSIBLE, "read it with an action, such as `file.read_lines`"),
];

const ROOT_HABITS: &[Habit] = &[
    ("steps", "GitHub Actions and Argo", "write `task.NAME.result`"),
    ("tasks", ARGO, "write `task.NAME.result`"),
    ("needs", GITHUB, "write `task.NAME.result`"),
    ("inputs", "GitHub Actions and Argo", "write `parameters.NAME`"),
    ("params", ATTUNE, "write `parameters.NAME`"),
    ("github", GITHUB, "give what the run needs as parameters"),
    ("matrix", GITHUB, "write `item`"),
    ("vars", GITHUB, "write `workflow.NAME`"),
    ("context", ORQUESTA, "write `workflow.NAME`"),
    ("hostvars", ANSIBLE, "write `parameters.NAME` or `item`"),
];
