//! A scheduler with everything around it, and what a client or a worker does to it.

use std::{
    net::SocketAddr,
    sync::{Arc, Once},
    time::Duration,
};

use leveret_scheduler::{
    metrics::Metrics,
    service::{Scheduler, Settings},
    store::{self, Store},
};
use proto::{
    codec,
    id::{PoolName, RunId},
    outcome::{FromWorker, Outcome, Report},
    topology::{JOB_KEY, Topology},
    work::Work,
};
use queue::{Consumer, Declared, Delivery, Publication, Queue, Source, memory::Broker};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything takes that is not broken.
const DEADLINE: Duration = Duration::from_secs(15);
/// The twin declares no queues but ours. Under this prefix the queue of a pool is one where answers may go.
const PREFIX: &str = "amq.rabbitmq.reply-to";

pub struct Site {
    pub topology: Topology,
    broker: Broker,
    folder: Option<TempDir>,
    running: Option<(Scheduler, Queue)>,
    address: Option<SocketAddr>,
    pub client: Queue,
    answers: Consumer,
    work: Option<Consumer>,
    rejected: Consumer,
    http: reqwest::Client,
}

impl Site {
    /// With a store that fails on demand.
    pub async fn memory() -> Self {
        Self::begin(None).await
    }

    /// With a store that outlives its scheduler.
    pub async fn sqlite() -> Self {
        Self::begin(Some(TempDir::new().unwrap())).await
    }

