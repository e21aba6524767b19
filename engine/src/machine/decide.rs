//! What follows from a worker's report, a timer, a lost message.

use std::time::Duration;

use proto::{
    failure::Failure,
    id::Instance,
    outcome::{Acted, Next, OutputReport, Report, Settlement},
    value::ValueRef,
    work::{Phase, Status, WorkKey},
};

use super::{
    Command, Timer, Turn,
    end::{Ending, not_begun},
    fact::{Entry, What},
    live::At,
    start::stage_after_delay,
};

/// A worker answered a piece of work. What is no longer wanted, or does not fit what was asked, changes nothing.
pub(super) fn answered(turn: &mut Turn<'_>, key: &WorkKey, report: Report) {
    if turn.run.wants_own(key) {
        own_answered(turn, key.phase, report);
    } else if let Some((instance, _)) = turn.run.wanted(turn.spec, key) {
        task_answered(turn, instance, key, report);
    }
}

fn own_answered(turn: &mut Turn<'_>, phase: Phase, report: Report) {
    match (phase, report) {
        (Phase::Prepare, Report::RunPrepared(prepared)) => turn.begin(prepared),
        (Phase::Prepare, Report::Unable(failure)) => turn.fail(failure),
        (Phase::Output, Report::Output(OutputReport { value, left_out })) => {
            turn.finish(value, left_out.into_iter().next());
        }
        (Phase::Output, Report::Unable(failure)) => turn.finish(ValueRef::null(), Some(failure)),
        (_, Report::HandedBack) => {
            turn.record(What::Returned { instance: None, serial: turn.run.serial, alone: false });
            turn.dispatch_own(phase);
        }
        (Phase::Prepare | Phase::Output | Phase::Items | Phase::Act | Phase::Settle, _) => {}
    }
}

fn task_answered(turn: &mut Turn<'_>, instance: Instance, key: &WorkKey, report: Report) {
    match (key.phase, report) {
        (Phase::Act, Report::Items(report)) => turn.items_reported(instance, key.serial, report),
        (Phase::Act | Phase::Settle, Report::Acted(acted)) => turn.acted(instance, acted),
        (Phase::Act, Report::Called(called)) => turn.called(instance, key.serial, called),
        (Phase::Act, Report::Unable(failure)) => turn.unable(instance, key.serial, failure),
        (Phase::Prepare, Report::TaskPrepared(prepared)) => turn.task_prepared(instance, prepared),
        (Phase::Items, Report::Listed(listed)) => turn.listed(instance, listed),
        (Phase::Settle, Report::Settled(settlement)) => turn.settled(instance, settlement),
        (Phase::Settle, Report::Unable(failure)) => turn.unsettled(instance, failure),
        (Phase::Prepare | Phase::Items, Report::Unable(failure)) => {
            turn.end_unasked(instance, Ending::bare(Status::Failed, Some(failure)));
        }
        (_, Report::HandedBack) => send_again(turn, instance, key, false),
        (Phase::Prepare | Phase::Items | Phase::Act | Phase::Settle | Phase::Output, _) => {}
    }
}

