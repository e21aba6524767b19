//! How tasks begin, and how those end that need no worker.

use proto::{
    id::{Instance, KeyName},
    value::ValueRef,
    work::Status,
};

use super::{
    Command, News, Timer, Turn,
    end::Ending,
    fact::{Entry, Start, What},
};
use crate::spec::{DurationField, Field, Task, TaskIndex, When};

/// Tasks that one step ends by itself at the most; a loop of empty tasks must let others have their turn.
const PASSES_MAX: usize = 256;

/// The action of a task that names none.
const NOOP: &str = "core.noop";

/// Ends tasks that have nothing to run and nothing to evaluate, then sees whether anything is left to do.
pub(super) fn pass(turn: &mut Turn<'_>) {
    for _ in 0..PASSES_MAX {
        let Some(&instance) = turn.run.passing.first() else {
            break;
        };
        let ending = Ending { result: Some(ValueRef::null()), ..Ending::bare(Status::Succeeded, None) };
        turn.end_plainly(instance, ending);
    }
    match turn.run.has_passing() {
        true => turn.command(Command::Continue),
        false => turn.conclude(),
    }
}

impl Turn<'_> {
    /// Starts the entry tasks.
    pub(super) fn begin(&mut self, vars: Vec<(KeyName, ValueRef)>) {
        let vars = self.literal_vars().unwrap_or(vars);
        let mut next = self.run.instances;
        let starts: Vec<Start> = self.spec.entries.iter().map(|&task| self.draft_start(task, &mut next)).collect();
        self.record(What::Begun { vars, starts: starts.clone() });
        self.announce(News::Run);
        self.began(&starts);
    }

    /// The vars, when none of them needs a worker. Never by digest: nobody would store the bytes.
    fn literal_vars(&self) -> Option<Vec<(KeyName, ValueRef)>> {
        let literal =
            |(name, field): &(KeyName, Field)| Some((name.clone(), ValueRef::Inline(field.literal()?.clone())));
        self.spec.vars.iter().map(literal).collect()
    }

    pub(super) fn draft_start(&self, task: TaskIndex, next: &mut u32) -> Start {
        *next += 1;
        Start { instance: Instance(*next), task, stage: self.first_stage(self.spec.task(task)) }
    }

    fn first_stage(&self, task: &Task) -> Entry {
        match &task.delay {
            Some(DurationField::Evaluated(_)) => Entry::Prepare,
            Some(DurationField::Known(delay)) if !delay.is_zero() => Entry::Delay(self.now.at.plus(*delay)),
            Some(DurationField::Known(_)) | None => stage_after_delay(task),
        }
    }

    /// Sends or arms what new tasks wait for.
    pub(super) fn began(&mut self, starts: &[Start]) {
        for start in starts {
            self.announce(News::TaskStarted(self.spec.task(start.task).name.clone()));
            self.entered(start.instance, start.stage);
        }
    }

    /// Goes on to `stage`.
    pub(super) fn enter(&mut self, instance: Instance, stage: Entry) {
        self.record(What::Entered { instance, stage });
        self.entered(instance, stage);
    }

    fn entered(&mut self, instance: Instance, stage: Entry) {
        match stage {
            Entry::Prepare | Entry::List | Entry::Act => self.dispatch(instance),
            Entry::Delay(until) => self.command(Command::Arm(Timer::Task(instance), until)),
            Entry::Pass => {}
        }
    }
}

/// Where a task goes when its delay is over or it has none.
pub(super) fn stage_after_delay(task: &Task) -> Entry {
    match &task.items {
        Some(_) => Entry::List,
        None if is_empty(task) => Entry::Pass,
        None => Entry::Act,
    }
}

/// Whether a task has nothing to run and nothing to evaluate.
fn is_empty(task: &Task) -> bool {
    task.action == NOOP && task.input.literal().is_some() && task.retry.is_none() && is_plain(task)
}

/// Whether a task's transitions depend on nothing but its status.
pub(super) fn is_plain(task: &Task) -> bool {
    task.next.iter().all(|next| matches!(next.when, When::Outcome(_)) && next.publish.is_empty())
}
