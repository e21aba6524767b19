//! What a workflow file says, as types: the contract between the parser, the templates and the machine.
//!
//! Plain data without behaviour of its own. `parse` makes it from YAML, `program` compiles its templates, `machine`
//! walks it. Tasks refer to each other by [`TaskIndex`], so that nothing is looked up by name while a run goes on.

use std::time::Duration;

use proto::{
    id::{KeyName, PoolName, TaskName, WorkflowName},
    json::Json,
};

/// A workflow, checked: every name in it resolves.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// `name`.
    pub name: WorkflowName,
    /// `version`, a label for people.
    pub version: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `parameters`, in file order.
    pub parameters: Vec<Parameter>,
    /// `vars`, in file order: a later one may read an earlier one.
    pub vars: Vec<(KeyName, Field)>,
    /// `tasks`, in file order. A [`TaskIndex`] is a position in here.
    pub tasks: Vec<Task>,
    /// Tasks that nothing points to: they start the run.
    pub entries: Vec<TaskIndex>,
    /// `output`, in file order.
    pub output: Vec<(String, Field)>,
    /// `timeout` of the whole run, from when it begins.
    pub timeout: Option<DurationField>,
    /// `concurrency`: at most so many tasks and items of a run in flight. Yields a whole number of at least 1.
    pub concurrency: Option<Field>,
    /// `exclusive`: runs with equal values of these parameters go one at a time. Empty: no such bound.
    pub exclusive: Vec<KeyName>,
    /// `finally`: the last of [`Workflow::tasks`], which no task points to and which starts no run.
    pub finally: Option<TaskIndex>,
    /// How many [`Field`]s there are: one more than the greatest [`SiteId`].
    pub sites: u32,
}

/// Position of a task in [`Workflow::tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TaskIndex(pub u16);

/// One parameter of a workflow.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: KeyName,
    /// Its JSON Schema (draft 2020-12), without `default` and `required`.
    pub schema: Json,
    /// The value when none is given; without one it is undefined then.
    pub default: Option<Json>,
    /// Whether a job must give it.
    pub required: bool,
}

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub name: TaskName,
    /// Where its name stands in the file, for messages.
    pub span: Span,
    /// `action` or `workflow`.
    pub call: Call,
    /// `input`: always a [`Node::Map`], empty when absent.
    pub input: Field,
    /// `pool`.
    pub pool: Pool,
    /// `on_lost`.
    pub on_lost: OnLost,
    /// `join`.
    pub join: Option<Join>,
    /// `wait_for`.
    pub wait_for: Option<WaitFor>,
    /// `with_items` and what goes with it.
    pub items: Option<Items>,
    /// `retry`.
    pub retry: Option<Retry>,
    /// `timeout` of one attempt; absent: the worker's default.
    pub timeout: Option<DurationField>,
    /// `delay` before the first attempt.
    pub delay: Option<DurationField>,
    /// `next`, in file order.
    pub next: Vec<Transition>,
    /// The distinct tasks that have a transition to this one, ascending.
    pub inbound: Vec<TaskIndex>,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `action`: a worker runs it; `core.noop` when a task names neither.
    Action(String),
    /// `workflow`: a run of it is this task's child.
    Workflow(WorkflowName),
}

/// `pool`: whose workers run a task.
#[derive(Clone, Debug)]
pub enum Pool {
    /// Written out in the file; `default` when absent.
    Named(PoolName),
    /// An expression.
    Evaluated(Field),
}

/// `on_lost`: what follows when a worker is lost that may have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// The work goes to another one, and may be done twice.
    Retry,
    /// It has crashed: it is done once at the most.
    Fail,
}

/// `wait_for`: a task starts when a signal has come.
#[derive(Clone, Debug)]
pub struct WaitFor {
    /// The signal's name.
    pub signal: KeyName,
    /// How long to wait; absent: as long as the run lives.
    pub timeout: Option<DurationField>,
}

/// `join`: how many of the distinct inbound tasks must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// All of them.
    All,
    /// This many, at least 1 and at most as many as there are.
    Count(u32),
}

/// `with_items`, `concurrency` and `tolerate`.
#[derive(Clone, Debug)]
pub struct Items {
    /// What yields the list.
    pub list: Field,
    /// At most so many in flight; absent: no bound of the task's own. Yields a whole number of at least 1.
    pub concurrency: Option<Field>,
    /// How many may fail: a whole number, or a text such as `40%`. Absent: none.
    pub tolerate: Option<Field>,
    /// `on_item_error`.
    pub on_error: OnItemError,
}

/// `on_item_error`: what becomes of the other items when too many have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnItemError {
    /// Every item runs.
    Continue,
    /// No further item begins.
    Stop,
}

/// `retry`.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Retries after the first attempt: yields a whole number.
    pub count: Field,
    /// Before the first retry; absent: none.
    pub delay: Option<DurationField>,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The most that it grows to.
    pub max_delay: Option<DurationField>,
    /// Whether the delay is drawn between half of it and the whole.
    pub jitter: bool,
    /// Asked after every attempt. [`When::Outcome`] of `failed()` when absent.
    pub when: When,
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Always `delay`.
    Constant,
    /// `delay` times the number of the retry.
    Linear,
    /// `delay`, doubled for each further retry.
    Exponential,
}

/// A duration, known or to be evaluated to a text such as `1m30s` or a number of seconds.
#[derive(Clone, Debug)]
pub enum DurationField {
    /// Written out in the file.
    Known(Duration),
    /// An expression.
    Evaluated(Field),
}

