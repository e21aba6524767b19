//! How work is held back: all of it by a pause, tasks and items by the run's `concurrency`.

use proto::{control::Control, id::Instance};

use super::{
    Command, Order, Turn,
    fact::{Entry, What},
    live::At,
    run::{Run, Stage},
};

impl Run {
    /// Holds back the work of a stage that was just entered, if it may not be sent now.
    pub(super) fn hold(&mut self, instance: Instance, stage: Entry) {
        if self.pause.is_some() {
            self.held.insert(instance);
        } else if stage == Entry::Act && !self.has_room_for_new() {
            self.queued.insert(instance);
        }
    }

    /// Lets work go that was held back. What a pause held may still find no room.
    pub(super) fn release(&mut self, instance: Instance) {
        let was_held = self.held.remove(&instance);
        self.queued.remove(&instance);
        let is_acting = self.live.get(&instance).is_some_and(|live| live.at == At::Acting);
        if was_held && is_acting && !self.has_room_for_new() {
            self.queued.insert(instance);
        }
    }
}

impl Turn<'_> {
    /// Someone asks for a rest. A second time, or of a run that is stopped, it changes nothing.
    pub(super) fn pause(&mut self, reason: Option<String>) {
        if self.run.pause.is_some() || self.run.stop.is_some() {
            return;
        }
        self.record(What::Pausing { reason });
        self.command(Command::Broadcast(Control::Pause { run: self.run.id.clone(), at: self.now.at }));
        self.tell_children(Order::Pause);
    }

    /// The rest is over: what was held back goes out, as far as there is room.
    pub(super) fn resume(&mut self) {
        if self.run.pause.is_none() {
            return;
        }
        let held_own = self.run.held_own;
        self.record(What::Resuming);
        if held_own {
            self.send_own();
        }
        while let Some(&instance) = self.run.held.first() {
            self.let_go(instance);
        }
        self.tell_children(Order::Resume);
        for instance in self.run.fans.clone() {
            self.go_on(instance);
        }
    }

    /// Sends work of the run itself that was held back.
    pub(super) fn send_own(&mut self) {
        match self.run.stage {
            Stage::Preparing => self.dispatch_own(proto::work::Phase::Prepare),
            Stage::Concluding => self.dispatch_own(proto::work::Phase::Output),
            Stage::Scheduled(_) | Stage::InLine | Stage::Running | Stage::Finalizing(_) | Stage::Ended => {}
        }
    }

    /// Sends what waits for room, as far as there is some: tasks first, then items.
    pub(super) fn fill(&mut self) {
        if self.run.concurrency.is_none() || self.run.pause.is_some() {
            return;
        }
        while self.run.has_room()
            && let Some(&instance) = self.run.queued.first()
        {
            self.let_go(instance);
        }
        for instance in self.run.fans.clone() {
            if !self.run.has_room() {
                return;
            }
            self.go_on(instance);
        }
    }

    fn let_go(&mut self, instance: Instance) {
        self.record(What::Released { instance });
        self.dispatch(instance);
    }

    /// Tells every child run that lives.
    pub(super) fn tell_children(&mut self, order: Order) {
        let children: Vec<_> = self.run.children().collect();
        children.into_iter().for_each(|child| self.command(Command::Child(child, order)));
    }
}
