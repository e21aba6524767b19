//! The test's own book: the language's rules once more, kept the slow and obvious way and never by the machine's flags.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use leveret_engine::machine::Order;
use proto::{
    control::Control,
    id::RunId,
    outcome::{Acted, Next, Settlement, TaskPrepared},
    time::Timestamp,
    work::{Phase, RunStatus, Status},
};
use serde_json::{Value, json};

use super::{
    fan::Fan,
    flow::{Condition, Flow, JoinKind, To},
    seen::{Seen, value_of},
};

/// Times that `do: retry` starts a task again that has no `retry.count`.
const RETRIES_DEFAULT: u32 = 3;

/// What should have happened so far, worked out from the workflow and from what was reported.
pub struct Book<'f> {
    pub flow: &'f Flow,
    pub now: Timestamp,
    pub own: Own,
    /// Work of the run itself is out.
    pub own_is_sent: bool,
    pub live: BTreeMap<u32, Branch>,
    /// Every start so far: the instance is the place, from 1.
    pub started: Vec<(usize, Option<Status>)>,
    pub merged: Seen,
    pub base: Seen,
    arrivals: BTreeMap<(usize, usize), u32>,
    pub(super) passes: BTreeMap<(usize, u32), Pass>,
    writes: u64,
    /// The code of the failure by which the run fails.
    pub failing: Option<String>,
    pub is_canceled: bool,
    pub is_paused: bool,
    /// What runs was stopped, through this start.
    pub stopped: Option<u32>,
    pub begun_at: Timestamp,
    pub deadline: Option<Timestamp>,
    /// At most so much in flight.
    pub limit: Option<u32>,
    pub signals: BTreeMap<u8, VecDeque<Value>>,
    pub signal_ids: BTreeSet<u32>,
    /// How the run ends, once that is known, and by which failure.
    pub verdict: Option<(RunStatus, Option<String>)>,
    pub output: Value,
    /// Tasks of which an attempt left in this step, as the machine did it.
    pub left: BTreeSet<u32>,
    /// What workers, children and the line of those that go one at a time must have been told in this step.
    pub told: Vec<Control>,
    pub orders: Vec<(RunId, Order)>,
    pub spawned: BTreeSet<RunId>,
    pub lined_up: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Scheduled(Timestamp),
    InLine,
    Preparing,
    Running,
    Output,
    Finale(u32),
    Ended,
}

#[derive(Debug)]
pub struct Branch {
    pub task: usize,
    pub seen: Seen,
    pub attempts: u32,
    pub retries: u32,
    /// How often `do: retry` has started it.
    pub again: u32,
    /// From its signal, or its start, to its first attempt.
    pub delay_ms: u64,
    pub pool: Option<String>,
    /// What it waits for was sent.
    pub is_sent: bool,
    pub at: Stage,
}

#[derive(Debug)]
pub enum Stage {
    Preparing,
    Waiting(Option<Timestamp>),
    Delayed(Timestamp),
    Listing,
    Acting,
    Called(RunId),
    BackingOff(Timestamp, End),
    Items(Fan),
    Settling { end: End, fan: Option<Fan>, asks_retry: bool },
    Empty,
}

/// How something ended.
#[derive(Clone, Debug)]
pub struct End {
    pub status: Status,
    pub error: Option<Value>,
    pub result: Option<Value>,
}

impl End {
    pub fn bare(status: Status, code: Option<&str>) -> Self {
        Self { status, error: code.map(|code| json!({ "code": code })), result: None }
    }

    pub fn cut_short(self) -> Self {
        match self.status {
            Status::Succeeded => Self { result: self.result, ..Self::bare(Status::Canceled, Some("not_started")) },
            _ => self,
        }
    }

    fn code(&self) -> Option<String> {
        Some(self.error.as_ref()?["code"].as_str()?.to_owned())
    }
}

#[derive(Default)]
pub struct Pass {
    arrived: BTreeSet<usize>,
    pub seen: Seen,
    pub is_started: bool,
}

/// What leads on from a task.
pub(super) enum Onward {
    Targets(Vec<To>),
    Fails(String),
}

