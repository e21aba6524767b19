//! Runs that exclude each other: each key has a line, and its first one runs.

use std::collections::{HashMap, VecDeque};

use proto::id::{Digest, RunId};

/// Every line. A run is in the line of its key from when it asks for its turn until it has ended.
///
/// Kept in memory only: the runs themselves know whether they have begun, and a line is made again from them.
#[derive(Debug, Default)]
pub(crate) struct Lines(HashMap<Digest, VecDeque<RunId>>);

impl Lines {
    /// Puts `run` at the end of the line, unless it is in it. Whether it is the first.
    pub(crate) fn join(&mut self, key: Digest, run: &RunId) -> bool {
        let line = self.0.entry(key).or_default();
        if !line.contains(run) {
            line.push_back(run.clone());
        }
        line.front() == Some(run)
    }

    /// Takes `run` out. The run that has become the first by that, if any has.
    pub(crate) fn leave(&mut self, key: Digest, run: &RunId) -> Option<RunId> {
        let line = self.0.get_mut(&key)?;
        let was_first = line.front() == Some(run);
        line.retain(|other| other != run);
        let next = line.front().cloned();
        if line.is_empty() {
            self.0.remove(&key);
        }
        next.filter(|_| was_first)
    }

    /// Whether anybody is in the line.
    pub(crate) fn is_busy(&self, key: Digest) -> bool {
        self.0.contains_key(&key)
    }

    /// Forgets every line.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let mut lines = Lines::default();
        let key = Digest::of(b"key");
        let [a, b, c] = ["a", "b", "c"].map(|id| id.parse::<RunId>().expect("valid"));
        assert!(lines.join(key, &a) && lines.join(key, &a));
        assert!(!lines.join(key, &b) && !lines.join(key, &c));
        assert_eq!(lines.leave(key, &b), None);
        assert_eq!(lines.leave(key, &a), Some(c.clone()));
        assert!(lines.is_busy(key));
        assert_eq!(lines.leave(key, &c), None);
        assert!(!lines.is_busy(key));
    }
}
