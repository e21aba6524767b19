//! How tasks wait for signals. Signals are stored, early or not; each is used once, in order.

use proto::{
    failure::Failure,
    id::{Instance, KeyName},
    value::ValueRef,
    work::Status,
};

use super::{
    Command, Signal, Timer, Turn,
    end::Ending,
    fact::What,
    run::{Run, Stage, shared},
};
use crate::{
    duration,
    spec::{TaskIndex, WaitFor, Workflow},
};

impl Run {
    /// Stores a signal.
    pub(super) fn signal(&mut self, name: &KeyName, id: Option<&String>, payload: &ValueRef) {
        self.signals.entry(name.clone()).or_default().push_back(payload.clone());
        self.signal_ids.extend(id.cloned());
        self.signals_count += 1;
    }

    /// A task waits from here on.
    pub(super) fn wait(&mut self, spec: &Workflow, instance: Instance) {
        if let Some(WaitFor { signal, .. }) = &spec.task(self.live[&instance].task).wait_for {
            self.waiters.entry(signal.clone()).or_default().insert(instance);
        }
    }

    /// A task waits no more.
    pub(super) fn unwait(&mut self, spec: &Workflow, task: TaskIndex, instance: Instance) {
        if let Some(WaitFor { signal, .. }) = &spec.task(task).wait_for
            && let Some(waiters) = self.waiters.get_mut(signal)
        {
            waiters.remove(&instance);
            if waiters.is_empty() {
                self.waiters.remove(signal);
            }
        }
    }

    /// A task takes the oldest signal of its name.
    pub(super) fn receive(&mut self, spec: &Workflow, instance: Instance) {
        let task = self.live[&instance].task;
        let wait_for = spec.task(task).wait_for.as_ref().expect("only tasks that wait receive");
        let stored = self.signals.get_mut(&wait_for.signal).expect("a signal was there when it was taken");
        let payload = stored.pop_front().expect("a signal was there when it was taken");
        if stored.is_empty() {
            self.signals.remove(&wait_for.signal);
        }
        let write = self.write();
        self.live_mut(instance).context.set(&format!("signal.{}", wait_for.signal), write, shared(&payload));
        self.unwait(spec, task, instance);
    }

    /// Whether a signal is of no use any more. The task of `finally` may wait for one in a run that has failed.
    fn is_deaf(&self) -> bool {
        match self.stage {
            Stage::Finalizing(finale) => self.is_closed(finale),
            Stage::Scheduled(_)
            | Stage::InLine
            | Stage::Preparing
            | Stage::Running
            | Stage::Concluding
            | Stage::Ended => self.is_closing(),
        }
    }

    /// The task that would take a stored signal now, if any would.
    fn receiver(&self) -> Option<Instance> {
        self.waiters
            .iter()
            .find(|(name, _)| self.signals.contains_key(*name))
            .and_then(|(_, tasks)| tasks.first().copied())
    }
}

impl Turn<'_> {
    /// A signal came. One that came before changes nothing; nor does one that nothing can wait for any more.
    pub(super) fn signaled(&mut self, signal: Signal) {
        let Signal { name, id, payload } = signal;
        let is_known = id.as_ref().is_some_and(|id| self.run.signal_ids.contains(id));
        if is_known || self.run.is_deaf() || !self.run.takes_signals() {
            return;
        }
        self.record(What::Signaled { name, id, payload });
        self.receive_all();
    }

    /// Hands stored signals to those who wait for them, during a pause too: what comes in time must not expire in it.
    pub(super) fn receive_all(&mut self) {
        while let Some(instance) = self.run.receiver() {
            self.receive(instance);
        }
    }

    fn receive(&mut self, instance: Instance) {
        if self.run.live[&instance].at.due().is_some() {
            self.command(Command::Disarm(Timer::Task(instance)));
        }
        self.record(What::Received { instance });
        let stage = self.stage_after_wait(instance);
        self.enter(instance, stage);
    }

    /// The signal did not come in time.
    pub(super) fn waited(&mut self, instance: Instance) {
        let live = &self.run.live[&instance];
        let task = self.spec.task(live.task);
        let Some(wait_for) = &task.wait_for else { return };
        let limit =
            self.wait_limit(instance).map_or_else(String::new, |limit| format!(" within {}", duration::format(limit)));
        let message = format!("no signal `{}` came{limit}", wait_for.signal);
        self.end_unasked(instance, Ending::bare(Status::TimedOut, Some(Failure::new("timed_out", message))));
    }
}
