//! A world for the machine: it takes commands, plays workers, a broker and timers, and holds the machine to the book.

use std::collections::{BTreeMap, BTreeSet};

use leveret_engine::{
    machine::{
        self, Command, Input, News, Now, Run, Step, Timer,
        fact::{Accepted, Fact, What},
    },
    spec::Workflow,
};
use proto::{
    codec,
    control::Control,
    id::{Digest, Instance, ItemIndex, TaskName},
    outcome::{ItemsReport, Report},
    time::Timestamp,
    value::Stored,
    work::{Phase, Status, WorkKey},
};
use serde_json::json;

use super::{
    book::{Book, Own, Stage},
    flow::{Flow, Kind, name, position},
    ledger::{self, is_news},
    seen,
    worker::{Choices, Sent, Worker},
};

/// Reports that are on their way at once.
const HELD_MAX: usize = 8;

/// One run in its world.
pub struct World<'f> {
    flow: &'f Flow,
    pub spec: Workflow,
    pub run: Run,
    pub facts: Vec<Fact>,
    pub book: Book<'f>,
    worker: Worker<'f>,
    flights_max: usize,
    now: Timestamp,
    /// Messages that are not answered in full: the book waits for them.
    out: BTreeMap<WorkKey, Sent>,
    /// Every message that ever left.
    sent: Vec<Sent>,
    /// Reports that have left a worker and not arrived.
    held: Vec<(WorkKey, Report)>,
    /// Reports that have arrived, to be repeated.
    given: Vec<(WorkKey, Report)>,
    timers: BTreeMap<Timer, Timestamp>,
    /// Tasks that were said to have started, less those that were said to have ended.
    news: BTreeMap<TaskName, i32>,
    continues: bool,
    /// What workers were told last.
    told: Option<Control>,
}

impl<'f> World<'f> {
    pub fn new(flow: &'f Flow, flights_max: usize) -> Self {
        let spec = flow.spec();
        let now = Timestamp::from_millis(1_000_000);
        let definition = Stored { digest: Digest::of(b"flow"), bytes: 4 };
        let accepted = Accepted::of("run".parse().expect("valid"), spec.name.clone(), definition);
        let (run, step) = machine::accept(&spec, accepted, Now { at: now, flights_max });
        let mut book = Book::new(flow, now);
        if !flow.vars {
            book.begin(Vec::new());
            book.pass();
        }
        let mut world = Self {
            flow,
            spec,
            run,
            facts: Vec::new(),
            book,
            worker: Worker::new(flow),
            flights_max,
            now,
            out: BTreeMap::new(),
            sent: Vec::new(),
            held: Vec::new(),
            given: Vec::new(),
            timers: BTreeMap::new(),
            news: BTreeMap::new(),
            continues: false,
            told: None,
        };
        world.absorb(step);
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
            return self.feed(Input::Continue);
        }
        let keys: Vec<WorkKey> = self.out.keys().cloned().collect();
        let what = if choices.is_fair() { 0 } else { choices.next(40) };
        match what {
            30 => self.crash(),
            31 if !self.given.is_empty() => self.repeat(choices),
            32..35 if !self.sent.is_empty() => self.redeliver(choices),
            35 if !keys.is_empty() => self.hand_back(&keys[choices.next(keys.len())]),
            36 if !keys.is_empty() => self.lose(&keys[choices.next(keys.len())]),
            37 if choices.chance(4) => self.cancel(),
            38 => self.ring_early(choices),
            39 if !self.sent.is_empty() => self.lose_late(choices),
            20..25 if !keys.is_empty() && self.held.len() < HELD_MAX => {
                let answer = self.answer(&keys[choices.next(keys.len())], choices);
                self.held.push(answer);
            }
            _ if !self.held.is_empty() && (keys.is_empty() || what > 24 || choices.is_fair()) => {
                let at = choices.next(self.held.len());
                let (key, report) = self.held.swap_remove(at);
                self.arrive(key, report);
            }
            _ if keys.is_empty() || (what > 16 && !self.timers.is_empty()) => self.ring(),
            _ => {
                let (key, report) = self.answer(&keys[choices.next(keys.len())], choices);
                self.arrive(key, report);
            }
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
        ledger::reported(&mut self.book, &key, &report);
        self.answered(&key);
        self.given.push((key, report));
        self.feed(input);
    }

    fn feed_stale(&mut self, input: Input) {
        let (before, now) = (self.run.clone(), self.at());
        let step = machine::step(&self.spec, &mut self.run, input.clone(), now);
        assert_eq!(step, Step::default(), "{input:?} did something, though nobody waits for it");
        assert_eq!(self.run, before);
    }

    /// A report that was given before changes nothing, whenever it comes.
    fn repeat(&mut self, choices: &mut Choices) {
        let (key, report) = self.given[choices.next(self.given.len())].clone();
        self.feed_stale(Input::Report(key, report));
    }

