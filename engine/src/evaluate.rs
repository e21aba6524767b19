//! The phases of a run as pure functions: what a worker asks of templates, and what comes of it.

use std::{collections::BTreeMap, time::Duration};

use proto::{
    failure::Failure,
    id::{KeyName, PoolName},
    limits::ITEMS_MAX,
    work::Status,
};

use crate::{
    duration,
    program::Program,
    snapshot::Scope,
    spec::{Backoff, DurationField, Field, Node, Pool, Retry, Target, TaskIndex, When},
    value::{self, Value},
};

/// A list of items, and how to go through it.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemList {
    /// The items, at most [`ITEMS_MAX`].
    pub items: Vec<Value>,
    /// At most so many in flight, at least 1.
    pub concurrency: Option<u32>,
    /// How many may fail, counted out of the list's length.
    pub tolerate: u32,
}

/// What must be known before a run begins.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedRun {
    /// Its vars, in order.
    pub vars: Vec<(KeyName, Value)>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// At most so many tasks and items in flight, at least 1.
    pub concurrency: Option<u32>,
}

/// What must be known before a task is sent, or waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedTask {
    /// How long to wait before the first attempt.
    pub delay: Duration,
    /// How long to wait for its signal.
    pub wait: Option<Duration>,
    /// Whose workers run it, where that had to be evaluated.
    pub pool: Option<PoolName>,
}

/// What follows an attempt, as far as `retry` decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this long.
    Again(Duration),
    /// This was the last attempt, and its outcome stands.
    Done,
    /// This was the last attempt, it succeeded, and `retry.when` still holds: the task fails with `retries_exhausted`.
    Exhausted,
}

/// Transitions, asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// Positions in `next` of the transitions that fire, ascending.
    pub fired: Vec<u16>,
    /// What they publish: each key's last value.
    pub published: BTreeMap<KeyName, Value>,
    /// `retry.count`, when one that fires says `retry`.
    pub retries: Option<u32>,
}

/// The run's output, and why keys are not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The keys that could be evaluated, in file order.
    pub entries: Vec<(String, Value)>,
    /// Why the others could not.
    pub left_out: Vec<Failure>,
}

/// What must be known before a run begins: its vars in order, a later one reading those before, and its limits, which
/// read all of them.
///
/// # Errors
/// The first that cannot be evaluated.
pub fn prepare_run(program: &Program, scope: &Scope) -> Result<PreparedRun, Failure> {
    let workflow = program.workflow();
    let mut scope = scope.clone();
    let mut prepared = PreparedRun { vars: Vec::new(), timeout: None, concurrency: None };
    for (key, field) in &workflow.vars {
        let value = program.evaluate(field, &scope)?;
        scope.publish(key, value.clone());
        prepared.vars.push((key.clone(), value));
    }
    prepared.timeout = optional_duration(program, workflow.timeout.as_ref(), &scope)?;
    let whole = |field| whole(field, &program.evaluate(field, &scope)?, 1);
    prepared.concurrency = workflow.concurrency.as_ref().map(whole).transpose()?;
    Ok(prepared)
}

/// What must be known before a task is sent, or waits.
///
/// # Errors
/// `template_error`, also when something is no duration or no name of a pool.
pub fn prepare_task(program: &Program, task: TaskIndex, scope: &Scope) -> Result<PreparedTask, Failure> {
    let spec = program.workflow().task(task);
    let at = |failure: Failure| failure.at(&spec.name);
    let wait = spec.wait_for.as_ref().and_then(|wait| wait.timeout.as_ref());
    let pool = match &spec.pool {
        Pool::Named(_) => None,
        Pool::Evaluated(field) => Some(pool(field, &program.evaluate(field, scope).map_err(at)?).map_err(at)?),
    };
    Ok(PreparedTask {
        delay: optional_duration(program, spec.delay.as_ref(), scope).map_err(at)?.unwrap_or_default(),
        wait: optional_duration(program, wait, scope).map_err(at)?,
        pool,
    })
}

/// The task's items.
///
/// # Errors
/// `items_not_a_list`, `too_many_items`, `template_error`.
///
/// # Panics
/// When the task has no items.
pub fn items(program: &Program, task: TaskIndex, scope: &Scope) -> Result<ItemList, Failure> {
    let spec = program.workflow().task(task);
    let items = spec.items.as_ref().expect("only tasks with items have a phase `items`");
    let at = |failure: Failure| failure.at(&spec.name);
    let value = program.evaluate(&items.list, scope).map_err(at)?;
    let list = listed(&items.list, &value).map_err(at)?;
    let length = u32::try_from(list.len()).unwrap_or(u32::MAX);
    if length > ITEMS_MAX {
        let message = format!("{}: {length} items, more than the limit of {ITEMS_MAX}", items.list.name);
        return Err(at(Failure::new("too_many_items", message)));
    }
    let whole =
        |field: &Field, least: u32| -> Result<u32, Failure> { whole(field, &program.evaluate(field, scope)?, least) };
    let concurrency = items.concurrency.as_ref().map(|field| whole(field, 1)).transpose().map_err(at)?;
    let tolerated = |field| tolerated(field, &program.evaluate(field, scope)?, length);
    let tolerate = items.tolerate.as_ref().map(tolerated).transpose().map_err(at)?.unwrap_or(0);
    Ok(ItemList { items: list, concurrency, tolerate })
}

