//! Which scripted outcome the next attempt gets.

use std::collections::{BTreeMap, VecDeque};

use proto::id::{Instance, ItemIndex, TaskName};

use super::{
    Unused,
    script::{Cue, Script, Scripted},
};

/// The outcomes that a script has left.
#[derive(Debug)]
pub(super) struct Cues {
    left: BTreeMap<TaskName, VecDeque<Scripted>>,
    /// Of each start of a task with items, how these end.
    items: BTreeMap<Instance, Vec<Cue>>,
}

impl Cues {
    pub(super) fn new(script: &Script) -> Self {
        let left = script.outcomes.iter().map(|(task, list)| (task.clone(), list.iter().cloned().collect()));
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
    pub(super) fn list(&mut self, task: &TaskName, instance: Instance) {
        let cues = match self.next(task) {
            Some(Scripted::Items(cues)) => cues,
            Some(Scripted::Attempt(_)) | None => Vec::new(),
        };
        self.items.insert(instance, cues);
    }

    /// How an item ends.
    pub(super) fn item(&self, instance: Instance, index: ItemIndex) -> Cue {
        let cues = self.items.get(&instance);
        cues.and_then(|cues| cues.get(index.0 as usize)).cloned().unwrap_or_default()
    }

    /// What nobody asked for.
    pub(super) fn unused(&self) -> impl Iterator<Item = Unused> + '_ {
        let left = self.left.iter().filter(|(_, list)| !list.is_empty());
        left.map(|(task, list)| Unused::Outcomes { task: task.clone(), count: list.len() })
    }

    fn next(&mut self, task: &TaskName) -> Option<Scripted> {
        self.left.get_mut(task)?.pop_front()
    }
}
