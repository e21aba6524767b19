//! The book of the run as a whole: how it begins, rests, is cut short and ends, and who waits for which signal.

use std::time::Duration;

use leveret_engine::machine::Order;
use proto::{
    control::Control,
    id::{Instance, RunId},
    time::Timestamp,
    work::{RunStatus, Status},
};
use serde_json::{Value, json};

use super::{
    book::{Book, End, Onward, Own, Stage},
    fan::Fan,
    flow::{Limit, signal_name},
};

/// The run that the world plays.
pub fn run_id() -> RunId {
    "run".parse().expect("valid")
}

impl Book<'_> {
    /// The job is accepted.
    pub fn accepted(&mut self) {
        if self.flow.entrance.exclusive {
            let write = self.write();
            self.base.set("parameters.p".into(), write, Some(json!(1)));
            self.merged = self.base.clone();
        }
        match self.flow.entrance.start_in {
            Some(ms @ 1..) => self.own = Own::Scheduled(self.now.plus(Duration::from_millis(ms))),
            Some(0) | None => self.start_now(),
        }
    }

    /// The start time has come.
    pub fn start_now(&mut self) {
        match self.flow.entrance.exclusive {
            true => {
                self.own = Own::InLine;
                self.lined_up += 1;
            }
            false => self.admitted(),
        }
    }

    /// It is the run's turn.
    pub fn admitted(&mut self) {
        self.own = Own::Preparing;
        self.begun_at = self.now;
        let given = self.flow.entrance.parent.and_then(|(_, timeout_ms)| timeout_ms);
        let limits = self.flow.timeout.known().into_iter().chain(given);
        self.deadline = limits.min().map(|ms| self.now.plus(Duration::from_millis(ms)));
        if !self.flow.is_prepared() {
            let limit = if let Limit::Known(bound) = self.flow.limit { Some(bound) } else { None };
            self.begin(Vec::new(), None, limit);
        }
    }

    /// What the run must know is known.
    pub fn begin(&mut self, vars: Vec<(String, Value)>, timeout_ms: Option<u64>, limit: Option<u32>) {
        self.own = Own::Running;
        self.own_is_sent = false;
        self.limit = limit;
        let evaluated = timeout_ms.map(|ms| self.begun_at.plus(Duration::from_millis(ms)));
        self.deadline = self.deadline.into_iter().chain(evaluated).min();
        for (name, value) in vars {
            let write = self.write();
            self.base.set(format!("workflow.{name}"), write, Some(value));
        }
        self.merged = self.base.clone();
        for at in self.flow.entries() {
            self.start(at, self.base.clone(), 0);
        }
    }

    /// Whether a pause changes anything.
    pub fn may_pause(&self) -> bool {
        !self.is_paused && self.stopped.is_none()
    }

    pub fn pause(&mut self) {
        self.is_paused = true;
        self.told.push(Control::Pause { run: run_id(), at: self.now });
        self.order_children(Order::Pause);
    }

    pub fn resume(&mut self) {
        self.is_paused = false;
        let left = &self.left;
        self.live.iter_mut().filter(|(id, _)| left.contains(id)).for_each(|(_, branch)| branch.is_sent = true);
        self.order_children(Order::Resume);
    }

    /// Child runs that live, with the item of each.
    pub fn children(&self) -> Vec<RunId> {
        let of = |(id, at): (u32, &Stage)| match at {
            Stage::Called(child) => vec![child.clone()],
            Stage::Items(fan) => {
                let child = |(item, serial)| run_id().child(Instance(id), serial, Some(proto::id::ItemIndex(item)));
                fan.children().map(child).collect()
            }
            _ => Vec::new(),
        };
        self.live.iter().flat_map(|(id, branch)| of((*id, &branch.at))).collect()
    }

    fn order_children(&mut self, order: Order) {
        let orders = self.children().into_iter().map(|child| (child, order));
        self.orders.extend(orders);
    }

    pub fn fail(&mut self, code: String) {
        // What becomes of `finally` changes nothing.
        if self.is_closing() || matches!(self.own, Own::Finale(_)) {
            return;
        }
        self.failing = Some(code);
        self.close();
        if !self.live.is_empty() {
            self.told.push(Control::Skip { run: run_id(), through: self.last_start() });
        }
    }

    fn last_start(&self) -> Instance {
        Instance(u32::try_from(self.started.len()).expect("few"))
    }

    /// Whether a cancel changes anything.
    pub fn may_cancel(&self) -> bool {
        match self.own {
            Own::Finale(finale) => !self.is_closed(finale),
            _ => !self.is_canceled,
        }
    }

    pub fn cancel(&mut self) {
        self.is_canceled = true;
        self.stop();
    }

    /// The run's time is over: it fails, unless it does already, and what runs is stopped.
    pub fn time_is_over(&mut self) {
        self.deadline = None;
        match self.own {
            Own::Preparing | Own::Running if !self.is_canceled => {
                self.failing.get_or_insert_with(|| "timed_out".into());
                self.stop();
            }
            Own::Output => {
                self.is_paused = false;
                self.stopped.get_or_insert(self.last_start().0);
                self.finish(Value::Null, Some("timed_out".into()));
            }
            _ => {}
        }
    }

    fn stop(&mut self) {
        self.stopped = Some(self.last_start().0);
        self.is_paused = false;
        self.close();
        self.tell_stop();
    }

    /// Whether workers must still be told that what they run is to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopped.is_some_and(|through| self.live.keys().any(|id| *id <= through))
    }

    pub fn tell_stop(&mut self) {
        if self.is_stopping() {
            let through = Instance(self.stopped.expect("it stops"));
            self.told.push(Control::Cancel { run: run_id(), through });
        }
    }

    fn close(&mut self) {
        self.order_children(Order::Cancel);
        for pass in self.passes.values().filter(|pass| !pass.is_started) {
            self.merged.merge(&pass.seen);
        }
        self.passes.clear();
        if matches!(self.own, Own::Scheduled(_) | Own::InLine | Own::Preparing) {
            self.own = Own::Running;
        }
        for id in self.live.keys().copied().collect::<Vec<_>>() {
            let branch = self.branch(id);
            let is_sent = branch.is_sent;
            match &mut branch.at {
                Stage::Acting if is_sent => {}
                Stage::Called(_) => {}
                Stage::Items(fan) => {
                    fan.is_closed = true;
                    self.look_at_items(id);
                }
                Stage::BackingOff(_, end) => {
                    let end = end.clone().cut_short();
                    self.end(id, end, Onward::Targets(Vec::new()));
                }
                Stage::Settling { end, .. } => {
                    let end = end.clone();
                    self.end(id, end, Onward::Targets(Vec::new()));
                }
                Stage::Preparing
                | Stage::Waiting(_)
                | Stage::Delayed(_)
                | Stage::Listing
                | Stage::Acting
                | Stage::Empty => {
                    let branch = self.live.remove(&id).expect("it lives");
                    self.started[id as usize - 1].1 = Some(Status::Canceled);
                    self.merged.merge(&branch.seen);
                }
            }
        }
    }

    /// The output is known, or why it is not. `finally` sees it.
    pub fn finish(&mut self, output: Value, unable: Option<String>) {
        if !self.is_closing() {
            self.failing = unable;
        }
        let failing = self.failing.clone();
        self.verdict = Some(match (self.is_canceled, failing) {
            (true, failing) => (RunStatus::Canceled, failing.or(Some("canceled".into()))),
            (false, Some(code)) => (RunStatus::Failed, Some(code)),
            (false, None) => (RunStatus::Succeeded, None),
        });
        self.output = output;
        self.own_is_sent = false;
        self.deadline = None;
        self.own = Own::Ended;
        if let Some(finale) = self.flow.finale() {
            self.own = Own::Finale(self.last_start().0 + 1);
            self.start(finale, self.merged.clone(), 0);
        }
    }

    /// What the machine does by itself: ends empty tasks, the oldest first, and the run when nothing is left.
    pub fn pass(&mut self) {
        while !self.is_paused {
            let empty = self.live.iter().find(|(_, branch)| matches!(branch.at, Stage::Empty));
            match (empty.map(|(id, _)| *id), self.own) {
                (Some(id), _) => {
                    let end = End { result: Some(Value::Null), ..End::bare(Status::Succeeded, None) };
                    self.end_unasked(id, end);
                }
                (None, _) if !self.live.is_empty() => return,
                (None, Own::Running) => self.conclude(),
                (None, Own::Finale(_)) => self.own = Own::Ended,
                (None, _) => return,
            }
        }
    }

    fn conclude(&mut self) {
        if self.passes.values().any(|pass| !pass.is_started) {
            self.fail("join_unsatisfied".into());
        }
        match self.flow.output {
            true => self.own = Own::Output,
            false => self.finish(Value::Null, None),
        }
    }

    /// Whether a signal is of no use any more.
    pub fn is_deaf(&self) -> bool {
        match self.own {
            Own::Finale(finale) => self.is_closed(finale),
            _ => self.is_closing(),
        }
    }

    pub fn signaled(&mut self, name: u8, value: Value) {
        self.signals.entry(name).or_default().push_back(value);
        self.hand_out();
    }

    /// Each signal is used once, by the task that was started first among those that wait for it.
    pub fn hand_out(&mut self) {
        let waiting = |book: &Self| {
            book.live.iter().find_map(|(id, branch)| {
                let name = book.flow.steps[branch.task].wait?.signal;
                let is_there = book.signals.get(&name).is_some_and(|values| !values.is_empty());
                (matches!(branch.at, Stage::Waiting(_)) && is_there).then_some((*id, name))
            })
        };
        while let Some((id, name)) = waiting(self) {
            let value = self.signals.get_mut(&name).and_then(std::collections::VecDeque::pop_front);
            let write = self.write();
            self.branch(id).seen.set(format!("signal.{}", signal_name(name)), write, value);
            self.delay(id);
        }
    }

    /// Where the run is, when this much of it is out.
    pub fn status(&self, out: usize) -> RunStatus {
        match (self.own, &self.verdict) {
            (Own::Ended, Some((status, _))) => *status,
            _ if self.is_canceled => RunStatus::Canceling,
            _ if self.is_paused && out > 0 => RunStatus::Pausing,
            _ if self.is_paused => RunStatus::Paused,
            (Own::Scheduled(_) | Own::InLine | Own::Preparing, _) => RunStatus::Queued,
            (Own::Running | Own::Output | Own::Finale(_) | Own::Ended, _) => RunStatus::Running,
        }
    }

    /// Tasks, items and children in flight.
    pub fn in_flight(&self) -> usize {
        let weight = |at: &Stage, is_sent| match at {
            Stage::Acting => usize::from(is_sent),
            Stage::Called(_) => 1,
            Stage::Items(fan) => fan.in_flight(),
            _ => 0,
        };
        self.live.values().map(|branch| weight(&branch.at, branch.is_sent)).sum()
    }

    pub fn has_room(&self) -> bool {
        self.limit.is_none_or(|bound| self.in_flight() < bound as usize)
    }

    /// Nothing stays that could go: there is a pause, or no room.
    pub fn check_busy(&self, flights_max: usize) {
        if self.is_paused {
            return;
        }
        assert!(self.phase(None).is_none() || self.own_is_sent, "work of the run itself is not sent");
        for (id, branch) in &self.live {
            let waits_for_room = matches!(branch.at, Stage::Acting) && !self.has_room();
            let is_owed = self.phase(Some(*id)).is_some() && !branch.is_sent;
            assert!(!is_owed || waits_for_room, "{id} could be sent and is not: {branch:?}");
            if let Stage::Items(fan) = &branch.at
                && self.has_room()
            {
                Fan::check_busy(fan, flights_max);
            }
        }
    }

    /// When each timer of the run itself should ring.
    pub fn start_due(&self) -> Option<Timestamp> {
        match self.own {
            Own::Scheduled(due) => Some(due),
            _ => None,
        }
    }
}
