//! Control: what every worker is told at once.

use serde::{Deserialize, Serialize};

use crate::{
    id::{Instance, RunId},
    time::Timestamp,
    work::WorkKey,
};

/// One message on the control exchange. Best effort: state never depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Stop what runs for this run, and skip what is queued for it.
    Cancel {
        /// The run.
        run: RunId,
        /// The last start of a task that this concerns: what `finally` starts comes later.
        through: Instance,
    },
    /// Skip what is queued for this run; what has begun may finish.
    Skip {
        /// The run.
        run: RunId,
        /// The last start of a task that this concerns.
        through: Instance,
    },
    /// Work that must not be begun twice was claimed. Whoever waits with another nonce lets go of it.
    Claimed {
        /// The work.
        key: WorkKey,
        /// The nonce of the only claim that was granted; empty when none was.
        nonce: String,
    },
    /// Hand back what is queued for this run; what has begun may finish.
    Pause {
        /// The run.
        run: RunId,
        /// Work that was sent later is not concerned: the run was resumed.
        at: Timestamp,
    },
}
