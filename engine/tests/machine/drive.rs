//! A world for the machine: it plays workers, children, a broker, timers and people, by chance.

use std::collections::BTreeMap;

use leveret_engine::{
    machine::{
        self, ChildEnd, Input, Now, Run, Signal, Step, Timer,
        fact::{Accepted, Fact, Parent},
    },
    spec::Workflow,
};
use proto::{
    codec,
    failure::Failure,
    id::{Digest, Instance, ItemIndex, RunId, TaskName},
    outcome::{ItemsReport, Report},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{RunStatus, WorkKey},
};

use super::{
    book::{Book, Own, Stage},
    flow::{Flow, signal_name},
    ledger::{self, is_news},
    seen::value_of,
    stage::value,
    whole::run_id,
    worker::{Choices, Sent, Worker},
};

/// Reports that are on their way at once.
const HELD_MAX: usize = 8;

/// One run in its world.
pub struct World<'f> {
    pub(super) flow: &'f Flow,
    pub spec: Workflow,
    pub run: Run,
    pub facts: Vec<Fact>,
    pub book: Book<'f>,
    worker: Worker<'f>,
    pub(super) flights_max: usize,
    now: Timestamp,
    /// Messages that are not answered in full: the book waits for them.
    pub(super) out: BTreeMap<WorkKey, Sent>,
    /// Every message that ever left.
    pub(super) sent: Vec<Sent>,
    /// Reports that have left a worker and not arrived.
    held: Vec<(WorkKey, Report)>,
    /// Inputs that did something once, and must not do it again.
    pub(super) given: Vec<Input>,
    /// Children that live.
    pub(super) children: BTreeMap<RunId, Parent>,
    pub(super) timers: BTreeMap<Timer, Timestamp>,
    /// Tasks that were said to have started, less those that were said to have ended.
    pub(super) news: BTreeMap<TaskName, i32>,
    /// What was last said of the run.
    pub(super) status: RunStatus,
    pub(super) continues: bool,
    /// How often the run was put in the line of those that go one at a time.
    pub(super) lined_up: u32,
    /// What the parent was told.
    pub(super) parent_told: Vec<ChildEnd>,
}

impl<'f> World<'f> {
    pub fn new(flow: &'f Flow, flights_max: usize) -> Self {
        let spec = flow.spec();
        let now = Timestamp::from_millis(1_000_000);
        let (run, step) = machine::accept(&spec, accepted(flow, &spec, now), Now { at: now, flights_max });
        let mut world = Self {
            flow,
            spec,
            run,
            facts: Vec::new(),
            book: Book::new(flow, now),
            worker: Worker::new(flow),
            flights_max,
            now,
            out: BTreeMap::new(),
            sent: Vec::new(),
            held: Vec::new(),
            given: Vec::new(),
            children: BTreeMap::new(),
            timers: BTreeMap::new(),
            news: BTreeMap::new(),
            status: RunStatus::Queued,
            continues: false,
            lined_up: 0,
            parent_told: Vec::new(),
        };
        world.absorb(step, None, Book::accepted);
        world
    }

    /// Plays until the run has ended, and checks the laws on the way.
    pub fn play(mut self, mut choices: Choices) {
        let mut moves = 0;
        while self.book.own != Own::Ended {
            moves += 1;
            assert!(moves < 20_000, "the run does not end: {:?}", self.out);
            self.one_move(&mut choices);
        }
        self.check_end();
    }

