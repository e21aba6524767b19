//! What a worker does with one piece of work, the action excepted: that one ends as its cue says.
//!
//! It follows the real worker step by step: input and timeout first, then the action, `retry`, every `when`, every
//! `publish`. Item retries are not played, since a script says how items end for good.

use std::{collections::BTreeMap, time::Duration};

use proto::{
    failure::Failure,
    id::{ItemIndex, KeyName},
    json::Json,
    outcome::{
        Acted, Called, Failed, ItemsReport, Listed, Next, OutputReport, Report, RunPrepared, Settlement, TaskPrepared,
    },
    time::Timestamp,
    value::ValueRef,
    work::{Phase, Range, Status, Work},
};

use super::{
    script::{Cue, End, Script},
    values::{self, json},
};
use crate::{
    evaluate::{self, RetryDecision},
    parameters::{self, Coerce},
    program::Program,
    snapshot::Scope,
    spec::{TaskIndex, Workflow},
    value::Value,
};

/// How long an action may take whose task does not say, as workers have it.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The chance that draws the whole delay of a retry and not a part of it: [`evaluate::retry`] makes the greatest share
/// of it. So a script can count on `delay`, with `jitter` too.
const NO_JITTER: u64 = 0x3162_8af6_7b21_31ab;

/// A worker with one piece of work.
pub(super) struct Worker<'a> {
    program: &'a Program,
    script: &'a Script,
    work: &'a Work,
    scope: Scope,
}

/// What a worker comes to.
pub(super) struct Performed {
    /// What it says; `None` when it dies, and every other worker that gets this work.
    pub report: Option<Report>,
    /// How long it takes.
    pub takes: Duration,
    /// What the action, or the one of each item, was given. `None` could not be rendered.
    pub inputs: Vec<Option<Json>>,
}

/// One attempt of an action.
struct Attempted {
    status: Status,
    result: Value,
    failure: Option<Failure>,
}

/// What came of an attempt: of one that kills its worker, nothing.
struct Tried {
    attempted: Option<Attempted>,
    takes: Duration,
    input: Option<Json>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(program: &'a Program, script: &'a Script, work: &'a Work, now: Timestamp) -> Self {
        let texts = script.env.iter().map(|(name, text)| (name.clone(), Value::from_text(text)));
        let scope = Scope::new(&values::snapshot(&work.manifest))
            .with_run(&work.run, &work.key.run)
            .with_attempt(work.attempt)
            .with_env(texts)
            .with_now(now);
        Self { program, script, work, scope }
    }

    /// A phase that has no action.
    pub(super) fn evaluate(&self) -> Performed {
        let task = || self.task().expect("this phase is one of a task");
        let report = match (self.work.key.phase, &self.work.key.task) {
            (Phase::Prepare, None) => self.prepared_run(),
            (Phase::Prepare, Some(_)) => self.prepared_task(task()),
            (Phase::Items, _) => self.listed(task()),
            (Phase::Settle, _) => {
                let ended = self.work.ended.as_ref();
                let status = ended.map_or(Status::Succeeded, |ended| ended.status);
                if ended.is_some_and(|ended| ended.asks_retry) {
                    return Performed::at_once(Report::Acted(self.asked(task(), status)));
                }
                self.settle(task(), &self.scope.clone().with_status(status), status).map(Report::Settled)
            }
            (Phase::Output, _) => self.output(),
            (Phase::Act, _) => unreachable!("an action has a cue: {}", self.work.key),
        };
        Performed::at_once(report.unwrap_or_else(Report::Unable))
    }

