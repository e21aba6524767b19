//! How a fact changes a run. Records only: every decision is in the fact.

use std::collections::BTreeMap;

use proto::{
    id::{Instance, KeyName, RunId},
    items::ItemSet,
    json::Json,
    limits::CHILDREN_SHOWN_MAX,
    outcome::ItemsPart,
    time::Timestamp,
    value::ValueRef,
    work::{RunInfo, RunStatus, Status},
};

use super::{
    end::not_begun,
    fact::{Accepted, Arrival, Ended, Entry, Fact, Start, Unsettled, What},
    fanout::FanOut,
    live::{At, BackOff, Live, Settling},
    run::{Cancel, Finished, Latest, Pause, Run, Stage, TaskState, Verdict, shared},
};
use crate::{
    context::{Context, Outcome},
    spec::{Call, DurationField, OnItemError, OnLost, Task, TaskIndex, Workflow},
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
            parent: fact.parent.clone(),
            ancestor: fact.ancestor.clone(),
            exclusive: fact.exclusive,
            children: fact.children.clone(),
            stage: match (fact.start_at.filter(|start| *start > at), fact.exclusive) {
                (Some(start), _) => Stage::Scheduled(start),
                (None, Some(_)) => Stage::InLine,
                (None, None) => Stage::Preparing,
            },
            prepare: fact.prepare,
            begun_at: at,
            deadline: None,
            failure: None,
            cancel: None,
            stop: None,
            pause: None,
            verdict: None,
            base: Context::default(),
            merged: Context::default(),
            tasks: vec![TaskState::default(); spec.tasks.len()],
            live: Default::default(),
            passing: Default::default(),
            held: Default::default(),
            held_own: false,
            queued: Default::default(),
            fans: Default::default(),
            concurrency: None,
            flying: 0,
            signals: Default::default(),
            signal_ids: Default::default(),
            signals_count: 0,
            waiters: Default::default(),
            instances: 0,
            serial: u32::from(fact.prepare),
            writes: 0,
            facts: 1,
            finished: None,
        };
        run.import(spec, &fact.imported);
        for (name, value) in &fact.parameters {
            let write = run.write();
            run.base.set(&format!("parameters.{name}"), write, shared(value));
        }
        run.merged = run.base.clone();
        if run.stage == Stage::Preparing {
            run.admit(spec, at);
        }
        run
    }

    /// Applies `fact`, which belongs to this run and follows the facts applied so far.
    pub(super) fn evolve(&mut self, spec: &Workflow, fact: &Fact) {
        self.facts += 1;
        let touched = fact.what.instance();
        self.flying -= self.counted(touched);
        match &fact.what {
            What::Accepted(_) => unreachable!("only the first fact of {} accepts it", self.id),
            What::Due => self.stage = Stage::InLine,
            What::Admitted => self.admit(spec, fact.at),
            What::Begun { vars, deadline, concurrency, starts } => {
                self.deadline = deadline.or(self.deadline);
                self.concurrency = *concurrency;
                self.begin(spec, vars, starts);
            }
            What::Pausing { reason } => self.pause = Some(Pause { reason: reason.clone() }),
            What::Resuming => (self.pause, self.held_own) = (None, false),
            What::Ended(ended) => self.end(spec, ended),
            What::Failing { failure, dropped, stops } => {
                self.failure = Some(failure.clone());
                if *stops {
                    self.stop_all();
                    self.deadline = None;
                }
                self.close(spec, dropped);
            }
            What::Canceling { reason, dropped } => {
                self.cancel = Some(Cancel { reason: reason.clone() });
                self.stop_all();
                self.close(spec, dropped);
            }
            What::Concluding => {
                self.stage = Stage::Concluding;
                self.serial += 1;
            }
            What::Finalizing { status, output, failure, start } => {
                self.verdict = Some(Verdict { status: *status, output: output.clone(), failure: failure.clone() });
                self.stage = Stage::Finalizing(start.instance);
                self.deadline = None;
                self.start(spec, start, self.merged.clone());
            }
            What::Finished { status, output, failure } => {
                (self.stage, self.failure) = (Stage::Ended, failure.clone());
                self.finished = Some(Finished { at: fact.at, status: *status, output: output.clone() });
            }
            What::Returned { instance: None, .. } => self.take_back_own(),
            What::Signaled { name, id, payload } => self.signal(name, id.as_ref(), payload),
            What::Prepared { .. }
            | What::Entered { .. }
            | What::Released { .. }
            | What::Received { .. }
            | What::Claimed { .. }
            | What::Called { .. }
            | What::ItemEnded(_)
            | What::Listed { .. }
            | What::Ranged { .. }
            | What::Reported { .. }
            | What::Woken { .. }
            | What::Retrying { .. }
            | What::Returned { instance: Some(_), .. }
            | What::Reopened { .. }
            | What::Settling(_) => {
                self.evolve_task(spec, fact, touched.expect("each of these is about a task"));
            }
        }
        self.flying += self.counted(touched);
    }

    /// What `touched` counts in `concurrency`. Nobody asks where nothing is bounded.
    fn counted(&self, touched: Option<Instance>) -> u32 {
        touched.filter(|_| self.concurrency.is_some()).map_or(0, |instance| self.weight(instance))
    }

    /// Applies a fact about the live task `instance`.
    fn evolve_task(&mut self, spec: &Workflow, fact: &Fact, instance: Instance) {
        match &fact.what {
            What::Prepared { prepared, .. } => self.live_mut(instance).prepared = Some(Box::new(prepared.clone())),
            What::Entered { stage, .. } => self.enter(spec, instance, *stage),
            What::Released { .. } => self.release(instance),
            What::Received { .. } => self.receive(spec, instance),
            What::Claimed { serial, nonce, .. } => self.claim(instance, *serial, nonce),
            What::Called { serial, items, .. } => self.call(instance, *serial, items, fact.at),
            What::ItemEnded(ended) => {
                self.fan_mut(instance).child_ended(ended);
                self.show_items(instance);
            }
            What::Listed { parts, concurrency, tolerate, .. } => {
                let task = spec.task(self.live[&instance].task);
                let fan = fan_of(task, parts, *concurrency, *tolerate);
                let live = self.live_mut(instance);
                live.attempt = 1;
                live.at = At::Items(Box::new(fan));
                self.fans.insert(instance);
                self.show_items(instance);
            }
            What::Ranged { serial, retries, items, .. } => {
                self.live_mut(instance).serial = *serial;
                self.fan_mut(instance).send(*serial, *retries, items);
                self.show_items(instance);
            }
            What::Reported { serial, report, ignored, .. } => {
                self.fan_mut(instance).report(*serial, report, ignored, fact.at);
                self.show_items(instance);
            }
            What::Woken { .. } => self.fan_mut(instance).wake(fact.at),
            What::Retrying { status, failure, until, .. } => {
                let live = self.live_mut(instance);
                live.retries += 1;
                let back_off = BackOff { until: *until, status: *status, failure: failure.clone() };
                live.at = At::BackingOff(Box::new(back_off));
                self.show(instance, |latest| latest.failure.clone_from(failure));
            }
            What::Returned { serial, alone, .. } => self.take_back(instance, *serial, *alone),
            What::Reopened { .. } => {
                self.fan_mut(instance).reopen();
                self.show_items(instance);
            }
            What::Settling(unsettled) => {
                let Unsettled { status, failure, result, error, .. } = unsettled.as_ref();
                let settling = Settling {
                    status: *status,
                    failure: failure.clone(),
                    result: result.clone(),
                    error: error.clone(),
                    asks_retry: false,
                    items: None,
                };
                self.settle(spec, instance, settling);
            }
            What::Accepted(_)
            | What::Due
            | What::Admitted
            | What::Begun { .. }
            | What::Signaled { .. }
            | What::Ended(_)
            | What::Failing { .. }
            | What::Pausing { .. }
            | What::Resuming
            | What::Canceling { .. }
            | What::Concluding
            | What::Finalizing { .. }
            | What::Finished { .. } => unreachable!("{fact:?} is no fact about a live task"),
        }
    }

    /// What another run's context was, by path.
    fn import(&mut self, spec: &Workflow, imported: &BTreeMap<String, ValueRef>) {
        for (path, value) in imported {
            let write = self.write();
            self.base.import(spec, path, write, shared(value));
        }
    }

    fn admit(&mut self, spec: &Workflow, at: Timestamp) {
        self.stage = Stage::Preparing;
        self.begun_at = at;
        self.held_own = self.prepare && self.pause.is_some();
        let own = match &spec.timeout {
            Some(DurationField::Known(timeout)) => Some(at.plus(*timeout)),
            Some(DurationField::Evaluated(_)) | None => None,
        };
        let given = self.parent.as_ref().and_then(|parent| parent.timeout_ms);
        let given = given.map(|ms| at.plus(std::time::Duration::from_millis(ms)));
        self.deadline = own.into_iter().chain(given).min();
    }

    /// What runs is stopped, and nothing rests any more.
    fn stop_all(&mut self) {
        self.stop = Some(Instance(self.instances));
        self.pause = None;
        self.held_own = false;
    }

    fn settle(&mut self, spec: &Workflow, instance: Instance, mut settling: Settling) {
        self.fans.remove(&instance);
        self.unwait(spec, self.live[&instance].task, instance);
        let is_held = self.pause.is_some();
        let live = self.live_mut(instance);
        live.serial += 1;
        match std::mem::replace(&mut live.at, At::Passing) {
            At::Items(fan) => settling.items = Some(fan),
            At::Called(_) => settling.asks_retry = spec.task(live.task).retry.is_some(),
            At::Preparing
            | At::Waiting(_)
            | At::Delayed(_)
            | At::Listing
            | At::Acting
            | At::BackingOff(_)
            | At::Settling(_)
            | At::Passing => {}
        }
        live.at = At::Settling(Box::new(settling));
        if is_held {
            self.held.insert(instance);
        }
    }

    fn begin(&mut self, spec: &Workflow, vars: &[(KeyName, ValueRef)], starts: &[Start]) {
        self.stage = Stage::Running;
        for (name, value) in vars {
            let write = self.write();
            self.base.set(&format!("workflow.{name}"), write, shared(value));
        }
        self.merged = self.base.clone();
        for start in starts {
            self.start(spec, start, self.base.clone());
        }
    }

    fn start(&mut self, spec: &Workflow, start: &Start, context: Context) {
        self.instances = self.instances.max(start.instance.0);
        let state = &mut self.tasks[usize::from(start.task.0)];
        state.instances += 1;
        state.latest = Some(Latest {
            instance: start.instance,
            attempts: 0,
            ended: None,
            failure: None,
            items: None,
            children: Vec::new(),
        });
        let live = Live {
            task: start.task,
            context,
            attempt: 0,
            retries: 0,
            serial: 0,
            again: start.again,
            claim: None,
            prepared: None,
            at: At::Passing,
        };
        self.live.insert(start.instance, Box::new(live));
        self.enter(spec, start.instance, start.stage);
        self.flying += self.counted(Some(start.instance));
    }

    fn enter(&mut self, spec: &Workflow, instance: Instance, stage: Entry) {
        let live = self.live_mut(instance);
        live.claim = None;
        match stage {
            Entry::Prepare | Entry::List => live.serial += 1,
            Entry::Act => {
                live.serial += 1;
                live.attempt += 1;
            }
            Entry::Pass => live.attempt += 1,
            Entry::Delay(_) | Entry::Wait(_) => {}
        }
        live.at = match stage {
            Entry::Prepare => At::Preparing,
            Entry::Wait(until) => At::Waiting(until),
            Entry::Delay(until) => At::Delayed(until),
            Entry::List => At::Listing,
            Entry::Act => At::Acting,
            Entry::Pass => At::Passing,
        };
        let (task, attempts) = (live.task, live.attempt);
        if let Some(latest) = self.latest_mut(task, instance) {
            latest.attempts = attempts;
        }
        self.unwait(spec, task, instance);
        match stage {
            Entry::Pass => drop(self.passing.insert(instance)),
            Entry::Wait(_) => self.wait(spec, instance),
            Entry::Delay(_) => {}
            Entry::Prepare | Entry::List | Entry::Act => self.hold(instance, stage),
        }
    }

    fn take_back_own(&mut self) {
        self.serial += 1;
        self.held_own = self.pause.is_some();
    }

    fn take_back(&mut self, instance: Instance, serial: u32, alone: bool) {
        let is_paused = self.pause.is_some();
        let live = self.live_mut(instance);
        match &mut live.at {
            At::Items(fan) => fan.return_range(serial, alone),
            At::Preparing | At::Listing | At::Acting | At::Settling(_) => {
                live.serial += 1;
                live.claim = None;
                if is_paused {
                    self.held.insert(instance);
                }
            }
            At::Waiting(_) | At::Delayed(_) | At::Called(_) | At::BackingOff(_) | At::Passing => {}
        }
    }

    fn end(&mut self, spec: &Workflow, ended: &Ended) {
        let mut live = self.remove(spec, ended.instance).expect("a task ends once, while it lives");
        let (task, attempts) = (live.task, live.attempt);
        let mut context = std::mem::take(&mut live.context);
        let fan = live.take_fan_out();
        let counts = fan.as_deref().map(FanOut::counts);
        let (result, item_errors) = match fan {
            Some(fan) => {
                let (result, errors) = fan.into_results();
                (Some(result), Some(Box::new(errors)))
            }
            // Where the list could not be made no item failed.
            None if spec.task(task).items.is_some() => {
                (ended.result.clone(), Some(Box::new(ValueRef::Inline(json_of::<[(); 0]>(&[])))))
            }
            None => (ended.result.clone(), None),
        };
        let error = ended.error.clone().map(Box::new);
        let outcome = Outcome { status: ended.status, attempts, result, error, item_errors };
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
        self.follow(spec, task, ended, context);
    }

    fn follow(&mut self, spec: &Workflow, task: TaskIndex, ended: &Ended, context: Context) {
        match (&ended.starts[..], &ended.arrivals[..]) {
            ([], []) => self.merged.merge(&context),
            // The only one to go on gets it whole: in a loop nothing is shared, and nothing copied.
            ([start], []) => self.start(spec, start, context),
            (starts, arrivals) => {
                for start in starts {
                    self.start(spec, start, context.clone());
                }
                for arrival in arrivals {
                    self.arrive(spec, task, arrival, &context);
                }
            }
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
            self.start(spec, start, joined);
        }
    }

    /// Drops what has not begun and sends no more items. Branches that wait at a join wait no more: what they bring
    /// is for the output.
    fn close(&mut self, spec: &Workflow, dropped: &[Instance]) {
        for instance in dropped {
            let live = self.remove(spec, *instance).expect("only live tasks are dropped");
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
        match self.stage {
            Stage::Scheduled(_) | Stage::InLine | Stage::Preparing => self.stage = Stage::Running,
            Stage::Running | Stage::Concluding | Stage::Finalizing(_) | Stage::Ended => {}
        }
    }

    /// Takes a task out of everything that knows of live ones.
    fn remove(&mut self, spec: &Workflow, instance: Instance) -> Option<Box<Live>> {
        let live = self.live.remove(&instance)?;
        self.unwait(spec, live.task, instance);
        self.passing.remove(&instance);
        self.held.remove(&instance);
        self.queued.remove(&instance);
        self.fans.remove(&instance);
        Some(live)
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

    pub(super) fn show_children(&mut self, instance: Instance, serial: u32, items: &ItemSet) {
        let only = items.is_empty().then(|| self.id.child(instance, serial, None));
        let of_items = items.iter().map(|item| self.id.child(instance, serial, Some(item)));
        let children: Vec<RunId> = only.into_iter().chain(of_items).take(CHILDREN_SHOWN_MAX).collect();
        self.show(instance, |latest| {
            latest.children.extend(children);
            latest.children.truncate(CHILDREN_SHOWN_MAX);
        });
    }

    pub(super) fn live_mut(&mut self, instance: Instance) -> &mut Live {
        self.live.get_mut(&instance).expect("a fact about a task is written while it lives")
    }

    pub(super) fn fan_mut(&mut self, instance: Instance) -> &mut FanOut {
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

fn fan_of(task: &Task, parts: &[ItemsPart], concurrency: Option<u32>, tolerate: u32) -> FanOut {
    let on_error = task.items.as_ref().map(|items| items.on_error);
    let fan = FanOut::new(parts.to_vec(), concurrency, tolerate, on_error == Some(OnItemError::Stop));
    match (task.on_lost, &task.call) {
        (OnLost::Retry, Call::Action(_)) => fan,
        // A lost range fails whatever it holds, and all that a range holds may become runs.
        (OnLost::Fail, _) | (_, Call::Workflow(_)) => fan.paced(),
    }
}