impl Turn<'_> {
    fn acted(&mut self, instance: Instance, acted: Acted) {
        // What a child came to is known here already: the worker says only what follows.
        let known = match &self.run.live[&instance].at {
            At::Acting => None,
            At::Settling(settling) if settling.asks_retry => Some(settling.ending()),
            At::Settling(_)
            | At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Called(_)
            | At::BackingOff(_)
            | At::Items(_)
            | At::Passing => return,
        };
        let Acted { status, result, failure, next, busy_ms: _ } = acted;
        let (failure, error) = failure.map_or((None, None), |failed| (Some(failed.failure), Some(failed.error)));
        let ending = match known {
            Some(known) => Ending {
                status,
                failure: failure.or(known.failure),
                result: known.result,
                error: error.or(known.error),
            },
            None => Ending { status, failure, result: Some(result), error },
        };
        match next {
            Next::Retry { delay_ms } if !self.run.is_closed(instance) => {
                let until = self.now.at.plus(Duration::from_millis(delay_ms));
                self.record(What::Retrying { instance, status, failure: ending.failure, until });
                match delay_ms {
                    0 => self.enter(instance, Entry::Act),
                    _ => self.command(Command::Arm(Timer::Task(instance), until)),
                }
            }
            Next::Retry { .. } => self.end(instance, ending.cut_short(), Settlement::default()),
            Next::Settled(settlement) => self.end(instance, ending, settlement),
            Next::Unable(unable) => self.end_unable(instance, ending, unable),
        }
    }

    /// The action could not be begun at all.
    fn unable(&mut self, instance: Instance, serial: u32, failure: Failure) {
        match self.run.live[&instance].at {
            At::Items(_) => self.items_failed(instance, serial, failure),
            At::Acting => self.end_unasked(instance, Ending::bare(Status::Failed, Some(failure))),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Called(_)
            | At::BackingOff(_)
            | At::Settling(_)
            | At::Passing => {}
        }
    }

    fn settled(&mut self, instance: Instance, settlement: Settlement) {
        if let Some(ending) = self.settling_as(instance) {
            self.end(instance, ending, settlement);
        }
    }

    fn unsettled(&mut self, instance: Instance, unable: Failure) {
        if let Some(ending) = self.settling_as(instance) {
            self.end_unable(instance, ending, unable);
        }
    }

    fn settling_as(&self, instance: Instance) -> Option<Ending> {
        match &self.run.live[&instance].at {
            At::Settling(settling) => Some(settling.ending()),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::Called(_)
            | At::BackingOff(_)
            | At::Items(_)
            | At::Passing => None,
        }
    }
}

/// Work that was not done goes out again under a new serial.
pub(super) fn send_again(turn: &mut Turn<'_>, instance: Instance, key: &WorkKey, alone: bool) {
    let is_range = matches!(turn.run.live[&instance].at, At::Items(_));
    if turn.run.is_closed(instance) && !is_range {
        return turn.end_unasked(instance, Ending::bare(Status::Canceled, Some(not_begun())));
    }
    turn.record(What::Returned { instance: Some(instance), serial: key.serial, alone });
    match is_range {
        true => turn.go_on(instance),
        false => turn.dispatch(instance),
    }
}

/// The broker gave a message up: what it asked for is taken as crashed, item by item.
pub(super) fn give_up(turn: &mut Turn<'_>, key: &WorkKey) {
    let poison = Failure::new("poison", "the work was delivered again and again, and no worker lived to report on it");
    if turn.run.wants_own(key) {
        return match key.phase {
            Phase::Output => turn.finish(ValueRef::null(), Some(poison)),
            Phase::Prepare | Phase::Items | Phase::Act | Phase::Settle => turn.fail(poison),
        };
    }
    let Some((instance, live)) = turn.run.wanted(turn.spec, key) else {
        return;
    };
    match &live.at {
        At::Items(fan) => match fan.flight(key.serial).map_or(0, |flight| flight.items.len()) {
            1 => turn.items_failed(instance, key.serial, poison),
            _ => send_again(turn, instance, key, true),
        },
        At::Settling(_) => turn.unsettled(instance, poison),
        At::Preparing
        | At::Waiting(_)
        | At::Listing
        | At::Acting
        | At::Called(_)
        | At::Delayed(_)
        | At::BackingOff(_)
        | At::Passing => {
            turn.end_unasked(instance, Ending::bare(Status::Crashed, Some(poison)));
        }
    }
}

/// A timer went off: whatever is due goes on.
pub(super) fn due(turn: &mut Turn<'_>, timer: Timer) {
    match timer {
        Timer::Cancel => turn.tell_cancel(),
        Timer::Start => turn.start_due(),
        Timer::Deadline => turn.deadline_due(),
        Timer::Task(instance) => task_due(turn, instance),
    }
}

fn task_due(turn: &mut Turn<'_>, instance: Instance) {
    let Some(live) = turn.run.live.get(&instance) else {
        return;
    };
    let Some(due) = live.at.due() else { return };
    if due > turn.now.at {
        return turn.command(Command::Arm(Timer::Task(instance), due));
    }
    let task = turn.spec.task(live.task);
    match live.at {
        At::Waiting(_) => turn.waited(instance),
        At::Delayed(_) => turn.enter(instance, stage_after_delay(task)),
        At::BackingOff(_) => turn.enter(instance, Entry::Act),
        At::Items(_) => turn.items_due(instance),
        At::Preparing | At::Listing | At::Acting | At::Called(_) | At::Settling(_) | At::Passing => {}
    }
}
