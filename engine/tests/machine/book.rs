//! The test's own book: the language's rules once more, kept the slow and obvious way and never by the machine's flags.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proto::{
    outcome::{Acted, Next, Settlement},
    time::Timestamp,
    work::{Phase, RunStatus, Status},
};
use serde_json::{Value, json};

use super::{
    fan::Fan,
    flow::{Condition, Delay, Flow, JoinKind, Kind, To},
    seen::{Seen, value_of},
};

/// What should have happened so far, worked out from the workflow and from what was reported.
pub struct Book<'f> {
    pub flow: &'f Flow,
    pub now: Timestamp,
    pub own: Own,
    pub live: BTreeMap<u32, Branch>,
    /// Every start so far: the instance is the place, from 1.
    pub started: Vec<(usize, Option<Status>)>,
    pub merged: Seen,
    pub base: Seen,
    arrivals: BTreeMap<(usize, usize), u32>,
    passes: BTreeMap<(usize, u32), Pass>,
    writes: u64,
    /// The code of the failure by which the run fails.
    pub failing: Option<String>,
    pub is_canceled: bool,
    pub output: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Preparing,
    Running,
    Output,
    Ended,
}

#[derive(Debug)]
pub struct Branch {
    pub task: usize,
    pub seen: Seen,
    pub attempts: u32,
    pub retries: u32,
    pub at: Stage,
}

#[derive(Debug)]
pub enum Stage {
    Preparing,
    Delayed(Timestamp),
    Listing,
    Acting,
    BackingOff(Timestamp, End),
    Items(Fan),
    Settling(End, Option<Fan>),
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

