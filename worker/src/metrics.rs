//! What Prometheus scrapes from a worker. Each metric is documented here and nowhere else.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::cache::Counters;

/// Every metric of a worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Observed by the queue: from publishing a message to the broker's confirm.
    pub publish_confirm: Histogram,
    pub(crate) broker_connected: IntGaugeVec,
    pub(crate) slots: IntGauge,
    pub(crate) slots_busy: IntGauge,
    pub(crate) queue_wait: Histogram,
    pub(crate) action_duration: HistogramVec,
    pub(crate) render: Histogram,
    pub(crate) context_clones: IntCounter,
    pub(crate) cache_hits: IntCounter,
    pub(crate) cache_misses: IntCounter,
    pub(crate) cache_evictions: IntCounter,
    pub(crate) cache_heap_bytes: IntGauge,
    pub(crate) value_fetch: Histogram,
    pub(crate) redelivered: IntCounter,
}

impl Metrics {
    /// A registry with all of them.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let build =
            IntGaugeVec::new(Opts::new("leveret_build_info", "Version of this process; always 1."), &["version"]);
        keep(&registry, build).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("each name is registered once");
        let gauge = |name, help| keep(&registry, IntGauge::new(name, help));
        let counter = |name, help| keep(&registry, IntCounter::new(name, help));
        let histogram = |name, help, first, count| {
            keep(&registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(doubling(first, count))))
        };
        let broker = Opts::new("leveret_broker_connected", "Whether the connection to the broker is up, by role.");
        let action =
            HistogramOpts::new("leveret_action_duration_seconds", "Time that actions took, by action and status.");
        Self {
            publish_confirm: histogram(
                "leveret_publish_confirm_seconds",
                "From publishing a message to the broker's confirm.",
                0.0005,
                14,
            ),
            broker_connected: keep(&registry, IntGaugeVec::new(broker, &["role"])),
            slots: gauge("leveret_slots", "Items that this worker can run at once."),
            slots_busy: gauge("leveret_slots_busy", "Items that it runs now."),
            queue_wait: histogram(
                "leveret_queue_wait_seconds",
                "From a scheduler's dispatch to the beginning here, by both clocks.",
                0.001,
                20,
            ),
            action_duration: keep(
                &registry,
                HistogramVec::new(action.buckets(doubling(0.0005, 22)), &["action", "status"]),
            ),
            render: histogram(
                "leveret_render_seconds",
                "Evaluating the templates of one piece of work or item.",
                1e-6,
                20,
            ),
            context_clones: counter("leveret_context_clones_total", "Snapshots cloned; each is one atomic increment."),
            cache_hits: counter("leveret_snapshot_cache_hits_total", "Snapshots found in memory."),
            cache_misses: counter("leveret_snapshot_cache_misses_total", "Snapshots built."),
            cache_evictions: counter(
                "leveret_snapshot_cache_evictions_total",
                "Snapshots dropped to stay within the budget.",
            ),
            cache_heap_bytes: gauge("leveret_cache_heap_bytes", "Heap bytes of cached snapshots, values and programs."),
            value_fetch: histogram(
                "leveret_value_fetch_seconds",
                "Fetching one value from the values service.",
                0.0005,
                14,
            ),
            redelivered: counter(
                "leveret_redelivered_total",
                "Deliveries that another worker, or this one, had before.",
            ),
            registry,
        }
    }

    /// The text that `/metrics` answers, with the caches as they are now.
    #[must_use]
    pub(crate) fn render_text(&self, snapshots: &Counters, heap_bytes: usize) -> Vec<u8> {
        let catch_up = |counter: &IntCounter, now: u64| counter.inc_by(now.saturating_sub(counter.get()));
        catch_up(&self.cache_hits, snapshots.hits);
        catch_up(&self.cache_misses, snapshots.misses);
        catch_up(&self.cache_evictions, snapshots.evictions);
        self.cache_heap_bytes.set(i64::try_from(heap_bytes).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("metrics of valid names are written to memory");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("names and labels above are valid");
    registry.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}

/// `count` buckets from `first`, each twice the one before.
fn doubling(first: f64, count: usize) -> Vec<f64> {
    (0..count).map(|step| first * 2f64.powi(i32::try_from(step).expect("few buckets"))).collect()
}