    async fn begin(folder: Option<TempDir>) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let topology = Topology::new(PREFIX);
        let broker = Broker::new(topology.clone());
        let client = broker.connect();
        for part in [Declared::Core, Declared::Pool(pool("default")), Declared::Pool(pool("answers"))] {
            client.declare(part).await.unwrap();
        }
        let mut site = Self {
            answers: client.consume(Source::Pool(pool("answers")), 100).await.unwrap(),
            work: Some(client.consume(Source::Pool(pool("default")), 1_000).await.unwrap()),
            rejected: client.consume(Source::Named(topology.rejected_queue()), 100).await.unwrap(),
            // A connection that is kept would keep a killed scheduler's store open.
            http: reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap(),
            topology,
            broker,
            folder,
            running: None,
            address: None,
            client,
        };
        site.start().await;
        site
    }

    pub async fn start(&mut self) {
        let store = self.open().await;
        let queue = self.broker.connect();
        let scheduler = Scheduler::start(self.settings(store, queue.clone(), "owner")).await.unwrap();
        self.address = Some(scheduler.http_addr());
        self.running = Some((scheduler, queue));
    }

    pub fn settings(&self, store: Store, queue: Queue, owner: &str) -> Settings {
        Settings {
            store,
            queue,
            topology: self.topology.clone(),
            http: "127.0.0.1:0".parse().unwrap(),
            tokens: Default::default(),
            owner: owner.to_owned(),
            metrics: Arc::new(Metrics::new()),
        }
    }

    /// Opens the store, once whoever had it has let go of it.
    pub async fn open(&self) -> Store {
        let url = match &self.folder {
            Some(folder) => format!("sqlite:{}", folder.path().join("leveret.db").display()),
            None => "memory:".to_owned(),
        };
        eventually(async || match store::open(&url).await {
            Err(store::Error::InUse { .. }) => None,
            opened => Some(opened.unwrap()),
        })
        .await
    }

    pub fn connect(&self) -> Queue {
        self.broker.connect()
    }

    /// The process is gone: nothing more is written, nothing more is settled.
    pub async fn kill(&mut self) {
        let (scheduler, queue) = self.running.take().expect("it runs");
        scheduler.kill().await;
        queue.close().await;
    }

    pub async fn stop(&mut self) {
        let (scheduler, queue) = self.running.take().expect("it runs");
        within(scheduler.stop()).await.unwrap();
        queue.close().await;
    }

    pub fn scheduler(&mut self) -> &mut Scheduler {
        &mut self.running.as_mut().expect("it runs").0
    }

    pub fn store(&self) -> &Store {
        self.running.as_ref().expect("it runs").0.store()
    }

    /// The memory store, to let it fail.
    pub fn faults(&self) -> &store::memory::Store {
        match self.store() {
            Store::Memory(store) => store,
            other => panic!("{other:?} does not fail on demand"),
        }
    }

    // A client's part.

    /// A job or command, with an answer asked for.
    pub fn job(&self, body: &Value) -> Publication {
        Publication {
            reply_to: Some(self.topology.work_queue(&pool("answers"))),
            correlation_id: Some("mine".into()),
            ..Publication::new(self.topology.jobs_exchange(), JOB_KEY, body.to_string())
        }
    }

    pub async fn submit(&self, body: &Value) {
        self.client.publish(self.job(body)).await.unwrap();
    }

    pub async fn answer(&mut self) -> (queue::Properties, Value) {
        let delivery = within(self.answers.recv()).await.expect("answers");
        let read = (delivery.properties.clone(), serde_json::from_slice(&delivery.body).unwrap());
        delivery.ack();
        read
    }

    /// An answer that is here already.
    pub fn answer_now(&mut self) -> Option<Value> {
        let delivery = self.answers.try_recv()?;
        let body = serde_json::from_slice(&delivery.body).unwrap();
        delivery.ack();
        Some(body)
    }

    pub async fn rejected(&mut self) -> Delivery {
        within(self.rejected.recv()).await.expect("refused messages")
    }

    // A worker's part.

    /// Leaves all work to another worker.
    pub async fn keep_work_for_others(&mut self) {
        if let Some(work) = self.work.take() {
            work.stop().await;
        }
    }

    pub async fn work(&mut self) -> (Work, Delivery) {
        let delivery = within(self.work.as_mut().expect("not left to others").recv()).await.expect("work");
        (codec::decode(&delivery.body).unwrap(), delivery)
    }

    /// Work that is here already.
    pub fn work_now(&mut self) -> Option<(Work, Delivery)> {
        let delivery = self.work.as_mut()?.try_recv()?;
        Some((codec::decode(&delivery.body).unwrap(), delivery))
    }

    pub async fn report(&self, work: &Work, report: Report) {
        let outcome = Outcome { schema: 1, key: work.key.clone(), worker: "hand".parse().unwrap(), report };
        self.tell(&FromWorker::Outcome(Box::new(outcome))).await;
    }

    pub async fn tell(&self, message: &FromWorker) {
        let publication = Publication::new(self.topology.outcomes_exchange(), "0", codec::encode(message));
        self.client.publish(publication).await.unwrap();
    }

    /// Takes work until none comes for this run before it ends, each reported on as `decide` says.
    pub async fn work_off(&mut self, run: &str, decide: impl Fn(&Work) -> Report) -> Value {
        let mut events = self.follow(run).await;
        loop {
            tokio::select! {
                last = last_of(&mut events) => return last,
                (work, delivery) = self.work() => {
                    self.report(&work, decide(&work)).await;
                    delivery.ack();
                }
            }
        }
    }

    // HTTP.

    pub async fn call(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let response = within(self.http.request(method, self.url(path)).body(body).send()).await.unwrap();
        let status = response.status();
        let text = within(response.text()).await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, "").await
    }

    pub async fn follow(&self, run: &str) -> reqwest::Response {
        let path = format!("/api/v1/runs/{run}/events");
        within(self.http.get(self.url(&path)).send()).await.unwrap()
    }

    /// The run once it has ended, as its events' last says. A scheduler that was only just started does not know it yet.
    pub async fn ended(&self, run: &str) -> Value {
        let events = eventually(async || {
            let events = self.follow(run).await;
            events.status().is_success().then_some(events)
        });
        within(last_of(&mut events.await)).await
    }

    pub async fn show(&self, run: &str) -> Value {
        self.get(&format!("/api/v1/runs/{run}")).await.1["run"].clone()
    }

    /// The value of a series of `/metrics`, 0 when there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address.expect("it was started"))
    }
}

/// The last of the views in a stream of events.
async fn last_of(events: &mut reqwest::Response) -> Value {
    let mut text = String::new();
    while let Some(chunk) = events.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    views(&text).pop().unwrap_or_else(|| panic!("no view in {text:?} of {}", events.status()))
}

/// The views in the text of a stream of events.
pub fn views(text: &str) -> Vec<Value> {
    let datas = text.lines().filter_map(|line| line.strip_prefix("data: "));
    datas.map(|data| serde_json::from_str::<Value>(data).unwrap()["run"].clone()).collect()
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("in time")
}

/// Asks again until there is an answer: for what tells nobody when it changes.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(3));
    within(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            ticks.tick().await;
        }
    })
    .await
}

pub fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

pub fn run_id(text: &str) -> RunId {
    text.parse().unwrap()
}
