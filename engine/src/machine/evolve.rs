//! How a fact changes a run. Records only: every decision is in the fact.

use proto::{
    id::Instance,
    items::ItemSet,
    json::Json,
    outcome::ItemsReport,
    time::Timestamp,
    value::ValueRef,
    work::{RunInfo, RunStatus, Status},
};

use super::{
    end::not_begun,
    fact::{Accepted, Arrival, Ended, Entry, Fact, Start, What},
    fanout::FanOut,
    run::{At, BackOff, Cancel, Finished, Latest, Live, Run, Settling, Stage, TaskState, shared},
};
use crate::{
    context::{Context, Outcome},
    spec::{TaskIndex, Workflow},
};

impl Run {
    /// A run that has just been accepted.
    pub(super) fn accepted(spec: &Workflow, fact: &Accepted, at: Timestamp) -> Self {
        let mut run = Self {
            id: fact.run.clone(),
            info: RunInfo {
                workflow: fact.workflow.clone(),
                started_at: at,
                labels: fact.labels.clone(),
                status: RunStatus::Queued,
                error: None,
            },
            definition: fact.definition,
            reply: fact.reply.clone(),
            stage: Stage::Preparing,
            failure: None,
            cancel: None,
            base: Context::default(),
            merged: Context::default(),
            tasks: vec![TaskState::default(); spec.tasks.len()],
            live: Default::default(),
            passing: Default::default(),
            instances: 0,
            serial: u32::from(fact.prepare),
            writes: 0,
            facts: 1,
            finished: None,
        };
        for (name, value) in &fact.parameters {
            let write = run.write();
            run.base.set(&format!("parameters.{name}"), write, shared(value));
        }
        run.merged = run.base.clone();
        run
    }

    /// Applies `fact`, which belongs to this run and follows the facts applied so far.
    pub(super) fn evolve(&mut self, spec: &Workflow, fact: &Fact) {
        self.facts += 1;
        match &fact.what {
            What::Accepted(_) => unreachable!("only the first fact of {} accepts it", self.id),
            What::Begun { vars, starts } => self.begin(vars, starts),
            What::Entered { instance, stage } => self.enter(*instance, *stage),
            What::Listed { instance, parts, concurrency, tolerate } => {
                let fan = FanOut::new(parts.clone(), *concurrency, *tolerate);
                let live = self.live_mut(*instance);
                live.attempt = 1;
                live.at = At::Items(Box::new(fan));
                self.show_items(*instance);
            }
            What::Ranged { instance, serial, retries, items } => {
                self.live_mut(*instance).serial = *serial;
                self.fan_mut(*instance).send(*serial, *retries, items);
                self.show_items(*instance);
            }
            What::Reported { instance, serial, report, ignored } => {
                self.report(*instance, *serial, report, ignored, fact.at);
            }
            What::Woken { instance } => self.fan_mut(*instance).wake(fact.at),
            What::Retrying { instance, status, failure, until } => {
                let live = self.live_mut(*instance);
                live.retries += 1;
                let back_off = BackOff { until: *until, status: *status, failure: failure.clone() };
                live.at = At::BackingOff(Box::new(back_off));
                self.show(*instance, |latest| latest.failure.clone_from(failure));
            }
            What::Returned { instance, serial, alone } => self.take_back(*instance, *serial, *alone),
            What::Settling { instance, status, failure } => {
                let live = self.live_mut(*instance);
                let items = match std::mem::replace(&mut live.at, At::Passing) {
                    At::Items(fan) => Some(fan),
                    At::Preparing
                    | At::Delayed(_)
                    | At::Listing
                    | At::Acting
                    | At::BackingOff(_)
                    | At::Settling(_)
                    | At::Passing => None,
                };
                live.serial += 1;
                live.at = At::Settling(Box::new(Settling { status: *status, failure: failure.clone(), items }));
            }
            What::Ended(ended) => self.end(spec, ended),
            What::Failing { failure, dropped } => {
                self.failure = Some(failure.clone());
                self.close(dropped);
            }
            What::Canceling { reason, dropped } => {
                self.cancel = Some(Cancel { reason: reason.clone() });
                self.close(dropped);
            }
            What::Concluding => {
                self.stage = Stage::Concluding;
                self.serial += 1;
            }
            What::Finished { status, output, failure } => {
                self.stage = Stage::Ended;
                self.failure.clone_from(failure);
                self.finished = Some(Finished { at: fact.at, status: *status, output: output.clone() });
            }
        }
    }

