//! What a test plays with: a broker, a values service, a worker, and actions that wait for the test.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use leveret_worker::{
    action::{Action, Call, Error, registry::Actions},
    metrics::Metrics,
    service::{Settings, Worker},
};
use proto::{
    SCHEMA, codec,
    control::Control,
    failure::Failure,
    id::{Attempt, Instance, PoolName, Shard},
    items::ItemSet,
    json::Json,
    manifest::{Manifest, ManifestRef},
    outcome::{Acted, Claim, FromWorker, Heartbeat, ItemsReport, Outcome, Report},
    time::Timestamp,
    topology::Topology,
    value::{Stored, ValueRef},
    work::{Phase, Range, RunInfo, RunStatus, Work, WorkKey},
};
use queue::{Consumer, Declared, Delivery, Publication, Queue, Routing, Source, memory::Broker};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::values::Service;

pub const DEADLINE: Duration = Duration::from_secs(30);
pub const SHARD: Shard = Shard(3);
pub const RUN: &str = "run-1";

/// Waits for `event`, and not for ever.
pub async fn within<T>(event: impl Future<Output = T>) -> T {
    timeout(DEADLINE, event).await.expect("in time")
}

pub fn pool() -> PoolName {
    "default".parse().expect("valid")
}

/// A worker that is not started yet.
pub struct Plan {
    pub slots: u32,
    pub drain_timeout: Duration,
    pub environment: BTreeMap<String, String>,
    pub env_allow: Vec<String>,
    pub secrets_dir: Option<PathBuf>,
    pub template_timeout: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            slots: 4,
            drain_timeout: DEADLINE,
            environment: BTreeMap::new(),
            env_allow: Vec::new(),
            secrets_dir: None,
            template_timeout: DEADLINE,
        }
    }
}

/// A scheduler's view of one worker.
pub struct Stage {
    pub values: Service,
    pub gate: Arc<Gate>,
    pub worker: Worker,
    pub topology: Topology,
    /// The scheduler's connection.
    pub queue: Queue,
    /// The worker's.
    pub worker_queue: Queue,
    outcomes: Consumer,
    definition: Stored,
}

impl Stage {
    pub async fn with_slots(definition: &str, slots: u32) -> Self {
        Self::set(definition, Plan { slots, ..Plan::default() }).await
    }

    pub async fn new(definition: &str) -> Self {
        Self::set(definition, Plan::default()).await
    }

    pub async fn set(definition: &str, plan: Plan) -> Self {
        let topology = Topology::default();
        let broker = Broker::new(topology.clone());
        let (queue, worker_queue) = (broker.connect(), broker.connect());
        for part in [Declared::Core, Declared::Outcomes(SHARD), Declared::Outcomes(Shard(0)), Declared::Pool(pool())] {
            queue.declare(part).await.expect("declared");
        }
        let values = Service::start().await;
        let gate = Arc::new(Gate::default());
        let settings = Settings {
            queue: worker_queue.clone(),
            topology: topology.clone(),
            server_url: format!("http://{}", values.addr),
            token: None,
            pools: vec![pool()],
            slots: plan.slots,
            drain_timeout: plan.drain_timeout,
            http: Some(([127, 0, 0, 1], 0).into()),
            actions: actions(&gate),
            id: "worker-1".parse().expect("valid"),
            metrics: Arc::new(Metrics::new()),
            cache_bytes: 64 * 1024 * 1024,
            environment: plan.environment,
            env_allow: plan.env_allow,
            secrets_dir: plan.secrets_dir,
            template_timeout: plan.template_timeout,
        };
        let worker = Worker::start(settings).await.expect("starts");
        let outcomes = queue.consume(Source::Outcomes(SHARD), 1_000).await.expect("consumes");
        let definition = values.put(definition.to_owned());
        Self { values, gate, worker, topology, queue, worker_queue, outcomes, definition }
    }

    /// Work of a task, whose serial is its attempt.
    pub fn task(&self, name: &str, phase: Phase) -> Work {
        self.work(Some(name), phase)
    }

    pub fn work(&self, task: Option<&str>, phase: Phase) -> Work {
        let task = task.map(|name| (name.parse().expect("valid"), Instance(1)));
        Work {
            schema: SCHEMA,
            key: WorkKey { run: RUN.parse().expect("valid"), task, phase, serial: 1 },
            shard: SHARD,
            definition: self.definition,
            run: RunInfo {
                workflow: "w".parse().expect("valid"),
                started_at: Timestamp::from_millis(0),
                labels: BTreeMap::new(),
                status: RunStatus::Running,
                error: None,
            },
            attempt: Attempt(1),
            retries: 0,
            manifest: manifest(json!({})),
            range: None,
            ended: None,
            child: None,
            dispatched_at: Timestamp::from_millis(0),
        }
    }

