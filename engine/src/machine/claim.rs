//! How work is begun once at the most: a worker claims it, and the first claim is the only one.

use proto::{
    control::Control,
    failure::Failure,
    id::Instance,
    outcome::Claim,
    work::{Status, WorkKey},
};

use super::{Command, Turn, decide::send_again, end::Ending, fact::What, live::At, run::Run};

impl Run {
    /// A worker may begin.
    pub(super) fn claim(&mut self, instance: Instance, serial: u32, nonce: &str) {
        let live = self.live_mut(instance);
        match &mut live.at {
            At::Items(fan) => fan.claim(serial, nonce),
            At::Acting
            | At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Called(_)
            | At::BackingOff(_)
            | At::Settling(_)
            | At::Passing => live.claim = Some(nonce.to_owned()),
        }
    }
}

impl Turn<'_> {
    /// A worker asks whether it may begin. The first one that does may; who asks again with the same nonce is told so
    /// again. Work that comes to a second worker because the first one lost it may have been done: it has crashed.
    pub(super) fn claimed(&mut self, claim: Claim) {
        let Claim { key, nonce, redelivered, .. } = claim;
        let Some((instance, live)) = self.run.wanted(self.spec, &key) else {
            return self.answer_claim(key, String::new());
        };
        let holder = match live.items() {
            Some(fan) => fan.flight(key.serial).and_then(|flight| flight.claim.clone()),
            None => live.claim.clone(),
        };
        match holder {
            Some(holder) if redelivered && holder != nonce => {
                self.answer_claim(key.clone(), String::new());
                self.lost(instance, &key);
            }
            Some(holder) => self.answer_claim(key, holder),
            None if self.run.is_closed(instance) => {
                self.answer_claim(key.clone(), String::new());
                send_again(self, instance, &key, false);
            }
            None => {
                self.record(What::Claimed { instance, serial: key.serial, nonce: nonce.clone() });
                self.answer_claim(key, nonce);
            }
        }
    }

    fn answer_claim(&mut self, key: WorkKey, nonce: String) {
        self.command(Command::Broadcast(Control::Claimed { key, nonce }));
    }

    /// Whoever had begun is gone, and nobody knows how far it came.
    fn lost(&mut self, instance: Instance, key: &WorkKey) {
        let failure = Failure::new("lost", "its worker was lost after it had begun, and `on_lost` is `fail`");
        match self.run.live[&instance].items() {
            Some(_) => self.items_failed(instance, key.serial, failure),
            None => self.end_unasked(instance, Ending::bare(Status::Crashed, Some(failure))),
        }
    }
}
