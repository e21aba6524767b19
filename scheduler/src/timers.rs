//! Due times of live runs. The store has them too; these are the ones that ring.

use std::collections::{BTreeSet, HashMap};

use engine::machine::Timer;
use proto::{
    id::{Instance, RunId},
    time::Timestamp,
};

/// What rings.
pub(crate) type Key = (RunId, Timer);

/// Every armed timer, soonest first. Each key has at most one due time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_due: BTreeSet<(Timestamp, RunId, Timer)>,
    by_key: HashMap<Key, Timestamp>,
}

impl Timers {
    pub(crate) fn arm(&mut self, run: &RunId, timer: Timer, due: Timestamp) {
        self.disarm(run, timer);
        self.by_due.insert((due, run.clone(), timer));
        self.by_key.insert((run.clone(), timer), due);
    }

    pub(crate) fn disarm(&mut self, run: &RunId, timer: Timer) {
        if let Some(due) = self.by_key.remove(&(run.clone(), timer)) {
            self.by_due.remove(&(due, run.clone(), timer));
        }
    }

    /// When the next one rings.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.by_due.first().map(|(due, _, _)| *due)
    }

    /// Takes out up to `most` timers that are due at `now`.
    pub(crate) fn ring(&mut self, now: Timestamp, most: usize) -> Vec<Key> {
        let mut rung = Vec::new();
        while rung.len() < most && self.next_due().is_some_and(|due| due <= now) {
            let (_, run, timer) = self.by_due.pop_first().expect("the next due time was just seen");
            self.by_key.remove(&(run.clone(), timer));
            rung.push((run, timer));
        }
        rung
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// The key of a timer's row: `run/instance`, or `run/` and what the timer is for.
pub(crate) fn row_key(run: &RunId, timer: Timer) -> String {
    match timer {
        Timer::Task(instance) => format!("{run}/{instance}"),
        Timer::Cancel => format!("{run}/cancel"),
        Timer::Start => format!("{run}/start"),
        Timer::Deadline => format!("{run}/deadline"),
    }
}

/// Reads [`row_key`].
pub(crate) fn read_key(key: &str) -> Option<Key> {
    let (run, timer) = key.split_once('/')?;
    let timer = match timer {
        "cancel" => Timer::Cancel,
        "start" => Timer::Start,
        "deadline" => Timer::Deadline,
        number => Timer::Task(Instance(number.parse().ok()?)),
    };
    Some((run.parse().ok()?, timer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_in_order_once_and_only_when_due() {
        let run: RunId = "r".parse().expect("valid");
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        timers.arm(&run, Timer::Task(Instance(1)), at(30));
        timers.arm(&run, Timer::Task(Instance(2)), at(10));
        timers.arm(&run, Timer::Task(Instance(1)), at(20));
        assert_eq!(timers.next_due(), Some(at(10)));
        assert!(timers.ring(at(9), 9).is_empty());
        let rung: Vec<_> = timers.ring(at(25), 9).into_iter().map(|(_, timer)| timer).collect();
        assert_eq!(rung, [Timer::Task(Instance(2)), Timer::Task(Instance(1))]);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn keys_read_back() {
        let run: RunId = "a@b".parse().expect("valid");
        for timer in [Timer::Cancel, Timer::Task(Instance(7))] {
            assert_eq!(read_key(&row_key(&run, timer)), Some((run.clone(), timer)));
        }
        assert_eq!(read_key("a/b/c"), None);
    }
}
