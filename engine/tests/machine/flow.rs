//! Small workflows in the test's own terms, and the same as the machine reads them.

use std::{collections::BTreeSet, time::Duration};

use leveret_engine::spec::{
    Backoff, Call, DurationField, Field, Items, Join, Node, OnItemError, OnLost, OutcomeTest, Pool, Retry, SiteId,
    Span, Target, Task, TaskIndex, Text, Transition, WaitFor, When, Workflow,
};
use proto::json::Json;

/// A workflow as the test thinks of it.
#[derive(Clone, Debug)]
pub struct Flow {
    pub steps: Vec<Step>,
    /// The last of the steps is `finally`.
    pub finale: bool,
    /// A worker must evaluate the vars.
    pub vars: bool,
    /// A worker must evaluate the output.
    pub output: bool,
    /// How much of it may be in flight.
    pub limit: Limit,
    /// How long it may take.
    pub timeout: Delay,
    pub entrance: Entrance,
}

/// How a run of it begins.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// Milliseconds from its acceptance.
    pub start_in: Option<u64>,
    /// It is one of those that go one at a time.
    pub exclusive: bool,
    /// It is a child, with so many runs around it and so many milliseconds to go.
    pub parent: Option<(u8, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    None,
    Known(u32),
    Evaluated,
}

/// One task.
#[derive(Clone, Debug)]
pub struct Step {
    pub kind: Kind,
    /// It runs a workflow, or one for each item.
    pub calls: bool,
    pub wait: Option<Wait>,
    pub delay: Delay,
    /// A worker must evaluate its pool.
    pub pool: bool,
    pub retries: u32,
    /// A worker must evaluate how many retries there may be.
    pub counts: bool,
    pub joins: Option<JoinKind>,
    pub next: Vec<Edge>,
}

/// It waits for a signal.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub signal: u8,
    pub limit: Delay,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// Acts on a worker.
    Plain,
    /// Has nothing to run: the machine ends it by itself, unless its transitions need a worker.
    Empty,
    /// Acts on each of so many items.
    Items { count: u32, concurrency: Option<u32>, tolerate: u32, stops: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    None,
    Known(u64),
    Evaluated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    All,
    Count(u32),
}

#[derive(Clone, Debug)]
pub struct Edge {
    pub when: Condition,
    /// The condition is an expression, which only a worker can ask.
    pub is_asked: bool,
    /// The key that it publishes.
    pub publish: Option<u8>,
    pub to: Vec<To>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    Succeeded,
    Failed,
    /// Leads back: holds as long as the run may still go round, which only a worker knows.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Task(usize),
    Noop,
    Continue,
    Fail,
    Retry,
}

impl Edge {
    pub fn needs_worker(&self) -> bool {
        self.is_asked || self.publish.is_some()
    }
}

impl Step {
    /// Whether its transitions depend on nothing but its status.
    pub fn is_plain(&self) -> bool {
        let says_retry = self.next.iter().any(|edge| edge.to.contains(&To::Retry));
        !(self.next.iter().any(Edge::needs_worker) || self.counts && says_retry)
    }

    /// Whether the machine ends it by itself.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty) && self.is_plain()
    }

    pub fn has_items(&self) -> bool {
        matches!(self.kind, Kind::Items { .. })
    }

    /// Whether a worker must evaluate something before it begins or waits.
    pub fn is_prepared(&self) -> bool {
        let waits = self.wait.is_some_and(|wait| wait.limit == Delay::Evaluated);
        waits || self.pool || self.delay == Delay::Evaluated
    }

    /// Whether it has a `retry`.
    pub fn is_retried(&self) -> bool {
        self.retries > 0 && !matches!(self.kind, Kind::Empty)
    }

    /// How long the child of an item waits for its retry.
    pub fn item_delay_ms(&self) -> u64 {
        u64::from(self.retries % 2) * 10
    }
}

impl Delay {
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(ms) => Some(ms),
            Self::None | Self::Evaluated => None,
        }
    }

    fn field(self, sites: &mut Sites) -> Option<DurationField> {
        match self {
            Self::None => None,
            Self::Known(ms) => Some(DurationField::Known(Duration::from_millis(ms))),
            Self::Evaluated => Some(DurationField::Evaluated(sites.expression())),
        }
    }
}

impl Flow {
    /// The distinct tasks that lead to `at`.
    pub fn inbound(&self, at: usize) -> BTreeSet<usize> {
        let leads = |step: &Step| step.next.iter().flat_map(|edge| &edge.to).any(|to| *to == To::Task(at));
        (0..self.steps.len()).filter(|&from| leads(&self.steps[from])).collect()
    }

    /// The place of the task of `finally`.
    pub fn finale(&self) -> Option<usize> {
        self.finale.then(|| self.steps.len() - 1)
    }

    /// The tasks that nothing leads to.
    pub fn entries(&self) -> Vec<usize> {
        (0..self.steps.len()).filter(|&at| self.inbound(at).is_empty() && Some(at) != self.finale()).collect()
    }

    /// Whether a worker must evaluate something before a run begins.
    pub fn is_prepared(&self) -> bool {
        self.vars || self.timeout == Delay::Evaluated || self.limit == Limit::Evaluated
    }

