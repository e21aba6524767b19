//! The world around the machine: it takes commands, and plays worker, broker and timers.
//!
//! There is a worker for every piece of work, so all of it begins as it is sent, in the order of dispatch, before any of
//! it ends. What takes equally long ends in the order in which it began. Time goes on when nothing else can happen:
//! to the next end of an action, or to the next timer. A run that fails or is cancelled calls back what has not begun;
//! a cancel also ends what has.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use proto::{
    SCHEMA,
    control::Control,
    failure::Failure,
    id::{Instance, KeyName, Shard},
    json::Json,
    manifest::ManifestRef,
    outcome::{ItemsReport, Report},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{Phase, Range, Status, Work, WorkKey},
};

use super::{
    Error, Outcome, Unused,
    cues::Cues,
    play::{Performed, Worker},
    record::Record,
    script::{Act, Cue, End, Event, Moment, Script},
    values,
};
use crate::{
    machine::{self, Command, Input, Now, Run, Step, Timer, fact::Accepted},
    program::Program,
};

/// Ranges of one fan-out that are on their way at once.
const FLIGHTS_MAX: usize = 64;

/// A run, and everything around it.
pub(super) struct Stage<'s> {
    program: &'s Arc<Program>,
    script: &'s Script,
    run: Run,
    now: Timestamp,
    timers: BTreeMap<Timer, Timestamp>,
    /// Sent, and not begun.
    waiting: VecDeque<Work>,
    /// Begun, by when it ends and when it began.
    running: BTreeMap<(Timestamp, u64), Running>,
    begun: u64,
    /// The machine wants to go on by itself.
    continues: bool,
    /// It is the run's turn among those that exclude each other.
    is_admitted: bool,
    told: Told,
    /// Items of each start of a task that has some.
    lists: BTreeMap<Instance, Vec<Json>>,
    cues: Cues,
    record: Record,
    /// Events that have not come.
    events: Vec<Event>,
    steps: usize,
}

/// Work that a worker has begun, and what will come of it.
struct Running {
    work: Work,
    ends: Input,
}

/// What workers were told of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// What has not begun is given back.
    Skip,
    /// And what has begun ends.
    Cancel,
}

impl<'s> Stage<'s> {
    /// Accepts the run.
    pub(super) fn open(program: &'s Arc<Program>, script: &'s Script) -> Self {
        let workflow = program.workflow();
        let inline = |(name, json): &(KeyName, Json)| (name.clone(), ValueRef::Inline(json.clone()));
        let run = "rehearsal".parse().expect("a valid run id");
        let accepted = Accepted {
            parameters: script.parameters.iter().map(inline).collect(),
            labels: script.labels.clone(),
            ..Accepted::of(run, workflow.name.clone(), definition())
        };
        let (run, step) = machine::accept(workflow, accepted, Now { at: script.now, flights_max: FLIGHTS_MAX });
        let mut stage = Self {
            program,
            script,
            run,
            now: script.now,
            timers: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            begun: 0,
            continues: false,
            is_admitted: false,
            told: Told::Nothing,
            lists: BTreeMap::new(),
            cues: Cues::new(script),
            record: Record::default(),
            events: script.events.clone(),
            steps: 0,
        };
        stage.absorb(step);
        stage.come(&Moment::Start);
        stage
    }

    /// Plays until nothing can happen any more.
    pub(super) fn play(mut self, steps_max: usize) -> Result<Outcome, Error> {
        while self.run.finished().is_none() {
            if self.steps >= steps_max {
                return Err(Error::Endless { steps_max });
            }
            if let Some(work) = self.waiting.pop_front() {
                self.begin(work);
            } else if std::mem::take(&mut self.is_admitted) {
                self.feed(Input::Admit);
            } else if std::mem::take(&mut self.continues) {
                self.feed(Input::Continue);
            } else if !self.go_on() {
                break;
            }
        }
        Ok(self.outcome())
    }

    /// Goes to the next thing that time brings; false when there is none.
    fn go_on(&mut self) -> bool {
        let ends = self.running.first_key_value().map(|((at, _), _)| *at);
        let rings = self.timers.iter().map(|(timer, due)| (*due, *timer)).min();
        match (ends, rings) {
            (None, None) => return false,
            (None, Some((due, timer))) => self.ring(timer, due),
            (Some(at), Some((due, timer))) if due < at => self.ring(timer, due),
            (Some(_), _) => {
                let ((at, _), running) = self.running.pop_first().expect("just looked at");
                self.now = self.now.max(at);
                self.feed(running.ends);
            }
        }
        true
    }