    /// Work on `items`, which are the first of their list.
    pub fn range(&self, task: &str, items: &[Value]) -> Work {
        let count = u32::try_from(items.len()).expect("few");
        let range = Range { items: ItemSet::run(0, count), values: Json::of(items).expect("JSON") };
        Work { range: Some(range), ..self.task(task, Phase::Act) }
    }

    pub async fn send(&self, work: &Work) {
        self.send_bytes(codec::encode(work)).await;
    }

    pub async fn send_bytes(&self, body: Vec<u8>) {
        let publication = Publication::new(self.topology.work_exchange(), pool().to_string(), body);
        self.queue.publish(publication).await.expect("published");
    }

    pub async fn tell(&self, control: &Control) {
        let exchange = self.topology.control_exchange();
        let mut publication = Publication::new(exchange, "", codec::encode(control));
        publication.routing = Routing::BestEffort;
        self.queue.publish(publication).await.expect("published");
    }

    async fn next(&mut self) -> FromWorker {
        let delivery: Delivery = within(self.outcomes.recv()).await.expect("open");
        let message = codec::decode(&delivery.body).expect("the scheduler can read it");
        delivery.ack();
        message
    }

    pub async fn outcome(&mut self) -> Outcome {
        loop {
            match self.next().await {
                FromWorker::Outcome(outcome) => return *outcome,
                FromWorker::Heartbeat(_) => {}
                FromWorker::Claim(claim) => panic!("nobody answers {claim:?}"),
            }
        }
    }

    pub async fn claim(&mut self) -> Claim {
        loop {
            match self.next().await {
                FromWorker::Claim(claim) => return claim,
                FromWorker::Heartbeat(_) => {}
                FromWorker::Outcome(outcome) => panic!("{outcome:?} without a claim"),
            }
        }
    }

    /// The next outcome, whatever else was asked before it.
    pub async fn outcome_after_claims(&mut self) -> Outcome {
        loop {
            if let FromWorker::Outcome(outcome) = self.next().await {
                return *outcome;
            }
        }
    }

    pub async fn heartbeat(&mut self) -> Heartbeat {
        loop {
            match self.next().await {
                FromWorker::Heartbeat(heartbeat) => return heartbeat,
                FromWorker::Outcome(_) | FromWorker::Claim(_) => {}
            }
        }
    }

    /// What the worker reports of `work`, the next thing that it reports.
    pub async fn report(&mut self, work: &Work) -> Report {
        self.send(work).await;
        let outcome = self.outcome().await;
        assert_eq!(outcome.key, work.key);
        outcome.report
    }

    pub async fn acted(&mut self, work: &Work) -> Acted {
        match self.report(work).await {
            Report::Acted(acted) => acted,
            other => panic!("{other:?}"),
        }
    }