impl<'f> Book<'f> {
    pub fn new(flow: &'f Flow, now: Timestamp) -> Self {
        Self {
            flow,
            now,
            own: Own::Ended,
            own_is_sent: false,
            live: BTreeMap::new(),
            started: Vec::new(),
            merged: Seen::default(),
            base: Seen::default(),
            arrivals: BTreeMap::new(),
            passes: BTreeMap::new(),
            writes: 0,
            failing: None,
            is_canceled: false,
            is_paused: false,
            stopped: None,
            begun_at: now,
            deadline: None,
            limit: None,
            signals: BTreeMap::new(),
            signal_ids: BTreeSet::new(),
            verdict: None,
            output: Value::Null,
            left: BTreeSet::new(),
            told: Vec::new(),
            orders: Vec::new(),
            spawned: BTreeSet::new(),
            lined_up: 0,
        }
    }

    pub fn is_closing(&self) -> bool {
        self.failing.is_some() || self.is_canceled
    }

    /// Nothing more of `id` begins. `finally` goes on in a run that has failed, until it is cancelled itself.
    pub fn is_closed(&self, id: u32) -> bool {
        match self.own {
            Own::Finale(finale) if finale == id => self.stopped.is_some_and(|through| through >= id),
            _ => self.is_closing(),
        }
    }

    pub(super) fn write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    pub(super) fn start(&mut self, task: usize, seen: Seen, again: u32) {
        self.started.push((task, None));
        let id = u32::try_from(self.started.len()).expect("few");
        let step = &self.flow.steps[task];
        let branch = Branch {
            task,
            seen,
            attempts: 0,
            retries: 0,
            again,
            delay_ms: step.delay.known().unwrap_or(0),
            pool: (!step.pool).then(|| "default".to_owned()),
            is_sent: false,
            at: Stage::Preparing,
        };
        self.live.insert(id, branch);
        if !step.is_prepared() {
            self.wait_or_delay(id, step.wait.and_then(|wait| wait.limit.known()));
        }
    }

    /// What a task must know is known.
    pub fn prepared(&mut self, id: u32, prepared: &TaskPrepared) {
        let branch = self.branch(id);
        branch.delay_ms = prepared.delay_ms;
        branch.pool = prepared.pool.as_ref().map(ToString::to_string).or(branch.pool.take());
        self.wait_or_delay(id, prepared.wait_ms);
    }

    fn wait_or_delay(&mut self, id: u32, wait_ms: Option<u64>) {
        if self.flow.steps[self.live[&id].task].wait.is_none() {
            return self.delay(id);
        }
        let until = wait_ms.map(|ms| self.now.plus(Duration::from_millis(ms)));
        self.enter(id, Stage::Waiting(until));
        self.hand_out();
    }

    pub(super) fn delay(&mut self, id: u32) {
        match self.live[&id].delay_ms {
            0 => self.go_ahead(id),
            ms => self.enter(id, Stage::Delayed(self.now.plus(Duration::from_millis(ms)))),
        }
    }

    /// The delay is over.
    fn go_ahead(&mut self, id: u32) {
        let step = &self.flow.steps[self.live[&id].task];
        self.branch(id).attempts = u32::from(!step.has_items());
        match (step.has_items(), step.is_empty()) {
            (true, _) => self.enter(id, Stage::Listing),
            (false, true) => self.enter(id, Stage::Empty),
            (false, false) => self.enter(id, Stage::Acting),
        }
    }

    /// Goes on to a stage. Whether an attempt leaves at once is for the machine to say, and for the world to check.
    pub fn enter(&mut self, id: u32, at: Stage) {
        let is_sent = matches!(at, Stage::Acting) && self.left.contains(&id);
        let branch = self.branch(id);
        branch.at = at;
        branch.is_sent = is_sent;
    }

    pub fn branch(&mut self, id: u32) -> &mut Branch {
        self.live.get_mut(&id).expect("it lives")
    }

    pub fn listed(&mut self, id: u32, fan: Fan) {
        let branch = self.branch(id);
        branch.attempts = 1;
        self.enter(id, Stage::Items(fan));
        self.look_at_items(id);
    }

    /// Ends a fan-out that is over.
    pub fn look_at_items(&mut self, id: u32) {
        let Stage::Items(fan) = &self.live[&id].at else { panic!("{id} has no items") };
        if fan.is_over() {
            let end = fan.end(self.is_canceled && self.is_closed(id));
            self.end_unasked(id, end);
        }
    }

    pub fn acted(&mut self, id: u32, acted: &Acted) {
        let error = acted.failure.as_ref().map(|failed| value_of(&failed.error));
        let end = End { status: acted.status, error, result: Some(value_of(&acted.result)) };
        self.follow_attempt(id, end, acted);
    }

    /// A worker was asked what follows the end of a child, whose result is known here already.
    pub fn asked(&mut self, id: u32, known: End, acted: &Acted) {
        let error = acted.failure.as_ref().map(|failed| value_of(&failed.error)).or(known.error);
        self.follow_attempt(id, End { status: acted.status, error, result: known.result }, acted);
    }

