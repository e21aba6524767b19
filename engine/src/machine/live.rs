//! A task that has started and not ended: where it is, and what that means.

use proto::{
    failure::Failure,
    id::RunId,
    outcome::TaskPrepared,
    time::Timestamp,
    value::ValueRef,
    work::{Phase, Status},
};

use super::{
    end::{Ending, error_value},
    fanout::FanOut,
};
use crate::{context::Context, spec::TaskIndex};

/// A task that has started and not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub(super) task: TaskIndex,
    pub(super) context: Context,
    /// Attempts that went out, lost ones too; one that was handed back untouched does not count.
    pub(super) attempt: u32,
    /// Retries used.
    pub(super) retries: u32,
    /// Pieces of work so far.
    pub(super) serial: u32,
    /// How often `do: retry` has started it again.
    pub(super) again: u32,
    /// The claim that was granted for the work that is out, where it may be begun once only.
    pub(super) claim: Option<String>,
    /// What a worker has evaluated before it was sent or waited.
    pub(super) prepared: Option<Box<TaskPrepared>>,
    pub(super) at: At,
}

/// Where a live task is. The work of a stage is the one with the latest serial, except for ranges.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum At {
    Preparing,
    /// It waits for its signal, until this time if there is one.
    Waiting(Option<Timestamp>),
    Delayed(Timestamp),
    Listing,
    Acting,
    /// Its child runs.
    Called(RunId),
    BackingOff(Box<BackOff>),
    Items(Box<FanOut>),
    Settling(Box<Settling>),
    Passing,
}

/// A task between two attempts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BackOff {
    pub until: Timestamp,
    /// How the last attempt ended.
    pub status: Status,
    pub failure: Option<Failure>,
}

/// A task that has ended and whose transitions a worker asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settling {
    pub status: Status,
    pub failure: Option<Failure>,
    /// What it came to, unless it had items.
    pub result: Option<ValueRef>,
    /// What templates read as `error`.
    pub error: Option<ValueRef>,
    /// This was an attempt, and `retry` is to be asked.
    pub asks_retry: bool,
    /// Its items, when it had some.
    pub items: Option<Box<FanOut>>,
}

impl Live {
    /// The child run that this waits for, unless it has items.
    pub(super) fn child(&self) -> Option<&RunId> {
        match &self.at {
            At::Called(child) => Some(child),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::BackingOff(_)
            | At::Items(_)
            | At::Settling(_)
            | At::Passing => None,
        }
    }

    /// The task's fan-out, while its items run.
    pub(super) fn items(&self) -> Option<&FanOut> {
        match &self.at {
            At::Items(fan) => Some(fan),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::Called(_)
            | At::BackingOff(_)
            | At::Settling(_)
            | At::Passing => None,
        }
    }

    /// The task's fan-out, when it ends.
    pub(super) fn take_fan_out(&mut self) -> Option<Box<FanOut>> {
        match std::mem::replace(&mut self.at, At::Passing) {
            At::Items(fan) => Some(fan),
            At::Settling(settling) => settling.items,
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::Called(_)
            | At::BackingOff(_)
            | At::Passing => None,
        }
    }

    /// The task's fan-out, while its items run or are settled.
    pub(super) fn fan_out(&self) -> Option<&FanOut> {
        match &self.at {
            At::Items(fan) => Some(fan),
            At::Settling(settling) => settling.items.as_deref(),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::Called(_)
            | At::BackingOff(_)
            | At::Passing => None,
        }
    }
}

impl Settling {
    /// The end that is settled.
    pub(super) fn ending(&self) -> Ending {
        let Self { status, failure, result, error, .. } = self.clone();
        let error = error.or_else(|| failure.as_ref().map(error_value));
        Ending { status, failure, result, error }
    }
}

impl At {
    /// The phase of the one piece of work that this stage waits for; ranges are several.
    pub(super) fn phase(&self) -> Option<Phase> {
        match self {
            Self::Preparing => Some(Phase::Prepare),
            Self::Listing => Some(Phase::Items),
            Self::Acting => Some(Phase::Act),
            Self::Settling(_) => Some(Phase::Settle),
            Self::Waiting(_)
            | Self::Delayed(_)
            | Self::Called(_)
            | Self::BackingOff(_)
            | Self::Items(_)
            | Self::Passing => None,
        }
    }

    /// What becomes of a task here when the run closes.
    pub(super) fn at_close(&self) -> AtClose {
        match self {
            Self::Preparing | Self::Waiting(_) | Self::Delayed(_) | Self::Listing | Self::Passing => AtClose::Drop,
            Self::Acting | Self::Called(_) => AtClose::Await,
            Self::Items(fan) if fan.is_flying() || fan.has_children() => AtClose::Await,
            Self::BackingOff(_) | Self::Items(_) | Self::Settling(_) => AtClose::End,
        }
    }

    /// When the timer of a task here rings, if it waits for one.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting(until) => *until,
            Self::Delayed(until) => Some(*until),
            Self::BackingOff(back_off) => Some(back_off.until),
            Self::Items(fan) => fan.next_due(),
            Self::Preparing | Self::Listing | Self::Acting | Self::Called(_) | Self::Settling(_) | Self::Passing => {
                None
            }
        }
    }
}

/// What becomes of a live task when its run fails or is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtClose {
    /// It has not begun: an evaluation has no effect outside.
    Drop,
    /// Something of it may have begun on a worker and is waited for.
    Await,
    /// It has done what it will do, and ends with that.
    End,
}
