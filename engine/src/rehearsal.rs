//! A workflow rehearsed: the real machine and the real templates, with actions that only pretend.
//!
//! Nothing is run, no time passes and nothing is random, so the same script always comes to the same end.
//!
//! Reading order: [`script`] is what a script says, as [`crate::parse::script()`] reads it; `cast` are the programs of the
//! run and its children; `stage` is the world around the machine, which plays worker, broker and timers; `player` is one
//! run on it; `play` is what a worker does with one piece of work; `cues` says which scripted outcome the next attempt
//! gets; `record` is what is written down on the way; `values` is how values travel; `ending` is what came of it all;
//! and [`expect`] holds that against what the script expects.

pub mod expect;
pub mod script;

mod cast;
mod cues;
mod ending;
mod play;
mod player;
mod record;
mod stage;
mod values;

use std::{collections::BTreeMap, sync::Arc};

use proto::{
    failure::Failure,
    id::{KeyName, TaskName, WorkflowName},
    json::Json,
    view,
    work::RunStatus,
};

pub use self::expect::check;
use self::{
    cast::Cast,
    script::{RerunFrom, Script, Take},
    stage::Stage,
};
use crate::{
    machine::{again, fact::Fact},
    program::Program,
};

/// Steps of the machine that one rehearsal takes at the most: a retry without an end is noticed by it.
const STEPS_MAX: usize = 1_000_000;

/// Why a rehearsal came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no workflow to be run.
    #[error("there is no workflow to rehearse")]
    NoProgram,
    /// A workflow that a task runs was not given, and the script does not say how that task ends.
    #[error("{workflow} runs the workflow {child}: give its file too, or say in `outcomes` how its task ends")]
    ChildMissing {
        /// Whose task it is.
        workflow: WorkflowName,
        /// What it runs.
        child: WorkflowName,
    },
    /// It would go on and on.
    #[error("the run has not ended after {steps_max} steps: does a loop or a retry of it never end?")]
    Endless {
        /// Steps of the machine that it was given.
        steps_max: usize,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoProgram => "no_workflow",
            Self::ChildMissing { .. } => "workflow_unknown",
            Self::Endless { .. } => "endless",
        }
    }
}

/// What a rehearsed run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Where the run was when nothing could happen any more: at its end, or where it waits for what never comes.
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
    /// Its child runs, and theirs, by workflow.
    pub children: BTreeMap<WorkflowName, Children>,
    /// What the script says and the run did not come to.
    pub unused: Vec<Unused>,
    /// What became of it when it was run again.
    pub rerun: Option<Box<Rerun>>,
    /// Everything that happened to it, in order: of this its state is made.
    pub facts: Vec<Fact>,
}

/// The child runs of one workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Children {
    /// Where each came to, in the order in which they started.
    pub statuses: Vec<RunStatus>,
    /// The order of their tasks, as in [`Outcome::order`]: all of the first run, then all of the second.
    pub order: Vec<TaskName>,
}

/// A run that was to be run again.
#[derive(Clone, Debug, PartialEq)]
pub enum Rerun {
    /// It was not.
    Refused(Failure),
    /// It was.
    Played(Outcome),
}

/// Something of a script that was not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Outcomes of a task that were left over.
    Outcomes {
        /// The workflow of the child runs that it is a task of, unless it is one of the run itself.
        child: Option<WorkflowName>,
        /// The task.
        task: TaskName,
        /// How many.
        count: usize,
    },
    /// An event whose time never came.
    Event {
        /// The workflow of the child runs to which it was to come, unless that is the run itself.
        child: Option<WorkflowName>,
        /// Its time.
        moment: script::Moment,
    },
}

/// Plays the first of `programs` by `script`, which was read for it. The others are its children.
///
/// # Errors
/// [`Error::Endless`], [`Error::ChildMissing`], and when there are no programs at all.
pub fn play(programs: &[Arc<Program>], script: &Script) -> Result<Outcome, Error> {
    let cast = Cast::of(programs)?;
    cast.complete(&script.take)?;
    perform(&cast, script, &script.take, Stage::open(&cast, script), STEPS_MAX)
}

fn perform<'s>(
    cast: &'s Cast<'s>,
    script: &'s Script,
    take: &'s Take,
    mut stage: Stage<'s>,
    steps_max: usize,
) -> Result<Outcome, Error> {
    stage.play(steps_max)?;
    let mut outcome = ending::outcome(&stage);
    if let Some(rerun) = &take.rerun {
        let from = match &rerun.from {
            RerunFrom::Failed => again::Again::Failed,
            RerunFrom::FailedItems => again::Again::FailedItems,
            RerunFrom::Task(task) => again::Again::From(task.clone()),
        };
        let stage = Stage::reopen(cast, script, &rerun.take, &stage.main().facts, &from, stage.now);
        outcome.rerun = Some(Box::new(match stage {
            Ok(stage) => Rerun::Played(perform(cast, script, &rerun.take, stage, steps_max)?),
            Err(failure) => Rerun::Refused(failure),
        }));
    }
    Ok(outcome)
}

impl std::fmt::Display for Unused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |child: &Option<WorkflowName>| child.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        match self {
            Self::Outcomes { child, task, count: 1 } => write!(f, "1 outcome of {task}{} was not used", of(child)),
            Self::Outcomes { child, task, count } => write!(f, "{count} outcomes of {task}{} were not used", of(child)),
            Self::Event { child, moment } => write!(f, "the event {moment}{} never came", of(child)),
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
        let script = parse::script("expect: {}", "s.yaml", program.workflow(), &[]).expect("valid");
        let programs = [Arc::new(program)];
        let cast = Cast::of(&programs).expect("there is one");
        let outcome = Stage::open(&cast, &script).play(1_000);
        assert_eq!(outcome, Err(Error::Endless { steps_max: 1_000 }));
    }
}
