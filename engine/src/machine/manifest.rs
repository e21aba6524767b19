//! What goes with a piece of work: the values that its templates read, and nothing else.

use proto::{
    id::{Attempt, PoolName},
    items::ItemSet,
    manifest::Manifest,
    outcome::ItemsPart,
    value::{Stored, ValueRef},
    work::{Ended, Phase, WorkKey},
};

use super::{
    end::error_value,
    evolve::json_of,
    live::{At, Live, Settling},
    run::Run,
};
use crate::{
    context::Context,
    spec::{Call, TaskIndex, Workflow},
};

/// What a piece of work is about, for whoever writes its message.
#[derive(Debug)]
pub struct Brief<'a> {
    /// The task; `None` for work of the run itself.
    pub task: Option<TaskIndex>,
    /// Which attempt this is; of a range, which attempt of its items.
    pub attempt: Attempt,
    /// Retries used up before.
    pub retries: u32,
    /// Whose workers do it; `None`: those of the default pool.
    pub pool: Option<PoolName>,
    /// How the task ended, for phase `settle`.
    pub ended: Option<Ended>,
    /// The items of a range, with the list that they are in.
    pub range: Option<(&'a ItemSet, &'a [ItemsPart])>,
    /// The workflow that its child run is to run.
    pub child: Option<Stored>,
}

impl Run {
    /// What `key` is about. `None` when that work is no longer wanted, and need not be sent.
    #[must_use]
    pub fn brief(&self, spec: &Workflow, key: &WorkKey) -> Option<Brief<'_>> {
        if self.wants_own(key) {
            return Some(Brief {
                task: None,
                attempt: Attempt(key.serial),
                retries: 0,
                pool: None,
                ended: None,
                range: None,
                child: None,
            });
        }
        let (_, live) = self.wanted(spec, key)?;
        let named = || spec.task(live.task).pool.named().cloned();
        let mut brief = Brief {
            task: Some(live.task),
            attempt: Attempt(live.attempt.max(1)),
            retries: live.retries,
            pool: live.prepared.as_ref().and_then(|prepared| prepared.pool.clone()).or_else(named),
            ended: None,
            range: None,
            child: None,
        };
        match &live.at {
            At::Items(fan) => {
                let flight = fan.flight(key.serial)?;
                brief.retries = flight.retries;
                brief.attempt = Attempt(flight.retries + 1);
                brief.range = Some((&flight.items, fan.parts()));
            }
            At::Settling(settling) => {
                let Settling { status, failure, asks_retry, .. } = settling.as_ref();
                brief.ended = Some(Ended { status: *status, failure: failure.clone(), asks_retry: *asks_retry });
            }
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::Called(_)
            | At::BackingOff(_)
            | At::Passing => {}
        }
        if key.phase == Phase::Act
            && let Call::Workflow(workflow) = &spec.task(live.task).call
        {
            brief.child = self.children.get(workflow).copied();
        }
        Some(brief)
    }

    /// The values at `paths` as the branch of `key` sees them. A task that has not run has a status that says so.
    #[must_use]
    pub fn manifest<'a>(&self, spec: &Workflow, key: &WorkKey, paths: impl IntoIterator<Item = &'a str>) -> Manifest {
        let live = key.task.as_ref().and_then(|(_, instance)| self.live.get(instance));
        let context = match (live, key.phase) {
            (Some(live), _) => &live.context,
            (None, Phase::Output) => &self.merged,
            (None, Phase::Prepare | Phase::Items | Phase::Act | Phase::Settle) => &self.base,
        };
        let mut manifest = Manifest::new();
        for path in paths {
            match live.and_then(|live| live.ended_value(spec, path)) {
                Some(value) => {
                    manifest.insert(path.to_owned(), value);
                }
                None => context.project(path, &mut manifest),
            }
            mention_tasks(spec, path, context, &mut manifest);
        }
        manifest
    }
}

impl Live {
    /// `result`, `error` or `item_errors` of the task that has just ended: always there, so that a transition may ask
    /// for each, whatever the task came to.
    fn ended_value(&self, spec: &Workflow, path: &str) -> Option<ValueRef> {
        let At::Settling(settling) = &self.at else {
            return None;
        };
        let Settling { failure, result, error, items, .. } = settling.as_ref();
        let without_items = || match spec.task(self.task).items {
            // Its list could not be made.
            Some(_) => ValueRef::Inline(json_of::<[(); 0]>(&[])),
            None => ValueRef::null(),
        };
        match path {
            "result" => {
                let plain = || result.clone().unwrap_or_else(ValueRef::null);
                Some(items.as_ref().map_or_else(plain, |fan| fan.result()))
            }
            "item_errors" => Some(items.as_ref().map_or_else(without_items, |fan| fan.item_errors())),
            "error" if error.is_some() => error.clone(),
            "error" => Some(failure.as_ref().map_or_else(ValueRef::null, error_value)),
            _ => None,
        }
    }
}

/// Gives a status to each task that `path` may reach: one that has not run says so.
fn mention_tasks(spec: &Workflow, path: &str, context: &Context, manifest: &mut Manifest) {
    let mut parts = path.split('.');
    if parts.next() != Some("task") {
        return;
    }
    let mut mention = |task: &str| {
        let status = format!("task.{task}.status");
        context.project(&status, manifest);
        manifest.entry(status).or_insert_with(|| ValueRef::Inline(json_of("not_run")));
    };
    match parts.next() {
        Some(task) => mention(task),
        None => spec.tasks.iter().for_each(|task| mention(task.name.as_str())),
    }
}
