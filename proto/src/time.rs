//! A point in time, to the millisecond.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Milliseconds since 1970 in UTC. Written as RFC 3339 everywhere, so that facts and messages can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A time from milliseconds since 1970; out of what a calendar can show, it is clamped.
    #[must_use]
    pub fn from_millis(ms: i64) -> Self {
        Self(ms.clamp(jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond()))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This time and `after` more, clamped to the calendar.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)))
    }

    /// As RFC 3339 to the second, such as `2026-12-01T09:00:00Z`; what is beyond is cut off.
    #[must_use]
    pub fn to_whole_seconds(self) -> String {
        let time = jiff::Timestamp::from_second(self.0.div_euclid(1_000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        time.to_string()
    }

    /// How long after `earlier` this is; zero when it is not (clocks of two machines differ).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{time:.3}")
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let time = Timestamp::from_millis(1_796_000_000_123);
        assert_eq!(time.to_string(), "2026-11-30T00:53:20.123Z");
        assert_eq!(time.to_string().parse::<Timestamp>().expect("valid"), time);
        assert_eq!(time.plus(Duration::from_secs(2)).since(time), Duration::from_secs(2));
        assert_eq!(time.since(time.plus(Duration::from_secs(2))), Duration::ZERO);
    }
}
