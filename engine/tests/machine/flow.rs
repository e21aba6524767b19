//! Small workflows in the test's own terms, and the same as the machine reads them.

use std::{collections::BTreeSet, time::Duration};

use leveret_engine::spec::{
    Backoff, Call, DurationField, Field, Items, Join, Node, OnItemError, OnLost, OutcomeTest, Pool, Retry, SiteId,
    Span, Target, Task, TaskIndex, Text, Transition, When, Workflow,
};
use proto::json::Json;

/// A workflow as the test thinks of it.
#[derive(Clone, Debug)]
pub struct Flow {
    pub steps: Vec<Step>,
    /// A worker must evaluate the vars.
    pub vars: bool,
    /// A worker must evaluate the output.
    pub output: bool,
}

/// One task.
#[derive(Clone, Debug)]
pub struct Step {
    pub kind: Kind,
    pub delay: Delay,
    pub retries: u32,
    pub joins: Option<JoinKind>,
    pub next: Vec<Edge>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// Acts on a worker.
    Plain,
    /// Has nothing to run: the machine ends it by itself, unless its transitions need a worker.
    Empty,
    /// Acts on each of so many items.
    Items { count: u32, concurrency: Option<u32>, tolerate: u32 },
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
}

impl Edge {
    pub fn needs_worker(&self) -> bool {
        self.is_asked || self.publish.is_some()
    }
}

impl Step {
    /// Whether its transitions depend on nothing but its status.
    pub fn is_plain(&self) -> bool {
        !self.next.iter().any(Edge::needs_worker)
    }

    /// Whether the machine ends it by itself.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty) && self.is_plain()
    }
}

impl Flow {
    /// The distinct tasks that lead to `at`.
    pub fn inbound(&self, at: usize) -> BTreeSet<usize> {
        let leads = |step: &Step| step.next.iter().flat_map(|edge| &edge.to).any(|to| *to == To::Task(at));
        (0..self.steps.len()).filter(|&from| leads(&self.steps[from])).collect()
    }

    pub fn spec(&self) -> Workflow {
        let mut sites = Sites(0);
        let tasks: Vec<Task> = (0..self.steps.len()).map(|at| self.task(at, &mut sites)).collect();
        let entries = (0..tasks.len()).filter(|&at| tasks[at].inbound.is_empty()).map(index).collect();
        let vars = self.vars.then(|| ("v".parse().expect("valid"), sites.expression())).into_iter().collect();
        let output = self.output.then(|| ("o".into(), sites.expression())).into_iter().collect();
        Workflow {
            name: "flow".parse().expect("valid"),
            version: None,
            description: None,
            parameters: Vec::new(),
            vars,
            tasks,
            entries,
            output,
            timeout: None,
            concurrency: None,
            exclusive: Vec::new(),
            finally: None,
            sites: sites.0,
        }
    }

    fn task(&self, at: usize, sites: &mut Sites) -> Task {
        let step = &self.steps[at];
        let (action, items) = match &step.kind {
            Kind::Plain => ("test.act", None),
            Kind::Empty => ("core.noop", None),
            Kind::Items { .. } => {
                let on_error = OnItemError::Continue;
                ("test.act", Some(Items { list: sites.literal("[]"), concurrency: None, tolerate: None, on_error }))
            }
        };
        let retry = (step.retries > 0 && !matches!(step.kind, Kind::Empty)).then(|| Retry {
            count: sites.literal(&step.retries.to_string()),
            delay: None,
            backoff: Backoff::Constant,
            max_delay: None,
            jitter: false,
            when: When::Outcome(OutcomeTest::Failed),
        });
        Task {
            name: name(at),
            span: Span::default(),
            call: Call::Action(action.into()),
            on_lost: OnLost::Retry,
            wait_for: None,
            input: sites.literal("{}"),
            pool: Pool::Named("default".parse().expect("valid")),
            join: step.joins.map(|join| match join {
                JoinKind::All => Join::All,
                JoinKind::Count(count) => Join::Count(count),
            }),
            items,
            retry,
            timeout: None,
            delay: match step.delay {
                Delay::None => None,
                Delay::Known(ms) => Some(DurationField::Known(Duration::from_millis(ms))),
                Delay::Evaluated => Some(DurationField::Evaluated(sites.expression())),
            },
            next: step.next.iter().map(|edge| transition(edge, sites)).collect(),
            inbound: self.inbound(at).into_iter().map(index).collect(),
        }
    }
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
    };
    let publish = edge.publish.map(|key| (key_name(key).parse().expect("valid"), sites.expression()));
    Transition { when, publish: publish.into_iter().collect(), targets: edge.to.iter().map(target).collect() }
}

/// The name of a published key.
pub fn key_name(key: u8) -> String {
    format!("k{key}")
}
