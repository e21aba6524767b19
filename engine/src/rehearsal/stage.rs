//! The world around the machine: it takes commands, and plays worker, broker and timers for a run and its children.
//!
//! There is a worker for every piece of work, so all of it begins as it is sent, in the order of dispatch, before any of
//! it ends. What takes equally long ends in the order in which it began. Time goes on when nothing else can happen:
//! to the next end of an action, else to the next timer, else to the next moment that the script gives by the clock. A
//! run that fails, rests or is cancelled calls back what has not begun; a cancel also ends what has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto::{
    SCHEMA,
    control::Control,
    failure::Failure,
    id::{Instance, KeyName, RunId, Shard},
    json::Json,
    manifest::ManifestRef,
    outcome::{ItemsReport, Report},
    time::Timestamp,
    value::ValueRef,
    work::{Phase, Status, Work, WorkKey},
};

use super::{
    Error,
    cast::Cast,
    cues::Cues,
    play::{Performed, Worker},
    player::{Player, Role},
    script::{Act, Cue, End, Moment, Part, Script, Take},
};
use crate::machine::{
    self, Command, FLIGHTS_FREE, Input, Now, Order, Signal, Step, Timer,
    again::{Again, Heir},
    fact::{Accepted, Fact},
};

/// A child of which the script says nothing.
static NOTHING: Part = Part { outcomes: BTreeMap::new(), events: Vec::new() };

/// A run, its children, and everything around them.
pub(super) struct Stage<'s> {
    cast: &'s Cast<'s>,
    script: &'s Script,
    take: &'s Take,
    main: RunId,
    pub(super) players: BTreeMap<RunId, Player<'s>>,
    /// Child runs in the order in which they started.
    pub(super) children: Vec<RunId>,
    pub(super) now: Timestamp,
    timers: BTreeMap<(RunId, Timer), Timestamp>,
    /// Moments that the script gives by the clock.
    clock: BTreeSet<(Timestamp, usize, RunId)>,
    /// What one run has for another.
    letters: VecDeque<(RunId, Input)>,
    /// Sent, and not begun, each with its number.
    waiting: VecDeque<(u64, Work)>,
    sent: u64,
    /// Begun, by when it ends and when it began.
    running: BTreeMap<(Timestamp, u64), Running>,
    begun: u64,
    /// Runs that the machine wants to go on with by itself.
    continues: VecDeque<RunId>,
    pub(super) cues: BTreeMap<Role, Cues>,
    /// Events that came to any run of the role.
    pub(super) came: BTreeSet<(Role, usize)>,
    steps: usize,
}

/// Work that a worker has begun, and what will come of it.
struct Running {
    work: Work,
    ends: Input,
}

impl<'s> Stage<'s> {
    fn empty(cast: &'s Cast<'s>, script: &'s Script, take: &'s Take, main: &str, now: Timestamp) -> Self {
        let of_children = take.children.iter().map(|(name, part)| (Role::Child(name.clone()), Cues::new(part)));
        let cues = of_children.chain([(Role::Main, Cues::new(&take.part))]).collect();
        Self {
            cast,
            script,
            take,
            main: main.parse().expect("a valid run id"),
            players: BTreeMap::new(),
            children: Vec::new(),
            now,
            timers: BTreeMap::new(),
            clock: BTreeSet::new(),
            letters: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: 0,
            running: BTreeMap::new(),
            begun: 0,
            continues: VecDeque::new(),
            cues,
            came: BTreeSet::new(),
            steps: 0,
        }
    }

    /// Accepts the run.
    pub(super) fn open(cast: &'s Cast<'s>, script: &'s Script) -> Self {
        let mut stage = Self::empty(cast, script, &script.take, "rehearsal", script.now);
        let workflow = cast.main().workflow();
        let inline = |(name, json): &(KeyName, Json)| (name.clone(), ValueRef::Inline(json.clone()));
        let (_, definition) = cast.get(&workflow.name).expect("the main program is one of the cast");
        let accepted = Accepted {
            parameters: script.parameters.iter().map(inline).collect(),
            labels: script.labels.clone(),
            start_at: script.start_at,
            children: cast.definitions(),
            imported: script.imported.clone(),
            ..Accepted::of(stage.main.clone(), workflow.name.clone(), definition)
        };
        stage.accept(accepted);
        stage
    }

