//! Who is on stage: the program of the run that is rehearsed, and those of its children.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proto::{id::WorkflowName, value::Stored};

use super::{
    Error,
    script::{Part, Take},
};
use crate::{program::Program, spec::Call};

/// The programs, by the names of their workflows.
pub(super) struct Cast<'p> {
    main: &'p Arc<Program>,
    members: BTreeMap<WorkflowName, (&'p Arc<Program>, Stored)>,
}

impl<'p> Cast<'p> {
    /// The first of `programs` is the one that is rehearsed. Of two with one name the first counts.
    pub(super) fn of(programs: &'p [Arc<Program>]) -> Result<Self, Error> {
        let main = programs.first().ok_or(Error::NoProgram)?;
        let mut members = BTreeMap::new();
        for program in programs {
            let name = program.workflow().name.clone();
            // No one fetches it: workers on the stage have the programs. So its name is as good as its source.
            let definition = Stored::of(name.as_str().as_bytes());
            members.entry(name).or_insert((program, definition));
        }
        Ok(Self { main, members })
    }

    pub(super) fn main(&self) -> &'p Arc<Program> {
        self.main
    }

    pub(super) fn get(&self, workflow: &WorkflowName) -> Option<(&'p Arc<Program>, Stored)> {
        self.members.get(workflow).copied()
    }

    /// What every run pins.
    pub(super) fn definitions(&self) -> BTreeMap<WorkflowName, Stored> {
        self.members.iter().map(|(name, (_, definition))| (name.clone(), *definition)).collect()
    }

    /// Whether everyone is there whom `take` and the takes of its reruns may need.
    pub(super) fn complete(&self, take: &Take) -> Result<(), Error> {
        let mut known = BTreeSet::new();
        let mut open = vec![(self.main, &take.part)];
        let nothing = Part::default();
        while let Some((program, part)) = open.pop() {
            let workflow = program.workflow();
            for task in &workflow.tasks {
                let Call::Workflow(child) = &task.call else { continue };
                if part.outcomes.contains_key(&task.name) || !known.insert(child) {
                    continue;
                }
                let missing = || Error::ChildMissing { workflow: workflow.name.clone(), child: child.clone() };
                let (program, _) = self.get(child).ok_or_else(missing)?;
                open.push((program, take.children.get(child).unwrap_or(&nothing)));
            }
        }
        take.rerun.as_ref().map_or(Ok(()), |rerun| self.complete(&rerun.take))
    }
}
