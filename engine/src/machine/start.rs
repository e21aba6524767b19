//! How tasks begin, and how those end that need no worker.

use std::time::Duration;

use proto::{id::Instance, outcome::TaskPrepared, time::Timestamp, value::ValueRef, work::Status};

use super::{
    Command, News, Timer, Turn,
    end::Ending,
    fact::{Entry, Start, What},
};
use crate::spec::{DurationField, Pool, Task, TaskIndex, When};

/// Tasks that one step ends by itself at the most; a loop of empty tasks must let others have their turn.
const PASSES_MAX: usize = 256;

/// The action of a task that names none.
const NOOP: &str = "core.noop";

/// Ends tasks that have nothing to run and nothing to evaluate, then sees whether anything is left to do.
pub(super) fn pass(turn: &mut Turn<'_>) {
    for _ in 0..PASSES_MAX {
        if turn.run.pause.is_some() {
            break;
        }
        let Some(&instance) = turn.run.passing.first() else {
            break;
        };
        let ending = Ending { result: Some(ValueRef::null()), ..Ending::bare(Status::Succeeded, None) };
        turn.end_plainly(instance, ending);
    }
    turn.fill();
    match turn.run.has_passing() {
        true => turn.command(Command::Continue),
        false => turn.conclude(),
    }
}

impl Turn<'_> {
    pub(super) fn draft_start(&self, task: TaskIndex, next: &mut u32) -> Start {
        *next += 1;
        Start { instance: Instance(*next), task, stage: first_stage(self.spec.task(task), self.now.at), again: 0 }
    }

    /// A worker has evaluated what the task must know.
    pub(super) fn task_prepared(&mut self, instance: Instance, prepared: TaskPrepared) {
        let wait_ms = prepared.wait_ms;
        self.record(What::Prepared { instance, prepared });
        let task = self.spec.task(self.run.live[&instance].task);
        let stage = match &task.wait_for {
            Some(_) => Entry::Wait(wait_ms.map(|ms| self.now.at.plus(Duration::from_millis(ms)))),
            None => self.stage_after_wait(instance),
        };
        self.enter(instance, stage);
        self.receive_all();
    }

    /// Where a task goes when its signal has come or it waits for none.
    pub(super) fn stage_after_wait(&self, instance: Instance) -> Entry {
        let live = &self.run.live[&instance];
        let task = self.spec.task(live.task);
        let delay = match &live.prepared {
            Some(prepared) => Duration::from_millis(prepared.delay_ms),
            None => known(&task.delay).unwrap_or_default(),
        };
        stage_of_delay(task, delay, self.now.at)
    }

    /// How long a task waits for its signal at the most.
    pub(super) fn wait_limit(&self, instance: Instance) -> Option<Duration> {
        let live = &self.run.live[&instance];
        match &live.prepared {
            Some(prepared) => prepared.wait_ms.map(Duration::from_millis),
            None => known(&self.spec.task(live.task).wait_for.as_ref()?.timeout),
        }
    }

    /// Sends or arms what new tasks wait for.
    pub(super) fn began(&mut self, starts: &[Start]) {
        for start in starts {
            self.announce(News::TaskStarted(self.spec.task(start.task).name.clone()));
            self.entered(start.instance, start.stage);
        }
        // Not before each has its timer, which a signal takes away.
        self.receive_all();
    }

    /// Goes on to `stage`.
    pub(super) fn enter(&mut self, instance: Instance, stage: Entry) {
        self.record(What::Entered { instance, stage });
        self.entered(instance, stage);
    }

    fn entered(&mut self, instance: Instance, stage: Entry) {
        match stage {
            Entry::Prepare | Entry::List | Entry::Act => self.dispatch(instance),
            Entry::Delay(until) | Entry::Wait(Some(until)) => self.command(Command::Arm(Timer::Task(instance), until)),
            Entry::Wait(None) | Entry::Pass => {}
        }
    }
}

/// Where a task begins that starts at `now`.
pub(super) fn first_stage(task: &Task, now: Timestamp) -> Entry {
    let is_evaluated = |field: &Option<DurationField>| matches!(field, Some(DurationField::Evaluated(_)));
    let waits_evaluated = task.wait_for.as_ref().is_some_and(|wait| is_evaluated(&wait.timeout));
    if is_evaluated(&task.delay) || waits_evaluated || matches!(task.pool, Pool::Evaluated(_)) {
        return Entry::Prepare;
    }
    match &task.wait_for {
        Some(wait) => Entry::Wait(known(&wait.timeout).map(|limit| now.plus(limit))),
        None => stage_of_delay(task, known(&task.delay).unwrap_or_default(), now),
    }
}

fn stage_of_delay(task: &Task, delay: Duration, now: Timestamp) -> Entry {
    match delay {
        Duration::ZERO => stage_after_delay(task),
        _ => Entry::Delay(now.plus(delay)),
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
    task.action() == Some(NOOP) && task.input.literal().is_some() && task.retry.is_none() && is_plain(task)
}

fn known(field: &Option<DurationField>) -> Option<Duration> {
    match field {
        Some(DurationField::Known(duration)) => Some(*duration),
        Some(DurationField::Evaluated(_)) | None => None,
    }
}

/// Whether a task's transitions depend on nothing but its status.
pub(super) fn is_plain(task: &Task) -> bool {
    let is_counted = task.retry.as_ref().is_none_or(|retry| retry.count.literal().is_some());
    (is_counted || !task.says_retry())
        && task.next.iter().all(|next| matches!(next.when, When::Outcome(_)) && next.publish.is_empty())
}