    /// Runs again what `history` tells of.
    pub(super) fn reopen(
        cast: &'s Cast<'s>,
        script: &'s Script,
        take: &'s Take,
        history: &[Fact],
        again: &Again,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let mut stage = Self::empty(cast, script, take, "rehearsal-again", now);
        let workflow = cast.main().workflow();
        let heir = Heir { run: stage.main.clone(), reply: None };
        let (run, step) = machine::again::rerun(workflow, history, heir, again, stage.moment())?;
        let (_, definition) = cast.get(&workflow.name).expect("the main program is one of the cast");
        let mut player = Player::new(cast.main(), definition, Role::Main, &take.part, run);
        player.take_up(&step);
        let main = stage.main.clone();
        stage.enter(&main, player);
        step.commands.into_iter().for_each(|command| stage.obey(&main, command));
        stage.come(&main, &Moment::Start);
        Ok(stage)
    }

    /// Plays until nothing can happen any more.
    pub(super) fn play(&mut self, steps_max: usize) -> Result<(), Error> {
        while self.main().run.finished().is_none() {
            if self.steps >= steps_max {
                return Err(Error::Endless { steps_max });
            }
            if let Some((run, input)) = self.letters.pop_front() {
                self.feed(&run, input);
            } else if let Some((sent, work)) = self.waiting.pop_front() {
                self.begin(sent, work);
            } else if let Some(run) = self.continues.pop_front() {
                self.feed(&run, Input::Continue);
            } else if !self.go_on() {
                break;
            }
        }
        Ok(())
    }