/// The map handed to the task's action.
///
/// # Errors
/// `template_error`, `output_too_large`.
pub fn input(program: &Program, task: TaskIndex, scope: &Scope) -> Result<Value, Failure> {
    let spec = program.workflow().task(task);
    program.evaluate(&spec.input, scope).map_err(|failure| failure.at(&spec.name))
}

/// How long one attempt may take; `None` when the task does not say.
///
/// # Errors
/// `template_error`, also when it is no duration.
pub fn timeout(program: &Program, task: TaskIndex, scope: &Scope) -> Result<Option<Duration>, Failure> {
    let spec = program.workflow().task(task);
    optional_duration(program, spec.timeout.as_ref(), scope).map_err(|failure| failure.at(&spec.name))
}

/// Whether an attempt that ended with `status` is tried again, after `retries_used` retries. `seed` decides the jitter.
///
/// `scope` holds how the attempt ended: [`Scope::with_ended`].
///
/// # Errors
/// `template_error`, `when_not_boolean`.
pub fn retry(
    program: &Program,
    task: TaskIndex,
    scope: &Scope,
    status: Status,
    retries_used: u32,
    seed: u64,
) -> Result<RetryDecision, Failure> {
    let spec = program.workflow().task(task);
    let Some(retry) = &spec.retry else { return Ok(RetryDecision::Done) };
    let at = |failure: Failure| failure.at(&spec.name);
    if !holds(program, &retry.when, scope, status).map_err(at)? {
        return Ok(RetryDecision::Done);
    }
    let count = program.evaluate(&retry.count, scope).and_then(|value| whole(&retry.count, &value, 0)).map_err(at)?;
    if retries_used >= count {
        return Ok(match status {
            Status::Succeeded => RetryDecision::Exhausted,
            Status::Failed | Status::TimedOut | Status::Crashed | Status::Canceled => RetryDecision::Done,
        });
    }
    let first = optional_duration(program, retry.delay.as_ref(), scope).map_err(at)?.unwrap_or_default();
    let most = optional_duration(program, retry.max_delay.as_ref(), scope).map_err(at)?;
    Ok(RetryDecision::Again(backoff(retry, first, most, retries_used, seed)))
}

/// Asks every transition, and evaluates what those that fire publish.
///
/// Every `when` first; then the publishes in file order, each entry seeing the ones before as `workflow.<key>`.
///
/// # Errors
/// `template_error`, `when_not_boolean`. Then nothing has fired.
pub fn settle(program: &Program, task: TaskIndex, scope: &Scope, status: Status) -> Result<Settled, Failure> {
    let spec = program.workflow().task(task);
    let at = |failure: Failure| failure.at(&spec.name);
    let mut settled = Settled::default();
    for (index, transition) in (0..).zip(&spec.next) {
        if holds(program, &transition.when, scope, status).map_err(at)? {
            settled.fired.push(index);
        }
    }
    let says_retry = |index: &u16| spec.next[usize::from(*index)].targets.contains(&Target::Retry);
    if let Some(retry) = spec.retry.as_ref().filter(|_| settled.fired.iter().any(says_retry)) {
        let count = program.evaluate(&retry.count, scope).and_then(|value| whole(&retry.count, &value, 0));
        settled.retries = Some(count.map_err(at)?);
    }
    let mut scope = scope.clone();
    for index in &settled.fired {
        for (key, field) in &spec.next[usize::from(*index)].publish {
            let value = program.evaluate(field, &scope).map_err(at)?;
            scope.publish(key, value.clone());
            settled.published.insert(key.clone(), value);
        }
    }
    Ok(settled)
}

/// The run's output. A key that cannot be evaluated is left out.
#[must_use]
pub fn output(program: &Program, scope: &Scope) -> Output {
    let mut output = Output { entries: Vec::new(), left_out: Vec::new() };
    for (key, field) in &program.workflow().output {
        match program.evaluate(field, scope) {
            Ok(value) => output.entries.push((key.clone(), value)),
            Err(failure) => output.left_out.push(failure),
        }
    }
    output
}

/// Whether a condition holds. Outcome functions are asked without evaluating anything.
fn holds(program: &Program, when: &When, scope: &Scope, status: Status) -> Result<bool, Failure> {
    let field = match when {
        When::Outcome(test) => return Ok(test.holds(status)),
        When::Expression(field) => field,
    };
    let value = program.evaluate(field, scope)?;
    value.as_bool().ok_or_else(|| {
        let message =
            format!("{}: a condition yields a boolean, not {} ({})", field.name, value.kind(), value::shown(&value));
        Failure::new("when_not_boolean", message)
    })
}

