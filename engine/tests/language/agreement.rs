//! What lint claims of a workflow, held against the machine that runs it: random graphs, random outcomes.
//!
//! Every task reads every key, one to a line, so that a warning's line says which task and which key it is about. When
//! the task is sent to a worker, its manifest shows what is really there.

use std::collections::{BTreeMap, HashMap, HashSet};

use leveret_engine::{
    lint::{self, Actions},
    machine::{self, Command, Input, Now, Run, Signal, Timer, fact::Accepted},
    program::Program,
    spec::{TaskIndex, Workflow},
};
use proptest::{prelude::*, test_runner::TestCaseResult};
use proto::{
    failure::Failure,
    id::{Digest, KeyName},
    json::Json,
    outcome::{Acted, Failed, Next, Report, Settlement},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{Phase, RunStatus, Status, WorkKey},
};

/// Whether a condition holds for an outcome, when what nobody can know beforehand comes out as said.
type Holds = fn(Status, bool) -> bool;

/// A transition.
struct Transition {
    condition: usize,
    publishes: Option<usize>,
    to: Vec<usize>,
    /// Whether it starts its own task again.
    again: bool,
}

/// Conditions, as a file says them and as they are.
const CONDITIONS: [(&str, Holds); 8] = [
    ("true", |_, _| true),
    ("succeeded()", |status, _| status == Status::Succeeded),
    ("failed()", |status, _| status != Status::Succeeded),
    ("timed_out()", |status, _| status == Status::TimedOut),
    ("not timed_out()", |status, _| status != Status::TimedOut),
    ("result == 1", |_, coin| coin),
    ("succeeded() and result == 1", |status, coin| status == Status::Succeeded && coin),
    ("timed_out() or failed() and result == 1", |status, coin| {
        status == Status::TimedOut || status != Status::Succeeded && coin
    }),
];
const KEYS: [&str; 3] = ["k0", "k1", "k2"];
const JOINS: [&str; 5] = ["", "", "    join: all\n", "    join: 1\n", "    join: 2\n"];
const WAITS: [&str; 6] =
    ["", "", "", "", "    wait_for: { signal: s }\n", "    wait_for: { signal: s, timeout: 1m }\n"];
const ENDS: [Status; 4] = [Status::Succeeded, Status::Succeeded, Status::Failed, Status::TimedOut];
const SIGNAL: &str = "signal.s";
const STEPS_MAX: usize = 120;

#[derive(Clone, Debug)]
struct Way {
    condition: usize,
    publishes: Option<usize>,
    /// Tasks after the first, modulo their number.
    to: Vec<usize>,
    again: bool,
}

#[derive(Clone, Debug)]
struct Knot {
    join: usize,
    waits: usize,
    /// From which task before it an edge comes, so that few graphs have parts that nothing reaches.
    from: usize,
    from_condition: usize,
    ways: Vec<Way>,
}

/// What the machine is told, one after the other.
#[derive(Clone, Copy, Debug)]
struct Event {
    which: usize,
    status: usize,
    coins: u8,
}

fn way() -> impl Strategy<Value = Way> {
    let to = prop::collection::vec(0..8usize, 1..3);
    let publishes = prop::option::weighted(0.6, 0..KEYS.len());
    (0..CONDITIONS.len(), publishes, to, prop::bool::weighted(0.2)).prop_map(|(condition, publishes, to, again)| Way {
        condition,
        publishes,
        to,
        again,
    })
}

fn knots() -> impl Strategy<Value = Vec<Knot>> {
    let waits = 0..WAITS.len();
    let knot = (0..JOINS.len(), waits, 0..8usize, 0..CONDITIONS.len(), prop::collection::vec(way(), 0..2))
        .prop_map(|(join, waits, from, from_condition, ways)| Knot { join, waits, from, from_condition, ways });
    prop::collection::vec(knot, 2..7)
}