    fn cut_short(self) -> Self {
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
struct Pass {
    arrived: BTreeSet<usize>,
    seen: Seen,
    is_started: bool,
}

/// What leads on from a task.
enum Onward {
    Targets(Vec<To>),
    Fails(String),
}

impl<'f> Book<'f> {
    pub fn new(flow: &'f Flow, now: Timestamp) -> Self {
        Self {
            flow,
            now,
            own: Own::Preparing,
            live: BTreeMap::new(),
            started: Vec::new(),
            merged: Seen::default(),
            base: Seen::default(),
            arrivals: BTreeMap::new(),
            passes: BTreeMap::new(),
            writes: 0,
            failing: None,
            is_canceled: false,
            output: Value::Null,
        }
    }

    pub fn is_closing(&self) -> bool {
        self.failing.is_some() || self.is_canceled
    }

    fn write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// The vars are known.
    pub fn begin(&mut self, vars: Vec<(String, Value)>) {
        self.own = Own::Running;
        for (name, value) in vars {
            let write = self.write();
            self.base.set(format!("workflow.{name}"), write, Some(value));
        }
        self.merged = self.base.clone();
        for at in (0..self.flow.steps.len()).filter(|&at| self.flow.inbound(at).is_empty()) {
            self.start(at, self.base.clone());
        }
    }

    fn start(&mut self, task: usize, seen: Seen) {
        self.started.push((task, None));
        let id = u32::try_from(self.started.len()).expect("few");
        let branch = Branch { task, seen, attempts: 0, retries: 0, at: Stage::Preparing };
        self.live.insert(id, branch);
        match self.flow.steps[task].delay {
            Delay::Evaluated => {}
            Delay::None => self.go_ahead(id),
            Delay::Known(ms) => self.delay(id, ms),
        }
    }

    pub fn delay(&mut self, id: u32, ms: u64) {
        match ms {
            0 => self.go_ahead(id),
            _ => self.branch(id).at = Stage::Delayed(self.now.plus(Duration::from_millis(ms))),
        }
    }

    /// The delay is over.
    fn go_ahead(&mut self, id: u32) {
        let step = &self.flow.steps[self.live[&id].task];
        let is_items = matches!(step.kind, Kind::Items { .. });
        let is_empty = step.is_empty();
        let branch = self.branch(id);
        branch.attempts = u32::from(!is_items);
        branch.at = match (is_items, is_empty) {
            (true, _) => Stage::Listing,
            (false, true) => Stage::Empty,
            (false, false) => Stage::Acting,
        };
    }

    pub fn branch(&mut self, id: u32) -> &mut Branch {
        self.live.get_mut(&id).expect("it lives")
    }

    pub fn listed(&mut self, id: u32, fan: Fan) {
        let branch = self.branch(id);
        branch.attempts = 1;
        branch.at = Stage::Items(fan);
        self.look_at_items(id);
    }

    /// Ends a fan-out that is over.
    pub fn look_at_items(&mut self, id: u32) {
        let Stage::Items(fan) = &self.live[&id].at else { panic!("{id} has no items") };
        if fan.is_over() {
            let end = fan.end(self.is_canceled);
            self.end_unasked(id, end);
        }
    }

    pub fn acted(&mut self, id: u32, acted: &Acted) {
        let error = acted.failure.as_ref().map(|failed| value_of(&failed.error));
        let end = End { status: acted.status, error, result: Some(value_of(&acted.result)) };
        match &acted.next {
            Next::Retry { .. } if self.is_closing() => self.end(id, end.cut_short(), Onward::Targets(Vec::new())),
            Next::Retry { delay_ms } => {
                let due = self.now.plus(Duration::from_millis(*delay_ms));
                let branch = self.branch(id);
                branch.retries += 1;
                // Only the code of the last failure is kept for a run that closes meanwhile.
                branch.at = Stage::BackingOff(due, End::bare(end.status, end.code().as_deref()));
                if *delay_ms == 0 {
                    self.try_again(id);
                }
            }
            Next::Settled(settlement) => self.settled(id, end, settlement),
            Next::Unable(failure) => self.end(id, end, Onward::Fails(failure.code.clone())),
        }
    }

    fn try_again(&mut self, id: u32) {
        let branch = self.branch(id);
        branch.attempts += 1;
        branch.at = Stage::Acting;
    }

    pub fn settled(&mut self, id: u32, end: End, settlement: &Settlement) {
        let step = &self.flow.steps[self.live[&id].task];
        let targets = settlement.fired.iter().flat_map(|at| step.next[usize::from(*at)].to.clone()).collect();
        let published = settlement.published.iter().map(|(key, value)| (key.to_string(), value_of(value))).collect();
        self.end_publishing(id, end, published, Onward::Targets(targets));
    }

    /// The transitions could not be asked.
    pub fn unsettled(&mut self, id: u32, end: End, code: &str) {
        self.end(id, end, Onward::Fails(code.to_owned()));
    }

    /// Ends what no worker has asked the transitions of.
    pub fn end_unasked(&mut self, id: u32, end: End) {
        let step = &self.flow.steps[self.live[&id].task];
        if !self.is_closing() && !step.is_plain() {
            let branch = self.branch(id);
            let fan = match std::mem::replace(&mut branch.at, Stage::Empty) {
                Stage::Items(fan) => Some(fan),
                _ => None,
            };
            branch.at = Stage::Settling(end, fan);
            return;
        }
        let is_success = end.status == Status::Succeeded;
        let fires = |when: Condition| match when {
            Condition::Always => true,
            Condition::Succeeded => is_success,
            Condition::Failed => !is_success,
            Condition::Again => false,
        };
        let targets = step.next.iter().filter(|edge| fires(edge.when)).flat_map(|edge| edge.to.clone()).collect();
        self.end(id, end, Onward::Targets(targets));
    }

    fn end(&mut self, id: u32, end: End, onward: Onward) {
        self.end_publishing(id, end, Vec::new(), onward);
    }

    fn end_publishing(&mut self, id: u32, end: End, published: Vec<(String, Value)>, onward: Onward) {
        let Branch { task, mut seen, attempts, at, .. } = self.live.remove(&id).expect("it lives");
        let fan = match at {
            Stage::Items(fan) | Stage::Settling(_, Some(fan)) => Some(fan),
            _ => None,
        };
        self.started[id as usize - 1].1 = Some(end.status);
        let write = self.write();
        let result = fan.as_ref().map_or_else(|| end.result.clone(), |fan| Some(fan.results()));
        for (field, value) in [
            ("status", Some(json!(end.status.as_str()))),
            ("attempts", Some(json!(attempts))),
            ("result", result),
            ("error", end.error.clone()),
            ("item_errors", fan.as_ref().map(Fan::item_errors)),
        ] {
            seen.set(format!("task.t{task}.{field}"), write, value);
        }
        for (key, value) in published {
            let write = self.write();
            seen.set(format!("workflow.{key}"), write, Some(value));
        }
        if self.is_closing() {
            return self.merged.merge(&seen);
        }
        let onward = match onward {
            Onward::Targets(targets) => handled(&end, targets),
            fails @ Onward::Fails(_) => fails,
        };
        match onward {
            Onward::Targets(targets) => self.go_on(task, &seen, &targets),
            Onward::Fails(code) => {
                self.merged.merge(&seen);
                self.fail(code);
            }
        }
    }

    fn go_on(&mut self, from: usize, seen: &Seen, targets: &[To]) {
        let tasks: Vec<usize> =
            targets.iter().filter_map(|to| if let To::Task(to) = to { Some(*to) } else { None }).collect();
        if tasks.is_empty() {
            self.merged.merge(seen);
        }
        for to in tasks {
            match self.flow.steps[to].joins {
                None => self.start(to, seen.clone()),
                Some(join) => self.reach(from, to, join, seen),
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
            self.start(to, seen);
        }
    }

    pub fn fail(&mut self, code: String) {
        if !self.is_closing() {
            self.failing = Some(code);
            self.close();
        }
    }

    pub fn cancel(&mut self) {
        if !self.is_canceled {
            self.is_canceled = true;
            self.close();
        }
    }

    fn close(&mut self) {
        for pass in self.passes.values().filter(|pass| !pass.is_started) {
            self.merged.merge(&pass.seen);
        }
        self.passes.clear();
        if self.own == Own::Preparing {
            self.own = Own::Running;
        }
        for id in self.live.keys().copied().collect::<Vec<_>>() {
            match &mut self.branch(id).at {
                Stage::Acting => {}
                Stage::Items(fan) => {
                    fan.is_closed = true;
                    self.look_at_items(id);
                }
                Stage::BackingOff(_, end) => {
                    let end = end.clone().cut_short();
                    self.end(id, end, Onward::Targets(Vec::new()));
                }
                Stage::Settling(end, _) => {
                    let end = end.clone();
                    self.end(id, end, Onward::Targets(Vec::new()));
                }
                Stage::Preparing | Stage::Delayed(_) | Stage::Listing | Stage::Empty => {
                    let branch = self.live.remove(&id).expect("it lives");
                    self.started[id as usize - 1].1 = Some(Status::Canceled);
                    self.merged.merge(&branch.seen);
                }
            }
        }
    }

    /// A timer rings at `now`.
    pub fn ring(&mut self, id: u32) {
        let now = self.now;
        let Some(branch) = self.live.get_mut(&id) else { return };
        match &mut branch.at {
            Stage::Delayed(due) if *due <= now => self.go_ahead(id),
            Stage::BackingOff(due, _) if *due <= now => self.try_again(id),
            Stage::Items(fan) => fan.wake(now),
            _ => {}
        }
    }

    /// What the machine does by itself: ends empty tasks, the oldest first, and the run when nothing is left.
    pub fn pass(&mut self) {
        let oldest =
            |book: &Self| book.live.iter().find(|(_, branch)| matches!(branch.at, Stage::Empty)).map(|(id, _)| *id);
        while let Some(id) = oldest(self) {
            let end = End { result: Some(Value::Null), ..End::bare(Status::Succeeded, None) };
            self.end_unasked(id, end);
        }
        if self.own != Own::Running || !self.live.is_empty() {
            return;
        }
        if self.passes.values().any(|pass| !pass.is_started) {
            self.fail("join_unsatisfied".into());
        }
        self.own = if self.flow.output { Own::Output } else { Own::Ended };
    }

    /// The phase in which `id`, or the run itself, waits for a worker. Ranges are not among them.
    pub fn phase(&self, id: Option<u32>) -> Option<Phase> {
        let Some(id) = id else {
            return match self.own {
                Own::Preparing => Some(Phase::Prepare),
                Own::Output => Some(Phase::Output),
                Own::Running | Own::Ended => None,
            };
        };
        match self.live.get(&id)?.at {
            Stage::Preparing => Some(Phase::Prepare),
            Stage::Listing => Some(Phase::Items),
            Stage::Acting => Some(Phase::Act),
            Stage::Settling(..) => Some(Phase::Settle),
            Stage::Delayed(_) | Stage::BackingOff(..) | Stage::Items(_) | Stage::Empty => None,
        }
    }

    pub fn due(&self, id: u32) -> Option<Timestamp> {
        match &self.live.get(&id)?.at {
            Stage::Delayed(due) | Stage::BackingOff(due, _) => Some(*due),
            Stage::Items(fan) => fan.due(),
            Stage::Preparing | Stage::Listing | Stage::Acting | Stage::Settling(..) | Stage::Empty => None,
        }
    }

    /// How the run should end, once nothing is left to do.
    pub fn verdict(&self) -> RunStatus {
        match (self.is_canceled, &self.failing) {
            (true, _) => RunStatus::Canceled,
            (false, Some(_)) => RunStatus::Failed,
            (false, None) => RunStatus::Succeeded,
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
