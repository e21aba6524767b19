//! Durations as users write them: `1m30s`, `500ms`, `2h`, `1d`.

use std::time::Duration;

/// The longest duration that is accepted: a hundred years of 365 days.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

const NANOS_PER_MS: u128 = 1_000_000;

/// Units from great to small, in nanoseconds, which is the order in which they are written.
const UNITS: [(&str, u128); 5] = [
    ("d", 86_400_000 * NANOS_PER_MS),
    ("h", 3_600_000 * NANOS_PER_MS),
    ("m", 60_000 * NANOS_PER_MS),
    ("s", 1_000 * NANOS_PER_MS),
    ("ms", NANOS_PER_MS),
];

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("a duration is missing")]
    Empty,
    /// A number was expected.
    #[error("a duration is numbers with units, such as `1m30s`, not {0:?}")]
    Number(String),
    /// A number without a unit.
    #[error("the unit of time is missing: `ms`, `s`, `m`, `h` or `d`")]
    NoUnit,
    /// A number with an unknown unit.
    #[error("{0:?} is no unit of time: use `ms`, `s`, `m`, `h` or `d`")]
    Unit(String),
    /// Units that do not go from great to small, each at most once.
    #[error("the units of a duration go from great to small, each once, such as `1h30m`")]
    Order,
    /// Longer than [`LONGEST`], or finer than a nanosecond.
    #[error("a duration is at most 100 years, with up to 6 decimals")]
    OutOfRange,
    /// A number of seconds that is negative or not finite.
    #[error("a duration cannot be {0} seconds")]
    Seconds(String),
}

/// Reads a text such as `1m30s` or `1.5h`.
///
/// # Errors
/// When it is not of that form or longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, Error> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(Error::Empty);
    }
    let mut nanos = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, behind) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, behind) = split(behind, |c| !c.is_ascii_digit() && c != '.');
        if number.is_empty() {
            return Err(Error::Number(text.chars().take(40).collect()));
        }
        if unit.trim().is_empty() {
            return Err(Error::NoUnit);
        }
        let Some((_, unit_nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(Error::Unit(unit.trim().chars().take(40).collect()));
        };
        if !units.any(|(name, _)| *name == unit) {
            return Err(Error::Order);
        }
        nanos += scaled(number, *unit_nanos)?;
        rest = behind;
    }
    match nanos <= LONGEST.as_nanos() {
        true => Ok(Duration::from_nanos_u128(nanos)),
        false => Err(Error::OutOfRange),
    }
}

/// A number of seconds, as a bare number means.
///
/// # Errors
/// When it is negative, not finite or longer than [`LONGEST`].
pub fn from_seconds(seconds: f64) -> Result<Duration, Error> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err(Error::OutOfRange),
        Err(_) => Err(Error::Seconds(seconds.to_string())),
    }
}

/// Writes `duration` so that [`parse`] reads it back: `1m30s`, `0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let mut text = String::new();
    for (unit, unit_nanos) in UNITS {
        let count = nanos / unit_nanos;
        nanos %= unit_nanos;
        if unit == "ms" && nanos > 0 {
            let decimals = format!("{nanos:06}");
            return format!("{text}{count}.{}ms", decimals.trim_end_matches('0'));
        }
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    match text.is_empty() {
        true => "0s".to_owned(),
        false => text,
    }
}

/// What of the beginning of `text` fulfils `belongs`, and the rest.
fn split(text: &str, belongs: fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// The nanoseconds of `number` units. Exact, unlike floating point.
fn scaled(number: &str, unit_nanos: u128) -> Result<u128, Error> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = !whole.is_empty() && !decimals.contains('.') && !number.ends_with('.');
    if !is_number {
        return Err(Error::Number(number.chars().take(40).collect()));
    }
    if whole.len() > 15 || decimals.len() > 6 {
        return Err(Error::OutOfRange);
    }
    let digits = |text: &str| text.bytes().fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let fraction = digits(decimals) * unit_nanos / 10u128.pow(u32::try_from(decimals.len()).unwrap_or(0));
    Ok(digits(whole) * unit_nanos + fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("1m30s", 90_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            (" 1.5s ", 1_500),
            ("0s", 0),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1x",
            "1s1m",
            "1s1s",
            "-1s",
            "1.2.3s",
            ".5s",
            "5.s",
            "1s ",
            "1 s",
            "99999999d",
            "1e3s",
            "1ms5",
        ] {
            let result = parse(text);
            assert!(result.is_err() || text.trim() != text, "{text:?}: {result:?}");
        }
        assert_eq!(parse("5"), Err(Error::NoUnit));
        assert!(from_seconds(-1.0).is_err() && from_seconds(f64::NAN).is_err() && from_seconds(1e30).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in 0..LONGEST.as_nanos()) {
            let duration = Duration::from_nanos_u128(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*|[0-9a-z.]{0,60}") {
            let _ = parse(&text);
        }
    }
}