    fn one_move(&mut self, choices: &mut Choices) {
        if self.continues {
            self.continues = false;
            return self.feed(Input::Continue, |_| {});
        }
        let keys: Vec<WorkKey> = self.out.keys().cloned().collect();
        let what = if choices.is_fair() { 0 } else { choices.next(56) };
        match what {
            // What workers do when they hear of a pause.
            1..9 if self.book.is_paused && !keys.is_empty() => self.hand_back(&keys[choices.next(keys.len())]),
            // What people do with a run that rests.
            14..20 if self.book.is_paused && keys.is_empty() => self.cancel(),
            // Work of the run itself is out but for a short time.
            9..14 if matches!(self.book.own, Own::Preparing | Own::Output) => self.pause(),
            30 => self.crash(),
            31 if !self.given.is_empty() => self.repeat(choices),
            32..35 if !self.sent.is_empty() => self.redeliver(choices),
            35 if !keys.is_empty() => self.hand_back(&keys[choices.next(keys.len())]),
            36 if !keys.is_empty() => self.lose(&keys[choices.next(keys.len())]),
            37 if choices.chance(4) => self.cancel(),
            38 => self.ring_early(choices),
            39 if !self.sent.is_empty() => self.lose_late(choices),
            40..43 => self.signal(choices),
            43 | 44 => self.pause(),
            45..48 => self.resume(),
            48..52 if !self.children.is_empty() => self.end_child(choices),
            52 => self.admit(),
            20..25 if !keys.is_empty() && self.held.len() < HELD_MAX => {
                let answer = self.answer(&keys[choices.next(keys.len())], choices);
                self.held.push(answer);
            }
            _ if !self.held.is_empty() && (keys.is_empty() || what > 24 || choices.is_fair()) => {
                let at = choices.next(self.held.len());
                let (key, report) = self.held.swap_remove(at);
                self.arrive(key, report);
            }
            _ if what > 16 && !self.timers.is_empty() => self.ring(),
            _ if keys.is_empty() => self.move_on(choices),
            _ => {
                let (key, report) = self.answer(&keys[choices.next(keys.len())], choices);
                self.arrive(key, report);
            }
        }
    }

    /// Nothing is out: what the run waits for comes from elsewhere.
    fn move_on(&mut self, choices: &mut Choices) {
        if self.book.is_paused {
            self.resume();
        } else if self.book.own == Own::InLine {
            self.admit();
        } else if !self.children.is_empty() {
            self.end_child(choices);
        } else if !self.timers.is_empty() {
            self.ring();
        } else {
            self.signal(choices);
        }
    }

    /// A worker answers what it should.
    fn answer(&mut self, key: &WorkKey, choices: &mut Choices) -> (WorkKey, Report) {
        let sent = self.out[key].clone();
        let owed = self.owed(key);
        (key.clone(), self.worker.answer(&sent, &owed, choices))
    }

    fn owed(&self, key: &WorkKey) -> Vec<u32> {
        let Some((_, Instance(id))) = key.task else { return Vec::new() };
        match self.book.live.get(&id).map(|branch| &branch.at) {
            Some(Stage::Items(fan)) => fan.owed(key.serial),
            _ => Vec::new(),
        }
    }

    /// A worker that was given up, or got a message a second time, answers all of it anew.
    fn redeliver(&mut self, choices: &mut Choices) {
        let waited_for = self.out.len();
        let sent = match choices.chance(2) && waited_for > 0 {
            true => self.out.values().nth(choices.next(waited_for)).expect("one of them").clone(),
            false => self.sent[choices.next(self.sent.len())].clone(),
        };
        let report = self.worker.answer(&sent, &sent.items, choices);
        self.arrive(sent.key, report);
    }

    /// A report arrives. What is no news changes nothing.
    fn arrive(&mut self, key: WorkKey, report: Report) {
        let input = Input::Report(key.clone(), report.clone());
        let is_wanted = self.out.contains_key(&key);
        if !is_wanted || !is_news(&self.book, &key, &report) {
            return self.feed_stale(input);
        }
        self.given.push(input.clone());
        self.feed_answer(input, &key, |book| ledger::reported(book, &key, &report));
    }

    pub(super) fn feed_stale(&mut self, input: Input) {
        let (before, now) = (self.run.clone(), self.at());
        let step = machine::step(&self.spec, &mut self.run, input.clone(), now);
        assert_eq!(step, Step::default(), "{input:?} did something, though nobody waits for it");
        assert_eq!(self.run, before);
    }

