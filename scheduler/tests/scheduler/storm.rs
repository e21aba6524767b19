//! A scheduler that is killed at any instant, over and over, while a run goes on.

use std::hash::{BuildHasher, RandomState};

use serde_json::{Value, json};
use tokio::{
    select,
    sync::mpsc::{self, Receiver},
    task::JoinSet,
};

use crate::{
    robot::{ITEMS, STORM, check_items_once, check_storm, decide, listed},
    site::{Site, eventually},
};
use proto::{
    codec,
    outcome::{FromWorker, Outcome},
    work::{Phase, Work},
};
use queue::{Publication, Queue, Source};

/// Runs that go on at the same time.
const RUNS: usize = 4;
/// How often it is killed.
const KILLS: usize = 40;

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

/// Says the seed of a test that fails.
struct Shown(u64);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut out = std::io::stderr();
            // Nothing is left to do about an error while panicking.
            let _ = std::io::Write::write_fmt(&mut out, format_args!("seed {}\n", self.0));
        }
    }
}

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // A 64-bit linear congruential generator with Knuth's constants; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A worker of its own, that says whenever it has reported.
async fn work(queue: Queue, reported: mpsc::Sender<()>) {
    let topology = queue.topology().clone();
    let mut consumer = queue.consume(Source::Pool("default".parse().unwrap()), 8).await.unwrap();
    while let Some(delivery) = consumer.recv().await {
        let work: Work = codec::decode(&delivery.body).unwrap();
        let report = match work.key.phase {
            Phase::Items => listed(ITEMS),
            Phase::Prepare | Phase::Act | Phase::Settle | Phase::Output => decide(&work),
        };
        let outcome = Outcome { schema: 1, key: work.key, worker: "robot".parse().unwrap(), report };
        let body = codec::encode(&FromWorker::Outcome(Box::new(outcome)));
        queue.publish(Publication::new(topology.outcomes_exchange(), "0", body)).await.unwrap();
        delivery.ack();
        // Nobody listens in the end.
        let _ = reported.try_send(());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_its_scheduler_however_often_that_is_killed() {
    let seed = RandomState::new().hash_one(0);
    let _seed = Shown(seed);
    let mut dice = Dice(seed);
    let mut site = Site::sqlite().await;
    site.keep_work_for_others().await;
    let mut workers = JoinSet::new();
    let (reported, mut reports) = mpsc::channel(1_000);
    workers.spawn(work(site.connect(), reported));
    let list: Vec<u32> = (0..ITEMS).collect();
    for run in 0..RUNS {
        let id = format!("r{run}");
        site.submit(&json!({ "definition": STORM, "id": id, "parameters": { "list": list } })).await;
    }
    for _ in 0..KILLS {
        some_time(&mut reports, &mut dice).await;
        site.kill().await;
        site.start().await;
    }
    let mut answers: Vec<Value> = Vec::new();
    for run in 0..RUNS {
        let id = format!("r{run}");
        check_storm(&eventually(async || Some(site.ended(&id).await).filter(|run| run["status"] != "running")).await);
        check_items_once(&site.get(&format!("/api/v1/runs/{id}/facts")).await.1);
    }
    // An answer may come twice.
    while told(&answers, "succeeded") < RUNS {
        answers.push(site.answer().await.1);
    }
    for run in 0..RUNS {
        let id = format!("r{run}");
        assert!(answers.iter().any(|a| a["id"] == id.as_str() && a["status"] == "accepted"), "{answers:?}");
        assert!(answers.iter().any(|a| a["id"] == id.as_str() && a["status"] == "succeeded"), "{answers:?}");
    }
    workers.shutdown().await;
}

/// How many runs were told to be at `status`.
fn told(answers: &[Value], status: &str) -> usize {
    let with_status = answers.iter().filter(|answer| answer["status"] == status);
    with_status.filter_map(|answer| answer["id"].as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

/// Lets the scheduler come some way: a few reports, and then any number of steps of whatever else goes on.
async fn some_time(reports: &mut Receiver<()>, dice: &mut Dice) {
    let mut left = dice.roll(4);
    let mut patience = tokio::time::interval(std::time::Duration::from_millis(100));
    patience.tick().await;
    while left > 0 {
        select! {
            _ = reports.recv() => left -= 1,
            // Everything may have ended before it was killed often enough.
            _ = patience.tick() => return,
        }
    }
    for _ in 0..dice.roll(200) {
        tokio::task::yield_now().await;
    }
}
