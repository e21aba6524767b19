//! What Prometheus scrapes from a scheduler. Each metric is documented here and nowhere else.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};
use proto::schedule::Outcome;

/// Values of one label that get a series of their own; what comes later is `other`.
const LABELS_MAX: usize = 200;

/// Every metric of a scheduler.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) broker_connected: IntGaugeVec,
    /// Observed by the queue: from publishing a message to the broker's confirm.
    pub publish_confirm: Histogram,
    pub(crate) shards_owned: IntGauge,
    pub(crate) runs: Runs,
    pub(crate) turns: Turns,
    pub(crate) pools: Pools,
}

/// About runs and their tasks.
#[derive(Debug)]
pub(crate) struct Runs {
    workflows: Labels,
    started: IntCounter,
    finished: IntCounterVec,
    pub(crate) active: IntGaugeVec,
    duration: Histogram,
    tasks_finished: IntCounterVec,
    context_bytes: Histogram,
}

/// About the loop.
#[derive(Debug)]
pub(crate) struct Turns {
    reasons: Labels,
    pub(crate) inputs: Histogram,
    pub(crate) commit: Histogram,
    pub(crate) outbox_unconfirmed: IntGauge,
    pub(crate) timers_pending: IntGauge,
    pub(crate) timer_lag: Gauge,
    pub(crate) fenced: IntCounter,
    duplicates: IntCounter,
    rejected: IntCounterVec,
    ticks: IntCounterVec,
}

/// About workers and what waits for them.
#[derive(Debug)]
pub(crate) struct Pools {
    names: Labels,
    work_seconds: GaugeVec,
    items: IntGaugeVec,
    workers: IntGaugeVec,
}

/// Something to count once the turn in which it happened has been stored.
#[derive(Debug)]
pub(crate) enum Count {
    Started,
    TaskEnded { workflow: String, status: &'static str },
    Finished { workflow: String, status: &'static str, seconds: f64, context_bytes: u64 },
    Duplicate,
    Rejected { code: String },
    Ticks { outcome: Outcome, count: u64 },
}

/// The first so many values of a label; all others are one, so that no client can fill the memory of whoever scrapes.
#[derive(Debug, Default)]
struct Labels(Mutex<HashSet<String>>);

impl Metrics {
    /// A registry with all of them.
    #[must_use]
    pub fn new() -> Self {
        let new = New(Registry::new());
        let build = new.gauges("leveret_build_info", "Version of this process; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        new.0.register(Box::new(ProcessCollector::for_self())).expect("each name is registered once");
        Self {
            broker_connected: new.gauges(
                "leveret_broker_connected",
                "Whether the connection to the broker is up, by role.",
                &["role"],
            ),
            publish_confirm: new.histogram(
                "leveret_publish_confirm_seconds",
                "From publishing a message to the broker's confirm.",
                &seconds(0.0005, 14),
            ),
            shards_owned: new.gauge("leveret_shards_owned", "Shards whose runs this process owns."),
            runs: Runs::new(&new),
            turns: Turns::new(&new),
            pools: Pools::new(&new),
            registry: new.0,
        }
    }

    /// The text that `/metrics` answers.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("metrics of valid names are written to memory");
        text
    }

    /// Counts what has happened for good.
    pub(crate) fn count(&self, count: Count) {
        match count {
            Count::Started => self.runs.started.inc(),
            Count::TaskEnded { workflow, status } => {
                let workflow = self.runs.workflows.fold(&workflow);
                self.runs.tasks_finished.with_label_values(&[workflow, status]).inc();
            }
            Count::Finished { workflow, status, seconds, context_bytes } => {
                let workflow = self.runs.workflows.fold(&workflow);
                self.runs.finished.with_label_values(&[workflow, status]).inc();
                self.runs.duration.observe(seconds);
                self.runs.context_bytes.observe(context_bytes as f64);
            }
            Count::Ticks { outcome, count } => {
                self.turns.ticks.with_label_values(&[outcome.as_str()]).inc_by(count);
            }
            Count::Duplicate => self.turns.duplicates.inc(),
            Count::Rejected { code } => {
                self.turns.rejected.with_label_values(&[self.turns.reasons.fold(&code)]).inc();
            }
        }
    }
}

impl Runs {
    fn new(new: &New) -> Self {
        Self {
            workflows: Labels::default(),
            started: new.counter("leveret_runs_started_total", "Runs accepted."),
            finished: new.counters(
                "leveret_runs_finished_total",
                "Runs that ended, by workflow and status.",
                &["workflow", "status"],
            ),
            active: new.gauges("leveret_runs_active", "Runs that have not ended, by status.", &["status"]),
            duration: new.histogram(
                "leveret_run_duration_seconds",
                "From the acceptance of a run to its end.",
                &seconds(0.005, 20),
            ),
            tasks_finished: new.counters(
                "leveret_tasks_finished_total",
                "Tasks that ended, by workflow and status.",
                &["workflow", "status"],
            ),
            context_bytes: new.histogram(
                "leveret_context_bytes",
                "JSON bytes that a finished run's context stands for: its growth.",
                &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9],
            ),
        }
    }
}

impl Turns {
    fn new(new: &New) -> Self {
        let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
        let commit = "Time of a turn's transaction.";
        let duplicates = "Messages that had been applied before or no longer applied.";
        Self {
            reasons: Labels::default(),
            inputs: new.histogram("leveret_turn_inputs", "Inputs handled in one turn.", &sizes),
            commit: new.histogram("leveret_turn_commit_seconds", commit, &seconds(0.0005, 14)),
            outbox_unconfirmed: new
                .gauge("leveret_outbox_unconfirmed", "Messages committed whose arrival the broker has not confirmed."),
            timers_pending: new.gauge("leveret_timers_pending", "Delays, back-offs and timeouts that are armed."),
            timer_lag: new.keep(Gauge::new("leveret_timer_lag_seconds", "How late the latest timer was taken up.")),
            fenced: new
                .counter("leveret_fenced_commits_total", "Commits refused because another process owns the shard."),
            duplicates: new.counter("leveret_duplicates_ignored_total", duplicates),
            rejected: new.counters(
                "leveret_rejected_total",
                "Messages that could not be accepted, by reason.",
                &["reason"],
            ),
            ticks: ticks(new),
        }
    }
}

/// Each outcome is there from the beginning: an alert on the first refused tick must see it grow from 0.
fn ticks(new: &New) -> IntCounterVec {
    let ticks =
        new.counters("leveret_schedule_ticks_total", "Ticks of schedules, by what became of them.", &["outcome"]);
    for outcome in Outcome::ALL {
        ticks.with_label_values(&[outcome.as_str()]).reset();
    }
    ticks
}

impl Pools {
    fn new(new: &New) -> Self {
        let work_seconds =
            "Items waiting and in flight times observed seconds per item, by pool: the signal to scale workers by.";
        Self {
            names: Labels::default(),
            work_seconds: new.keep(GaugeVec::new(Opts::new("leveret_work_seconds_queued", work_seconds), &["pool"])),
            items: new.gauges("leveret_items_in_flight", "Items with the broker or on workers, by pool.", &["pool"]),
            workers: new.gauges("leveret_pool_workers", "Workers heard of within 15 seconds, by pool.", &["pool"]),
        }
    }