    /// What has come before changes nothing, whenever it comes.
    fn repeat(&mut self, choices: &mut Choices) {
        let input = self.given[choices.next(self.given.len())].clone();
        self.feed_stale(input);
    }

    /// The scheduler dies and comes back with what was stored.
    fn crash(&mut self) {
        self.run = self.replayed();
    }

    pub(super) fn replayed(&self) -> Run {
        let stored: Vec<Fact> =
            self.facts.iter().map(|fact| codec::decode(&codec::encode(fact)).expect("it was just encoded")).collect();
        let replayed = machine::replay(&self.spec, &stored).expect("the first fact accepts it");
        assert_eq!(replayed, self.run, "a replay differs from the live run");
        replayed
    }

    fn ring(&mut self) {
        let soonest = self.timers.iter().min_by_key(|(_, due)| **due).map(|(timer, due)| (*timer, *due));
        let (timer, due) = soonest.expect("nothing is out and nothing is due: the run is stuck");
        self.timers.remove(&timer);
        self.now = self.now.max(due);
        self.book.now = self.now;
        self.feed(Input::Timer(timer), |book| match timer {
            Timer::Task(Instance(id)) => book.ring(id),
            Timer::Start => book.start_now(),
            Timer::Deadline => book.time_is_over(),
            Timer::Cancel => book.tell_stop(),
        });
    }

    /// A timer rings that is not due, or that nobody has armed.
    fn ring_early(&mut self, choices: &mut Choices) {
        let id = u32::try_from(choices.next(self.book.started.len() + 1)).expect("few");
        let (timer, due) = match choices.next(4) {
            1 => (Timer::Start, self.book.start_due()),
            2 => (Timer::Deadline, self.book.deadline),
            _ => (Timer::Task(Instance(id)), self.book.due(id)),
        };
        if due.is_some_and(|due| due <= self.now) {
            return;
        }
        let now = self.at();
        let step = machine::step(&self.spec, &mut self.run, Input::Timer(timer), now);
        assert_eq!(step.facts, [], "{timer:?} is not due");
        self.absorb(step, None, |_| {});
    }

    fn cancel(&mut self) {
        let input = Input::Cancel { reason: None };
        match self.book.may_cancel() {
            true => self.feed(input, Book::cancel),
            false => self.feed_stale(input),
        }
    }

    fn pause(&mut self) {
        let input = Input::Pause { reason: None };
        match self.book.may_pause() {
            true => self.feed(input, Book::pause),
            false => self.feed_stale(input),
        }
    }

    fn resume(&mut self) {
        match self.book.is_paused {
            true => self.feed(Input::Resume, Book::resume),
            false => self.feed_stale(Input::Resume),
        }
    }

    fn admit(&mut self) {
        match self.book.own {
            Own::InLine => self.feed(Input::Admit, Book::admitted),
            _ => self.feed_stale(Input::Admit),
        }
    }

    /// A signal comes: one that a task waits for when there is no other way to go on.
    fn signal(&mut self, choices: &mut Choices) {
        let waiting = self.book.live.values().find_map(|branch| {
            let wait = self.flow.steps[branch.task].wait?;
            matches!(branch.at, Stage::Waiting(_)).then_some(wait.signal)
        });
        let name = waiting.filter(|_| choices.is_fair()).unwrap_or(choices.next(2) as u8);
        let number = self.book.signal_ids.last().map_or(0, |last| last + 1);
        let id = (choices.next(4) < 3).then_some(number);
        let payload = self.worker.value();
        let input = Input::Signal(Signal {
            name: signal_name(name).parse().expect("valid"),
            id: id.map(|id| id.to_string()),
            payload: payload.clone(),
        });
        if self.book.is_deaf() {
            return self.feed_stale(input);
        }
        if let Some(id) = id {
            self.given.push(input.clone());
            self.book.signal_ids.insert(id);
        }
        self.feed(input, |book| book.signaled(name, value_of(&payload)));
    }

