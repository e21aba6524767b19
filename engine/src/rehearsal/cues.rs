//! Which scripted outcome the next attempt gets.

use std::collections::{BTreeMap, VecDeque};

use proto::id::{Instance, ItemIndex, RunId, TaskName};

use super::script::{Cue, Part, Scripted};

/// The outcomes that a script has left.
#[derive(Debug)]
pub(super) struct Cues {
    left: BTreeMap<TaskName, VecDeque<Scripted>>,
    /// Of each start of a task with items, how these end.
    items: BTreeMap<(RunId, Instance), Vec<Cue>>,
}

impl Cues {
    pub(super) fn new(part: &Part) -> Self {
        let left = part.outcomes.iter().map(|(task, list)| (task.clone(), list.iter().cloned().collect()));
        Self { left: left.collect(), items: BTreeMap::new() }
    }

    /// How the attempt ends that is made now.
    pub(super) fn attempt(&mut self, task: &TaskName) -> Cue {
        match self.next(task) {
            Some(Scripted::Attempt(cue)) => cue,
            // Refused when the script was read.
            Some(Scripted::Items(_)) | None => Cue::default(),
        }
    }

    /// The items of a task are listed now: whatever comes of that, this start has its entry.
    pub(super) fn list(&mut self, task: &TaskName, run: &RunId, instance: Instance) {
        let cues = match self.next(task) {
            Some(Scripted::Items(cues)) => cues,
            Some(Scripted::Attempt(_)) | None => Vec::new(),
        };
        self.items.insert((run.clone(), instance), cues);
    }

    /// How an item ends. Where only some items are run again, no list is made, and the entry is taken by the first.
    pub(super) fn item(&mut self, task: &TaskName, run: &RunId, instance: Instance, index: ItemIndex) -> Cue {
        if !self.items.contains_key(&(run.clone(), instance)) {
            self.list(task, run, instance);
        }
        let cues = self.items.get(&(run.clone(), instance));
        cues.and_then(|cues| cues.get(index.0 as usize)).cloned().unwrap_or_default()
    }

    /// Outcomes that nobody asked for, by task.
    pub(super) fn unused(&self) -> impl Iterator<Item = (TaskName, usize)> + '_ {
        let left = self.left.iter().filter(|(_, list)| !list.is_empty());
        left.map(|(task, list)| (task.clone(), list.len()))
    }

    fn next(&mut self, task: &TaskName) -> Option<Scripted> {
        self.left.get_mut(task)?.pop_front()
    }
}