    /// The scheduler dies and comes back with what was stored.
    fn crash(&mut self) {
        self.run = self.replayed();
    }

    fn replayed(&self) -> Run {
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
        if let Timer::Task(Instance(id)) = timer {
            self.book.ring(id);
        }
        self.feed(Input::Timer(timer));
    }

    /// A timer rings that is not due, or that nobody has armed.
    fn ring_early(&mut self, choices: &mut Choices) {
        let id = u32::try_from(choices.next(self.book.started.len() + 1)).expect("few");
        let timer = Timer::Task(Instance(id));
        if self.book.due(id).is_some_and(|due| due <= self.now) {
            return;
        }
        let now = self.at();
        let step = machine::step(&self.spec, &mut self.run, Input::Timer(timer), now);
        assert_eq!(step.facts, [], "{timer:?} is not due");
        self.absorb(step);
    }

    fn cancel(&mut self) {
        self.book.cancel();
        self.feed(Input::Cancel { reason: None });
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
        ledger::lost(&mut self.book, key);
        self.answered(key);
        self.feed(Input::Undeliverable(key.clone()));
    }

    /// The broker gives up a message that was answered long ago, or maybe not.
    fn lose_late(&mut self, choices: &mut Choices) {
        let key = self.sent[choices.next(self.sent.len())].key.clone();
        match self.out.contains_key(&key) {
            true => self.lose(&key),
            false => self.feed_stale(Input::Undeliverable(key)),
        }
    }

    /// One answer is enough, but for ranges.
    fn answered(&mut self, key: &WorkKey) {
        if self.owed(key).is_empty() {
            self.out.remove(key);
        }
    }

    fn at(&self) -> Now {
        Now { at: self.now, flights_max: self.flights_max }
    }

    fn feed(&mut self, input: Input) {
        self.book.pass();
        let now = self.at();
        let step = machine::step(&self.spec, &mut self.run, input, now);
        self.absorb(step);
    }

    fn absorb(&mut self, step: Step) {
        self.facts.extend(step.facts);
        for command in step.commands {
            match command {
                Command::Dispatch(key) => self.leave(key),
                Command::Arm(timer, due) => drop(self.timers.insert(timer, due)),
                Command::Disarm(timer) => drop(self.timers.remove(&timer)),
                Command::Continue => self.continues = true,
                Command::Announce(News::TaskStarted(task)) => *self.news.entry(task).or_default() += 1,
                Command::Announce(News::TaskEnded(task, ..)) => *self.news.entry(task).or_default() -= 1,
                Command::Broadcast(control) => self.told = Some(control),
                Command::Announce(News::Run) => {}
                Command::Spawn(_) | Command::Child(..) | Command::Parent(_) | Command::Enqueue(_) => {
                    panic!("no flow asks for {command:?}")
                }
            }
        }
        if self.facts.len() < 40 {
            self.replayed();
        }
        self.check_out();
        self.check_timers();
        self.check_told();
        for branch in self.book.live.values() {
            if let Stage::Items(fan) = &branch.at {
                fan.check_busy(self.flights_max);
            }
        }
    }

    /// A message leaves: it must be new, and what the book expects, with the values that its branch should see.
    fn leave(&mut self, key: WorkKey) {
        assert!(self.sent.iter().all(|sent| sent.key != key), "{key} was sent twice");
        let Some(brief) = self.run.brief(&self.spec, &key) else { return };
        let items: Vec<u32> = brief.range.map(|(items, _)| items.iter().collect()).unwrap_or_default();
        let ended = brief.ended.as_ref().map(|ended| ended.status);
        let sent = Sent { key: key.clone(), items, retries: brief.retries, ended };
        let id = key.task.as_ref().map(|(_, Instance(id))| *id);
        if let Some(id) = id {
            let branch = self.book.live.get_mut(&id).unwrap_or_else(|| panic!("{key}: no such task lives"));
            assert_eq!(name(branch.task), key.task.as_ref().expect("a task").0);
            let attempt = match &mut branch.at {
                Stage::Items(fan) => {
                    fan.give(key.serial, &sent.items, sent.retries, self.flights_max);
                    sent.retries + 1
                }
                _ => {
                    assert_eq!(sent.retries, branch.retries, "{key}: retries used");
                    branch.attempts.max(1)
                }
            };
            assert_eq!(brief.attempt.0, attempt, "{key}: attempt");
        }
        self.check_manifest(&key, id);
        self.sent.push(sent.clone());
        self.out.insert(key, sent);
    }