/// Few tasks that succeed or fail, of which the last joins two: where lint says that they exclude each other.
fn forks() -> impl Strategy<Value = Vec<Knot>> {
    let one = |condition, to| Way { condition, publishes: None, to: vec![to], again: false };
    let decided = move || (0..3usize, 0..8usize).prop_map(move |(condition, to)| one(condition, to));
    let knot = (0..8usize, 0..3usize, prop::collection::vec(decided(), 1..3))
        .prop_map(|(from, from_condition, ways)| Knot { join: 0, waits: 0, from, from_condition, ways });
    (prop::collection::vec(knot, 4..6), 0..8usize, 0..8usize).prop_map(move |(mut knots, first, other)| {
        let count = knots.len();
        let join = Knot { join: 2, waits: 0, from: first % count, from_condition: 0, ways: Vec::new() };
        knots[other % count].ways.push(one(0, count - 1));
        knots.push(join);
        knots
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event =
        (0..8usize, 0..ENDS.len(), any::<u8>()).prop_map(|(which, status, coins)| Event { which, status, coins });
    prop::collection::vec(event, STEPS_MAX)
}

/// The transitions of each task, as the file says them.
fn transitions(knots: &[Knot]) -> Vec<Vec<Transition>> {
    let mut all: Vec<Vec<_>> = knots
        .iter()
        .map(|knot| {
            let to = |way: &Way| {
                let mut to: Vec<usize> = way.to.iter().map(|to| 1 + to % (knots.len() - 1)).collect();
                to.dedup();
                to.sort_unstable();
                to.dedup();
                to
            };
            let transition = |way: &Way| {
                let Way { condition, publishes, again, .. } = *way;
                Transition { condition, publishes, to: to(way), again }
            };
            knot.ways.iter().map(transition).collect()
        })
        .collect();
    for (at, knot) in knots.iter().enumerate().skip(1) {
        let (condition, publishes) = (knot.from_condition, Some(at % KEYS.len()));
        all[knot.from % at].push(Transition { condition, publishes, to: vec![at], again: false });
    }
    all
}

/// The file, and which task and path each of its lines reads.
fn file(knots: &[Knot]) -> (String, HashMap<usize, (usize, String)>) {
    let all = transitions(knots);
    let published: HashSet<usize> = all.iter().flatten().filter_map(|transition| transition.publishes).collect();
    let waits = knots.iter().any(|knot| !WAITS[knot.waits].is_empty());
    let mut source = "name: law\ntasks:\n".to_owned();
    let mut lines = HashMap::new();
    for (at, knot) in knots.iter().enumerate() {
        let join = if at == 0 { "" } else { JOINS[knot.join] };
        source.push_str(&format!("  t{at}:\n    action: core.echo\n{join}{}    input:\n", WAITS[knot.waits]));
        let keys = KEYS
            .iter()
            .enumerate()
            .filter(|(key, _)| published.contains(key))
            .map(|(_, key)| format!("workflow.{key}"));
        let tasks = (0..knots.len()).flat_map(|task| [format!("task.t{task}.result"), format!("task.t{task}.error")]);
        for path in keys.chain(tasks).chain(waits.then(|| SIGNAL.to_owned())) {
            lines.insert(source.lines().count() + 1, (at, path.clone()));
            source.push_str(&format!("      {}: \"{{{{ {path} }}}}\"\n", path.replace('.', "_")));
        }
        source.push_str("    next:\n");
        for Transition { condition, publishes, to, again } in &all[at] {
            let publish = publishes.map(|key| format!(", publish: {{ {}: {at} }}", KEYS[key])).unwrap_or_default();
            let to = to.iter().map(|to| format!("t{to}")).chain(again.then(|| "retry".to_owned()));
            let to: Vec<String> = to.collect();
            source.push_str(&format!(
                "      - {{ when: {:?}, do: [{}]{publish} }}\n",
                CONDITIONS[*condition].0,
                to.join(", ")
            ));
        }
        if all[at].is_empty() {
            source.push_str("      - { when: failed(), do: noop }\n");
        }
    }
    (source, lines)
}

/// What lint says, by task and path, and by task alone.
struct Claims {
    paths: HashMap<(usize, String), &'static str>,
    tasks: HashSet<(usize, &'static str)>,
}

fn claims(program: &Program, source: &str, lines: &HashMap<usize, (usize, String)>) -> Claims {
    let found = lint::check(program, source, "law.yaml", &Actions::new());
    let mut claims = Claims { paths: HashMap::new(), tasks: HashSet::new() };
    for diagnostic in found.iter() {
        let line = found.position(diagnostic.span).0;
        if let Some(place) = lines.get(&line) {
            claims.paths.insert(place.clone(), diagnostic.code);
        } else {
            let task = source.lines().take(line).filter(|line| line.starts_with("  t")).count() - 1;
            claims.tasks.insert((task, diagnostic.code));
        }
    }
    claims
}

fn check(knots: &[Knot], events: &[Event]) -> TestCaseResult {
    let (source, lines) = file(knots);
    let Ok((program, _)) = Program::compile(&source, "law.yaml") else {
        return Err(TestCaseError::reject("no workflow"));
    };
    let claims = claims(&program, &source, &lines);
    let spec = program.workflow();
    let mut stage = Stage::of(spec);
    for event in events {
        stage.open.retain(|key| key.phase != Phase::Output);
        if stage.open.is_empty() || event.coins & 7 == 0 {
            // Whoever waits gets what it waits for, or waits in vain.
            match stage.timers.pop_first().filter(|_| event.coins & 8 == 0) {
                Some((timer, due)) => stage.wake(spec, timer, due),
                None => stage.signal(spec),
            }
            if stage.open.is_empty() && stage.signals > STEPS_MAX / 2 {
                break;
            }
            continue;
        }
        let key = stage.open.remove(event.which % stage.open.len());
        let task = key.task.as_ref().and_then(|(name, _)| spec.find(name)).expect("work of a task");
        let report = match key.phase {
            Phase::Act => {
                check_work(&claims, spec, &stage.run, &key, task, &source)?;
                acted(knots, task, *event)
            }
            // It has waited in vain.
            Phase::Settle => Report::Settled(settlement(knots, task, Status::TimedOut, event.coins)),
            Phase::Prepare | Phase::Items | Phase::Output => unreachable!("{key}"),
        };
        stage.feed(spec, Input::Report(key, report));
    }
    if stage.run.status() == RunStatus::Succeeded {
        let endless = claims.tasks.iter().find(|(_, code)| *code == "endless_loop");
        prop_assert!(endless.is_none() || !stage.ran.contains(&endless.expect("there").0), "{}", source);
    }
    Ok(())
}

/// Holds what lint says of a task against what it gets.
fn check_work(
    claims: &Claims,
    spec: &Workflow,
    run: &Run,
    key: &WorkKey,
    task: TaskIndex,
    source: &str,
) -> TestCaseResult {
    let at = usize::from(task.0);
    for never in ["never_starts", "join_never_satisfied"] {
        prop_assert!(!claims.tasks.contains(&(at, never)), "t{} started, which is {}\n{}", at, never, source);
    }
    let keys = KEYS.map(|key| format!("workflow.{key}")).into_iter();
    let tasks = (0..spec.tasks.len()).flat_map(|task| [format!("task.t{task}.result"), format!("task.t{task}.error")]);
    for path in
        keys.chain(tasks).chain([SIGNAL.to_owned()]).filter(|path| source.contains(&format!("{{{{ {path} }}}}")))
    {
        let is_there = run.manifest(spec, key, [path.as_str()]).contains_key(&path);
        match claims.paths.get(&(at, path.clone())) {
            Some(&"undefined_here") => prop_assert!(!is_there, "t{} has {}\n{}", at, path, source),
            Some(&"maybe_undefined") => {}
            Some(other) => prop_assert!(false, "{}", other),
            None => prop_assert!(is_there, "t{} lacks {}\n{}", at, path, source),
        }
    }
    Ok(())
}

fn value(json: &str) -> ValueRef {
    ValueRef::Inline(Json::canonical(json.as_bytes()).expect("JSON"))
}

/// The transitions of `task` that fire.
fn settlement(knots: &[Knot], task: TaskIndex, status: Status, coins: u8) -> Settlement {
    let at = usize::from(task.0);
    let mut settlement = Settlement { fired: Vec::new(), published: BTreeMap::new(), retries: None };
    let own = &transitions(knots)[at];
    for (position, Transition { condition, publishes, again, .. }) in own.iter().enumerate() {
        if CONDITIONS[*condition].1(status, coins >> (position % 8) & 1 == 1) {
            settlement.fired.push(u16::try_from(position).expect("few"));
            settlement.retries = settlement.retries.or(again.then_some(2));
            if let Some(key) = publishes {
                let key: KeyName = KEYS[*key].parse().expect("valid");
                settlement.published.insert(key, value(&at.to_string()));
            }
        }
    }
    if own.is_empty() && status != Status::Succeeded {
        settlement.fired.push(0);
    }
    settlement
}

/// How a worker would report on it.
fn acted(knots: &[Knot], task: TaskIndex, event: Event) -> Report {
    let status = ENDS[event.status];
    let settlement = settlement(knots, task, status, event.coins);
    let failed = || Failed {
        failure: Failure::new("broke", "it broke"),
        error: value(r#"{"code":"broke","message":"it broke"}"#),
    };
    let failure = (status != Status::Succeeded).then(failed);
    Report::Acted(Acted { status, result: value("1"), failure, next: Next::Settled(settlement), busy_ms: 1 })
}

/// A run, and the work that it waits for.
struct Stage {
    run: Run,
    open: Vec<WorkKey>,
    timers: BTreeMap<Timer, Timestamp>,
    now: Timestamp,
    /// How many came.
    signals: usize,
    /// Every task that was sent to a worker.
    ran: HashSet<usize>,
}

impl Stage {
    fn of(spec: &Workflow) -> Self {
        let accepted = Accepted {
            run: "run".parse().expect("valid"),
            workflow: spec.name.clone(),
            definition: Stored { digest: Digest::of(b"law"), bytes: 3 },
            parameters: Vec::new(),
            labels: BTreeMap::new(),
            prepare: false,
            reply: None,
            start_at: None,
            exclusive: None,
            parent: None,
            children: BTreeMap::new(),
            ancestor: None,
            imported: BTreeMap::new(),
        };
        let now = Timestamp::from_millis(1_000_000);
        let (run, step) = machine::accept(spec, accepted, Now { at: now, flights_max: 8 });
        let mut stage = Self { run, open: Vec::new(), timers: BTreeMap::new(), now, signals: 0, ran: HashSet::new() };
        stage.take(spec, step.commands);
        stage
    }

    fn feed(&mut self, spec: &Workflow, input: Input) {
        let now = Now { at: self.now, flights_max: 8 };
        let step = machine::step(spec, &mut self.run, input, now);
        self.take(spec, step.commands);
    }

    fn wake(&mut self, spec: &Workflow, timer: Timer, due: Timestamp) {
        self.now = self.now.max(due);
        self.feed(spec, Input::Timer(timer));
    }

    fn signal(&mut self, spec: &Workflow) {
        self.signals += 1;
        let name: KeyName = "s".parse().expect("valid");
        self.feed(spec, Input::Signal(Signal { name, id: None, payload: value("1") }));
    }

    fn take(&mut self, spec: &Workflow, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Dispatch(key) => {
                    let task = key.task.as_ref().and_then(|(name, _)| spec.find(name));
                    self.ran.extend(task.map(|task| usize::from(task.0)));
                    self.open.push(key);
                }
                Command::Continue => self.feed(spec, Input::Continue),
                Command::Arm(timer, due) => {
                    self.timers.insert(timer, due);
                }
                Command::Disarm(timer) => {
                    self.timers.remove(&timer);
                }
                Command::Broadcast(_)
                | Command::Announce(_)
                | Command::Spawn(_)
                | Command::Child(..)
                | Command::Parent(_)
                | Command::Enqueue(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_global_rejects: 100_000, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn lint_and_the_machine_agree(knots in knots(), events in events()) {
        check(&knots, &events)?;
    }

    #[test]
    fn what_excludes_each_other_never_joins(knots in forks(), events in events()) {
        check(&knots, &events)?;
    }
}
