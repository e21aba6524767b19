//! A run as people see it.

use proto::{
    id::{Instance, KeyName, PoolName, TaskName},
    manifest::Manifest,
    value::ValueRef,
    view::{self, Summary},
    work::Status,
};

use super::{
    fanout::FanOut,
    live::At,
    run::{Latest, Run, TaskState},
};
use crate::{
    context::Context,
    spec::{Task, TaskIndex, Workflow},
};

/// How much of a task is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Whose workers do it, where that had to be evaluated.
    pub pool: Option<PoolName>,
    /// Items not done.
    pub items: u32,
    /// Those with the broker or on workers.
    pub in_flight: u32,
    /// Microseconds of work per item, once some were seen.
    pub item_us: Option<u64>,
}

impl Run {
    /// Its line in a list.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            id: self.id.clone(),
            workflow: self.info.workflow.clone(),
            status: self.status(),
            labels: self.info.labels.clone(),
            error: self.failure.clone(),
            started_at: self.info.started_at,
            finished_at: self.finished().map(|finished| finished.at),
        }
    }

    /// Its tasks, with fan-outs as counts.
    #[must_use]
    pub fn view(&self, spec: &Workflow) -> view::Run {
        let (output, output_stored) = match self.finished().map(|finished| &finished.output) {
            Some(ValueRef::Inline(json)) => (Some(json.clone()), None),
            Some(ValueRef::Stored(stored)) => (None, Some(*stored)),
            Some(ValueRef::List(_)) | None => (None, None),
        };
        let tasks =
            spec.indexed().map(|(index, task)| (task.name.clone(), self.task_view(task, self.state(index)))).collect();
        let summary = self.summary();
        view::Run {
            id: summary.id,
            workflow: summary.workflow,
            status: summary.status,
            labels: summary.labels,
            error: summary.error,
            started_at: summary.started_at,
            finished_at: summary.finished_at,
            parent: self.parent.as_ref().map(|parent| parent.run.clone()),
            ancestor: self.ancestor.clone(),
            definition: self.definition.digest,
            output,
            output_stored,
            tasks,
        }
    }

    /// Items waiting and in flight by task: how many, how many of them are with the broker, and microseconds of work
    /// per item once seen. A task without items counts as one.
    pub fn load(&self) -> impl Iterator<Item = (TaskIndex, Load)> + '_ {
        self.live.values().filter_map(|live| {
            let pool = || live.prepared.as_ref().and_then(|prepared| prepared.pool.clone());
            let load = match &live.at {
                At::Items(fan) => {
                    let (items, in_flight) = (fan.remaining(), fan.counts().running);
                    Load { pool: pool(), items, in_flight, item_us: fan.item_us() }
                }
                other => other.phase().map(|_| Load { pool: pool(), items: 1, in_flight: 1, item_us: None })?,
            };
            Some((live.task, load))
        })
    }

    /// Everything that it has come to know, whichever branch knows it: the latest write of each path.
    #[must_use]
    pub fn context(&self) -> Context {
        let mut all = self.merged.clone();
        let waiting = self.tasks.iter().flat_map(|state| state.passes.values()).map(|pass| &pass.context);
        waiting.chain(self.live.values().map(|live| &live.context)).for_each(|context| all.merge(context));
        all
    }

    /// Of each task with items that has run, or of `only` one, the list `item_errors` of its latest start, as far as it
    /// has got.
    #[must_use]
    pub fn item_errors(&self, spec: &Workflow, only: Option<&TaskName>) -> Vec<(TaskName, ValueRef)> {
        let wanted = spec.indexed().filter(|(_, task)| task.items.is_some());
        let wanted = wanted.filter(|(_, task)| only.is_none_or(|only| *only == task.name));
        let ended = self.context();
        let found = wanted.filter_map(|(index, task)| {
            let latest = self.state(index).latest.as_ref()?;
            let live = self.live.get(&latest.instance).and_then(|live| live.fan_out());
            let of_ended = || {
                let path = format!("task.{}.item_errors", task.name);
                let mut manifest = Manifest::new();
                ended.project(&path, &mut manifest);
                manifest.remove(&path)
            };
            let errors = live.map(FanOut::item_errors).or_else(of_ended)?;
            Some((task.name.clone(), errors))
        });
        found.collect()
    }

    /// Whether a task waits for a signal.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiters.is_empty()
    }

    fn task_view(&self, task: &Task, state: &TaskState) -> view::Task {
        let Some(latest) = &state.latest else {
            return view::Task { status: "not_run".into(), ..view::Task::default() };
        };
        view::Task {
            status: self.status_of(latest).to_owned(),
            attempts: latest.attempts,
            instances: state.instances,
            items: latest.items,
            error: latest.failure.clone(),
            children: latest.children.clone(),
            waiting_for: self.waiting_for(task, latest.instance).cloned(),
        }
    }

    fn waiting_for<'t>(&self, task: &'t Task, instance: Instance) -> Option<&'t KeyName> {
        let signal = &task.wait_for.as_ref()?.signal;
        self.waiters.get(signal)?.contains(&instance).then_some(signal)
    }

    fn status_of(&self, latest: &Latest) -> &'static str {
        latest.ended.map_or_else(|| self.status_of_live(latest.instance), Status::as_str)
    }

    /// Where a task is that has not ended.
    pub(super) fn status_of_live(&self, instance: Instance) -> &'static str {
        match self.live.get(&instance).map(|live| &live.at) {
            Some(At::Waiting(_) | At::Delayed(_) | At::BackingOff(_)) => "waiting",
            Some(_) if self.is_held(instance) => "waiting",
            Some(_) | None => "running",
        }
    }
}
