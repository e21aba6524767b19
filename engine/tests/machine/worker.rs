//! A worker of the test: it evaluates nothing, and answers what it is told to by chance.

use std::collections::BTreeMap;

use proto::{
    failure::Failure,
    id::ItemIndex,
    items::ItemSet,
    json::Json,
    outcome::{
        Acted, Called, Failed, ItemsPart, ItemsReport, Listed, Next, OutputReport, Report, RunPrepared, Settlement,
        TaskPrepared,
    },
    value::ValueRef,
    work::{Phase, Status, WorkKey},
};
use serde_json::json;

use super::flow::{Condition, Delay, Flow, Kind, Limit, To, key_name, position};

/// Times that a run goes round in all of its loops.
const ROUNDS_MAX: u32 = 6;

/// Choices, one number each; when they run out, the world plays fair and the run must come to its end.
pub struct Choices(pub Vec<u16>);

impl Choices {
    pub fn next(&mut self, bound: usize) -> usize {
        match self.0.pop() {
            Some(choice) => usize::from(choice) % bound,
            None => 0,
        }
    }

    /// Whether something happens that has a chance of one in `of`.
    pub fn chance(&mut self, of: usize) -> bool {
        self.next(of) == 1
    }

    pub fn is_fair(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message, as it left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub key: WorkKey,
    /// The items of a range.
    pub items: Vec<u32>,
    pub retries: u32,
    /// How the task ended, for phase `settle`.
    pub ended: Option<Status>,
    /// `retry` is to be asked too.
    pub asks_retry: bool,
}

/// Makes answers. No two values of its are the same, so that each can be told from the others wherever it turns up.
pub struct Worker<'f> {
    flow: &'f Flow,
    values: u32,
    rounds: u32,
}

impl<'f> Worker<'f> {
    pub fn new(flow: &'f Flow) -> Self {
        Self { flow, values: 0, rounds: 0 }
    }

    fn number(&mut self) -> u32 {
        self.values += 1;
        self.values
    }

    pub fn value(&mut self) -> ValueRef {
        ValueRef::Inline(Json::of(&self.number()).expect("JSON"))
    }

    fn error(&mut self) -> serde_json::Value {
        json!({ "code": "test", "n": self.number() })
    }

    /// An answer to `sent`, as if it had just come, whatever was answered before. `owed` are the items of a range that
    /// this worker has not reported.
    pub fn answer(&mut self, sent: &Sent, owed: &[u32], choices: &mut Choices) -> Report {
        let unable = || Report::Unable(Failure::new("unable", "told to"));
        let step = sent.key.task.as_ref().map(|(name, _)| position(name));
        match (sent.key.phase, step) {
            (Phase::Prepare | Phase::Output | Phase::Items, _) if choices.chance(9) => unable(),
            (Phase::Prepare, None) => Report::RunPrepared(self.prepare_run(choices)),
            (Phase::Prepare, Some(step)) => Report::TaskPrepared(self.prepare_task(step, choices)),
            (Phase::Items, Some(step)) => self.listed(step),
            (Phase::Act, Some(step)) if self.flow.steps[step].calls && sent.items.is_empty() => match choices.chance(9)
            {
                true => unable(),
                false => Report::Called(call(choices)),
            },
            (Phase::Act, Some(step)) if self.flow.steps[step].calls => self.calls(owed, choices),
            (Phase::Act, Some(step)) if !sent.items.is_empty() => self.range(sent, step, owed, choices),
            (Phase::Act, Some(step)) => {
                let status = [Status::Succeeded, Status::Failed, Status::TimedOut, Status::Succeeded][choices.next(4)];
                self.act(sent, step, status, choices)
            }
            (Phase::Settle, Some(_)) if choices.chance(7) => unable(),
            (Phase::Settle, Some(step)) if sent.asks_retry => {
                self.act(sent, step, sent.ended.expect("it ended"), choices)
            }
            (Phase::Settle, Some(step)) => Report::Settled(self.settle(step, sent.ended.expect("it ended"), choices)),
            (Phase::Output, None) => {
                let left_out = if choices.chance(5) { vec![Failure::new("left_out", "told to")] } else { Vec::new() };
                Report::Output(OutputReport { value: self.value(), left_out })
            }
            other => panic!("work that nobody should ask for: {other:?}"),
        }
    }

    fn prepare_run(&mut self, choices: &mut Choices) -> RunPrepared {
        RunPrepared {
            vars: self.flow.vars.then(|| ("v".parse().expect("valid"), self.value())).into_iter().collect(),
            timeout_ms: milliseconds(self.flow.timeout, choices),
            concurrency: match self.flow.limit {
                Limit::None => None,
                Limit::Known(bound) => Some(bound),
                Limit::Evaluated => Some(1 + choices.next(4) as u32),
            },
        }
    }

    fn prepare_task(&self, step: usize, choices: &mut Choices) -> TaskPrepared {
        let step = &self.flow.steps[step];
        TaskPrepared {
            delay_ms: milliseconds(step.delay, choices).unwrap_or(0),
            wait_ms: step.wait.and_then(|wait| milliseconds(wait.limit, choices)),
            pool: step.pool.then(|| format!("p{}", choices.next(3)).parse().expect("valid")),
        }
    }

