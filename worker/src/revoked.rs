//! Runs that are cancelled or fail: what of theirs is not begun is skipped, and a cancel stops what runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use proto::{control::Control, id::RunId};
use tokio_util::sync::CancellationToken;

/// How long a revocation is remembered. A cancelled run is told again every few seconds while it has work out.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Revocations above which old ones are looked for.
const SWEEP_ABOVE: usize = 10_000;

/// What workers were told of runs, and the tokens of what runs here. Shared by all of a process.
#[derive(Debug, Default, Clone)]
pub(crate) struct Revoked {
    told: Arc<DashMap<RunId, Instant>>,
    running: Arc<DashMap<RunId, Running>>,
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
    running: Arc<DashMap<RunId, Running>>,
    /// Cancelled when the run is.
    pub cancel: CancellationToken,
}

impl Revoked {
    /// Takes a control message to heart.
    pub(crate) fn told(&self, control: &Control) {
        let (Control::Cancel { run } | Control::Skip { run }) = control;
        if self.told.len() > SWEEP_ABOVE {
            self.told.retain(|_, since| since.elapsed() < REMEMBERED);
        }
        self.told.insert(run.clone(), Instant::now());
        match control {
            Control::Cancel { run } => {
                if let Some(running) = self.running.get(run) {
                    running.cancel.cancel();
                }
            }
            Control::Skip { .. } => {}
        }
    }

    /// Whether nothing new of `run` is to begin.
    pub(crate) fn contains(&self, run: &RunId) -> bool {
        self.told.get(run).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    /// Registers something of `run` that begins here; `parent` stops all of this process.
    pub(crate) fn begin(&self, run: &RunId, parent: &CancellationToken) -> Guard {
        let mut entry =
            self.running.entry(run.clone()).or_insert_with(|| Running { cancel: parent.child_token(), count: 0 });
        entry.count += 1;
        Guard { run: run.clone(), running: self.running.clone(), cancel: entry.cancel.clone() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.running.remove_if_mut(&self.run, |_, running| {
            running.count -= 1;
            running.count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_stops_what_runs_and_a_skip_only_what_does_not() {
        let (revoked, all) = (Revoked::default(), CancellationToken::new());
        let run: RunId = "r".parse().expect("valid");
        let (one, two) = (revoked.begin(&run, &all), revoked.begin(&run, &all));
        revoked.told(&Control::Skip { run: run.clone() });
        assert!(revoked.contains(&run) && !one.cancel.is_cancelled());
        revoked.told(&Control::Cancel { run: run.clone() });
        assert!(one.cancel.is_cancelled() && two.cancel.is_cancelled());
        drop((one, two));
        assert!(revoked.running.is_empty());
        let again = revoked.begin(&run, &all);
        assert!(!again.cancel.is_cancelled());
        all.cancel();
        assert!(again.cancel.is_cancelled());
    }
}
