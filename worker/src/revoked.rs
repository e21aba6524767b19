//! Runs that are cancelled, fail or rest: what of theirs is not begun is handed back, and a cancel stops what runs.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use proto::{
    control::Control,
    id::{Instance, RunId},
    time::Timestamp,
    work::Work,
};
use tokio_util::sync::CancellationToken;

/// How long a revocation is remembered. A cancelled run is told again every few seconds while it has work out.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Revocations above which old ones are looked for.
const SWEEP_ABOVE: usize = 10_000;

/// What workers were told of runs, and the tokens of what runs here. Shared by all of a process.
#[derive(Debug, Default, Clone)]
pub(crate) struct Revoked {
    told: Arc<DashMap<RunId, Told>>,
    running: Arc<DashMap<RunId, BTreeMap<Instance, Running>>>,
}

/// What was told of a run.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// The last start of a task that has become pointless; 0 when none has.
    through: Instance,
    /// Work that was sent until then is to be handed back.
    paused: Option<Timestamp>,
    since: Instant,
}

#[derive(Debug)]
struct Running {
    cancel: CancellationToken,
    count: usize,
}

/// Something of a run that runs here; forgets itself when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    run: RunId,
    instance: Instance,
    running: Arc<DashMap<RunId, BTreeMap<Instance, Running>>>,
    /// Cancelled when the run is.
    pub cancel: CancellationToken,
}

impl Revoked {
    /// Takes a control message to heart.
    pub(crate) fn told(&self, control: &Control) {
        if self.told.len() > SWEEP_ABOVE {
            self.told.retain(|_, told| told.since.elapsed() < REMEMBERED);
        }
        match control {
            Control::Skip { run, through } => self.revoke(run, *through),
            Control::Cancel { run, through } => {
                self.revoke(run, *through);
                if let Some(running) = self.running.get(run) {
                    running.range(..=*through).for_each(|(_, running)| running.cancel.cancel());
                }
            }
            // That is for those who wait to begin.
            Control::Claimed { .. } => {}
            Control::Pause { run, at } => {
                let mut told = self.told.entry(run.clone()).or_insert_with(Told::nothing);
                (told.paused, told.since) = (Some(*at), Instant::now());
            }
        }
    }

    fn revoke(&self, run: &RunId, through: Instance) {
        let mut told = self.told.entry(run.clone()).or_insert_with(Told::nothing);
        (told.through, told.since) = (told.through.max(through), Instant::now());
    }

    /// Whether nothing new of `work` is to begin. What the run itself asks for, such as its output, is wanted to the end.
    pub(crate) fn contains(&self, work: &Work) -> bool {
        let Some((_, instance)) = &work.key.task else { return false };
        self.told.get(&work.key.run).is_some_and(|told| {
            let is_paused = told.paused.is_some_and(|at| work.dispatched_at <= at);
            told.since.elapsed() < REMEMBERED && (*instance <= told.through || is_paused)
        })
    }

    /// Registers `work` as begun here; `parent` stops all of this process.
    pub(crate) fn begin(&self, work: &Work, parent: &CancellationToken) -> Guard {
        // What the run itself asks for is cancelled by nothing.
        let instance = work.key.task.as_ref().map_or(Instance(u32::MAX), |(_, instance)| *instance);
        let mut running = self.running.entry(work.key.run.clone()).or_default();
        let entry = running.entry(instance).or_insert_with(|| Running { cancel: parent.child_token(), count: 0 });
        entry.count += 1;
        let cancel = entry.cancel.clone();
        Guard { run: work.key.run.clone(), instance, running: self.running.clone(), cancel }
    }
}

impl Told {
    fn nothing() -> Self {
        Self { through: Instance(0), paused: None, since: Instant::now() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.running.remove_if_mut(&self.run, |_, running| {
            if let Some(entry) = running.get_mut(&self.instance) {
                entry.count -= 1;
                if entry.count == 0 {
                    running.remove(&self.instance);
                }
            }
            running.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::{
        id::{Attempt, Digest, Shard},
        manifest::ManifestRef,
        value::Stored,
        work::{RunInfo, RunStatus},
    };

    use super::*;

    fn work(key: &str, dispatched_ms: i64) -> Work {
        let at = Timestamp::from_millis(dispatched_ms);
        Work {
            schema: proto::SCHEMA,
            key: key.parse().expect("a key"),
            shard: Shard(0),
            definition: Stored { digest: Digest::of(b""), bytes: 0 },
            run: RunInfo {
                workflow: "w".parse().expect("valid"),
                started_at: at,
                labels: BTreeMap::new(),
                status: RunStatus::Running,
                error: None,
            },
            attempt: Attempt(1),
            retries: 0,
            manifest: ManifestRef::Inline(BTreeMap::new()),
            range: None,
            ended: None,
            child: None,
            dispatched_at: at,
        }
    }

    #[test]
    fn a_cancel_stops_what_runs_and_a_skip_only_what_does_not() {
        let (revoked, all) = (Revoked::default(), CancellationToken::new());
        let run: RunId = "r".parse().expect("valid");
        let (one, two) = (work("r/a#1/act.1", 1), work("r/b#2/act.1", 1));
        let (first, second) = (revoked.begin(&one, &all), revoked.begin(&two, &all));
        revoked.told(&Control::Skip { run: run.clone(), through: Instance(2) });
        assert!(revoked.contains(&one) && revoked.contains(&two) && !first.cancel.is_cancelled());
        revoked.told(&Control::Cancel { run: run.clone(), through: Instance(2) });
        assert!(first.cancel.is_cancelled() && second.cancel.is_cancelled());
        drop((first, second));
        assert!(revoked.running.is_empty());
        let again = revoked.begin(&one, &all);
        assert!(!again.cancel.is_cancelled());
        all.cancel();
        assert!(again.cancel.is_cancelled());
    }

    #[test]
    fn what_starts_after_the_cancel_and_what_the_run_itself_asks_for_go_on() {
        let (revoked, all) = (Revoked::default(), CancellationToken::new());
        let (finale, output) = (work("r/finally#3/act.1", 1), work("r/-/output.1", 1));
        let (first, second) = (revoked.begin(&finale, &all), revoked.begin(&output, &all));
        revoked.told(&Control::Cancel { run: "r".parse().expect("valid"), through: Instance(2) });
        assert!(!revoked.contains(&finale) && !revoked.contains(&output));
        assert!(!first.cancel.is_cancelled() && !second.cancel.is_cancelled());
    }

    #[test]
    fn a_pause_concerns_what_was_sent_before_it() {
        let revoked = Revoked::default();
        revoked.told(&Control::Pause { run: "r".parse().expect("valid"), at: Timestamp::from_millis(10) });
        assert!(revoked.contains(&work("r/a#1/act.1", 10)));
        assert!(!revoked.contains(&work("r/a#1/act.2", 11)));
    }
}
