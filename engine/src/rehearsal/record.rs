//! What is written down while a run is rehearsed: who left when, and with which input.

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    id::{Instance, ItemIndex, TaskName},
    json::Json,
};

use super::script::Moment;
use crate::{
    machine::{
        Command, News, Step,
        fact::{Entry, Fact, Start, What},
    },
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
    /// Writes down what `fact` tells of who leaves, and gives the moments that come by it. `sent` are the starts of tasks
    /// that were sent by the same step: what is held back leaves later.
    pub(super) fn note(&mut self, workflow: &Workflow, fact: &Fact, sent: &BTreeSet<Instance>) -> Vec<Moment> {
        let mut moments = Vec::new();
        if let What::Ended(ended) = &fact.what {
            moments.push(Moment::After(self.names[&ended.instance].clone()));
        }
        for start in starts(fact) {
            self.names.insert(start.instance, workflow.task(start.task).name.clone());
            self.enters(start.instance, start.stage, sent, &mut moments);
        }
        match &fact.what {
            What::Entered { instance, stage } => self.enters(*instance, *stage, sent, &mut moments),
            What::Released { instance } => self.enters(*instance, Entry::Act, sent, &mut moments),
            What::Called { instance, .. } => moments.push(Moment::During(self.names[instance].clone())),
            What::Accepted(_)
            | What::Due
            | What::Admitted
            | What::Begun { .. }
            | What::Prepared { .. }
            | What::Signaled { .. }
            | What::Received { .. }
            | What::Claimed { .. }
            | What::ItemEnded(_)
            | What::Reopened { .. }
            | What::Ended(_)
            | What::Pausing { .. }
            | What::Resuming
            | What::Listed { .. }
            | What::Ranged { .. }
            | What::Reported { .. }
            | What::Woken { .. }
            | What::Retrying { .. }
            | What::Returned { .. }
            | What::Settling(_)
            | What::Failing { .. }
            | What::Canceling { .. }
            | What::Concluding
            | What::Finalizing { .. }
            | What::Finished { .. } => {}
        }
        moments
    }

    /// Writes down how a run begins that is run again. Its facts are copies, and nothing in them leaves anew; what it
    /// starts by `step` was announced.
    pub(super) fn take_up(&mut self, workflow: &Workflow, step: &Step, sent: &BTreeSet<Instance>) {
        let known: Vec<&Start> = step.facts.iter().flat_map(starts).collect();
        for start in &known {
            self.names.insert(start.instance, workflow.task(start.task).name.clone());
        }
        for command in &step.commands {
            let Command::Announce(News::TaskStarted(name)) = command else { continue };
            let is_it = |start: &&&Start| workflow.task(start.task).name == *name;
            let gone = known.iter().filter(is_it).rev().find(|start| {
                (start.stage == Entry::Pass || sent.contains(&start.instance)) && !self.left.contains(&start.instance)
            });
            if let Some(start) = gone {
                self.left.insert(start.instance);
                self.order.push(name.clone());
            }
        }
    }

    /// Only the first time counts. What the machine ends by itself no worker sees: its moments come here.
    fn enters(&mut self, instance: Instance, stage: Entry, sent: &BTreeSet<Instance>, moments: &mut Vec<Moment>) {
        let name = &self.names[&instance];
        match stage {
            Entry::Prepare | Entry::Wait(_) | Entry::Delay(_) => return,
            Entry::List | Entry::Act if !sent.contains(&instance) => return,
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

/// What tasks `fact` starts, in their order.
fn starts(fact: &Fact) -> Vec<&Start> {
    let mut starts: Vec<&Start> = match &fact.what {
        What::Begun { starts, .. } => starts.iter().collect(),
        What::Ended(ended) => {
            let joins = ended.arrivals.iter().filter_map(|arrival| arrival.starts.as_ref());
            ended.starts.iter().chain(joins).collect()
        }
        What::Finalizing { start, .. } => vec![start.as_ref()],
        What::Accepted(_)
        | What::Due
        | What::Admitted
        | What::Prepared { .. }
        | What::Entered { .. }
        | What::Released { .. }
        | What::Claimed { .. }
        | What::Signaled { .. }
        | What::Received { .. }
        | What::Called { .. }
        | What::ItemEnded(_)
        | What::Reopened { .. }
        | What::Pausing { .. }
        | What::Resuming
        | What::Listed { .. }
        | What::Ranged { .. }
        | What::Reported { .. }
        | What::Woken { .. }
        | What::Retrying { .. }
        | What::Returned { .. }
        | What::Settling(_)
        | What::Failing { .. }
        | What::Canceling { .. }
        | What::Concluding
        | What::Finished { .. } => Vec::new(),
    };
    starts.sort_by_key(|start| start.instance);
    starts
}
