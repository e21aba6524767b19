//! The scheduler's time: wall-clock milliseconds that never run backwards.

use proto::time::Timestamp;
use tokio::time::{Duration, Instant};

/// Wall-clock time at the start, carried on by the monotonic clock: a leap of the machine's clock moves no timer, and
/// a test may pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that shows the machine's time now.
    #[must_use]
    pub fn system() -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        Self { base: Timestamp::from_millis(now), started: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }

    /// The instant at which this clock will show `time`; now, when it has passed.
    #[must_use]
    pub fn instant(&self, time: Timestamp) -> Instant {
        // One millisecond more: a timer that wakes a little early would find itself not due.
        self.started + time.since(self.base) + Duration::from_millis(1)
    }
}
