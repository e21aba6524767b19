//! A task with items under way: its list comes in, ranges go out and are reported, and at last it ends.

use std::collections::BTreeMap;

use proto::{
    failure::Failure,
    id::{Instance, ItemIndex},
    json::Json,
    limits::ITEMS_MAX,
    outcome::{ItemsReport, Listed},
    value::ValueRef,
    work::{Phase, Status},
};

use super::{
    Command, Turn,
    end::{Ending, error_value},
    evolve::json_of,
    fact::What,
};

impl Turn<'_> {
    /// The list is known.
    pub(super) fn listed(&mut self, instance: Instance, listed: Listed) {
        let Listed { parts, concurrency, tolerate } = listed;
        let total: u64 = parts.iter().map(|part| u64::from(part.count)).sum();
        if total > u64::from(ITEMS_MAX) {
            let failure = Failure::new("too_many_items", format!("{total} items, more than the limit of {ITEMS_MAX}"));
            return self.end_unasked(instance, Ending::bare(Status::Failed, Some(failure)));
        }
        // None at a time would be a task that never ends.
        let concurrency = concurrency.map(|bound| bound.max(1));
        self.record(What::Listed { instance, parts, concurrency, tolerate });
        self.go_on(instance);
    }

    /// A range, or a part of one, was done.
    pub(super) fn items_reported(&mut self, instance: Instance, serial: u32, mut report: ItemsReport) {
        let Some(fan) = self.run.live[&instance].items() else { return };
        let Some(ignored) = fan.admit(serial, &report) else { return };
        let due_before = fan.next_due();
        let mut called = std::mem::take(&mut report.called);
        if !called.is_empty() {
            called.retain(|(item, _)| !ignored.iter().any(|ignored| ignored == *item));
        }
        if !called.is_empty() {
            self.items_called(instance, serial, called);
        }
        // They may all have failed at once, and the task with them.
        if !self.run.live.contains_key(&instance) {
            return;
        }
        if report != ItemsReport::default() && self.is_flying(instance, serial) {
            self.record(What::Reported { instance, serial, report: Box::new(report), ignored });
        }
        self.arm_items(instance, due_before);
        self.go_on(instance);
    }

    fn is_flying(&self, instance: Instance, serial: u32) -> bool {
        self.run.live.get(&instance).and_then(|live| live.items()?.flight(serial)).is_some()
    }

    /// Retries of items are due.
    pub(super) fn items_due(&mut self, instance: Instance) {
        self.record(What::Woken { instance });
        self.arm_items(instance, None);
        self.go_on(instance);
    }

    /// All that a range has not reported has failed, for the same reason.
    pub(super) fn items_failed(&mut self, instance: Instance, serial: u32, failure: Failure) {
        let Some(fan) = self.run.live[&instance].items() else { return };
        let Some(flight) = fan.flight(serial) else { return };
        let failed = flight.items.clone();
        let errors: Vec<_> = failed.iter().map(|item| item_error(item, &failure)).collect();
        let report = ItemsReport {
            failed,
            errors: Some(ValueRef::Inline(json_of(&errors))),
            failure: Some(failure),
            ..ItemsReport::default()
        };
        self.items_reported(instance, serial, report);
    }

    /// Sends further ranges of a fan-out, or ends it.
    pub(super) fn go_on(&mut self, instance: Instance) {
        let Some(fan) = self.run.live.get(&instance).and_then(|live| live.items()) else { return };
        if fan.is_over() {
            return self.items_over(instance);
        }
        while self.run.pause.is_none()
            && let Some(fan) = self.run.live[&instance].items()
            && let Some(draft) = fan.draft(self.now.flights_max, self.run.room())
        {
            let serial = self.run.live[&instance].serial + 1;
            self.record(What::Ranged { instance, serial, retries: draft.retries, items: draft.items });
            let task = &self.spec.task(self.run.live[&instance].task).name;
            let key = self.run.key(task, instance, Phase::Act, serial);
            self.command(Command::Dispatch(key));
        }
    }

    /// Ends a fan-out that is over: every item is done, or the run closes and none is on a worker.
    pub(super) fn items_over(&mut self, instance: Instance) {
        let Some(fan) = self.run.live[&instance].items() else { return };
        let counts = fan.counts();
        let ending = if fan.is_success() {
            Ending::bare(Status::Succeeded, None)
        } else if self.run.cancel.is_some() && self.run.is_closed(instance) {
            Ending::bare(Status::Canceled, Some(Failure::new("canceled", "the run was cancelled")))
        } else if fan.is_failure() {
            let first = fan
                .first_failure()
                .map_or_else(String::new, |first| format!("; the first: {}: {}", first.code, first.message));
            let message = format!("{} of {} items failed{first}", counts.failed, counts.total);
            Ending::bare(Status::Failed, Some(Failure::new("items_failed", message)))
        } else {
            let message = format!("the run ended before {} of {} items were done", fan.remaining(), counts.total);
            Ending::bare(Status::Canceled, Some(Failure::new("not_started", message)))
        };
        self.end_unasked(instance, ending);
    }
}

/// An entry of `item_errors`. The machine does not have the item itself at hand.
fn item_error(index: ItemIndex, failure: &Failure) -> BTreeMap<&'static str, Json> {
    let ValueRef::Inline(error) = error_value(failure) else { unreachable!("errors of ours are inline") };
    BTreeMap::from([("error", error), ("index", json_of(&index)), ("item", Json::null())])
}