    fn listed(&self, step: usize) -> Report {
        let Kind::Items { count, concurrency, tolerate, .. } = self.flow.steps[step].kind else { panic!("no items") };
        let mut first = 0;
        let part = |bytes: &[u32]| {
            let count = bytes.len() as u32;
            let items: Vec<u32> = (first..first + count).collect();
            first += count;
            let values = ValueRef::Inline(Json::of(&items).expect("JSON"));
            ItemsPart { count, values, offsets: ValueRef::null(), item_bytes_max: bytes[0] }
        };
        let parts = item_bytes(count).chunk_by(|left, right| left == right).map(part).collect();
        Report::Listed(Listed { parts, concurrency, tolerate })
    }

    fn act(&mut self, sent: &Sent, step: usize, status: Status, choices: &mut Choices) -> Report {
        if choices.chance(17) {
            return Report::Unable(Failure::new("unable", "told to"));
        }
        let failure = (status != Status::Succeeded).then(|| Failed {
            failure: Failure::new("test", "told to"),
            error: ValueRef::Inline(Json::of(&self.error()).expect("JSON")),
        });
        let wants_more = status != Status::Succeeded || choices.chance(8);
        let next = if wants_more && sent.retries < self.flow.steps[step].retries {
            Next::Retry { delay_ms: choices.next(3) as u64 * 10 }
        } else if choices.chance(11) {
            Next::Unable(Failure::new("unable", "told to"))
        } else {
            Next::Settled(self.settle(step, status, choices))
        };
        Report::Acted(Acted { status, result: self.value(), failure, next, busy_ms: 1 })
    }

    fn settle(&mut self, step: usize, status: Status, choices: &mut Choices) -> Settlement {
        let mut settlement = Settlement::default();
        for (at, edge) in (0u16..).zip(&self.flow.steps[step].next) {
            let holds = match edge.when {
                Condition::Always => true,
                Condition::Succeeded => status == Status::Succeeded,
                Condition::Failed => status != Status::Succeeded,
                Condition::Again => !choices.is_fair() && choices.chance(2) && self.rounds < ROUNDS_MAX,
            };
            if !holds {
                continue;
            }
            self.rounds += u32::from(edge.when == Condition::Again);
            settlement.fired.push(at);
            if self.flow.steps[step].counts && edge.to.contains(&To::Retry) {
                settlement.retries = Some(choices.next(3) as u32);
            }
            if let Some(key) = edge.publish {
                let value = self.value();
                settlement.published.insert(key_name(key).parse().expect("valid"), value);
            }
        }
        settlement
    }

    /// Renders what children start with, for some of a range: the rest stays, or is handed back.
    fn calls(&mut self, owed: &[u32], choices: &mut Choices) -> Report {
        let some = if choices.is_fair() { owed.len() } else { 1 + choices.next(owed.len()) };
        let mut report = ItemsReport::default();
        let mut errors = Vec::new();
        for &item in &owed[..some] {
            if choices.chance(9) {
                report.failed.push(ItemIndex(item));
                errors.push(json!({ "error": self.error(), "index": item, "item": item }));
            } else {
                report.called.push((ItemIndex(item), call(choices)));
            }
        }
        report.errors = (!errors.is_empty()).then(|| ValueRef::Inline(Json::of(&errors).expect("JSON")));
        if choices.chance(5) {
            report.handed_back = owed[some..].iter().copied().map(ItemIndex).collect();
        }
        Report::Items(report)
    }

    /// Reports some of a range: the rest stays, or is handed back.
    fn range(&mut self, sent: &Sent, step: usize, owed: &[u32], choices: &mut Choices) -> Report {
        if choices.chance(25) {
            return Report::Unable(Failure::new("unable", "told to"));
        }
        let some = if choices.is_fair() { owed.len() } else { 1 + choices.next(owed.len()) };
        let mut report = ItemsReport { busy_us: choices.next(3) as u64 * 40_000, ..ItemsReport::default() };
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        let mut retry: BTreeMap<u64, ItemSet> = BTreeMap::new();
        for &item in &owed[..some] {
            let has_failed = choices.chance(4);
            if has_failed && sent.retries < self.flow.steps[step].retries {
                retry.entry(choices.next(3) as u64 * 10).or_default().push(ItemIndex(item));
            } else if has_failed {
                report.failed.push(ItemIndex(item));
                errors.push(json!({ "error": self.error(), "index": item, "item": item }));
            } else {
                report.succeeded.push(ItemIndex(item));
                results.push(json!(self.number()));
            }
        }
        let array = |values: Vec<serde_json::Value>| {
            (!values.is_empty()).then(|| ValueRef::Inline(Json::of(&values).expect("JSON")))
        };
        report.results = array(results);
        report.errors = array(errors);
        report.retry = retry.into_iter().collect();
        if choices.chance(5) {
            report.handed_back = owed[some..].iter().copied().map(ItemIndex).collect();
        }
        Report::Items(report)
    }
}

/// What a child starts with.
fn call(choices: &mut Choices) -> Called {
    Called { timeout_ms: choices.chance(3).then_some(1_000), ..Called::default() }
}

/// A duration, evaluated if need be.
fn milliseconds(delay: Delay, choices: &mut Choices) -> Option<u64> {
    match delay {
        Delay::None => None,
        Delay::Known(ms) => Some(ms),
        Delay::Evaluated => Some(choices.next(3) as u64 * 10),
    }
}

/// How long each of `count` items is: a few short ones, then ones of which two fill a range, then short ones again.
pub fn item_bytes(count: u32) -> Vec<u32> {
    (0..count)
        .map(|item| match item {
            0..7 => 10,
            7..13 => 250_000,
            _ => 20,
        })
        .collect()
}
