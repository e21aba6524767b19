//! One run on the stage: the machine's state of it, and what is kept beside that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proto::{
    id::{Instance, WorkflowName},
    items::ItemSet,
    json::Json,
    value::Stored,
    work::{Phase, Range, Work, WorkKey},
};

use super::{
    record::Record,
    script::{Event, Moment, Part},
    values,
};
use crate::{
    machine::{Command, Run, Step, fact::Fact},
    program::Program,
    spec::{Call, TaskIndex},
};

/// Which part of the script a run plays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It is the one that is rehearsed.
    Main,
    /// It is a child, and runs this workflow.
    Child(WorkflowName),
}

/// A run.
pub(super) struct Player<'s> {
    pub program: &'s Arc<Program>,
    pub definition: Stored,
    pub role: Role,
    pub part: &'s Part,
    pub run: Run,
    pub facts: Vec<Fact>,
    pub record: Record,
    /// Positions of the events that have not come.
    events: BTreeSet<usize>,
    /// What was told of it: starts of tasks up to this one are given back.
    through: Instance,
    /// So is what was sent until then.
    rests: u64,
    /// Items of each start of a task that has some.
    lists: BTreeMap<Instance, Vec<Json>>,
}

impl<'s> Player<'s> {
    pub(super) fn new(program: &'s Arc<Program>, definition: Stored, role: Role, part: &'s Part, run: Run) -> Self {
        Self {
            program,
            definition,
            role,
            part,
            run,
            facts: Vec::new(),
            record: Record::default(),
            events: (0..part.events.len()).collect(),
            through: Instance(0),
            rests: 0,
            lists: BTreeMap::new(),
        }
    }

    /// Writes down what a step came to, and gives the moments that come by it.
    pub(super) fn note(&mut self, step: &Step) -> Vec<Moment> {
        let sent: BTreeSet<Instance> = step.commands.iter().filter_map(sent).collect();
        let workflow = self.program.workflow();
        self.facts.extend(step.facts.iter().cloned());
        step.facts.iter().flat_map(|fact| self.record.note(workflow, fact, &sent)).collect()
    }

    /// Writes down how a run begins that is run again: what it was before is known, what is new is what left.
    pub(super) fn take_up(&mut self, step: &Step) {
        let sent: BTreeSet<Instance> = step.commands.iter().filter_map(sent).collect();
        self.facts.extend(step.facts.iter().cloned());
        self.record.take_up(self.program.workflow(), step, &sent);
    }

    /// Takes the events that come at `moment`, with their positions in the script.
    pub(super) fn take_events(&mut self, moment: &Moment) -> Vec<(usize, &'s Event)> {
        let part = self.part;
        let is_due = |at: &usize| part.events[*at].at == *moment;
        let due: Vec<usize> = self.events.iter().copied().filter(is_due).collect();
        self.events.retain(|at| !due.contains(at));
        due.into_iter().map(|at| (at, &part.events[at])).collect()
    }

    /// What of it is not begun through this start is pointless.
    pub(super) fn revoke(&mut self, through: Instance) {
        self.through = self.through.max(through);
    }

    /// What of it was sent until now is to rest.
    pub(super) fn rest(&mut self, sent: u64) {
        self.rests = sent;
    }

    /// Whether work that was sent as number `sent` is given back. What the run itself asks for is not.
    pub(super) fn is_called_back(&self, work: &Work, sent: u64) -> bool {
        work.key.task.as_ref().is_some_and(|(_, instance)| *instance <= self.through || sent <= self.rests)
    }

    /// The workflow whose run the task of `key` waits for, unless the script says how that task ends.
    pub(super) fn child_of(&self, key: &WorkKey) -> Option<&'s WorkflowName> {
        let program: &'s Arc<Program> = self.program;
        let (name, _) = key.task.as_ref().filter(|_| key.phase == Phase::Act)?;
        let task: TaskIndex = program.workflow().find(name)?;
        match &program.workflow().task(task).call {
            Call::Workflow(child) if !self.part.outcomes.contains_key(name) => Some(child),
            Call::Workflow(_) | Call::Action(_) => None,
        }
    }

    /// The items of a range of `key`, with their values.
    pub(super) fn range(&mut self, key: &WorkKey) -> Option<Range> {
        let brief = self.run.brief(self.program.workflow(), key)?;
        let (items, parts) = brief.range?;
        let (_, instance) = key.task.as_ref()?;
        let list = self.lists.entry(*instance).or_insert_with(|| values::items(parts));
        let values: Vec<&Json> = items.iter().map(|index| &list[index.0 as usize]).collect();
        let items: ItemSet = items.clone();
        Some(Range { items, values: Json::of(&values).expect("a list of JSON is JSON") })
    }
}

/// The start of a task whose items are listed or whose action is run by this.
fn sent(command: &Command) -> Option<Instance> {
    match command {
        Command::Dispatch(WorkKey { task: Some((_, instance)), phase: Phase::Items | Phase::Act, .. }) => {
            Some(*instance)
        }
        Command::Dispatch(_)
        | Command::Arm(..)
        | Command::Disarm(_)
        | Command::Broadcast(_)
        | Command::Announce(_)
        | Command::Spawn(_)
        | Command::Child(..)
        | Command::Parent(_)
        | Command::Enqueue(_)
        | Command::Continue => None,
    }
}