/// The items that `value` of `field` stands for: a list, or lists by name that go side by side.
fn listed(field: &Field, value: &Value) -> Result<Vec<Value>, Failure> {
    let failed = |message: String| Failure::new("items_not_a_list", format!("{}: {message}", field.name));
    if let Some(list) = value.as_list() {
        return Ok(list.collect());
    }
    // A map counts only where the file spells it out: a map that comes out of an expression is a mistake.
    let named = match &field.node {
        Node::Map(_) | Node::Literal(_) => value.as_map(),
        Node::Template(_) | Node::Expression(_) | Node::List(_) => None,
    };
    let Some(named) = named else {
        return Err(failed(format!("`with_items` yields a list, not {} ({})", value.kind(), value::shown(value))));
    };
    let mut lists: Vec<(String, Vec<Value>)> = Vec::new();
    for (name, value) in named {
        let list =
            value.as_list().ok_or_else(|| failed(format!("`{name}` is {}, not a list", value.kind())))?.collect();
        lists.push((name, list));
    }
    let lengths = || lists.iter().map(|(_, list)| list.len());
    let length = lengths().next().ok_or_else(|| failed("there is no list in it".to_owned()))?;
    if lengths().any(|other| other != length) {
        let shown: Vec<String> = lists.iter().map(|(name, list)| format!("`{name}` has {}", list.len())).collect();
        return Err(failed(format!("lists that go side by side must be of one length: {}", shown.join(", "))));
    }
    let item = |index: usize| Value::from_map(lists.iter().map(|(name, list)| (name.clone(), list[index].clone())));
    Ok((0..length).map(item).collect())
}

fn whole(field: &Field, value: &Value, least: u32) -> Result<u32, Failure> {
    let number = value.as_whole().and_then(|number| u32::try_from(number).ok()).filter(|number| *number >= least);
    number.ok_or_else(|| {
        let message =
            format!("{}: a whole number of at least {least} is needed, not {}", field.name, value::shown(value));
        Failure::new("template_error", message)
    })
}

/// How many of `length` items may fail: a whole number, or a share of them, rounded down.
fn tolerated(field: &Field, value: &Value, length: u32) -> Result<u32, Failure> {
    let Some(text) = value.as_str() else { return Ok(whole(field, value, 0)?.min(length)) };
    let percent = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
        // At most `length`, and not negative.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(percent) => Ok((f64::from(length) * percent / 100.0).floor() as u32),
        None => {
            let message = format!("{}: a whole number or a share such as `40%` is needed, not {text:?}", field.name);
            Err(Failure::new("template_error", message))
        }
    }
}

/// The pool that `value` of `field` names.
fn pool(field: &Field, value: &Value) -> Result<PoolName, Failure> {
    let text = value.as_str().ok_or_else(|| format!("a pool is named by a text, not {}", value.kind()));
    let pool = text.and_then(|text| text.parse::<PoolName>().map_err(|error| error.to_string()));
    pool.map_err(|reason| Failure::new("template_error", format!("{}: {reason}", field.name)))
}

fn optional_duration(
    program: &Program,
    field: Option<&DurationField>,
    scope: &Scope,
) -> Result<Option<Duration>, Failure> {
    let field = match field {
        None => return Ok(None),
        Some(DurationField::Known(duration)) => return Ok(Some(*duration)),
        Some(DurationField::Evaluated(field)) => field,
    };
    let value = program.evaluate(field, scope)?;
    let read = match (value.as_str(), value.as_number()) {
        (Some(text), _) => duration::parse(text).map_err(|error| error.to_string()),
        (None, Some(seconds)) => duration::from_seconds(seconds).map_err(|error| error.to_string()),
        (None, None) => {
            Err(format!("a duration is a text such as `1m30s` or a number of seconds, not {}", value.kind()))
        }
    };
    read.map(Some).map_err(|reason| Failure::new("template_error", format!("{}: {reason}", field.name)))
}

/// The delay before the next retry, when `retries_used` were used before.
///
/// `seed` decides the jitter.
#[must_use]
pub fn backoff(retry: &Retry, first: Duration, most: Option<Duration>, retries_used: u32, seed: u64) -> Duration {
    let most = most.unwrap_or(duration::LONGEST).min(duration::LONGEST);
    let factor = match retry.backoff {
        Backoff::Constant => 1,
        Backoff::Linear => retries_used.saturating_add(1),
        Backoff::Exponential => 1u32.checked_shl(retries_used).unwrap_or(u32::MAX),
    };
    let whole = first.saturating_mul(factor).min(most);
    match retry.jitter {
        false => whole,
        // Between half and whole: apart from each other, yet never so soon that the backoff is lost.
        true => (whole / 2).saturating_add((whole / 2).mul_f64(share(seed))),
    }
}

/// A number from 0 to 1 that `seed` decides: one step of SplitMix64 (Steele, Lea and Flood 2014).
fn share(seed: u64) -> f64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // The upper 53 bits, which is what a float holds.
    #[allow(clippy::cast_precision_loss)]
    let share = (bits >> 11) as f64 / (1u64 << 53) as f64;
    share
}
