//! A workflow rehearsed: the real machine and the real templates, with actions that only pretend.
//!
//! Nothing is run, no time passes and nothing is random, so the same script always comes to the same end.
//!
//! Reading order: [`script`] is what a script says, as [`crate::parse::script()`] reads it; `stage` is the world around
//! the machine, which plays worker, broker and timers; `play` is what a worker does with one piece of work; `cues` says
//! which scripted outcome the next attempt gets; `record` is what is written down on the way; `values` is how values
//! travel; and [`expect`] holds the end against what the script expects.

pub mod expect;
pub mod script;

mod cues;
mod play;
mod record;
mod stage;
mod values;

use std::{collections::BTreeMap, sync::Arc};

use proto::{
    failure::Failure,
    id::{KeyName, TaskName},
    json::Json,
    view,
    work::RunStatus,
};

pub use self::expect::check;
use self::{script::Script, stage::Stage};
use crate::program::Program;

/// Steps of the machine that one rehearsal takes at the most: a retry without an end is noticed by it.
const STEPS_MAX: usize = 1_000_000;

/// Why a rehearsal came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no workflow to be run.
    #[error("there is no workflow to rehearse")]
    NoProgram,
    /// It would go on and on.
    #[error("the run has not ended after {steps_max} steps: does a loop or a retry of it never end?")]
    Endless {
        /// Steps of the machine that it was given.
        steps_max: usize,
    },
}

/// What a rehearsed run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Where the run was when nothing could happen any more: at its end.
    pub status: RunStatus,
    /// Why it did not succeed.
    pub error: Option<Failure>,
    /// Its output.
    pub output: Json,
    /// `workflow.*` at the end, merged as for the output: vars and published values.
    pub published: BTreeMap<KeyName, Json>,
    /// The tasks, once for each time that one was started, in the order in which they first left for a worker. One
    /// that needs no worker counts when its delay is over.
    pub order: Vec<TaskName>,
    /// The rendered input of each task's last attempt; with items, a list of those of its last start. `null` stands
    /// for what could not be rendered.
    pub inputs: BTreeMap<TaskName, Json>,
    /// Every task of the workflow, as `leveret get` shows it.
    pub tasks: BTreeMap<TaskName, view::Task>,
    /// What the script says and the run did not come to.
    pub unused: Vec<Unused>,
}

/// Something of a script that was not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Outcomes of a task that were left over.
    Outcomes {
        /// The task.
        task: TaskName,
        /// How many.
        count: usize,
    },
    /// An event whose time never came.
    Event(script::Moment),
}

/// Plays the first of `programs` by `script`, which was read for it. The others are its children.
///
/// # Errors
/// [`Error::Endless`], and when there are no programs at all.
pub fn play(programs: &[Arc<Program>], script: &Script) -> Result<Outcome, Error> {
    let program = programs.first().ok_or(Error::NoProgram)?;
    Stage::open(program, script).play(STEPS_MAX)
}

impl std::fmt::Display for Unused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Outcomes { task, count: 1 } => write!(f, "1 outcome of {task} was not used"),
            Self::Outcomes { task, count } => write!(f, "{count} outcomes of {task} were not used"),
            Self::Event(moment) => write!(f, "the event {moment} never came"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn what_never_ends_is_given_up() {
        let source = "name: w\ntasks:\n  ask: { action: a, retry: { count: 4000000000, when: completed() } }\n";
        let (program, _) = Program::compile(source, "w.yaml").expect("valid");
        let script = parse::script("expect: {}", "s.yaml", program.workflow()).expect("valid");
        let outcome = Stage::open(&Arc::new(program), &script).play(1_000);
        assert_eq!(outcome, Err(Error::Endless { steps_max: 1_000 }));
    }
}
