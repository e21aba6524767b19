//! The schedules that this process ticks, and when to look at each next.

use std::collections::{BTreeSet, HashMap};

use proto::{
    id::{RunId, ScheduleName},
    time::Timestamp,
};

use super::Schedule;

/// Schedules by name, each with one alarm at most.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    by_name: HashMap<ScheduleName, Entry>,
    by_due: BTreeSet<(Timestamp, ScheduleName)>,
}

#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    alarm: Option<Timestamp>,
}

impl Roster {
    pub(crate) fn get(&self, name: &ScheduleName) -> Option<&Schedule> {
        self.by_name.get(name).map(|entry| &entry.schedule)
    }

    /// Puts a schedule in place of the one of its name, and sets its alarm.
    pub(crate) fn put(&mut self, schedule: Schedule, alarm: Option<Timestamp>) {
        let name = schedule.name.clone();
        self.remove(&name);
        self.by_due.extend(alarm.map(|due| (due, name.clone())));
        self.by_name.insert(name, Entry { schedule, alarm });
    }

    pub(crate) fn remove(&mut self, name: &ScheduleName) {
        if let Some(due) = self.by_name.remove(name).and_then(|entry| entry.alarm) {
            self.by_due.remove(&(due, name.clone()));
        }
    }

    /// Sets the alarm of a schedule, if there is such a one.
    pub(crate) fn arm(&mut self, name: &ScheduleName, due: Timestamp) {
        let Some(entry) = self.by_name.get_mut(name) else { return };
        if let Some(old) = entry.alarm.replace(due) {
            self.by_due.remove(&(old, name.clone()));
        }
        self.by_due.insert((due, name.clone()));
    }

    /// Rings for a schedule whose ticks wait for `run`, which has ended.
    pub(crate) fn run_ended(&mut self, run: &RunId, now: Timestamp) {
        let Some(name) = run.schedule() else { return };
        let waits = |schedule: &Schedule| schedule.last_run() == Some(run) && schedule.waiting(1).next().is_some();
        if self.get(&name).is_some_and(waits) {
            self.arm(&name, now);
        }
    }

    /// When the next alarm rings.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Takes up to `most` alarms that are due at `now`.
    pub(crate) fn ring(&mut self, now: Timestamp, most: usize) -> Vec<ScheduleName> {
        let mut rung = Vec::new();
        while rung.len() < most && self.next_due().is_some_and(|due| due <= now) {
            let (_, name) = self.by_due.pop_first().expect("the next due time was just seen");
            if let Some(entry) = self.by_name.get_mut(&name) {
                entry.alarm = None;
            }
            rung.push(name);
        }
        rung
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }
}
