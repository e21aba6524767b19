//! How tasks run children: a worker renders what they start with, this run waits for their end.

use std::time::Duration;

use proto::{
    failure::Failure,
    id::{Instance, ItemIndex},
    items::ItemSet,
    json::Json,
    limits::NESTING_MAX,
    outcome::Called,
    time::Timestamp,
    value::ValueRef,
    work::{RunStatus, Status},
};

use super::{
    ChildEnd, Command, Order, Timer, Turn,
    end::{Ending, not_begun},
    evolve::json_of,
    fact::{Accepted, ItemEnded, Parent, What},
    live::At,
    run::Run,
};
use crate::{
    evaluate,
    spec::{Call, DurationField, Retry, When},
};

impl Run {
    /// Children were started.
    pub(super) fn call(&mut self, instance: Instance, serial: u32, items: &ItemSet, at: Timestamp) {
        // A rerun has copied what was called before it: those are children of the run that it does again.
        if self.ancestor.is_none() || at != self.info.started_at {
            self.show_children(instance, serial, items);
        }
        let child = self.id.child(instance, serial, None);
        let live = self.live_mut(instance);
        match &mut live.at {
            At::Items(fan) => fan.call(serial, items),
            At::Acting => live.at = At::Called(child),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Called(_)
            | At::BackingOff(_)
            | At::Settling(_)
            | At::Passing => {}
        }
    }
}

impl Turn<'_> {
    /// A worker has rendered what the child of a task without items starts with.
    pub(super) fn called(&mut self, instance: Instance, serial: u32, called: Called) {
        if self.run.live[&instance].at != At::Acting {
            return;
        }
        if self.run.is_closed(instance) {
            return self.end_unasked(instance, Ending::bare(Status::Canceled, Some(not_begun())));
        }
        match self.child(instance, serial, None, called) {
            Ok(accepted) => {
                self.record(What::Called { instance, serial, items: ItemSet::default() });
                self.spawn(accepted);
            }
            Err(failure) => self.end_unasked(instance, Ending::bare(Status::Failed, Some(failure))),
        }
    }

    /// A worker has rendered what the children of some items start with.
    pub(super) fn items_called(&mut self, instance: Instance, serial: u32, called: Vec<(ItemIndex, Called)>) {
        if self.run.is_closed(instance) {
            return self.record(What::Returned { instance: Some(instance), serial, alone: false });
        }
        let mut accepted = Vec::new();
        let mut items = ItemSet::default();
        let mut impossible = None;
        for (item, called) in called {
            match self.child(instance, serial, Some(item), called) {
                Ok(child) => {
                    items.push(item);
                    accepted.push(child);
                }
                Err(failure) => impossible = Some(failure),
            }
        }
        if let Some(failure) = impossible {
            return self.items_failed(instance, serial, failure);
        }
        self.record(What::Called { instance, serial, items });
        accepted.into_iter().for_each(|child| self.spawn(child));
    }

    /// A child that begins while its run rests does so too.
    fn spawn(&mut self, accepted: Accepted) {
        let child = accepted.run.clone();
        self.command(Command::Spawn(Box::new(accepted)));
        if self.run.pause.is_some() {
            self.command(Command::Child(child, Order::Pause));
        }
    }

    fn child(
        &self,
        instance: Instance,
        serial: u32,
        item: Option<ItemIndex>,
        called: Called,
    ) -> Result<Accepted, Failure> {
        let task = self.spec.task(self.run.live[&instance].task);
        let Call::Workflow(workflow) = &task.call else {
            return Err(Failure::new("work_unclear", "a worker answered for a child run, and the task runs an action"));
        };
        let depth = self.run.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        if depth > NESTING_MAX {
            let message = format!("runs are nested more than {NESTING_MAX} deep: does `{workflow}` call itself?");
            return Err(Failure::new("nested_too_deep", message));
        }
        let definition = self.run.children.get(workflow).copied();
        let definition = definition.ok_or_else(|| {
            Failure::new("workflow_unknown", format!("no workflow `{workflow}` was pinned when the run was accepted"))
        })?;
        Ok(Accepted {
            parameters: called.parameters,
            labels: self.run.info.labels.clone(),
            children: self.run.children.clone(),
            parent: Some(Parent {
                run: self.run.id.clone(),
                task: task.name.clone(),
                instance,
                serial,
                item,
                depth,
                timeout_ms: called.timeout_ms,
            }),
            ..Accepted::of(self.run.id.child(instance, serial, item), workflow.clone(), definition)
        })
    }

    /// A child ended. One that is no longer waited for changes nothing.
    pub(super) fn child_ended(&mut self, end: ChildEnd) {
        let Parent { instance, serial, item, .. } = end.parent;
        let Some(live) = self.run.live.get(&instance) else { return };
        match (&live.at, item) {
            (At::Called(child), None) if *child == end.run => self.only_child_ended(instance, end),
            (At::Items(fan), Some(item)) if fan.child(item).is_some_and(|child| child.serial == serial) => {
                self.item_ended(instance, item, end);
            }
            _ => {}
        }
    }

    fn only_child_ended(&mut self, instance: Instance, end: ChildEnd) {
        let status = status_of(&end);
        let error = (status != Status::Succeeded).then(|| error_of(&end));
        let result = (status == Status::Succeeded).then(|| end.output.clone());
        let ending = Ending { status, failure: failure_of(end), result, error };
        let asks_retry = self.spec.task(self.run.live[&instance].task).retry.is_some();
        match asks_retry && !self.run.is_closed(instance) {
            true => self.settle(instance, ending),
            false => self.end_unasked(instance, ending),
        }
    }

    fn item_ended(&mut self, instance: Instance, item: ItemIndex, end: ChildEnd) {
        let status = status_of(&end);
        let until = match &self.spec.task(self.run.live[&instance].task).retry {
            Some(retry) if !self.run.is_closed(instance) => self.item_retry(instance, item, retry, status),
            Some(_) | None => None,
        };
        let due_before = self.run.live[&instance].at.due();
        let is_final = until.is_none();
        self.record(What::ItemEnded(Box::new(ItemEnded {
            instance,
            item,
            result: (is_final && status == Status::Succeeded).then(|| end.output.clone()),
            error: (is_final && status != Status::Succeeded).then(|| error_of(&end)),
            failure: failure_of(end),
            until,
        })));
        self.arm_items(instance, due_before);
        self.go_on(instance);
    }

    /// When the child of an item is started again, if it is. Nothing here needs to be evaluated: the parser sees to it.
    fn item_retry(&self, instance: Instance, item: ItemIndex, retry: &Retry, status: Status) -> Option<Timestamp> {
        let When::Outcome(test) = &retry.when else { return None };
        let used = self.run.live[&instance].items()?.child(item)?.retries;
        let count: u32 = retry.count.literal()?.parse().ok()?;
        if !test.holds(status) || used >= count {
            return None;
        }
        let known = |field: &Option<DurationField>| match field {
            Some(DurationField::Known(duration)) => Some(*duration),
            Some(DurationField::Evaluated(_)) | None => None,
        };
        let first = known(&retry.delay).unwrap_or(Duration::ZERO);
        let seed = u64::from(instance.0) << 32 | u64::from(item.0);
        Some(self.now.at.plus(evaluate::backoff(retry, first, known(&retry.max_delay), used, seed)))
    }

    /// Sets the timer of a fan-out anew, when the time of its next retry has changed.
    pub(super) fn arm_items(&mut self, instance: Instance, before: Option<Timestamp>) {
        match self.run.live[&instance].at.due() {
            due if due == before => {}
            Some(due) => self.command(Command::Arm(Timer::Task(instance), due)),
            None => self.command(Command::Disarm(Timer::Task(instance))),
        }
    }
}