    fn begin(&mut self, vars: &[(proto::id::KeyName, ValueRef)], starts: &[Start]) {
        self.stage = Stage::Running;
        for (name, value) in vars {
            let write = self.write();
            self.base.set(&format!("workflow.{name}"), write, shared(value));
        }
        self.merged = self.base.clone();
        for start in starts {
            self.start(start, self.base.clone());
        }
    }

    fn start(&mut self, start: &Start, context: Context) {
        self.instances = self.instances.max(start.instance.0);
        let state = &mut self.tasks[usize::from(start.task.0)];
        state.instances += 1;
        state.latest = Some(Latest { instance: start.instance, attempts: 0, ended: None, failure: None, items: None });
        let live = Live { task: start.task, context, attempt: 0, retries: 0, serial: 0, at: At::Passing };
        self.live.insert(start.instance, live);
        self.enter(start.instance, start.stage);
    }

    fn enter(&mut self, instance: Instance, stage: Entry) {
        let live = self.live_mut(instance);
        match stage {
            Entry::Prepare | Entry::List => live.serial += 1,
            Entry::Act => {
                live.serial += 1;
                live.attempt += 1;
            }
            Entry::Pass => live.attempt += 1,
            Entry::Delay(_) => {}
        }
        live.at = match stage {
            Entry::Prepare => At::Preparing,
            Entry::Delay(until) => At::Delayed(until),
            Entry::List => At::Listing,
            Entry::Act => At::Acting,
            Entry::Pass => At::Passing,
        };
        let attempts = live.attempt;
        self.show(instance, |latest| latest.attempts = attempts);
        if stage == Entry::Pass {
            self.passing.insert(instance);
        }
    }

    fn report(&mut self, instance: Instance, serial: u32, report: &ItemsReport, ignored: &ItemSet, at: Timestamp) {
        self.fan_mut(instance).report(serial, report, ignored, at);
        self.show_items(instance);
    }

    fn take_back(&mut self, instance: Option<Instance>, serial: u32, alone: bool) {
        let Some(instance) = instance else {
            self.serial += 1;
            return;
        };
        let live = self.live_mut(instance);
        match &mut live.at {
            At::Items(fan) => fan.return_range(serial, alone),
            At::Preparing | At::Listing | At::Acting | At::Settling(_) => live.serial += 1,
            At::Delayed(_) | At::BackingOff(_) | At::Passing => {}
        }
    }

    fn end(&mut self, spec: &Workflow, ended: &Ended) {
        let live = self.live.remove(&ended.instance).expect("a task ends once, while it lives");
        self.passing.remove(&ended.instance);
        let fan = live.fan_out();
        let outcome = Outcome {
            status: ended.status,
            attempts: live.attempt,
            result: fan.map_or_else(|| ended.result.clone(), |fan| Some(fan.result())),
            error: ended.error.clone(),
            item_errors: fan.map(FanOut::item_errors),
        };
        let counts = fan.map(FanOut::counts);
        let (task, mut context) = (live.task, live.context);
        let write = self.write();
        context.end(&spec.task(task).name, write, outcome);
        for (name, value) in &ended.published {
            let write = self.write();
            context.set(&format!("workflow.{name}"), write, shared(value));
        }
        if let Some(latest) = self.latest_mut(task, ended.instance) {
            latest.ended = Some(ended.status);
            latest.failure.clone_from(&ended.failure);
            latest.items = counts;
        }
        self.follow(spec, task, ended, &context);
    }