    fn follow_attempt(&mut self, id: u32, end: End, acted: &Acted) {
        match &acted.next {
            Next::Retry { .. } if self.is_closed(id) => self.end(id, end.cut_short(), Onward::Targets(Vec::new())),
            Next::Retry { delay_ms } => {
                let due = self.now.plus(Duration::from_millis(*delay_ms));
                self.branch(id).retries += 1;
                // Only the code of the last failure is kept for a run that closes meanwhile.
                self.enter(id, Stage::BackingOff(due, End::bare(end.status, end.code().as_deref())));
                if *delay_ms == 0 {
                    self.try_again(id);
                }
            }
            Next::Settled(settlement) => self.settled(id, end, settlement),
            Next::Unable(failure) => self.end(id, end, Onward::Fails(failure.code.clone())),
        }
    }

    fn try_again(&mut self, id: u32) {
        self.branch(id).attempts += 1;
        self.enter(id, Stage::Acting);
    }

    pub fn settled(&mut self, id: u32, end: End, settlement: &Settlement) {
        let step = &self.flow.steps[self.live[&id].task];
        let targets = settlement.fired.iter().flat_map(|at| step.next[usize::from(*at)].to.clone()).collect();
        let published = settlement.published.iter().map(|(key, value)| (key.to_string(), value_of(value))).collect();
        let onward = self.bounded(id, &end, targets, settlement.retries);
        self.end_publishing(id, end, published, onward);
    }

    /// The transitions could not be asked.
    pub fn unsettled(&mut self, id: u32, end: End, code: &str) {
        self.end(id, end, Onward::Fails(code.to_owned()));
    }

    /// Ends what no worker has asked the transitions of.
    pub fn end_unasked(&mut self, id: u32, end: End) {
        let step = &self.flow.steps[self.live[&id].task];
        if !self.is_closed(id) && !step.is_plain() {
            return self.settle(id, end, false);
        }
        let is_success = end.status == Status::Succeeded;
        let fires = |when: Condition| match when {
            Condition::Always => true,
            Condition::Succeeded => is_success,
            Condition::Failed => !is_success,
            Condition::Again => false,
        };
        let targets = step.next.iter().filter(|edge| fires(edge.when)).flat_map(|edge| edge.to.clone()).collect();
        let onward = self.bounded(id, &end, targets, None);
        self.end(id, end, onward);
    }

    /// A worker must ask what follows.
    pub fn settle(&mut self, id: u32, end: End, asks_retry: bool) {
        let fan = match std::mem::replace(&mut self.branch(id).at, Stage::Empty) {
            Stage::Items(fan) => Some(fan),
            _ => None,
        };
        self.enter(id, Stage::Settling { end, fan, asks_retry });
    }

    /// What `targets` lead to: a failure that nothing but `continue` follows is not handled, and `retry` is bounded.
    fn bounded(&self, id: u32, end: &End, targets: Vec<To>, evaluated: Option<u32>) -> Onward {
        let Branch { task, again, .. } = self.live[&id];
        let step = &self.flow.steps[task];
        let known = (step.is_retried() && !step.counts).then_some(step.retries);
        let bound = evaluated.or(known).unwrap_or(RETRIES_DEFAULT);
        match handled(end, targets) {
            Onward::Targets(targets) if targets.contains(&To::Retry) && again >= bound => {
                Onward::Fails(end.code().unwrap_or_else(|| "retries_exhausted".into()))
            }
            onward => onward,
        }
    }

    pub(super) fn end(&mut self, id: u32, end: End, onward: Onward) {
        self.end_publishing(id, end, Vec::new(), onward);
    }

    fn end_publishing(&mut self, id: u32, end: End, published: Vec<(String, Value)>, onward: Onward) {
        let is_closed = self.is_closed(id);
        let Branch { task, mut seen, attempts, at, again, .. } = self.live.remove(&id).expect("it lives");
        let fan = match at {
            Stage::Items(fan) | Stage::Settling { fan: Some(fan), .. } => Some(fan),
            _ => None,
        };
        self.started[id as usize - 1].1 = Some(end.status);
        let write = self.write();
        let result = fan.as_ref().map_or_else(|| end.result.clone().unwrap_or_default(), Fan::results);
        // Where the list could not be made no item failed.
        let none = || self.flow.steps[task].has_items().then(|| json!([]));
        for (field, value) in [
            ("status", Some(json!(end.status.as_str()))),
            ("attempts", Some(json!(attempts))),
            ("result", Some(result)),
            ("error", end.error.clone()),
            ("item_errors", fan.as_ref().map(Fan::item_errors).or_else(none)),
        ] {
            seen.set(format!("task.t{task}.{field}"), write, value);
        }
        for (key, value) in published {
            let write = self.write();
            seen.set(format!("workflow.{key}"), write, Some(value));
        }
        match onward {
            _ if is_closed => self.merged.merge(&seen),
            Onward::Targets(targets) => self.go_on(task, again, &seen, &targets),
            Onward::Fails(code) => {
                self.merged.merge(&seen);
                self.fail(code);
            }
        }
    }