/// How a task ended whose child did so. A child that took longer than the task's `timeout` has failed by that.
fn status_of(end: &ChildEnd) -> Status {
    let is_late = end.parent.timeout_ms.is_some()
        && end.failure.as_ref().is_some_and(|failure| failure.code == "timed_out" && failure.task.is_none());
    match end.status {
        RunStatus::Succeeded => Status::Succeeded,
        RunStatus::Canceled => Status::Canceled,
        _ if is_late => Status::TimedOut,
        RunStatus::Failed
        | RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Pausing
        | RunStatus::Paused
        | RunStatus::Canceling => Status::Failed,
    }
}

fn failure_of(end: ChildEnd) -> Option<Failure> {
    let failure = end.failure?;
    let place = failure.task.map_or_else(String::new, |task| format!(" at its task `{task}`"));
    Some(Failure::new(failure.code, format!("the run {}{place}: {}", end.run, failure.message)))
}

/// What templates read as `error`: `details` names the child and has its output, if that is small.
fn error_of(end: &ChildEnd) -> ValueRef {
    let text = |text: &str| json_of(text);
    let output = match &end.output {
        ValueRef::Inline(json) => json.clone(),
        ValueRef::Stored(_) | ValueRef::List(_) => Json::null(),
    };
    let details = [("output", output), ("run", text(end.run.as_str())), ("status", text(end.status.as_str()))];
    let details = json_of(&std::collections::BTreeMap::from(details));
    let failure = failure_of(end.clone());
    let (code, message) = failure
        .map_or_else(|| ("failed".to_owned(), "the run failed".to_owned()), |failure| (failure.code, failure.message));
    let fields = [("code", text(&code)), ("details", details), ("message", text(&message))];
    ValueRef::Inline(json_of(&std::collections::BTreeMap::from(fields)))
}