    fn follow(&mut self, spec: &Workflow, task: TaskIndex, ended: &Ended, context: &Context) {
        for start in &ended.starts {
            self.start(start, context.clone());
        }
        for arrival in &ended.arrivals {
            self.arrive(spec, task, arrival, context);
        }
        if ended.starts.is_empty() && ended.arrivals.is_empty() {
            self.merged.merge(context);
        }
    }

    fn arrive(&mut self, spec: &Workflow, from: TaskIndex, arrival: &Arrival, context: &Context) {
        let state = &mut self.tasks[usize::from(arrival.join.0)];
        *state.arrivals.entry(from).or_default() += 1;
        let pass = state.passes.entry(arrival.pass).or_default();
        pass.arrived.insert(from);
        let is_late = pass.is_started;
        if !is_late {
            pass.context.merge(context);
        }
        let joined = arrival.starts.as_ref().map(|start| {
            pass.is_started = true;
            (start, std::mem::take(&mut pass.context))
        });
        // Nobody else can arrive: each inbound task reaches a pass once.
        if pass.arrived.len() == spec.task(arrival.join).inbound.len() {
            state.passes.remove(&arrival.pass);
        }
        if is_late {
            // The join does not see it any more, the output does.
            self.merged.merge(context);
        }
        if let Some((start, joined)) = joined {
            self.start(start, joined);
        }
    }

    /// Drops what has not begun and sends no more items. Branches that wait at a join wait no more: what they bring
    /// is for the output.
    fn close(&mut self, dropped: &[Instance]) {
        for instance in dropped {
            let live = self.live.remove(instance).expect("only live tasks are dropped");
            self.passing.remove(instance);
            if let Some(latest) = self.latest_mut(live.task, *instance) {
                latest.ended = Some(Status::Canceled);
                latest.failure = Some(not_begun());
            }
            self.merged.merge(&live.context);
        }
        for live in self.live.values_mut() {
            if let At::Items(fan) = &mut live.at {
                fan.close();
            }
        }
        for pass in self.tasks.iter_mut().flat_map(|state| std::mem::take(&mut state.passes).into_values()) {
            self.merged.merge(&pass.context);
        }
        if self.stage == Stage::Preparing {
            self.stage = Stage::Running;
        }
    }

    fn show_items(&mut self, instance: Instance) {
        let live = self.live_mut(instance);
        let counts = live.fan_out().map(FanOut::counts);
        let attempts = live.attempt;
        self.show(instance, |latest| {
            latest.items = counts;
            latest.attempts = attempts;
        });
    }

    fn live_mut(&mut self, instance: Instance) -> &mut Live {
        self.live.get_mut(&instance).expect("a fact about a task is written while it lives")
    }

    fn fan_mut(&mut self, instance: Instance) -> &mut FanOut {
        match &mut self.live_mut(instance).at {
            At::Items(fan) => fan,
            other => panic!("a fact about items of {instance} finds it at {other:?}"),
        }
    }

    /// Changes what people see of `instance`, unless its task was started again since.
    fn show(&mut self, instance: Instance, change: impl FnOnce(&mut Latest)) {
        let task = self.live_mut(instance).task;
        if let Some(latest) = self.latest_mut(task, instance) {
            change(latest);
        }
    }

    /// What people see of `task`, if that is `instance`.
    fn latest_mut(&mut self, task: TaskIndex, instance: Instance) -> Option<&mut Latest> {
        self.tasks[usize::from(task.0)].latest.as_mut().filter(|latest| latest.instance == instance)
    }
}

/// Text or a number of ours as JSON.
pub(super) fn json_of<T: serde::Serialize + ?Sized>(value: &T) -> Json {
    Json::of(value).expect("texts and numbers of ours are JSON")
}