    /// How many runs are around one of it.
    pub fn depth(&self) -> u8 {
        self.entrance.parent.map_or(0, |(depth, _)| depth)
    }

    pub fn spec(&self) -> Workflow {
        let mut sites = Sites(0);
        let tasks: Vec<Task> = (0..self.steps.len()).map(|at| self.task(at, &mut sites)).collect();
        let vars = self.vars.then(|| ("v".parse().expect("valid"), sites.expression())).into_iter().collect();
        let output = self.output.then(|| ("o".into(), sites.expression())).into_iter().collect();
        let exclusive = self.entrance.exclusive.then(|| "p".parse().expect("valid")).into_iter().collect();
        Workflow {
            name: "flow".parse().expect("valid"),
            version: None,
            description: None,
            parameters: Vec::new(),
            vars,
            tasks,
            entries: self.entries().into_iter().map(index).collect(),
            output,
            timeout: self.timeout.field(&mut sites),
            concurrency: match self.limit {
                Limit::None => None,
                Limit::Known(bound) => Some(sites.literal(&bound.to_string())),
                Limit::Evaluated => Some(sites.expression()),
            },
            exclusive,
            finally: self.finale().map(index),
            sites: sites.0,
        }
    }

    fn task(&self, at: usize, sites: &mut Sites) -> Task {
        let step = &self.steps[at];
        let action = match &step.kind {
            Kind::Empty => "core.noop",
            Kind::Plain | Kind::Items { .. } => "test.act",
        };
        Task {
            name: name(at),
            span: Span::default(),
            on_lost: OnLost::Retry,
            call: match step.calls {
                true => Call::Workflow("sub".parse().expect("valid")),
                false => Call::Action(action.into()),
            },
            wait_for: step.wait.map(|wait| WaitFor {
                signal: signal_name(wait.signal).parse().expect("valid"),
                timeout: wait.limit.field(sites),
            }),
            input: sites.literal("{}"),
            pool: match step.pool {
                true => Pool::Evaluated(sites.expression()),
                false => Pool::Named("default".parse().expect("valid")),
            },
            join: step.joins.map(|join| match join {
                JoinKind::All => Join::All,
                JoinKind::Count(count) => Join::Count(count),
            }),
            items: items(step, sites),
            retry: retry(step, sites),
            timeout: None,
            delay: step.delay.field(sites),
            next: step.next.iter().map(|edge| transition(edge, sites)).collect(),
            inbound: self.inbound(at).into_iter().map(index).collect(),
        }
    }
}

fn items(step: &Step, sites: &mut Sites) -> Option<Items> {
    let Kind::Items { stops, .. } = step.kind else { return None };
    let on_error = if stops { OnItemError::Stop } else { OnItemError::Continue };
    Some(Items { list: sites.literal("[]"), concurrency: None, tolerate: None, on_error })
}

fn retry(step: &Step, sites: &mut Sites) -> Option<Retry> {
    step.is_retried().then(|| Retry {
        count: if step.counts { sites.expression() } else { sites.literal(&step.retries.to_string()) },
        delay: Some(DurationField::Known(Duration::from_millis(step.item_delay_ms()))),
        backoff: Backoff::Constant,
        max_delay: None,
        jitter: false,
        when: When::Outcome(OutcomeTest::Failed),
    })
}

/// Numbers the fields of a workflow. What they say does not matter: the test's worker evaluates nothing.
struct Sites(u32);

impl Sites {
    fn field(&mut self, node: Node) -> Field {
        self.0 += 1;
        Field { site: SiteId(self.0 - 1), name: format!("field{}", self.0), node }
    }

    fn literal(&mut self, json: &str) -> Field {
        self.field(Node::Literal(Json::canonical(json.as_bytes()).expect("valid")))
    }

    fn expression(&mut self) -> Field {
        self.field(Node::Expression(Text { source: "x".into(), span: Span::default() }))
    }
}

pub fn name(at: usize) -> proto::id::TaskName {
    format!("t{at}").parse().expect("valid")
}

pub fn position(name: &proto::id::TaskName) -> usize {
    name.as_str()[1..].parse().expect("names are t0, t1, …")
}

fn index(at: usize) -> TaskIndex {
    TaskIndex(u16::try_from(at).expect("few tasks"))
}

fn transition(edge: &Edge, sites: &mut Sites) -> Transition {
    let when = match edge.when {
        _ if edge.is_asked => When::Expression(sites.expression()),
        Condition::Always | Condition::Again => When::Outcome(OutcomeTest::Constant(true)),
        Condition::Succeeded => When::Outcome(OutcomeTest::Succeeded),
        Condition::Failed => When::Outcome(OutcomeTest::Failed),
    };
    let target = |to: &To| match to {
        To::Task(at) => Target::Task(index(*at)),
        To::Noop => Target::Noop,
        To::Continue => Target::Continue,
        To::Fail => Target::Fail,
        To::Retry => Target::Retry,
    };
    let publish = edge.publish.map(|key| (key_name(key).parse().expect("valid"), sites.expression()));
    Transition { when, publish: publish.into_iter().collect(), targets: edge.to.iter().map(target).collect() }
}

/// The name of a published key.
pub fn key_name(key: u8) -> String {
    format!("k{key}")
}

/// The name of a signal.
pub fn signal_name(signal: u8) -> String {
    format!("s{signal}")
}
