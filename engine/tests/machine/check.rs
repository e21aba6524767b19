//! What the machine is held to after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use leveret_engine::machine::{
    Command, Input, News, Order, Step, Timer,
    fact::{Accepted, What},
};
use proto::{
    control::Control,
    id::{Instance, RunId},
    time::Timestamp,
    work::{Phase, Status, WorkKey},
};
use serde_json::json;

use super::{
    book::{Book, Own, Stage},
    drive::{World, pinned},
    flow::{name, position},
    ledger, seen,
    worker::Sent,
};

/// What a step told others.
#[derive(Default)]
struct Told {
    workers: Vec<Control>,
    children: Vec<(RunId, Order)>,
    spawned: BTreeSet<RunId>,
}

impl<'f> World<'f> {
    /// Holds a step to the book, into which `enter` enters what has happened. `answer` is the work that was answered.
    pub(super) fn absorb(&mut self, step: Step, answer: Option<&WorkKey>, enter: impl FnOnce(&mut Book<'f>)) {
        let told = self.hear(&step);
        let leaving: Vec<WorkKey> = step.commands.iter().filter_map(dispatched).collect();
        self.facts.extend(step.facts);
        let attempts = leaving.iter().filter(|key| key.phase == Phase::Act).filter_map(|key| key.task.as_ref());
        let attempts: BTreeSet<u32> = attempts.map(|(_, Instance(id))| *id).collect();
        self.book.left = attempts.into_iter().collect();
        enter(&mut self.book);
        if let Some(key) = answer {
            self.answered(key);
        }
        // What the machine sends before it goes on by itself may matter for what then happens by itself.
        let (ranges, others): (Vec<_>, Vec<_>) = leaving.into_iter().partition(|key| self.is_range(key));
        ranges.into_iter().for_each(|key| self.leave(key));
        self.book.pass();
        others.into_iter().for_each(|key| self.leave(key));
        if self.facts.len() < 40 {
            self.replayed();
        }
        self.check_out();
        self.check_timers();
        self.check_told(told);
        self.check_room();
        self.check_status();
        self.check_info();
    }

    fn is_range(&self, key: &WorkKey) -> bool {
        let branch = key.task.as_ref().and_then(|(_, Instance(id))| self.book.live.get(id));
        branch.is_some_and(|branch| matches!(&branch.at, Stage::Items(_)))
    }

    /// Takes a step's commands, but for work that leaves.
    fn hear(&mut self, step: &Step) -> Told {
        let mut told = Told::default();
        for command in step.commands.iter().cloned() {
            match command {
                Command::Dispatch(_) => {}
                Command::Arm(timer, due) => drop(self.timers.insert(timer, due)),
                Command::Disarm(timer) => drop(self.timers.remove(&timer)),
                Command::Continue => self.continues = true,
                Command::Announce(News::TaskStarted(task)) => *self.news.entry(task).or_default() += 1,
                Command::Announce(News::TaskEnded(task, ..)) => *self.news.entry(task).or_default() -= 1,
                Command::Announce(News::Run) => self.status = self.run.status(),
                Command::Broadcast(control) => told.workers.push(control),
                Command::Spawn(accepted) => {
                    told.spawned.insert(accepted.run.clone());
                    self.spawn(*accepted);
                }
                Command::Child(child, order) => told.children.push((child, order)),
                Command::Parent(end) => self.parent_told.push(*end),
                Command::Enqueue(_) => self.lined_up += 1,
            }
        }
        told
    }

    fn spawn(&mut self, accepted: Accepted) {
        let parent = accepted.parent.expect("a child has a parent");
        assert_eq!(parent.run, *self.run.id());
        assert_eq!(parent.depth, self.flow.depth() + 1);
        assert_eq!(accepted.run, parent.run.child(parent.instance, parent.serial, parent.item));
        assert_eq!((accepted.workflow.as_str(), accepted.definition), ("sub", pinned()));
        let before = self.children.insert(accepted.run.clone(), parent);
        assert_eq!(before, None, "{} was started twice", accepted.run);
    }

    /// A message leaves: it must be new, and what the book expects, with the values that its branch should see.
    fn leave(&mut self, key: WorkKey) {
        assert!(self.sent.iter().all(|sent| sent.key != key), "{key} was sent twice");
        assert!(!self.book.is_paused, "{key} leaves during a pause");
        let Some(brief) = self.run.brief(&self.spec, &key) else { return };
        let items: Vec<u32> =
            brief.range.map(|(items, _)| items.iter().map(|item| item.0).collect()).unwrap_or_default();
        let ended = brief.ended.as_ref().map(|ended| ended.status);
        let asks_retry = brief.ended.as_ref().is_some_and(|ended| ended.asks_retry);
        let sent = Sent { key: key.clone(), items, retries: brief.retries, ended, asks_retry };
        let id = key.task.as_ref().map(|(_, Instance(id))| *id);
        let (attempt, pool, child) = (brief.attempt.0, brief.pool.map(|pool| pool.to_string()), brief.child);
        match id {
            Some(id) => {
                let branch = self.book.live.get_mut(&id).unwrap_or_else(|| panic!("{key}: no such task lives"));
                assert_eq!(name(branch.task), key.task.as_ref().expect("a task").0);
                assert_eq!(pool, branch.pool, "{key}: pool");
                let calls = self.flow.steps[branch.task].calls && key.phase == Phase::Act;
                assert_eq!(child, calls.then(pinned), "{key}: the child's workflow");
                branch.is_sent = true;
                let expected = match &mut branch.at {
                    Stage::Items(fan) => {
                        fan.give(key.serial, &sent.items, sent.retries, self.flights_max);
                        sent.retries + 1
                    }
                    at => {
                        let asked = matches!(at, Stage::Settling { asks_retry: true, .. });
                        assert_eq!(asks_retry, asked, "{key}: whether `retry` is asked");
                        assert_eq!(sent.retries, branch.retries, "{key}: retries used");
                        branch.attempts.max(1)
                    }
                };
                assert_eq!(attempt, expected, "{key}: attempt");
            }
            None => self.book.own_is_sent = true,
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
        if let Some(Stage::Settling { end, fan, .. }) = branch.map(|branch| &branch.at) {
            let is_items = branch.is_some_and(|branch| self.flow.steps[branch.task].has_items());
            let no_errors = if is_items { json!([]) } else { json!(null) };
            let result = end.result.clone().unwrap_or_default();
            expected.insert("result".into(), fan.as_ref().map_or(result, |fan| fan.results()));
            expected.insert("error".into(), end.error.clone().unwrap_or_default());
            expected.insert("item_errors".into(), fan.as_ref().map_or(no_errors, |fan| fan.item_errors()));
        }
        let paths = ["parameters", "workflow", "signal", "task", "result", "error", "item_errors"];
        let manifest = self.run.manifest(&self.spec, key, paths);
        assert_eq!(seen::plain(&manifest), expected, "what {key} sees");
    }

    /// What templates read as `run`: for the task of `finally`, how the run ends.
    fn check_info(&self) {
        let info = self.run.info();
        let code = info.error.map(|failure| failure.code);
        let expected = match &self.book.verdict {
            Some((status, code)) => (*status, code.clone()),
            // While it runs, that is where it is.
            None => (self.run.status(), self.book.failing.clone()),
        };
        assert_eq!((info.status, code), expected, "`run` as templates see it");
    }

    /// What is out is what the book waits for, and what a scheduler that takes over would look for.
    fn check_out(&mut self) {
        let book = &self.book;
        self.out.retain(|key, _| ledger::waits_for(book, key));
        let ids = book.live.iter();
        let expected = ids.map(|(id, branch)| match &branch.at {
            Stage::Items(fan) => fan.flights().len(),
            _ => usize::from(branch.is_sent && book.phase(Some(*id)).is_some()),
        });
        let own = usize::from(book.own_is_sent && book.phase(None).is_some());
        let expected = expected.sum::<usize>() + own;
        assert_eq!(self.out.len(), expected, "out: {:?}; live: {:?}", self.out.keys(), book.live);
        let outstanding: BTreeSet<WorkKey> = self.run.outstanding(&self.spec).into_iter().collect();
        assert!(outstanding.iter().eq(self.out.keys()), "{outstanding:?} are not {:?}", self.out.keys());
    }

    fn check_timers(&self) {
        let tasks = self.book.live.keys().filter_map(|id| Some((Timer::Task(Instance(*id)), self.book.due(*id)?)));
        let start = self.book.start_due().map(|due| (Timer::Start, due));
        let deadline = self.book.deadline.map(|due| (Timer::Deadline, due));
        let expected: BTreeMap<Timer, Timestamp> = tasks.chain(start).chain(deadline).collect();
        let mut armed = self.timers.clone();
        let cancel = armed.remove(&Timer::Cancel);
        assert_eq!(armed, expected, "timers");
        assert_eq!(cancel.is_some(), self.book.is_stopping(), "the timer of the cancel");
    }

    /// Workers, children and the line were told what they must be, each once.
    fn check_told(&mut self, mut told: Told) {
        assert_eq!(told.workers, std::mem::take(&mut self.book.told), "what workers were told");
        let spawned = std::mem::take(&mut self.book.spawned);
        assert_eq!(told.spawned, spawned, "children that were started");
        let mut orders = std::mem::take(&mut self.book.orders);
        if self.book.is_paused {
            orders.extend(spawned.into_iter().map(|child| (child, Order::Pause)));
        }
        let by_name = |(child, order): &(RunId, Order)| (child.clone(), *order as u8);
        told.children.sort_by_key(by_name);
        orders.sort_by_key(by_name);
        assert_eq!(told.children, orders, "what children were told");
        assert_eq!(self.lined_up, self.book.lined_up, "times in the line");
        let mut children = self.book.children();
        children.sort();
        assert!(self.children.keys().eq(children.iter()), "children that live");
        let mut children: Vec<RunId> = self.run.children().collect();
        children.sort();
        assert!(self.children.keys().eq(children.iter()), "children that the run knows");
    }

    /// No more is in flight than may be, and as much as may be.
    fn check_room(&self) {
        let in_flight = self.book.in_flight();
        let limit = self.book.limit.map(|bound| bound as usize);
        assert!(limit.is_none_or(|bound| in_flight <= bound), "{in_flight} of {limit:?} are in flight");
        if !self.continues {
            self.book.check_busy(self.flights_max);
        }
    }

    fn check_status(&self) {
        assert_eq!(self.run.status(), self.book.status(self.out.len()), "status");
        assert_eq!(self.run.status(), self.status, "the status that was announced");
    }

    pub(super) fn check_end(mut self) {
        let count = |is_it: fn(&What) -> bool| self.facts.iter().filter(|fact| is_it(&fact.what)).count();
        assert_eq!(count(|what| matches!(what, What::Finished { .. })), 1, "a run ends once");
        let finales = count(|what| matches!(what, What::Finalizing { .. }));
        assert_eq!(finales, usize::from(self.flow.finale), "`finally` runs once");
        let last = self.facts.iter().skip_while(|fact| !matches!(fact.what, What::Finalizing { .. }));
        let fails = last.filter(|fact| matches!(fact.what, What::Failing { .. })).count();
        assert_eq!(fails, 0, "`finally` changes nothing");
        assert_eq!(self.book.own, Own::Ended);
        let (status, code) = self.book.verdict.clone().expect("it has ended");
        assert_eq!(self.run.status(), status, "the verdict differs from the book's: {:?}", self.flow);
        assert!(self.timers.is_empty() && self.out.is_empty(), "something is left over: {:?}", self.timers);
        assert!(self.news.values().all(|open| *open == 0), "started and ended: {:?}", self.news);
        assert_eq!(self.run.failure().map(|failure| failure.code.clone()), code, "the run's failure");
        let finished = self.run.finished().expect("it has ended");
        assert_eq!(seen::value_of(&finished.output), self.book.output);
        self.check_parent();
        self.check_view();
        self.replayed();
        for sent in std::mem::take(&mut self.sent) {
            self.feed_stale(Input::Undeliverable(sent.key));
        }
        for input in std::mem::take(&mut self.given) {
            self.feed_stale(input);
        }
        let late = [Input::Cancel { reason: None }, Input::Pause { reason: None }, Input::Resume, Input::Admit];
        for input in late.into_iter().chain([Input::Continue, Input::Timer(Timer::Deadline)]) {
            self.feed_stale(input);
        }
    }

    /// The parent is told of the end, once, and nobody else is.
    fn check_parent(&self) {
        let told = self.parent_told.iter().map(|end| (end.status, seen::value_of(&end.output), end.run.clone()));
        let end = (self.run.status(), self.book.output.clone(), self.run.id().clone());
        let expected = self.flow.entrance.parent.map(|_| end);
        assert!(told.eq(expected), "the parent was told {:?}", self.parent_told);
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

fn dispatched(command: &Command) -> Option<WorkKey> {
    match command {
        Command::Dispatch(key) => Some(key.clone()),
        _ => None,
    }
}
