//! How a run begins: at its time, in its turn, prepared by a worker if it must be.

use proto::{codec, id::Digest, outcome::RunPrepared, value::ValueRef, work::Phase};

use super::{
    Command, Timer, Turn,
    fact::{Accepted, Start, What},
    run::Stage,
};
use crate::spec::{DurationField, Field, Workflow};

/// What runs of this workflow with equal values of its `exclusive` parameters have in common.
pub(super) fn exclusive(spec: &Workflow, accepted: &Accepted) -> Option<Digest> {
    if spec.exclusive.is_empty() {
        return None;
    }
    let value = |name| accepted.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value);
    let values: Vec<_> = spec.exclusive.iter().map(|name| (name, value(name))).collect();
    Some(Digest::of(&codec::encode(&(&accepted.workflow, values))))
}

impl Turn<'_> {
    /// A run was accepted.
    pub(super) fn accepted(&mut self) {
        match self.run.stage {
            Stage::Scheduled(at) if at > self.now.at => self.command(Command::Arm(Timer::Start, at)),
            Stage::Scheduled(_) => self.due(),
            Stage::InLine => self.enqueue(),
            Stage::Preparing | Stage::Running | Stage::Concluding | Stage::Finalizing(_) | Stage::Ended => {
                self.enter_run()
            }
        }
    }

    /// The start time may have come.
    pub(super) fn start_due(&mut self) {
        match self.run.stage {
            Stage::Scheduled(at) if at > self.now.at => self.command(Command::Arm(Timer::Start, at)),
            Stage::Scheduled(_) => self.due(),
            Stage::InLine
            | Stage::Preparing
            | Stage::Running
            | Stage::Concluding
            | Stage::Finalizing(_)
            | Stage::Ended => {}
        }
    }

    fn due(&mut self) {
        match self.run.exclusive {
            Some(_) => {
                self.record(What::Due);
                self.enqueue();
            }
            None => {
                self.record(What::Admitted);
                self.enter_run();
            }
        }
    }

    fn enqueue(&mut self) {
        if let Some(exclusive) = self.run.exclusive {
            self.command(Command::Enqueue(exclusive));
        }
    }

    /// It is this run's turn.
    pub(super) fn admitted(&mut self) {
        if self.run.stage == Stage::InLine {
            self.record(What::Admitted);
            self.enter_run();
        }
    }

    /// The run begins, or a worker prepares it.
    fn enter_run(&mut self) {
        if let Some(deadline) = self.run.deadline {
            self.command(Command::Arm(Timer::Deadline, deadline));
        }
        match self.run.prepare {
            true => self.dispatch_own(Phase::Prepare),
            false => self.begin(RunPrepared { concurrency: self.literal_concurrency(), ..RunPrepared::default() }),
        }
    }

    /// Starts the entry tasks.
    pub(super) fn begin(&mut self, prepared: RunPrepared) {
        let RunPrepared { vars, timeout_ms, concurrency } = prepared;
        let vars = self.literal_vars().unwrap_or(vars);
        let deadline = timeout_ms.filter(|_| matches!(self.spec.timeout, Some(DurationField::Evaluated(_))));
        let deadline = deadline.map(|ms| self.run.begun_at.plus(std::time::Duration::from_millis(ms)));
        // A child takes no longer than its parent gives it.
        let deadline = deadline.map(|own| self.run.deadline.map_or(own, |given| own.min(given)));
        // None at a time would be a run that never ends.
        let concurrency = concurrency.map(|bound| bound.max(1));
        let mut next = self.run.instances;
        let starts: Vec<Start> = self.spec.entries.iter().map(|&task| self.draft_start(task, &mut next)).collect();
        self.record(What::Begun { vars, deadline, concurrency, starts: starts.clone() });
        if let Some(deadline) = deadline {
            self.command(Command::Arm(Timer::Deadline, deadline));
        }
        self.began(&starts);
    }

    fn literal_concurrency(&self) -> Option<u32> {
        self.spec.concurrency.as_ref()?.literal()?.parse().ok()
    }

    /// The vars, when none of them needs a worker. Never by digest: nobody would store the bytes.
    fn literal_vars(&self) -> Option<Vec<(proto::id::KeyName, ValueRef)>> {
        let literal = |(name, field): &(proto::id::KeyName, Field)| {
            Some((name.clone(), ValueRef::Inline(field.literal()?.clone())))
        };
        self.spec.vars.iter().map(literal).collect()
    }
}