    /// Forgets what was shown, for [`Pools::add_work`] and [`Pools::add_workers`] to fill in anew.
    pub(crate) fn reset(&self) {
        self.work_seconds.reset();
        self.items.reset();
        self.workers.reset();
    }

    pub(crate) fn add_work(&self, pool: &str, seconds: f64, in_flight: i64) {
        let pool = self.names.fold(pool);
        self.work_seconds.with_label_values(&[pool]).add(seconds);
        self.items.with_label_values(&[pool]).add(in_flight);
    }

    pub(crate) fn add_workers(&self, pool: &str, workers: usize) {
        let workers = i64::try_from(workers).unwrap_or(i64::MAX);
        self.workers.with_label_values(&[self.names.fold(pool)]).add(workers);
    }
}

impl Labels {
    fn fold<'a>(&self, value: &'a str) -> &'a str {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value;
        }
        if seen.len() >= LABELS_MAX {
            return "other";
        }
        seen.insert(value.to_owned());
        value
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes metrics and registers them.
struct New(Registry);

impl New {
    fn keep<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect("names and labels above are valid");
        self.0.register(Box::new(collector.clone())).expect("each name is registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
}

/// `count` buckets from `first` seconds, each twice the one before.
fn seconds(first: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bound| Some(bound * 2.0)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::new();
        for number in 0..LABELS_MAX * 2 {
            metrics.count(Count::Rejected { code: format!("reason_{number}") });
        }
        let text = String::from_utf8(metrics.render()).expect("text");
        assert_eq!(text.matches("leveret_rejected_total{").count(), LABELS_MAX + 1);
        assert!(text.contains(&format!("leveret_rejected_total{{reason=\"other\"}} {LABELS_MAX}")), "{text}");
    }
}
