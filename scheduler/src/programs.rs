//! Workflows that this process has compiled, by the digest of their source.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use dashmap::DashMap;
use engine::{
    program::Program,
    spec::{Call, Workflow},
};
use proto::{
    id::{Digest, WorkflowName},
    job::{Problem, Target},
    limits::SUBMISSION_BYTES_MAX,
    value::Stored,
};

use crate::store::{self, Store};

/// Compiled workflows that are kept at the most. A compiled one takes some tens of kilobytes.
const PROGRAMS_MAX: usize = 1_000;

/// Problems with the workflows that one calls that are told at once.
const PROBLEMS_MAX: usize = 20;

/// A compiled workflow and its source.
#[derive(Debug)]
pub(crate) struct Known {
    pub program: Program,
    /// The source, as a value that workers fetch.
    pub stored: Stored,
    pub source: Bytes,
}

/// Why a workflow is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is wrong, or not registered: the client must change something.
    #[error("{} problems with the workflow", .0.len())]
    Refused(Vec<Problem>),
    /// The store did not answer: try again.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Workflows compiled so far, and where to find others. Clones share them: the loop and the HTTP side see the same.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    store: Arc<Store>,
    known: Arc<DashMap<Digest, Arc<Known>>>,
}

/// What some names stand for, as it was read together: a thousand jobs of one turn that name one workflow ask once.
pub(crate) type Names = HashMap<WorkflowName, Digest>;

impl Programs {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, known: Arc::default() }
    }

    /// What those of `names` stand for that are registered.
    pub(crate) async fn registered(&self, names: BTreeSet<&WorkflowName>) -> Result<Names, store::Error> {
        let mut registered = Names::new();
        for name in names {
            if let Some(digest) = self.store.registered(name).await? {
                registered.insert(name.clone(), digest);
            }
        }
        Ok(registered)
    }

    /// The workflow that a job names or brings along. Names that are not in `names` are looked up.
    pub(crate) async fn resolve(&self, target: &Target, names: &Names) -> Result<Arc<Known>, Error> {
        let name = match target {
            Target::Source(source) => return self.compile("definition", source),
            Target::Name(name) => name,
        };
        let registered = match names.get(name) {
            Some(digest) => Some(*digest),
            None => self.store.registered(name).await?,
        };
        match registered {
            Some(digest) => self.by_digest(digest).await,
            None => Err(Error::Refused(vec![unregistered(name)])),
        }
    }

    /// The workflows that `workflow` and those that it calls call, pinned as they are registered now.
    pub(crate) async fn children(
        &self,
        workflow: &Workflow,
        names: &Names,
    ) -> Result<BTreeMap<WorkflowName, Stored>, Error> {
        let mut pinned = BTreeMap::new();
        let mut problems = Vec::new();
        let mut open: Vec<WorkflowName> = called(workflow);
        while let Some(name) = open.pop() {
            if pinned.contains_key(&name) {
                continue;
            }
            match self.resolve(&Target::Name(name.clone()), names).await {
                Ok(known) => {
                    pinned.insert(name, known.stored);
                    open.extend(called(known.program.workflow()));
                }
                Err(Error::Refused(found)) if problems.len() < PROBLEMS_MAX => problems.extend(found),
                Err(Error::Refused(_)) => {}
                Err(error @ Error::Store(_)) => return Err(error),
            }
        }
        match problems.is_empty() {
            true => Ok(pinned),
            false => Err(Error::Refused(problems)),
        }
    }

    /// The workflow with this source, which a run has pinned.
    pub(crate) async fn by_digest(&self, digest: Digest) -> Result<Arc<Known>, Error> {
        if let Some(known) = self.known.get(&digest) {
            return Ok(known.clone());
        }
        let source = self.store.value(digest).await?.ok_or_else(|| {
            Error::Refused(vec![problem("definition_missing", format!("the store has no definition {digest}"))])
        })?;
        let source = std::str::from_utf8(&source)
            .map_err(|_| Error::Refused(vec![problem("yaml_invalid", "the definition is not UTF-8".into())]))?;
        self.compile("definition", source)
    }

    /// Compiles `source`, unless that was done before.
    pub(crate) fn compile(&self, file: &str, source: &str) -> Result<Arc<Known>, Error> {
        let stored = Stored::of(source.as_bytes());
        if let Some(known) = self.known.get(&stored.digest) {
            return Ok(known.clone());
        }
        if source.len() > SUBMISSION_BYTES_MAX {
            let message = format!("the definition has {} bytes, more than {SUBMISSION_BYTES_MAX}", source.len());
            return Err(Error::Refused(vec![problem("submission_too_large", message)]));
        }
        let (program, _warnings) =
            Program::compile(source, file).map_err(|diagnostics| Error::Refused(diagnostics.problems()))?;
        let known = Arc::new(Known { program, stored, source: Bytes::copy_from_slice(source.as_bytes()) });
        if self.known.len() >= PROGRAMS_MAX {
            // Runs hold on to theirs; whatever else is needed again is compiled again.
            self.known.clear();
        }
        self.known.insert(stored.digest, known.clone());
        Ok(known)
    }
}

/// The workflows that tasks of `workflow` run.
fn called(workflow: &Workflow) -> Vec<WorkflowName> {
    let names = workflow.tasks.iter().filter_map(|task| match &task.call {
        Call::Workflow(name) => Some(name.clone()),
        Call::Action(_) => None,
    });
    names.collect()
}

fn unregistered(name: &WorkflowName) -> Problem {
    let mut problem = problem("workflow_unknown", format!("no workflow {name} is registered"));
    problem.help = Some("register it with `leveret register FILE`, or send it whole as `definition`".into());
    problem
}

/// A problem without a place in a file.
pub(crate) fn problem(code: &str, message: String) -> Problem {
    Problem { code: code.into(), message, location: None, help: None }
}