/// One entry of `next`.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Its condition.
    pub when: When,
    /// `publish`, in file order: each entry sees the ones before.
    pub publish: Vec<(KeyName, Field)>,
    /// `do`, in file order.
    pub targets: Vec<Target>,
}

/// Where a transition leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Start, or reach, a task.
    Task(TaskIndex),
    /// `noop`: a failure is handled, and nothing follows.
    Noop,
    /// `continue`: nothing follows, and a failure is not handled.
    Continue,
    /// `fail`: the run fails.
    Fail,
    /// `retry`: this task again, at most as often as its `retry.count` says.
    Retry,
}

/// A condition.
#[derive(Clone, Debug)]
pub enum When {
    /// Only outcome functions: asked without evaluating anything.
    Outcome(OutcomeTest),
    /// An expression that must yield a boolean.
    Expression(Field),
}

/// A condition made only of outcome functions, booleans, `not`, `and` and `or`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeTest {
    /// `true` (an absent `when`) or `false`.
    Constant(bool),
    /// `succeeded()`.
    Succeeded,
    /// `failed()`: every unsuccessful outcome.
    Failed,
    /// `timed_out()`.
    TimedOut,
    /// `crashed()`.
    Crashed,
    /// `canceled()`.
    Canceled,
    /// `completed()`: any outcome.
    Completed,
    /// `not`.
    Not(Box<OutcomeTest>),
    /// `and`.
    And(Box<OutcomeTest>, Box<OutcomeTest>),
    /// `or`.
    Or(Box<OutcomeTest>, Box<OutcomeTest>),
}

/// A place in the file that may hold templates: a tree of JSON with templates in its texts.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its number, by which [`crate::program::Program`] keeps what it compiled.
    pub site: SiteId,
    /// Where it stands, as users say it: `tasks.probe.input` or `output.summary`.
    pub name: String,
    /// What it says.
    pub node: Node,
}

/// Number of a [`Field`] within its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u32);

/// JSON whose texts may be templates.
#[derive(Clone, Debug)]
pub enum Node {
    /// A value without templates.
    Literal(Json),
    /// A text with `{{ … }}` or `{% … %}` in it: typed when it is exactly one expression.
    Template(Text),
    /// An expression without braces, as `when` may be written.
    Expression(Text),
    /// A list with at least one template in it.
    List(Vec<Node>),
    /// A map with at least one template in it; its keys are no templates. In file order.
    Map(Vec<(String, Node)>),
}

/// The source of a template, and where it begins in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// As YAML gives it.
    pub source: String,
    /// Where the YAML scalar stands.
    pub span: Span,
}

/// A piece of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the start of the file.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
}

impl Workflow {
    /// The task at `index`.
    #[must_use]
    pub fn task(&self, index: TaskIndex) -> &Task {
        &self.tasks[usize::from(index.0)]
    }

    /// The task called `name`.
    #[must_use]
    pub fn find(&self, name: &TaskName) -> Option<TaskIndex> {
        let at = self.tasks.iter().position(|task| task.name == *name)?;
        Some(TaskIndex(u16::try_from(at).ok()?))
    }

    /// Whether a worker must evaluate something before a run begins.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        let is_evaluated = |field: &Field| field.literal().is_none();
        self.vars.iter().any(|(_, field)| is_evaluated(field))
            || matches!(self.timeout, Some(DurationField::Evaluated(_)))
            || self.concurrency.as_ref().is_some_and(is_evaluated)
    }

    /// Every task with its index, in file order.
    pub fn indexed(&self) -> impl Iterator<Item = (TaskIndex, &Task)> {
        (0..).map(TaskIndex).zip(&self.tasks)
    }
}

impl Task {
    /// The action that it runs; `None` for a task that runs a workflow.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        match &self.call {
            Call::Action(action) => Some(action),
            Call::Workflow(_) => None,
        }
    }

    /// Whether a transition starts this very task again with `do: retry`.
    #[must_use]
    pub fn says_retry(&self) -> bool {
        self.next.iter().any(|next| next.targets.contains(&Target::Retry))
    }
}

impl Pool {
    /// The pool, where the file names it.
    #[must_use]
    pub fn named(&self) -> Option<&PoolName> {
        match self {
            Self::Named(pool) => Some(pool),
            Self::Evaluated(_) => None,
        }
    }
}

impl Retry {
    /// Whether it can be decided without evaluating anything.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_known = |field: &Option<DurationField>| !matches!(field, Some(DurationField::Evaluated(_)));
        matches!(self.when, When::Outcome(_))
            && self.count.literal().is_some()
            && is_known(&self.delay)
            && is_known(&self.max_delay)
    }
}

impl Field {
    /// Its value, when it has no templates.
    #[must_use]
    pub fn literal(&self) -> Option<&Json> {
        match &self.node {
            Node::Literal(json) => Some(json),
            Node::Template(_) | Node::Expression(_) | Node::List(_) | Node::Map(_) => None,
        }
    }
}

impl OutcomeTest {
    /// Whether it holds for `status`.
    #[must_use]
    pub fn holds(&self, status: proto::work::Status) -> bool {
        use proto::work::Status;
        match self {
            Self::Constant(value) => *value,
            Self::Succeeded => status == Status::Succeeded,
            Self::Failed => status != Status::Succeeded,
            Self::TimedOut => status == Status::TimedOut,
            Self::Crashed => status == Status::Crashed,
            Self::Canceled => status == Status::Canceled,
            Self::Completed => true,
            Self::Not(inner) => !inner.holds(status),
            Self::And(left, right) => left.holds(status) && right.holds(status),
            Self::Or(left, right) => left.holds(status) || right.holds(status),
        }
    }
}