    /// The run that is rehearsed.
    pub(super) fn main(&self) -> &Player<'s> {
        &self.players[&self.main]
    }

    /// What the script has for each role.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Role, &'s Part)> {
        let take = self.take;
        let children = take.children.iter().map(|(name, part)| (Role::Child(name.clone()), part));
        [(Role::Main, &take.part)].into_iter().chain(children)
    }

    fn player(&mut self, run: &RunId) -> &mut Player<'s> {
        self.players.get_mut(run).expect("only runs that were accepted are spoken to")
    }

    /// Goes to the next thing that time brings; false when there is none.
    fn go_on(&mut self) -> bool {
        let ends = self.running.first_key_value().map(|((at, _), _)| *at);
        let rings = self.timers.iter().map(|((run, timer), due)| (*due, run.clone(), *timer)).min();
        let rung = rings.as_ref().map(|(due, ..)| *due);
        let clock = self.clock.first().map(|(due, ..)| *due);
        let Some(next) = [ends, rung, clock].into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        if ends == Some(next) {
            let (_, running) = self.running.pop_first().expect("just looked at");
            self.feed(&running.work.key.run.clone(), running.ends);
        } else if let Some((_, run, timer)) = rings.filter(|(due, ..)| *due == next) {
            self.timers.remove(&(run.clone(), timer));
            self.feed(&run, Input::Timer(timer));
        } else {
            let (_, at, run) = self.clock.pop_first().expect("just looked at");
            let moment = self.players[&run].part.events[at].at.clone();
            self.come(&run, &moment);
        }
        true
    }

    fn moment(&self) -> Now {
        Now { at: self.now, flights_max: FLIGHTS_FREE }
    }

    fn accept(&mut self, accepted: Accepted) {
        let id = accepted.run.clone();
        let (program, definition) = self.cast.get(&accepted.workflow).expect("the cast is complete");
        let (role, part) = match accepted.parent {
            None => (Role::Main, &self.take.part),
            Some(_) => {
                self.children.push(id.clone());
                let part = self.take.children.get(&accepted.workflow).unwrap_or(&NOTHING);
                (Role::Child(accepted.workflow.clone()), part)
            }
        };
        let (run, step) = machine::accept(program.workflow(), accepted, self.moment());
        self.enter(&id, Player::new(program, definition, role, part, run));
        self.absorb(&id, step);
        self.come(&id, &Moment::Start);
    }

    fn enter(&mut self, id: &RunId, player: Player<'s>) {
        for (at, event) in player.part.events.iter().enumerate() {
            if let Moment::Clock(after) = event.at {
                self.clock.insert((self.now.plus(after), at, id.clone()));
            }
        }
        self.players.insert(id.clone(), player);
    }

    fn feed(&mut self, run: &RunId, input: Input) {
        self.steps += 1;
        let now = self.moment();
        let player = self.player(run);
        let step = machine::step(player.program.workflow(), &mut player.run, input, now);
        self.absorb(run, step);
    }

    /// Does what a step commands, then lets come what was to come when this happened.
    fn absorb(&mut self, run: &RunId, step: Step) {
        let moments = self.player(run).note(&step);
        step.commands.into_iter().for_each(|command| self.obey(run, command));
        moments.iter().for_each(|moment| self.come(run, moment));
    }

    fn obey(&mut self, run: &RunId, command: Command) {
        match command {
            Command::Dispatch(key) => self.send(&key),
            Command::Arm(timer, due) => drop(self.timers.insert((run.clone(), timer), due)),
            Command::Disarm(timer) => drop(self.timers.remove(&(run.clone(), timer))),
            Command::Broadcast(Control::Skip { through, .. }) => self.player(run).revoke(through),
            Command::Broadcast(Control::Cancel { through, .. }) => {
                self.player(run).revoke(through);
                self.stop(run, through);
            }
            Command::Broadcast(Control::Pause { .. }) => {
                let sent = self.sent;
                self.player(run).rest(sent);
            }
            // A rehearsal loses no worker, and claims nothing.
            Command::Broadcast(Control::Claimed { .. }) | Command::Announce(_) => {}
            Command::Spawn(accepted) => self.accept(*accepted),
            Command::Child(child, order) => self.letters.push_back((child, input_of_order(run, order))),
            Command::Parent(end) => self.letters.push_back((end.parent.run.clone(), Input::ChildEnded(*end))),
            // Nothing else is there to be alone with.
            Command::Enqueue(_) => self.letters.push_back((run.clone(), Input::Admit)),
            Command::Continue => self.continues.push_back(run.clone()),
        }
    }

    /// What was to happen to `run` at `moment` happens.
    fn come(&mut self, run: &RunId, moment: &Moment) {
        let player = self.player(run);
        let role = player.role.clone();
        for (at, event) in player.take_events(moment) {
            self.came.insert((role.clone(), at));
            self.feed(run, input_of(&event.act));
        }
    }

    /// Writes the message for `key`, unless nobody wants that work any more.
    fn send(&mut self, key: &WorkKey) {
        let now = self.now;
        let player = self.player(&key.run);
        let workflow = player.program.workflow();
        let range = player.range(key);
        let Some(brief) = player.run.brief(workflow, key) else { return };
        let reads = player.program.reads(brief.task, key.phase);
        let manifest = player.run.manifest(workflow, key, reads.paths.iter().map(|read| read.path.as_str()));
        let work = Work {
            schema: SCHEMA,
            key: key.clone(),
            shard: Shard(0),
            definition: player.definition,
            run: player.run.info(),
            attempt: brief.attempt,
            retries: brief.retries,
            manifest: ManifestRef::Inline(manifest),
            range,
            ended: brief.ended,
            child: brief.child,
            dispatched_at: now,
        };
        self.sent += 1;
        self.waiting.push_back((self.sent, work));
    }

    /// A worker takes the work up, unless that was called back.
    fn begin(&mut self, sent: u64, work: Work) {
        let run = work.key.run.clone();
        let task = work.key.task.clone();
        if let (Some((name, _)), Phase::Items | Phase::Act) = (&task, work.key.phase) {
            self.come(&run, &Moment::Before(name.clone()));
        }
        let player = &self.players[&run];
        if player.run.brief(player.program.workflow(), &work.key).is_none() {
            return;
        }
        if player.is_called_back(&work, sent) {
            return self.feed(&run, handed_back(work));
        }
        let is_action = work.key.phase == Phase::Act && player.child_of(&work.key).is_none();
        let Performed { report, takes, inputs } = self.perform(&work);
        self.write_down(&work, inputs);
        let ends = match report {
            Some(report) => Input::Report(work.key.clone(), report),
            None => Input::Undeliverable(work.key.clone()),
        };
        self.begun += 1;
        self.running.insert((self.now.plus(takes), self.begun), Running { work, ends });
        if let (Some((name, _)), true) = (task, is_action) {
            self.come(&run, &Moment::During(name));
        }
    }

    /// What will come of the work, as its cues say.
    fn perform(&mut self, work: &Work) -> Performed {
        let player = &self.players[&work.key.run];
        let worker = Worker::new(player.program, self.script, work, self.now);
        if let Some(child) = player.child_of(&work.key) {
            let (child, _) = self.cast.get(child).expect("the cast is complete");
            return worker.call(child.workflow());
        }
        let cues = self.cues.entry(player.role.clone()).or_insert_with(|| Cues::new(player.part));
        match (work.key.phase, &work.key.task, &work.range) {
            (Phase::Act, Some((name, instance)), Some(range)) => {
                let cues: Vec<Cue> =
                    range.items.iter().map(|index| cues.item(name, &work.key.run, *instance, index)).collect();
                worker.act_on(range, &cues)
            }
            (Phase::Act, Some((name, _)), None) => worker.act(&cues.attempt(name)),
            (Phase::Items, Some((name, instance)), _) => {
                cues.list(name, &work.key.run, *instance);
                worker.evaluate()
            }
            (Phase::Prepare | Phase::Items | Phase::Act | Phase::Settle | Phase::Output, _, _) => worker.evaluate(),
        }
    }

    fn write_down(&mut self, work: &Work, inputs: Vec<Option<Json>>) {
        let Some((task, instance)) = &work.key.task else { return };
        let record = &mut self.player(&work.key.run).record;
        match &work.range {
            Some(range) => {
                range.items.iter().zip(inputs).for_each(|(index, input)| record.item(task, *instance, index, input));
            }
            None => inputs.into_iter().for_each(|input| record.attempt(task, input)),
        }
    }

    /// Every action that runs for a start of a task through this one is ended now.
    fn stop(&mut self, run: &RunId, through: Instance) {
        let failure = Failure::new("canceled", "the run was cancelled");
        let cue = Cue::at_once(End::Failure { status: Status::Canceled, failure, result: Json::null() });
        let running = std::mem::take(&mut self.running);
        for ((at, order), mut running) in running {
            let key = &running.work.key;
            let player = &self.players[&key.run];
            let is_meant = key.run == *run && key.task.as_ref().is_some_and(|(_, instance)| *instance <= through);
            let is_action = key.phase == Phase::Act && player.child_of(key).is_none();
            if !(is_meant && is_action) {
                self.running.insert((at, order), running);
                continue;
            }
            let worker = Worker::new(player.program, self.script, &running.work, self.now);
            let performed = match &running.work.range {
                Some(range) => worker.act_on(range, &vec![cue.clone(); range.items.len() as usize]),
                None => worker.act(&cue),
            };
            let report = performed.report.expect("who is cancelled does not crash");
            running.ends = Input::Report(running.work.key.clone(), report);
            self.running.insert((self.now, order), running);
        }
    }
}

/// What the machine is told of an event.
fn input_of(act: &Act) -> Input {
    match act.clone() {
        Act::Cancel { reason } => Input::Cancel { reason },
        Act::Pause { reason } => Input::Pause { reason },
        Act::Resume => Input::Resume,
        Act::Signal { name, id, payload } => Input::Signal(Signal { name, id, payload: ValueRef::Inline(payload) }),
    }
}

/// What a child is told by its parent.
fn input_of_order(parent: &RunId, order: Order) -> Input {
    match order {
        Order::Cancel => Input::Cancel { reason: Some(format!("its parent {parent} ends")) },
        Order::Pause => Input::Pause { reason: Some(format!("its parent {parent} rests")) },
        Order::Resume => Input::Resume,
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
