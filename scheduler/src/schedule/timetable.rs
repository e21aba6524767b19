//! When a schedule is due: a cron expression read in a time zone.
//!
//! Searches go forward in time only, whatever is asked: what is found must be the same due times, to the millisecond,
//! as those that ring one by one, because a due time is part of a run's id.
//!
//! Where clocks change, a time of day that does not exist is due at the change, and one that exists twice is due the
//! first time. An expression whose minute or hour is `*` or has a step means an interval instead: it is due at every
//! matching moment of real time, in both of the doubled hours and in none of what was left out.

use std::time::Duration;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::tz::TimeZone;
use proto::time::Timestamp;

/// A cron expression's bytes at the most.
const CRON_BYTES_MAX: usize = 256;
/// The fields of an expression, in order, when it has five of them.
const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
/// What may stand before those five.
const SECOND: &str = "second";

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

/// Why an expression and a zone are no timetable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No cron expression.
    #[error("cron {cron:?}: {why}")]
    Cron { cron: String, why: String },
    /// One field of it is wrong.
    #[error("cron {cron:?}: the {field} is {text:?}: {why}")]
    Field { cron: String, field: &'static str, text: String, why: String },
    /// It names a day that no calendar has.
    #[error("cron {cron:?} is never due: no day of the calendar matches")]
    Never { cron: String },
    /// No such time zone.
    #[error("tz {0:?} is no time zone: give the name of one, such as UTC or Europe/Berlin")]
    Zone(String),
}

impl Timetable {
    /// Reads `cron`, whose times are meant in the zone named `tz`. `now` is where the search for a due time begins,
    /// without which it is refused.
    pub(crate) fn read(cron: &str, tz: &str, now: Timestamp) -> Result<Self, Error> {
        let zone = TimeZone::get(tz).map_err(|_| Error::Zone(tz.chars().take(100).collect()))?;
        let table = Self { cron: parse(cron)?, zone };
        match table.next(now) {
            Some(_) => Ok(table),
            None => Err(Error::Never { cron: cron.to_owned() }),
        }
    }

    /// The first due time after `after`; `None` when the calendar ends before.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_millisecond(after.as_millis()).ok()?.to_zoned(self.zone.clone());
        let found = self.cron.find_next_occurrence(&start, false).ok()?.timestamp();
        // A search that did not move would ring for ever.
        Some(Timestamp::from_millis(found.as_millisecond())).filter(|due| *due > after)
    }

    /// The last due time at `now` or before it, if there is one after `after`: by halving the time between, in some
    /// tens of searches however many due times lie there.
    pub(crate) fn last(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut last = self.next(after).filter(|due| *due <= now)?;
        let mut beyond = now;
        while last < beyond {
            let half = last.plus(beyond.since(last) / 2);
            match self.next(half).filter(|due| *due <= now) {
                Some(due) => last = due,
                None if half == last => break,
                None => beyond = half,
            }
        }
        Some(last)
    }

    /// The latest `most` due times after `after` and until `now`, in order.
    pub(crate) fn latest(&self, after: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut found = Vec::new();
        let mut until = now;
        while let Some(due) = self.last(after, until).filter(|_| found.len() < most) {
            found.push(due);
            until = Timestamp::from_millis(due.as_millis() - 1);
        }
        found.reverse();
        found
    }

    /// The first `most` due times after `after` and until `now`, in order.
    pub(crate) fn first(&self, after: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let next = |due: &Timestamp| self.next(*due).filter(|due| *due <= now);
        std::iter::successors(next(&after), next).take(most).collect()
    }
}