    fn ring(&mut self, timer: Timer, due: Timestamp) {
        self.timers.remove(&timer);
        self.now = self.now.max(due);
        self.feed(Input::Timer(timer));
    }

    fn feed(&mut self, input: Input) {
        self.steps += 1;
        let now = Now { at: self.now, flights_max: FLIGHTS_MAX };
        let step = machine::step(self.program.workflow(), &mut self.run, input, now);
        self.absorb(step);
    }

    /// Does what a step commands, then lets come what was to come when this happened.
    fn absorb(&mut self, step: Step) {
        let workflow = self.program.workflow();
        let moments: Vec<Moment> = step.facts.iter().flat_map(|fact| self.record.note(workflow, fact)).collect();
        for command in step.commands {
            match command {
                Command::Dispatch(key) => self.send(&key),
                Command::Arm(timer, due) => drop(self.timers.insert(timer, due)),
                Command::Disarm(timer) => drop(self.timers.remove(&timer)),
                Command::Broadcast(Control::Skip { .. }) => self.told = Told::Skip,
                Command::Broadcast(Control::Cancel { .. }) => self.cancel(),
                // Nothing else is there to be alone with.
                Command::Enqueue(_) => self.is_admitted = true,
                Command::Broadcast(Control::Pause { .. } | Control::Claimed { .. })
                | Command::Announce(_)
                | Command::Spawn(_)
                | Command::Child(..)
                | Command::Parent(_) => {}
                Command::Continue => self.continues = true,
            }
        }
        moments.iter().for_each(|moment| self.come(moment));
    }

    /// What was to happen at `moment` happens.
    fn come(&mut self, moment: &Moment) {
        let (due, later) = std::mem::take(&mut self.events).into_iter().partition(|event| event.at == *moment);
        self.events = later;
        let due: Vec<Event> = due;
        due.into_iter().filter_map(|event| input_of(event.act)).for_each(|input| self.feed(input));
    }

    /// Writes the message for `key`, unless nobody wants that work any more.
    fn send(&mut self, key: &WorkKey) {
        let workflow = self.program.workflow();
        let Some(brief) = self.run.brief(workflow, key) else { return };
        let reads = self.program.reads(brief.task, key.phase);
        let manifest = self.run.manifest(workflow, key, reads.paths.iter().map(|read| read.path.as_str()));
        let range = brief.range.map(|(items, parts)| {
            let instance = instance_of(key).expect("only tasks have ranges");
            let list = self.lists.entry(instance).or_insert_with(|| values::items(parts));
            let values: Vec<&Json> = items.iter().map(|index| &list[index.0 as usize]).collect();
            let items = items.clone();
            Range { items, values: Json::of(&values).expect("a list of JSON is JSON") }
        });
        self.waiting.push_back(Work {
            schema: SCHEMA,
            key: key.clone(),
            shard: Shard(0),
            definition: definition(),
            run: self.run.info(),
            attempt: brief.attempt,
            retries: brief.retries,
            manifest: ManifestRef::Inline(manifest),
            range,
            ended: brief.ended,
            child: brief.child,
            dispatched_at: self.now,
        });
    }

    /// A worker takes the work up, unless that was called back.
    fn begin(&mut self, work: Work) {
        let task = work.key.task.clone();
        if let (Some((name, _)), Phase::Items | Phase::Act) = (&task, work.key.phase) {
            self.come(&Moment::Before(name.clone()));
        }
        if self.run.brief(self.program.workflow(), &work.key).is_none() {
            return;
        }
        if task.is_some() && self.told != Told::Nothing {
            return self.feed(handed_back(work));
        }
        let Performed { report, takes, inputs } = self.perform(&work);
        self.write_down(&work, inputs);
        let ends = match report {
            Some(report) => Input::Report(work.key.clone(), report),
            None => Input::Undeliverable(work.key.clone()),
        };
        let is_action = work.key.phase == Phase::Act;
        self.begun += 1;
        self.running.insert((self.now.plus(takes), self.begun), Running { work, ends });
        if let (Some((name, _)), true) = (task, is_action) {
            self.come(&Moment::During(name));
        }
    }

