//! How a run ends: it fails, is cancelled or runs out of things to do; then its output is made.

use std::{collections::BTreeMap, time::Duration};

use proto::{
    control::Control,
    failure::Failure,
    id::Instance,
    outcome::Settlement,
    value::ValueRef,
    work::{Phase, RunStatus, Status},
};

use super::{
    ChildEnd, Command, News, Order, Timer, Turn,
    end::{Ending, not_begun},
    evolve::json_of,
    fact::What,
    live::{At, AtClose, Live},
    run::{Stage, Verdict},
    start::pass,
};
use crate::{duration, spec::TaskIndex};

/// How often workers are told of a cancel until everything was reported.
const CANCEL_AGAIN: Duration = Duration::from_secs(5);

impl Turn<'_> {
    /// The run begins to fail, unless it does already.
    pub(super) fn fail(&mut self, failure: Failure) {
        if self.run.is_closing() {
            return;
        }
        self.close(|dropped| What::Failing { failure, dropped, stops: false });
        if !self.run.live.is_empty() {
            let through = Instance(self.run.instances);
            self.command(Command::Broadcast(Control::Skip { run: self.run.id.clone(), through }));
        }
    }

    /// Someone asks for the end. A second time changes nothing, but for the task of `finally`.
    pub(super) fn cancel(&mut self, reason: Option<String>) {
        let is_finale_to_stop = match self.run.stage {
            Stage::Finalizing(finale) => !self.run.is_closed(finale),
            Stage::Scheduled(_)
            | Stage::InLine
            | Stage::Preparing
            | Stage::Running
            | Stage::Concluding
            | Stage::Ended => false,
        };
        if self.run.cancel.is_some() && !is_finale_to_stop {
            return;
        }
        let held_own = self.run.held_own;
        self.close(|dropped| What::Canceling { reason, dropped });
        self.tell_cancel();
        if held_own {
            self.send_own();
        }
    }

    /// The run's time is over: it fails, and what has begun is stopped.
    pub(super) fn deadline_due(&mut self) {
        let Some(deadline) = self.run.deadline else { return };
        if deadline > self.now.at {
            return self.command(Command::Arm(Timer::Deadline, deadline));
        }
        let limit = duration::format(deadline.since(self.run.begun_at));
        let failure = Failure::new("timed_out", format!("the run took longer than its timeout of {limit}"));
        // A run that fails already, or rests as it does, may take no longer either. What it failed by stays.
        let failure = self.run.failure.clone().unwrap_or(failure);
        let is_stopped = self.run.stop.is_some();
        match self.run.stage {
            Stage::Preparing | Stage::Running if !is_stopped => self.stop_by(failure),
            Stage::Concluding if !is_stopped => {
                self.stop_by(failure);
                self.finish(ValueRef::null(), None);
            }
            Stage::Concluding => self.finish(ValueRef::null(), None),
            Stage::Scheduled(_)
            | Stage::InLine
            | Stage::Preparing
            | Stage::Running
            | Stage::Finalizing(_)
            | Stage::Ended => {}
        }
    }

    fn stop_by(&mut self, failure: Failure) {
        self.close(|dropped| What::Failing { failure, dropped, stops: true });
        self.tell_cancel();
    }

    /// Workers are told until everything was reported: one that joined later has not heard it.
    pub(super) fn tell_cancel(&mut self) {
        let Some(through) = self.run.stop else { return };
        if self.run.live.first_key_value().is_none_or(|(first, _)| *first > through) {
            return;
        }
        self.command(Command::Broadcast(Control::Cancel { run: self.run.id.clone(), through }));
        self.command(Command::Arm(Timer::Cancel, self.now.at.plus(CANCEL_AGAIN)));
    }

    /// Nothing new starts from here on. What has not begun is dropped; what waits between attempts or for its
    /// transitions ends as it is; what may have begun on a worker is waited for.
    fn close(&mut self, why: impl FnOnce(Vec<Instance>) -> What) {
        let timers = self.run.live.iter().filter(|(_, live)| live.at.due().is_some());
        let timers: Vec<Command> = timers.map(|(&instance, _)| Command::Disarm(Timer::Task(instance))).collect();
        self.step.commands.extend(timers);
        if let Stage::Scheduled(_) = self.run.stage {
            self.command(Command::Disarm(Timer::Start));
        }
        let dropped = self.at_close(AtClose::Drop);
        let names: Vec<_> = dropped.iter().map(|instance| self.spec.task(self.run.live[instance].task)).collect();
        for task in names {
            self.announce(News::TaskEnded(task.name.clone(), Status::Canceled, Some(not_begun())));
        }
        let ending = self.at_close(AtClose::End);
        self.tell_children(Order::Cancel);
        self.record(why(dropped));
        for instance in ending {
            self.end_as_is(instance);
        }
    }

    fn at_close(&self, what: AtClose) -> Vec<Instance> {
        let is_so = |instance: Instance, live: &Live| match live.at.at_close() {
            // What was not sent has not begun.
            AtClose::Await if self.run.is_held(instance) => what == AtClose::Drop,
            at_close => what == at_close,
        };
        let chosen = self.run.live.iter().filter(|(instance, live)| is_so(**instance, live));
        chosen.map(|(instance, _)| *instance).collect()
    }

    fn end_as_is(&mut self, instance: Instance) {
        let ending = match &self.run.live[&instance].at {
            At::BackingOff(last) => Ending::bare(last.status, last.failure.clone()).cut_short(),
            At::Settling(settling) => settling.ending(),
            At::Items(_) => return self.items_over(instance),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::Called(_)
            | At::Passing => return,
        };
        self.end(instance, ending, Settlement::default());
    }

    /// Ends the run when nothing is left to do.
    pub(super) fn conclude(&mut self) {
        if !self.run.live.is_empty() || self.run.pause.is_some() {
            return;
        }
        match self.run.stage {
            Stage::Running => {}
            Stage::Finalizing(_) => return self.close_file(),
            Stage::Scheduled(_) | Stage::InLine | Stage::Preparing | Stage::Concluding | Stage::Ended => return,
        }
        if !self.run.is_closing()
            && let Some(failure) = self.unsatisfied_join()
        {
            self.fail(failure);
        }
        if self.run.stop.is_some() {
            self.command(Command::Disarm(Timer::Cancel));
        }
        let is_literal = self.spec.output.iter().all(|(_, field)| field.literal().is_some());
        if is_literal {
            let output = self.literal_output();
            self.finish(output, None);
        } else {
            self.record(What::Concluding);
            self.dispatch_own(Phase::Output);
        }
    }

    fn literal_output(&self) -> ValueRef {
        if self.spec.output.is_empty() {
            return ValueRef::null();
        }
        let fields: BTreeMap<_, _> =
            self.spec.output.iter().filter_map(|(name, field)| Some((name, field.literal()?))).collect();
        // Never by digest: nobody would store the bytes.
        ValueRef::Inline(json_of(&fields))
    }

    /// Records the end. `unable` is why the output of a run that would have succeeded could not be evaluated.
    ///
    /// A cancelled run says what it failed by, if it did before the cancel came; else why it was cancelled.
    pub(super) fn finish(&mut self, output: ValueRef, unable: Option<Failure>) {
        let failed = self.run.failure.clone();
        let (status, failure) = match (&self.run.cancel, failed.or(unable.filter(|_| self.run.cancel.is_none()))) {
            (Some(cancel), failure) => {
                let reason = || cancel.reason.clone().unwrap_or_else(|| "the run was cancelled".into());
                (RunStatus::Canceled, Some(failure.unwrap_or_else(|| Failure::new("canceled", reason()))))
            }
            (None, Some(failure)) => (RunStatus::Failed, Some(failure)),
            (None, None) => (RunStatus::Succeeded, None),
        };
        if self.run.deadline.is_some() {
            self.command(Command::Disarm(Timer::Deadline));
        }
        match self.spec.finally {
            Some(task) => self.finalize(task, Verdict { status, output, failure }),
            None => self.end_run(Verdict { status, output, failure }),
        }
    }

    /// Starts the task of `finally`, which sees how the run ends.
    fn finalize(&mut self, task: TaskIndex, verdict: Verdict) {
        let Verdict { status, output, failure } = verdict;
        let start = self.draft_start(task, &mut { self.run.instances });
        self.record(What::Finalizing { status, output, failure, start: Box::new(start.clone()) });
        self.began(&[start]);
        pass(self);
    }

    /// The task of `finally` has ended: whatever it came to, the run ends as it was to end.
    fn close_file(&mut self) {
        if self.run.stop.is_some() {
            self.command(Command::Disarm(Timer::Cancel));
        }
        if let Some(verdict) = self.run.verdict.clone() {
            self.end_run(verdict);
        }
    }

    fn end_run(&mut self, verdict: Verdict) {
        let Verdict { status, output, failure } = verdict;
        self.record(What::Finished { status, output: output.clone(), failure: failure.clone() });
        if let Some(parent) = self.run.parent.clone() {
            let run = self.run.id.clone();
            self.command(Command::Parent(Box::new(ChildEnd { parent, run, status, output, failure })));
        }
    }

    fn unsatisfied_join(&self) -> Option<Failure> {
        let open = self.spec.indexed().find_map(|(index, task)| {
            let passes = &self.run.state(index).passes;
            passes.values().find(|pass| !pass.is_started).map(|pass| (task, pass))
        });
        let (task, pass) = open?;
        let missing: Vec<&str> = task
            .inbound
            .iter()
            .filter(|inbound| !pass.arrived.contains(inbound))
            .map(|&inbound| self.spec.task(inbound).name.as_str())
            .collect();
        let message = format!("the join was reached, but never by {}", missing.join(", "));
        Some(Failure::new("join_unsatisfied", message).at(&task.name))
    }
}