fn parse(text: &str) -> Result<Cron, Error> {
    let wrong = |why: &str| Error::Cron { cron: text.chars().take(CRON_BYTES_MAX).collect(), why: why.to_owned() };
    if text.len() > CRON_BYTES_MAX {
        return Err(wrong("it is longer than 256 bytes"));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [nickname] = words.as_slice()
        && nickname.starts_with('@')
    {
        let why = "it is @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly";
        return reader().parse(nickname).map_err(|_| wrong(why));
    }
    let fields = match words.len() {
        5 => FIELDS.to_vec(),
        6 => [&[SECOND], &FIELDS[..]].concat(),
        _ => {
            return Err(wrong(
                "it has five fields: minute, hour, day of month, month, day of week; or six, second first",
            ));
        }
    };
    for (at, (field, word)) in fields.iter().zip(&words).enumerate() {
        check_field(&fields, at, word).map_err(|why| Error::Field {
            cron: text.to_owned(),
            field,
            text: (*word).to_owned(),
            why,
        })?;
    }
    reader().parse(text).map_err(|error| wrong(&said(&error)))
}

/// Reads one field alone, with `*` for all others, since the reader does not say which one it minds.
fn check_field(fields: &[&'static str], at: usize, word: &str) -> Result<(), String> {
    // The reader knows names of months and days wherever they stand.
    if word.bytes().any(|b| b.is_ascii_alphabetic()) && ["second", "minute", "hour"].contains(&fields[at]) {
        return Err("it is a number, a range, a step or a list of those".to_owned());
    }
    let alone: Vec<&str> = (0..fields.len()).map(|other| if other == at { word } else { "*" }).collect();
    reader().parse(&alone.join(" ")).map(|_| ()).map_err(|error| said(&error))
}

fn reader() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

fn said(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError::{
        ComponentError, EmptyPattern, IllegalCharacters, InvalidDate, InvalidPattern, InvalidTime,
        TimeSearchLimitExceeded,
    };
    let text = match error {
        InvalidPattern(text) | IllegalCharacters(text) | ComponentError(text) => text.clone(),
        EmptyPattern | InvalidDate | InvalidTime | TimeSearchLimitExceeded => error.to_string(),
    };
    text.trim_end_matches('.').to_owned()
}

/// What `latest` and a stop of some weeks cost; see the tests.
#[cfg(test)]
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn table(cron: &str, tz: &str) -> Timetable {
        Timetable::read(cron, tz, at("2026-01-01T00:00:00Z")).expect(cron)
    }

    #[test]
    fn probe() {
        for cron in [
            "0 0 30 2 *",
            "0 0 31 2,4 *",
            "0 0 29 2 *",
            "0 0 L * *",
            "61 * * * *",
            "MON * * * *",
            "* * * * FOO",
            "*/0 * * * *",
            "5-1 * * * *",
            "@hourly",
            "@foo",
            "@hourly @daily",
            "* * * *",
            "a@b * * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "0/5 * * * *",
            "1,,2 * * * *",
            "0 0 1-7 * +MON",
            "* * * JAN-MAR mon-fri",
            "0 0 * MON *",
            "99999999999 * * * *",
            "*/99 * * * *",
            "? * * * *",
            "0 0 ? * *",
            "* * * * * * *",
            "0 0 W * *",
            "0 0 15W * *",
            "0 0 * * 5#6",
            "0 0 1 1 *#1",
            "0 0 30 2 1#5",
        ] {
            let begun = std::time::Instant::now();
            let read = Timetable::read(cron, "Europe/Berlin", at("2026-01-01T00:00:00Z"));
            match read {
                Ok(t) => println!("{cron:20} {:?} next {:?}", begun.elapsed(), t.next(at("2026-01-01T00:00:00Z"))),
                Err(e) => println!("{cron:20} {:?} {e}", begun.elapsed()),
            }
        }
        let t = table("* * * * * *", "Europe/Berlin");
        let b = std::time::Instant::now();
        println!("{} {:?}", t.latest(at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 1000).len(), b.elapsed());
        let t = table("30 2 * * *", "Europe/Berlin");
        println!("{:?}", t.first(at("2026-03-27T23:00:00Z"), at("2026-03-31T00:00:00Z"), 10));
        println!("{:?}", t.first(at("2026-10-23T23:00:00Z"), at("2026-10-28T00:00:00Z"), 10));
        let t = table("*/30 * * * *", "Europe/Berlin");
        println!("{:?}", t.first(at("2026-03-29T00:00:00Z"), at("2026-03-29T03:00:00Z"), 10));
        println!("{:?}", t.first(at("2026-10-24T23:29:00Z"), at("2026-10-25T03:00:00Z"), 20));
        let t = table("30 * * * *", "Europe/Berlin");
        println!("{:?}", t.first(at("2026-10-24T23:00:00Z"), at("2026-10-25T03:00:00Z"), 20));
    }
}