    /// One of the children ends.
    fn end_child(&mut self, choices: &mut Choices) {
        let run = self.children.keys().nth(choices.next(self.children.len())).expect("one of them").clone();
        let parent = self.children.remove(&run).expect("it lives");
        let codes = [None, Some("test"), Some("timed_out"), Some("canceled"), None];
        let at = choices.next(codes.len());
        let status = [RunStatus::Succeeded, RunStatus::Failed, RunStatus::Failed, RunStatus::Canceled];
        let end = ChildEnd {
            parent,
            run,
            status: status.get(at).copied().unwrap_or(RunStatus::Succeeded),
            output: self.worker.value(),
            failure: codes[at].map(|code| Failure::new(code, "told to")),
        };
        let input = Input::ChildEnded(end.clone());
        self.given.push(input.clone());
        self.feed(input, |book| ledger::child_ended(book, &end));
    }

    fn hand_back(&mut self, key: &WorkKey) {
        let handed_back = self.owed(key).into_iter().map(ItemIndex).collect();
        let report = match &self.out[key].items[..] {
            [] => Report::HandedBack,
            _ => Report::Items(ItemsReport { handed_back, ..ItemsReport::default() }),
        };
        self.arrive(key.clone(), report);
    }

    /// The broker gives a message up.
    fn lose(&mut self, key: &WorkKey) {
        self.feed_answer(Input::Undeliverable(key.clone()), key, |book| ledger::lost(book, key));
    }

    /// The broker gives up a message that was answered long ago, or maybe not.
    fn lose_late(&mut self, choices: &mut Choices) {
        let key = self.sent[choices.next(self.sent.len())].key.clone();
        match self.out.contains_key(&key) {
            true => self.lose(&key),
            false => self.feed_stale(Input::Undeliverable(key)),
        }
    }

    pub(super) fn at(&self) -> Now {
        Now { at: self.now, flights_max: self.flights_max }
    }

    fn feed(&mut self, input: Input, enter: impl FnOnce(&mut Book<'f>)) {
        let now = self.at();
        let step = machine::step(&self.spec, &mut self.run, input, now);
        self.absorb(step, None, enter);
    }

    /// One answer is enough, but for ranges.
    fn feed_answer(&mut self, input: Input, key: &WorkKey, enter: impl FnOnce(&mut Book<'f>)) {
        let now = self.at();
        let step = machine::step(&self.spec, &mut self.run, input, now);
        self.absorb(step, Some(key), enter);
    }

    /// What is owed of `key` was answered, if nothing of it is owed any more.
    pub(super) fn answered(&mut self, key: &WorkKey) {
        if self.owed(key).is_empty() {
            self.out.remove(key);
        }
    }
}

fn accepted(flow: &Flow, spec: &Workflow, now: Timestamp) -> Accepted {
    let definition = Stored { digest: Digest::of(b"flow"), bytes: 4 };
    let entrance = &flow.entrance;
    let parent = |(depth, timeout_ms)| Parent {
        run: "around".parse().expect("valid"),
        task: "outer".parse().expect("valid"),
        instance: Instance(3),
        serial: 1,
        item: None,
        depth,
        timeout_ms,
    };
    let parameter: ValueRef = value("1");
    Accepted {
        parameters: entrance.exclusive.then(|| ("p".parse().expect("valid"), parameter)).into_iter().collect(),
        start_at: entrance.start_in.map(|ms| now.plus(std::time::Duration::from_millis(ms))),
        parent: entrance.parent.map(parent),
        children: BTreeMap::from([("sub".parse().expect("valid"), pinned())]),
        ..Accepted::of(run_id(), spec.name.clone(), definition)
    }
}

/// The workflow that children run.
pub fn pinned() -> Stored {
    Stored { digest: Digest::of(b"sub"), bytes: 3 }
}