    /// What the children of a task start with.
    pub(super) fn call(&self, child: &Workflow) -> Performed {
        let task = self.task().expect("who calls is a task");
        let Some(range) = &self.work.range else {
            let (input, called) = self.called(task, &self.scope, child);
            return Performed {
                inputs: vec![input],
                ..Performed::at_once(called.map_or_else(Report::Unable, Report::Called))
            };
        };
        let values = values::of(&range.values).as_list().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        let (mut inputs, mut called, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (index, item) in range.items.iter().zip(values) {
            let (input, one) = self.called(task, &self.scope.clone().with_item(item.clone(), index), child);
            inputs.push(input);
            match one {
                Ok(one) => called.push((index, one)),
                Err(failure) => failed.push((index, item, Attempted::failed(failure))),
            }
        }
        let report = ItemsReport { called, ..items_report(failed, Duration::ZERO) };
        Performed { inputs, ..Performed::at_once(Report::Items(report)) }
    }

    /// The rendered input of a child, and what that makes of its parameters.
    fn called(&self, task: TaskIndex, scope: &Scope, child: &Workflow) -> (Option<Json>, Result<Called, Failure>) {
        let name = &self.program.workflow().task(task).name;
        let input = match evaluate::input(self.program, task, scope).and_then(|input| json("input", &input)) {
            Ok(input) => input,
            Err(failure) => return (None, Err(failure)),
        };
        let given: BTreeMap<String, Json> = input.parse().unwrap_or_default();
        let parameters = parameters::check(child, given, Coerce::AsGiven).map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            Failure::new("parameters_invalid", messages.join("; ")).at(name)
        });
        let called = parameters.and_then(|parameters| {
            let inline = |(name, json)| (name, ValueRef::Inline(json));
            let timeout_ms = evaluate::timeout(self.program, task, scope)?.map(millis);
            Ok(Called { parameters: parameters.into_iter().map(inline).collect(), timeout_ms })
        });
        (Some(input), called)
    }

    /// What follows the end of a child run.
    fn asked(&self, task: TaskIndex, status: Status) -> Acted {
        let scope = self.scope.clone().with_status(status);
        let retries = self.work.retries;
        let (status, scope, failure) = match self.decided(task, &scope, status) {
            Ok(RetryDecision::Again(delay)) => {
                let next = Next::Retry { delay_ms: millis(delay) };
                return Acted { status, result: ValueRef::null(), failure: None, next, busy_ms: 0 };
            }
            Ok(RetryDecision::Done) => (status, scope, None),
            Ok(RetryDecision::Exhausted) => self.fails(scope, exhausted(retries)),
            Err(failure) => self.fails(scope, failure),
        };
        let next = self.settle(task, &scope, status).map_or_else(Next::Unable, Next::Settled);
        Acted { status, result: ValueRef::null(), failure, next, busy_ms: 0 }
    }

    /// A child run that did not fail has, as `failure` says.
    fn fails(&self, scope: Scope, failure: Failure) -> (Status, Scope, Option<Failed>) {
        let error = Attempted::failed(failure.clone()).error();
        let failed = Failed { failure, error: values::told(&error) };
        (Status::Failed, scope.with_failed(error), Some(failed))
    }

    fn decided(&self, task: TaskIndex, scope: &Scope, status: Status) -> Result<RetryDecision, Failure> {
        evaluate::retry(self.program, task, scope, status, self.work.retries, NO_JITTER)
    }

    /// An attempt of a task without items.
    pub(super) fn act(&self, cue: &Cue) -> Performed {
        let task = self.task().expect("who acts is a task");
        let Tried { attempted, takes, input } = self.attempt(task, &self.scope, cue);
        let report = attempted.map(|attempted| Report::Acted(self.acted(task, attempted)));
        Performed { report, takes, inputs: vec![input] }
    }

    /// A range of items. One that kills its worker takes the others with it.
    pub(super) fn act_on(&self, range: &Range, cues: &[Cue]) -> Performed {
        let task = self.task().expect("who acts is a task");
        let values: Vec<Value> = values::of(&range.values).as_list().map(Iterator::collect).unwrap_or_default();
        let mut performed = Performed { report: None, takes: Duration::ZERO, inputs: Vec::new() };
        let (mut ended, mut busy) = (Vec::new(), Duration::ZERO);
        for ((index, item), cue) in range.items.iter().zip(values).zip(cues) {
            let scope = self.scope.clone().with_item(item.clone(), index);
            let Tried { attempted, takes, input } = self.attempt(task, &scope, cue);
            performed.takes = performed.takes.max(takes);
            busy += takes;
            performed.inputs.push(input);
            ended.extend(attempted.map(|attempted| (index, item, attempted)));
        }
        let is_alive = ended.len() == performed.inputs.len();
        performed.report = is_alive.then(|| Report::Items(items_report(ended, busy)));
        performed
    }

    fn task(&self) -> Option<TaskIndex> {
        let (name, _) = self.work.key.task.as_ref()?;
        self.program.workflow().find(name)
    }

    /// Renders, and lets the action end as `cue` says, unless it takes too long for that.
    fn attempt(&self, task: TaskIndex, scope: &Scope, cue: &Cue) -> Tried {
        let secrets = self.script.secrets.iter().map(|(name, text)| (name.clone(), Value::from_text(text)));
        let input = evaluate::input(self.program, task, &scope.clone().with_secrets(secrets));
        let input = input.and_then(|input| json("input", &input));
        let limit = evaluate::timeout(self.program, task, scope);
        let (input, limit) = match (input, limit) {
            (Ok(input), Ok(limit)) => (Some(input), limit),
            (Err(failure), _) => return Tried::failed(failure, None),
            (Ok(input), Err(failure)) => return Tried::failed(failure, Some(input)),
        };
        // A child takes as long as it takes.
        let is_child = self.program.workflow().task(task).action().is_none();
        let limit = limit.or(Some(TIMEOUT).filter(|_| !is_child));
        if let Some(limit) = limit.filter(|limit| cue.takes > *limit) {
            let message = format!("took longer than its timeout of {}", crate::duration::format(limit));
            let failure = Some(Failure::new("timed_out", message));
            let attempted = Attempted { status: Status::TimedOut, result: Value::null(), failure };
            return Tried { attempted: Some(attempted), takes: limit, input };
        }
        let attempted = match &cue.end {
            End::Result(result) => {
                Some(Attempted { status: Status::Succeeded, result: values::of(result), failure: None })
            }
            End::Failure { status, failure, result } => {
                Some(Attempted { status: *status, result: values::of(result), failure: Some(failure.clone()) })
            }
            End::Crash => None,
        };
        Tried { attempted, takes: cue.takes, input }
    }

    fn acted(&self, task: TaskIndex, mut attempted: Attempted) -> Acted {
        let next = match self.retried(task, &mut attempted) {
            Some(delay) => Next::Retry { delay_ms: millis(delay) },
            None => match self.settle(task, &attempted.scope(&self.scope), attempted.status) {
                Ok(settlement) => Next::Settled(settlement),
                Err(failure) => Next::Unable(failure),
            },
        };
        let error = values::told(&attempted.error());
        let failure = attempted.failure.map(|failure| Failed { failure, error });
        let (status, result) = (attempted.status, values::told(&attempted.result));
        Acted { status, result, failure, next, busy_ms: 0 }
    }

    /// Whether the attempt is made again, and after how long. One that may not be made again though it should has failed.
    fn retried(&self, task: TaskIndex, attempted: &mut Attempted) -> Option<Duration> {
        if attempted.status == Status::Canceled {
            return None;
        }
        let failure = match self.decided(task, &attempted.scope(&self.scope), attempted.status) {
            Ok(RetryDecision::Again(delay)) => return Some(delay),
            Ok(RetryDecision::Done) => return None,
            Ok(RetryDecision::Exhausted) => exhausted(self.work.retries),
            Err(failure) => failure,
        };
        attempted.status = Status::Failed;
        attempted.failure = Some(failure);
        None
    }

    fn settle(&self, task: TaskIndex, scope: &Scope, status: Status) -> Result<Settlement, Failure> {
        let evaluate::Settled { fired, published, retries } = evaluate::settle(self.program, task, scope, status)?;
        let mut settlement = Settlement { fired, retries, ..Settlement::default() };
        for (key, value) in published {
            let value = json(&format!("workflow.{key}"), &value)?;
            settlement.published.insert(key, ValueRef::Inline(value));
        }
        Ok(settlement)
    }

    fn prepared_task(&self, task: TaskIndex) -> Result<Report, Failure> {
        let evaluate::PreparedTask { delay, wait, pool } = evaluate::prepare_task(self.program, task, &self.scope)?;
        let prepared = TaskPrepared { delay_ms: millis(delay), wait_ms: wait.map(millis), pool };
        Ok(Report::TaskPrepared(prepared))
    }

    fn prepared_run(&self) -> Result<Report, Failure> {
        let told = |(name, value): (KeyName, Value)| {
            let value = json(&format!("vars.{name}"), &value)?;
            Ok((name, ValueRef::Inline(value)))
        };
        let evaluate::PreparedRun { vars, timeout, concurrency } = evaluate::prepare_run(self.program, &self.scope)?;
        let vars = vars.into_iter().map(told).collect::<Result<_, Failure>>()?;
        Ok(Report::RunPrepared(RunPrepared { vars, timeout_ms: timeout.map(millis), concurrency }))
    }

    fn listed(&self, task: TaskIndex) -> Result<Report, Failure> {
        let evaluate::ItemList { items, concurrency, tolerate } = evaluate::items(self.program, task, &self.scope)?;
        let part = values::part(&items)?;
        Ok(Report::Listed(Listed { parts: part.into_iter().collect(), concurrency, tolerate }))
    }

    fn output(&self) -> Result<Report, Failure> {
        let evaluate::Output { entries, left_out } = evaluate::output(self.program, &self.scope);
        let value = ValueRef::Inline(json("output", &Value::from_map(entries))?);
        Ok(Report::Output(OutputReport { value, left_out }))
    }
}