    fn go_on(&mut self, from: usize, again: u32, seen: &Seen, targets: &[To]) {
        if !targets.iter().any(|to| matches!(to, To::Task(_) | To::Retry)) {
            self.merged.merge(seen);
        }
        for to in targets {
            match *to {
                To::Task(to) => match self.flow.steps[to].joins {
                    None => self.start(to, seen.clone(), 0),
                    Some(join) => self.reach(from, to, join, seen),
                },
                To::Retry => self.start(from, seen.clone(), again + 1),
                To::Noop | To::Continue | To::Fail => {}
            }
        }
    }

    fn reach(&mut self, from: usize, to: usize, join: JoinKind, seen: &Seen) {
        let arrival = self.arrivals.entry((to, from)).or_default();
        *arrival += 1;
        let pass = self.passes.entry((to, *arrival)).or_default();
        pass.arrived.insert(from);
        if pass.is_started {
            return self.merged.merge(seen);
        }
        pass.seen.merge(seen);
        let needed = match join {
            JoinKind::All => self.flow.inbound(to).len(),
            JoinKind::Count(count) => count as usize,
        };
        if pass.arrived.len() >= needed {
            pass.is_started = true;
            let seen = pass.seen.clone();
            self.start(to, seen, 0);
        }
    }

    /// A timer rings at `now`.
    pub fn ring(&mut self, id: u32) {
        let now = self.now;
        let Some(branch) = self.live.get_mut(&id) else { return };
        match &mut branch.at {
            Stage::Delayed(due) if *due <= now => self.go_ahead(id),
            Stage::Waiting(Some(due)) if *due <= now => {
                self.end_unasked(id, End::bare(Status::TimedOut, Some("timed_out")));
            }
            Stage::BackingOff(due, _) if *due <= now => self.try_again(id),
            Stage::Items(fan) => fan.wake(now),
            _ => {}
        }
    }

    /// The phase in which `id`, or the run itself, waits for a worker. Ranges are not among them.
    pub fn phase(&self, id: Option<u32>) -> Option<Phase> {
        let Some(id) = id else {
            return match self.own {
                Own::Preparing => Some(Phase::Prepare),
                Own::Output => Some(Phase::Output),
                Own::Scheduled(_) | Own::InLine | Own::Running | Own::Finale(_) | Own::Ended => None,
            };
        };
        match self.live.get(&id)?.at {
            Stage::Preparing => Some(Phase::Prepare),
            Stage::Listing => Some(Phase::Items),
            Stage::Acting => Some(Phase::Act),
            Stage::Settling { .. } => Some(Phase::Settle),
            Stage::Waiting(_)
            | Stage::Delayed(_)
            | Stage::Called(_)
            | Stage::BackingOff(..)
            | Stage::Items(_)
            | Stage::Empty => None,
        }
    }

    pub fn due(&self, id: u32) -> Option<Timestamp> {
        match &self.live.get(&id)?.at {
            Stage::Delayed(due) | Stage::BackingOff(due, _) => Some(*due),
            Stage::Waiting(due) => *due,
            Stage::Items(fan) => fan.due(),
            Stage::Preparing
            | Stage::Listing
            | Stage::Acting
            | Stage::Called(_)
            | Stage::Settling { .. }
            | Stage::Empty => None,
        }
    }
}

/// A failure that nothing but `continue` follows is not handled.
fn handled(end: &End, targets: Vec<To>) -> Onward {
    let is_handled = end.status == Status::Succeeded || targets.iter().any(|to| *to != To::Continue);
    match (targets.contains(&To::Fail), is_handled) {
        (true, _) => Onward::Fails(end.code().unwrap_or_else(|| "fail".into())),
        (false, true) => Onward::Targets(targets),
        (false, false) => Onward::Fails(end.code().expect("what did not succeed has an error")),
    }
}
