//! What is written down while a run is rehearsed: who left when, and with which input.

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    id::{Instance, ItemIndex, TaskName},
    json::Json,
};

use super::script::Moment;
use crate::{
    machine::fact::{Entry, Fact, Start, What},
    spec::Workflow,
};

/// The order of the tasks, and their inputs.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Every start of a task.
    names: BTreeMap<Instance, TaskName>,
    order: Vec<TaskName>,
    left: BTreeSet<Instance>,
    inputs: BTreeMap<TaskName, Input>,
}

/// The latest input of a task. `None` could not be rendered.
#[derive(Debug)]
enum Input {
    Attempt(Option<Json>),
    Items(Instance, BTreeMap<ItemIndex, Option<Json>>),
}

impl Record {
    /// Writes down what `fact` tells of who leaves, and gives the moments that come by it.
    pub(super) fn note(&mut self, workflow: &Workflow, fact: &Fact) -> Vec<Moment> {
        let mut moments = Vec::new();
        match &fact.what {
            What::Begun { starts, .. } => starts.iter().for_each(|start| self.starts(workflow, start, &mut moments)),
            What::Entered { instance, stage } => self.enters(*instance, *stage, &mut moments),
            What::Ended(ended) => {
                moments.push(Moment::After(self.names[&ended.instance].clone()));
                let joins = ended.arrivals.iter().filter_map(|arrival| arrival.starts.as_ref());
                let mut starts: Vec<&Start> = ended.starts.iter().chain(joins).collect();
                starts.sort_by_key(|start| start.instance);
                starts.into_iter().for_each(|start| self.starts(workflow, start, &mut moments));
            }
            What::Finalizing { start, .. } => self.starts(workflow, start, &mut moments),
            What::Accepted(_)
            | What::Due
            | What::Admitted
            | What::Prepared { .. }
            | What::Released { .. }
            | What::Signaled { .. }
            | What::Received { .. }
            | What::Claimed { .. }
            | What::Called { .. }
            | What::ItemEnded { .. }
            | What::Reopened { .. }
            | What::Pausing { .. }
            | What::Resuming
            | What::Listed { .. }
            | What::Ranged { .. }
            | What::Reported { .. }
            | What::Woken { .. }
            | What::Retrying { .. }
            | What::Returned { .. }
            | What::Settling { .. }
            | What::Failing { .. }
            | What::Canceling { .. }
            | What::Concluding
            | What::Finished { .. } => {}
        }
        moments
    }

    fn starts(&mut self, workflow: &Workflow, start: &Start, moments: &mut Vec<Moment>) {
        self.names.insert(start.instance, workflow.task(start.task).name.clone());
        self.enters(start.instance, start.stage, moments);
    }

    /// Only the first time counts. What the machine ends by itself no worker sees: its moments come here.
    fn enters(&mut self, instance: Instance, stage: Entry, moments: &mut Vec<Moment>) {
        let name = &self.names[&instance];
        match stage {
            Entry::Prepare | Entry::Wait(_) | Entry::Delay(_) => return,
            Entry::List | Entry::Act => {}
            Entry::Pass => moments.extend([Moment::Before(name.clone()), Moment::During(name.clone())]),
        }
        if self.left.insert(instance) {
            self.order.push(name.clone());
        }
    }

    /// An attempt was made with this input.
    pub(super) fn attempt(&mut self, task: &TaskName, input: Option<Json>) {
        self.inputs.insert(task.clone(), Input::Attempt(input));
    }

    /// An item was tried with this input.
    pub(super) fn item(&mut self, task: &TaskName, instance: Instance, index: ItemIndex, input: Option<Json>) {
        let latest = self.inputs.entry(task.clone()).or_insert_with(|| Input::Items(instance, BTreeMap::new()));
        match latest {
            Input::Items(of, items) if *of == instance => drop(items.insert(index, input)),
            Input::Items(..) | Input::Attempt(_) => *latest = Input::Items(instance, BTreeMap::from([(index, input)])),
        }
    }

    pub(super) fn order(&self) -> &[TaskName] {
        &self.order
    }

    /// The inputs as they are compared. Items that were not tried have none.
    pub(super) fn inputs(&self) -> BTreeMap<TaskName, Json> {
        let shown = |input: &Option<Json>| input.clone().unwrap_or_else(Json::null);
        let whole = |input: &Input| match input {
            Input::Attempt(input) => shown(input),
            Input::Items(_, items) => {
                let tried = items.keys().next_back().map_or(0, |last| last.0 + 1);
                let list = (0..tried).map(|index| items.get(&ItemIndex(index)).map_or_else(Json::null, shown));
                Json::of(&list.collect::<Vec<_>>()).expect("a list of JSON is JSON")
            }
        };
        self.inputs.iter().map(|(task, input)| (task.clone(), whole(input))).collect()
    }
}