    /// Why `work` could not be begun.
    pub async fn unable(&mut self, work: &Work) -> Failure {
        match self.report(work).await {
            Report::Unable(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    pub async fn items(&mut self) -> ItemsReport {
        match self.outcome().await.report {
            Report::Items(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub fn read(&self, value: &ValueRef) -> Value {
        self.values.read(value)
    }

    /// Drains the worker, and counts what it left in its pool.
    pub async fn drain(self, now: CancellationToken) -> Left {
        let Self { worker, queue, .. } = self;
        within(worker.drain(now)).await.expect("drains");
        let mut left = queue.consume(Source::Pool(pool()), 1_000).await.expect("consumes");
        // All at once: one that is dropped comes again.
        let deliveries: Vec<Delivery> = std::iter::from_fn(|| left.try_recv()).collect();
        let works =
            deliveries.iter().map(|delivery| codec::decode::<Work>(&delivery.body).expect("work").key).collect();
        Left { works, outcomes: self.outcomes }
    }

    /// Drains a worker that must have acknowledged everything.
    pub async fn drain_clean(self) {
        let left = self.drain(CancellationToken::new()).await;
        assert_eq!(left.works, [], "everything was acknowledged");
    }
}

/// What a drained worker left behind.
pub struct Left {
    /// Work in its pool's queue.
    pub works: Vec<WorkKey>,
    outcomes: Consumer,
}

impl Left {
    /// Outcomes that nobody has received yet.
    pub fn reports(&mut self) -> Vec<Report> {
        let deliveries: Vec<Delivery> = std::iter::from_fn(|| self.outcomes.try_recv()).collect();
        let read = |delivery: &Delivery| match codec::decode(&delivery.body).expect("readable") {
            FromWorker::Outcome(outcome) => Some(outcome.report),
            FromWorker::Heartbeat(_) | FromWorker::Claim(_) => None,
        };
        deliveries.iter().filter_map(read).collect()
    }
}

/// A manifest of the paths in `values`.
pub fn manifest(values: Value) -> ManifestRef {
    let values = values.as_object().expect("a map").clone();
    let inline = |value: Value| ValueRef::Inline(Json::canonical(value.to_string().as_bytes()).expect("JSON"));
    ManifestRef::Inline(values.into_iter().map(|(path, value)| (path, inline(value))).collect::<Manifest>())
}

pub fn indices(set: &ItemSet) -> Vec<u32> {
    set.iter().map(|index| index.0).collect()
}

/// Where actions wait until the test lets them go on.
pub struct Gate {
    inside: AtomicU32,
    most_inside: AtomicU32,
    entered: watch::Sender<u32>,
    open: Semaphore,
    /// The number of the item that may go on, for those who go one after the other.
    turn: watch::Sender<u64>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            inside: AtomicU32::new(0),
            most_inside: AtomicU32::new(0),
            entered: watch::Sender::new(0),
            open: Semaphore::new(0),
            turn: watch::Sender::new(u64::MAX),
        }
    }
}

impl Gate {
    /// Waits until actions have entered so often.
    pub async fn entered(&self, times: u32) {
        let mut entered = self.entered.subscribe();
        within(entered.wait_for(|entered| *entered >= times)).await.expect("the sender lives");
    }

    pub fn times_entered(&self) -> u32 {
        *self.entered.borrow()
    }

    pub fn most_inside(&self) -> u32 {
        self.most_inside.load(SeqCst)
    }

    /// Lets so many go on.
    pub fn let_go(&self, count: usize) {
        self.open.add_permits(count);
    }

    /// Lets those who wait for their turn go on, `last` first and 0 last.
    pub fn go_backwards_from(&self, last: u64) {
        self.turn.send_replace(last);
    }

    async fn pass(&self) {
        struct Inside<'a>(&'a AtomicU32);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        let inside = self.inside.fetch_add(1, SeqCst) + 1;
        let _inside = Inside(&self.inside);
        self.most_inside.fetch_max(inside, SeqCst);
        self.entered.send_modify(|entered| *entered += 1);
        self.open.acquire().await.expect("open").forget();
    }
}

/// An action of the tests, by name.
struct Prop {
    name: &'static str,
    gate: Arc<Gate>,
}

fn actions(gate: &Arc<Gate>) -> Actions {
    let names = ["test.gate", "test.stubborn", "test.panic", "test.big", "test.deep", "test.turn", "test.some"];
    names.into_iter().fold(Actions::builtin(), |actions, name| {
        actions.with(Arc::new(Prop { name, gate: gate.clone() })).expect("a valid schema")
    })
}

impl Action for Prop {
    fn name(&self) -> &str {
        self.name
    }

    fn input_schema(&self) -> Value {
        json!({ "type": "object" })
    }

    fn output_schema(&self) -> Value {
        json!(true)
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async move {
            match self.name {
                "test.gate" => {
                    let passed = async {
                        self.gate.pass().await;
                        Ok(())
                    };
                    // What it has to show when it is stopped.
                    call.or_canceled(passed).await.map_err(|error| error.with_result(json!({ "so": "far" })))?;
                    Ok(input)
                }
                // Listens to nobody.
                "test.stubborn" => {
                    self.gate.pass().await;
                    Ok(input)
                }
                // Large or waiting, as the input says.
                "test.some" => match input["bytes"].as_u64().expect("a number") {
                    0 => {
                        self.gate.pass().await;
                        Ok(Value::Null)
                    }
                    bytes => Ok(Value::String("x".repeat(usize::try_from(bytes).expect("it fits")))),
                },
                "test.panic" => panic!("by {}", input["of"]),
                "test.big" => Ok(Value::String(
                    "x".repeat(usize::try_from(input["bytes"].as_u64().expect("a number")).expect("it fits")),
                )),
                "test.turn" => {
                    let own = input["n"].as_u64().expect("a number");
                    let mut turn = self.gate.turn.subscribe();
                    turn.wait_for(|turn| *turn == own).await.expect("the sender lives");
                    self.gate.turn.send_replace(own.wrapping_sub(1));
                    Ok(input)
                }
                "test.deep" => {
                    let depth = input["depth"].as_u64().expect("a number");
                    Ok((0..depth).fold(json!(1), |inner, _| json!([inner])))
                }
                name => unreachable!("{name}"),
            }
        })
    }
}