impl Performed {
    fn at_once(report: Report) -> Self {
        Self { report: Some(report), takes: Duration::ZERO, inputs: Vec::new() }
    }
}

impl Tried {
    fn failed(failure: Failure, input: Option<Json>) -> Self {
        Self { attempted: Some(Attempted::failed(failure)), takes: Duration::ZERO, input }
    }
}

impl Attempted {
    fn failed(failure: Failure) -> Self {
        Self { status: Status::Failed, result: Value::null(), failure: Some(failure) }
    }

    /// What templates read as `error`.
    fn error(&self) -> Value {
        let Some(failure) = &self.failure else { return Value::null() };
        let fields = [
            ("code", Value::from_text(&failure.code)),
            ("details", self.result.clone()),
            ("message", Value::from_text(&failure.message)),
        ];
        Value::from_map(fields.map(|(key, value)| (key.to_owned(), value)))
    }

    /// The scope in which transitions and `retry.when` are asked.
    fn scope(&self, scope: &Scope) -> Scope {
        scope.clone().with_ended(self.status, self.result.clone(), self.error(), Value::null())
    }
}

fn items_report(ended: Vec<(ItemIndex, Value, Attempted)>, busy: Duration) -> ItemsReport {
    let busy_us = u64::try_from(busy.as_micros()).unwrap_or(u64::MAX);
    let mut report = ItemsReport { busy_us, ..ItemsReport::default() };
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for (index, item, attempted) in ended {
        if attempted.status == Status::Succeeded {
            report.succeeded.push(index);
            results.push(attempted.result);
            continue;
        }
        report.failed.push(index);
        errors.push(values::entry(index, Some(&item), &attempted.error()));
        report.failure = report.failure.or(attempted.failure);
    }
    let array = |values: Vec<Value>| (!values.is_empty()).then(|| values::told(&Value::from_list(values)));
    (report.results, report.errors) = (array(results), array(errors));
    report
}

fn exhausted(retries: u32) -> Failure {
    Failure::new("retries_exhausted", format!("`retry.when` still held after {retries} retries"))
}

/// Whole milliseconds, rounded up: a delay is never shorter than asked for.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