    fn check_manifest(&self, key: &WorkKey, id: Option<u32>) {
        let branch = id.map(|id| &self.book.live[&id]);
        let context = match (branch, key.phase) {
            (Some(branch), _) => &branch.seen,
            (None, Phase::Output) => &self.book.merged,
            (None, _) => &self.book.base,
        };
        let mut expected = context.all(self.flow.steps.len());
        if let Some(Stage::Settling(end, fan)) = branch.map(|branch| &branch.at) {
            let is_items = branch.is_some_and(|branch| matches!(self.flow.steps[branch.task].kind, Kind::Items { .. }));
            let no_errors = if is_items { json!([]) } else { json!(null) };
            expected.insert("result".into(), fan.as_ref().map_or(json!(null), |fan| fan.results()));
            expected.insert("error".into(), end.error.clone().unwrap_or_default());
            expected.insert("item_errors".into(), fan.as_ref().map_or(no_errors, |fan| fan.item_errors()));
        }
        let paths = ["parameters", "workflow", "task", "result", "error", "item_errors"];
        let manifest = self.run.manifest(&self.spec, key, paths);
        assert_eq!(seen::plain(&manifest), expected, "what {key} sees");
    }

    /// What is out is what the book waits for, and what a scheduler that takes over would look for.
    fn check_out(&mut self) {
        let book = &self.book;
        self.out.retain(|key, _| ledger::waits_for(book, key));
        let ids = book.live.iter();
        let expected = ids.map(|(id, branch)| match &branch.at {
            Stage::Items(fan) => fan.flights().len(),
            _ => usize::from(book.phase(Some(*id)).is_some()),
        });
        let expected = expected.sum::<usize>() + usize::from(book.phase(None).is_some());
        assert_eq!(self.out.len(), expected, "out: {:?}; live: {:?}", self.out.keys(), book.live);
        let outstanding: BTreeSet<WorkKey> = self.run.outstanding(&self.spec).into_iter().collect();
        assert!(outstanding.iter().eq(self.out.keys()), "{outstanding:?} are not {:?}", self.out.keys());
    }

    fn check_timers(&self) {
        let tasks = self.book.live.keys().filter_map(|id| Some((Timer::Task(Instance(*id)), self.book.due(*id)?)));
        let expected: BTreeMap<Timer, Timestamp> = tasks.collect();
        let mut armed = self.timers.clone();
        let cancel = armed.remove(&Timer::Cancel);
        assert_eq!(armed, expected, "timers");
        assert_eq!(cancel.is_some(), self.book.is_canceled && !self.book.live.is_empty(), "the timer of the cancel");
    }

    /// Workers that may hold something of a closing run have been told, and of nothing else.
    fn check_told(&self) {
        let Some(&last) = self.book.live.keys().last() else { return };
        let is_meant = |through: &Instance| through.0 >= last;
        let is_right = match (self.book.is_canceled, &self.book.failing) {
            (true, _) => matches!(&self.told, Some(Control::Cancel { through, .. }) if is_meant(through)),
            (false, Some(_)) => matches!(&self.told, Some(Control::Skip { through, .. }) if is_meant(through)),
            (false, None) => self.told.is_none(),
        };
        assert!(is_right, "what workers were told: {:?}", self.told);
    }

    fn check_end(mut self) {
        let ends = self.facts.iter().filter(|fact| matches!(fact.what, What::Finished { .. })).count();
        assert_eq!(ends, 1, "a run ends once");
        assert_eq!(self.run.status(), self.book.verdict(), "the verdict differs from the book's: {:?}", self.flow);
        assert!(self.timers.is_empty() && self.out.is_empty(), "something is left over");
        assert!(self.news.values().all(|open| *open == 0), "started and ended: {:?}", self.news);
        let code = self.run.failure().map(|failure| failure.code.clone());
        let canceled = self.book.is_canceled.then(|| "canceled".to_owned());
        assert_eq!(code, self.book.failing.clone().or(canceled), "the run's failure");
        let finished = self.run.finished().expect("it has ended");
        assert_eq!(seen::value_of(&finished.output), self.book.output);
        self.check_view();
        self.replayed();
        for sent in std::mem::take(&mut self.sent) {
            self.feed_stale(Input::Undeliverable(sent.key));
        }
        for (key, report) in std::mem::take(&mut self.given) {
            self.feed_stale(Input::Report(key, report));
        }
        self.feed_stale(Input::Cancel { reason: None });
        self.feed_stale(Input::Continue);
    }

    /// What people see: how often each task was started, and how its latest start ended.
    fn check_view(&self) {
        let view = self.run.view(&self.spec);
        for (task, shown) in &view.tasks {
            let starts: Vec<Option<Status>> =
                self.book.started.iter().filter(|(at, _)| *at == position(task)).map(|(_, status)| *status).collect();
            assert_eq!(shown.instances as usize, starts.len(), "starts of {task}");
            let status = starts.last().map_or("not_run", |status| status.expect("it has ended").as_str());
            assert_eq!(shown.status, status, "{task}");
        }
    }
}