    /// What will come of the work, as its cues say.
    fn perform(&mut self, work: &Work) -> Performed {
        let worker = Worker::new(self.program, self.script, work, self.now);
        match (work.key.phase, &work.key.task, &work.range) {
            (Phase::Act, Some((_, instance)), Some(range)) => {
                let cues: Vec<Cue> = range.items.iter().map(|index| self.cues.item(*instance, index)).collect();
                worker.act_on(range, &cues)
            }
            (Phase::Act, Some((name, _)), None) => worker.act(&self.cues.attempt(name)),
            (Phase::Items, Some((name, instance)), _) => {
                self.cues.list(name, *instance);
                worker.evaluate()
            }
            (Phase::Prepare | Phase::Items | Phase::Act | Phase::Settle | Phase::Output, _, _) => worker.evaluate(),
        }
    }

    fn write_down(&mut self, work: &Work, inputs: Vec<Option<Json>>) {
        let Some((task, instance)) = &work.key.task else { return };
        match &work.range {
            Some(range) => range
                .items
                .iter()
                .zip(inputs)
                .for_each(|(index, input)| self.record.item(task, *instance, index, input)),
            None => inputs.into_iter().for_each(|input| self.record.attempt(task, input)),
        }
    }

    /// Every action that runs is ended now.
    fn cancel(&mut self) {
        self.told = Told::Cancel;
        let failure = Failure::new("canceled", "the run was cancelled");
        let cue = Cue::at_once(End::Failure { status: Status::Canceled, failure, result: Json::null() });
        let running = std::mem::take(&mut self.running);
        for ((at, order), mut running) in running {
            let worker = Worker::new(self.program, self.script, &running.work, self.now);
            let performed = match (running.work.key.phase, &running.work.range) {
                (Phase::Act, Some(range)) => worker.act_on(range, &vec![cue.clone(); range.items.len() as usize]),
                (Phase::Act, None) => worker.act(&cue),
                (Phase::Prepare | Phase::Items | Phase::Settle | Phase::Output, _) => {
                    self.running.insert((at, order), running);
                    continue;
                }
            };
            let report = performed.report.expect("who is cancelled does not crash");
            running.ends = Input::Report(running.work.key.clone(), report);
            self.running.insert((self.now, order), running);
        }
    }

    fn outcome(self) -> Outcome {
        let workflow = self.program.workflow();
        let own = WorkKey { run: self.run.id().clone(), task: None, phase: Phase::Output, serial: 0 };
        let published = self.run.manifest(workflow, &own, ["workflow"]).into_iter().filter_map(|(path, value)| {
            let key = path.strip_prefix("workflow.")?.parse().ok()?;
            Some((key, values::whole(&value)))
        });
        let unused = self.cues.unused().chain(self.events.iter().map(|event| Unused::Event(event.at.clone())));
        Outcome {
            status: self.run.status(),
            error: self.run.failure().cloned(),
            output: self.run.finished().map_or_else(Json::null, |finished| values::whole(&finished.output)),
            published: published.collect(),
            order: self.record.order().to_vec(),
            inputs: self.record.inputs(),
            tasks: self.run.view(workflow).tasks,
            unused: unused.collect(),
        }
    }
}

/// What the machine is told of an event. Reading a script refuses those for which it has no input.
fn input_of(act: Act) -> Option<Input> {
    match act {
        Act::Cancel { reason } => Some(Input::Cancel { reason }),
        Act::Pause { .. } | Act::Resume | Act::Signal { .. } => None,
    }
}

/// What a worker says of work that it has not begun.
fn handed_back(work: Work) -> Input {
    let report = match work.range {
        Some(range) => Report::Items(ItemsReport { handed_back: range.items, ..ItemsReport::default() }),
        None => Report::HandedBack,
    };
    Input::Report(work.key, report)
}

fn instance_of(key: &WorkKey) -> Option<Instance> {
    key.task.as_ref().map(|(_, instance)| *instance)
}

/// No one fetches it: workers on the stage have the program.
fn definition() -> Stored {
    Stored::of(b"")
}
