//! Runs of the state machine without a scheduler: every piece of work is answered as soon as it is sent.

use std::collections::VecDeque;

use engine::{
    machine::{
        self, Command, Input, Now, Run, Step,
        fact::{Accepted, Fact},
    },
    parse::parse,
    spec::{Target, TaskIndex, Workflow},
};
use proto::{
    id::Digest,
    outcome::{Acted, ItemsPart, ItemsReport, Listed, Next, Report, Settlement},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{Phase, Status, WorkKey},
};

/// Items of one part of a list: some 100 bytes each fill its 1 MiB.
const PART_ITEMS: u32 = 10_000;

/// A run, and the work that it has sent and nobody has answered.
pub struct Play<'a> {
    spec: &'a Workflow,
    run: Run,
    work: VecDeque<WorkKey>,
    /// What happened, where somebody wants it. A scheduler writes it down and lets go of it.
    facts: Option<Vec<Fact>>,
    items: u32,
    /// What each item seems to take: ranges are sized by it.
    item_us: u64,
    /// What items come to. Known beforehand: a scheduler hashes nothing, and neither should what is measured.
    results: ValueRef,
}

impl<'a> Play<'a> {
    /// A run of `spec` that has just been accepted. Its list has `items`, each of which seems to take `item_us`.
    #[must_use]
    pub fn start(spec: &'a Workflow, items: u32, item_us: u64) -> Self {
        let (run, step) = machine::accept(spec, accepted(spec), now());
        let results = ValueRef::Stored(Stored { digest: Digest::of(b"results"), bytes: 4_096 });
        let mut play = Self { spec, run, work: VecDeque::new(), facts: None, items, item_us, results };
        play.take(step);
        play
    }

    /// The history of a whole run.
    #[must_use]
    pub fn history(spec: &'a Workflow, items: u32, item_us: u64) -> Vec<Fact> {
        let mut play = Self::start(spec, items, item_us);
        let accepted = machine::accept(spec, accepted(spec), now()).1.facts;
        play.facts = Some(accepted);
        play.finish();
        play.facts.unwrap_or_default()
    }

    /// Answers all work until the run has ended, and gives back how many steps that took.
    ///
    /// # Panics
    /// When nothing is left to answer and the run has not ended.
    pub fn finish(&mut self) -> u64 {
        let mut steps = 0;
        while let Some(key) = self.work.pop_front() {
            let report = self.report(&key);
            let step = machine::step(self.spec, &mut self.run, Input::Report(key, report), now());
            self.take(step);
            steps += 1;
        }
        assert!(self.run.finished().is_some(), "nothing is left to answer, and the run has not ended");
        steps
    }

    fn take(&mut self, step: Step) {
        if let Some(facts) = &mut self.facts {
            facts.extend(step.facts);
        }
        for command in step.commands {
            match command {
                Command::Dispatch(key) => self.work.push_back(key),
                Command::Arm(..)
                | Command::Disarm(_)
                | Command::Broadcast(_)
                | Command::Announce(_)
                | Command::Spawn(_)
                | Command::Child(..)
                | Command::Parent(_)
                | Command::Enqueue(_)
                | Command::Continue => {}
            }
        }
    }

    fn report(&self, key: &WorkKey) -> Report {
        match key.phase {
            Phase::Items => Report::Listed(listed(self.items)),
            Phase::Act => match self.run.brief(self.spec, key).and_then(|brief| brief.range) {
                Some((items, _)) => Report::Items(ItemsReport {
                    succeeded: items.clone(),
                    results: Some(self.results.clone()),
                    busy_us: u64::from(items.len()) * self.item_us,
                    ..ItemsReport::default()
                }),
                None => Report::Acted(Acted {
                    status: Status::Succeeded,
                    result: ValueRef::null(),
                    failure: None,
                    next: Next::Settled(Settlement { fired: vec![0], ..Settlement::default() }),
                    busy_ms: 1,
                }),
            },
            Phase::Prepare | Phase::Settle | Phase::Output => panic!("{key}: this workflow evaluates nothing there"),
        }
    }
}

fn accepted(spec: &Workflow) -> Accepted {
    let definition = Stored { digest: Digest::of(b"bench"), bytes: 5 };
    Accepted::of("bench".parse().expect("valid"), spec.name.clone(), definition)
}

fn now() -> Now {
    Now { at: Timestamp::from_millis(1_796_000_000_000), flights_max: machine::FLIGHTS_FREE }
}

fn listed(items: u32) -> Listed {
    let stored = |bytes| ValueRef::Stored(Stored { digest: Digest::of(b"part"), bytes });
    let part = |count| ItemsPart { count, values: stored(1 << 20), offsets: stored(60_000), item_bytes_max: 100 };
    let counts = (0..items).step_by(PART_ITEMS as usize).map(|first| (items - first).min(PART_ITEMS));
    Listed { parts: counts.map(part).collect(), concurrency: None, tolerate: 0 }
}

/// The workflow in `source`.
///
/// # Panics
/// When it is wrong.
#[must_use]
pub fn workflow(source: &str) -> Workflow {
    parse(source, "bench.yaml").unwrap_or_else(|problems| panic!("{problems:?}")).0
}

/// Tasks that follow each other. Made of one that was parsed: the file of ten thousand would be larger than one may be.
///
/// # Panics
/// Never.
#[must_use]
pub fn chain(tasks: u16) -> Workflow {
    let mut spec = workflow("name: chain\ntasks:\n  t0: { action: core.echo, next: [{ do: t1 }] }\n  t1: {}\n");
    let pattern = spec.tasks[0].clone();
    spec.tasks = (0..tasks)
        .map(|at| {
            let mut task = pattern.clone();
            task.name = format!("t{at}").parse().expect("a name");
            task.inbound = at.checked_sub(1).map(TaskIndex).into_iter().collect();
            task.next[0].targets = vec![if at + 1 < tasks { Target::Task(TaskIndex(at + 1)) } else { Target::Noop }];
            task
        })
        .collect();
    spec
}

/// One task over a list.
#[must_use]
pub fn fan_out() -> Workflow {
    workflow("name: fanout\ntasks:\n  each: { action: core.echo, with_items: '{{ range(end=9) }}' }\n")
}

/// Two tasks that start each other again and again.
#[must_use]
pub fn rounds() -> Workflow {
    workflow(
        "name: rounds\ntasks:\n  start: { next: [{ do: a }] }\n  a: { action: core.echo, next: [{ do: b }] }\n  b: { action: core.echo, next: [{ do: a }] }\n",
    )
}
