//! When a schedule is due: a cron expression read in a time zone.
//!
//! Searches go forward in time only, whatever is asked: what is found must be the same due times, to the millisecond,
//! as those that ring one by one, because a due time is part of a run's id.
//!
//! Where clocks change, a time of day that does not exist is due at the change, and one that exists twice is due the
//! first time. An expression whose second, minute or hour begins with `*` means an interval instead: it is due at every
//! matching moment of real time, in both of the doubled hours and in none of what was left out. So does cron (Vixie's,
//! `cron(8)`). The crate that we read expressions with draws the line elsewhere: to it `0 2,14 * * *` is an interval.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
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
    meaning: Meaning,
}

/// What an expression means where clocks change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// What clocks show.
    TimesOfDay,
    /// Real time.
    Interval,
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
    /// Reads `cron`, whose times are meant in the zone named `tz`. One that is never due takes some 20 ms to find out.
    pub(crate) fn read(cron: &str, tz: &str) -> Result<Self, Error> {
        let zone = TimeZone::get(tz).map_err(|_| Error::Zone(tz.chars().take(100).collect()))?;
        let table = Self { cron: parse(cron)?, zone, meaning: meaning(cron) };
        match table.next(Timestamp::default()) {
            Some(_) => Ok(table),
            None => Err(Error::Never { cron: cron.to_owned() }),
        }
    }

    /// The first due time after `after`; `None` when the calendar ends before.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_millisecond(after.as_millis()).ok()?.to_zoned(self.zone.clone());
        match self.meaning {
            Meaning::Interval => {
                let found = self.cron.find_next_occurrence(&start, false).ok()?.timestamp();
                // A search that did not move would ring for ever.
                Some(Timestamp::from_millis(found.as_millisecond())).filter(|due| *due > after)
            }
            Meaning::TimesOfDay => {
                let mut clock = start.datetime();
                loop {
                    clock = self.next_on_clock(clock)?;
                    // Times that do not exist are due together; those of a doubled hour were due before it came again.
                    let due = self.first_at(clock)?;
                    if due > after {
                        return Some(due);
                    }
                }
            }
        }
    }

    /// What a clock that never changes would show at the first due time after it showed `after`.
    fn next_on_clock(&self, after: DateTime) -> Option<DateTime> {
        let start = after.to_zoned(TimeZone::UTC).ok()?;
        Some(self.cron.find_next_occurrence(&start, false).ok()?.datetime()).filter(|found| *found > after)
    }

    /// When the zone's clocks first show `clock`, or leave it out.
    fn first_at(&self, clock: DateTime) -> Option<Timestamp> {
        let possible = self.zone.to_ambiguous_timestamp(clock);
        let is_left_out = matches!(possible.offset(), AmbiguousOffset::Gap { .. });
        // Of a time that is left out, this is as long before the change as it would be after it.
        let earlier = possible.earlier().ok()?;
        let first = match is_left_out {
            true => self.zone.following(earlier).next()?.timestamp(),
            false => earlier,
        };
        Some(Timestamp::from_millis(first.as_millisecond()))
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

fn meaning(cron: &str) -> Meaning {
    let words: Vec<&str> = cron.split_whitespace().collect();
    // All but the last three fields: what stands for a time of day.
    let times = &words[..words.len().saturating_sub(3)];
    let is_interval = times.iter().any(|word| word.starts_with('*')) || cron.trim().eq_ignore_ascii_case("@hourly");
    if is_interval { Meaning::Interval } else { Meaning::TimesOfDay }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn table(cron: &str, tz: &str) -> Timetable {
        Timetable::read(cron, tz).expect(cron)
    }

    /// The first due times after `after`, as they stand in run ids.
    fn dues(cron: &str, tz: &str, after: &str, count: usize) -> Vec<String> {
        let found = table(cron, tz).first(at(after), at("2100-01-01T00:00:00Z"), count);
        found.into_iter().map(Timestamp::to_whole_seconds).collect()
    }

    #[test]
    fn expressions_mean_what_they_mean_elsewhere() {
        for (cron, wanted) in [
            ("30 9 * * *", ["2026-12-01T09:30:00Z", "2026-12-02T09:30:00Z"]),
            ("*/20 8-9 * * *", ["2026-12-01T08:00:00Z", "2026-12-01T08:20:00Z"]),
            ("0 0 1,15 * *", ["2026-12-15T00:00:00Z", "2027-01-01T00:00:00Z"]),
            ("0 0 * jan mon-fri", ["2027-01-01T00:00:00Z", "2027-01-04T00:00:00Z"]),
            ("0 0 13 * 5", ["2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z"]),
            ("0 0 * * 7", ["2026-12-06T00:00:00Z", "2026-12-13T00:00:00Z"]),
            ("0 0 L * *", ["2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"]),
            ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
            ("@hourly", ["2026-12-01T01:00:00Z", "2026-12-01T02:00:00Z"]),
            ("*/15 * * * * *", ["2026-12-01T00:00:15Z", "2026-12-01T00:00:30Z"]),
        ] {
            assert_eq!(dues(cron, "UTC", "2026-12-01T00:00:00Z", 2), wanted, "{cron}");
        }
        assert_eq!(dues("0 9 * * *", "Asia/Kolkata", "2026-12-01T00:00:00Z", 1), ["2026-12-01T03:30:00Z"]);
    }

    #[test]
    fn a_time_that_does_not_exist_is_due_when_the_clocks_change() {
        // Berlin, 29 March 2026: 02:00 to 03:00 is left out, at 01:00 UTC.
        let daily = dues("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(daily, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let together = dues("0,30 2,14 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2);
        assert_eq!(together, ["2026-03-29T01:00:00Z", "2026-03-29T12:00:00Z"], "both of them once");
        let beside = dues("30 2-3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2);
        assert_eq!(beside, ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
        let interval = dues("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4);
        let wanted = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"];
        assert_eq!(interval, wanted);
    }

    #[test]
    fn a_time_that_exists_twice_is_due_once_and_an_interval_goes_on() {
        // Berlin, 25 October 2026: 02:00 to 03:00 comes twice, from 00:00 UTC and from 01:00 UTC.
        let daily = dues("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let several = dues("15,45 2-3 * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 4);
        let wanted = ["2026-10-25T00:15:00Z", "2026-10-25T00:45:00Z", "2026-10-25T02:15:00Z", "2026-10-25T02:45:00Z"];
        assert_eq!(several, wanted);
        let within = dues("45 2 * * *", "Europe/Berlin", "2026-10-25T01:20:00Z", 1);
        assert_eq!(within, ["2026-10-26T01:45:00Z"], "it was due in the first of the two hours");
        let hourly = dues("@hourly", "Europe/Berlin", "2026-10-24T23:30:00Z", 3);
        assert_eq!(hourly, ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]);
        let interval = dues("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 5);
        let wanted = [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
        ];
        assert_eq!(interval, wanted);
    }

    #[test]
    fn clocks_that_change_by_less_or_at_midnight_are_no_exception() {
        // Lord Howe Island changes by half an hour: 4 October 2026, 02:00 to 02:30 is left out, at 15:30 UTC the day before.
        let howe = dues("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2);
        assert_eq!(howe, ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
        // Cairo leaves out midnight itself: 24 April 2026, 00:00 to 01:00, at 22:00 UTC the day before.
        let cairo = dues("@daily", "Africa/Cairo", "2026-04-23T00:00:00Z", 2);
        assert_eq!(cairo, ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
        // Samoa left out all of 30 December 2011.
        let apia = dues("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 2);
        assert_eq!(apia, ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]);
    }

    #[test]
    fn searches_agree_with_what_rings_one_by_one() {
        let (after, now) = (at("2026-03-25T11:11:11.111Z"), at("2026-04-02T12:00:00Z"));
        for cron in ["30 2 * * *", "*/30 * * * *", "15 1-3 * * *", "0 0 1 4 *", "* 2 29 3 *", "17 */5 * * mon"] {
            let table = table(cron, "Europe/Berlin");
            let all = table.first(after, now, usize::MAX);
            assert_eq!(table.last(after, now), all.last().copied(), "{cron}");
            assert_eq!(table.latest(after, now, usize::MAX), all, "{cron}");
            assert_eq!(table.latest(after, now, 3), all[all.len().saturating_sub(3)..], "{cron}");
        }
        let years = table("* * * * * *", "UTC");
        assert_eq!(
            years.last(at("2000-01-01T00:00:00Z"), at("2026-01-01T00:00:00.5Z")),
            Some(at("2026-01-01T00:00:00Z"))
        );
        assert_eq!(table("@daily", "UTC").last(after, after), None);
        assert_eq!(table("@daily", "UTC").next(at("9999-12-30T00:00:00Z")), None);
    }

    #[test]
    fn what_is_wrong_is_said_by_field() {
        let why = |cron: &str| Timetable::read(cron, "UTC").expect_err(cron).to_string();
        for (cron, wanted) in [
            ("61 * * * *", r#"the minute is "61": Number out of bounds"#),
            ("0 MON * * *", r#"the hour is "MON": it is a number"#),
            ("0 0 0 * *", r#"the day of month is "0""#),
            ("0 0 * FOO *", r#"the month is "FOO""#),
            ("0 0 * * 8", r#"the day of week is "8""#),
            ("*/0 * * * * *", r#"the second is "*/0": Step cannot be zero"#),
            ("0/5 * * * *", r#"Use "*/5""#),
            ("* * * *", "it has five fields"),
            ("* * * * * * 2027", "it has five fields"),
            ("", "it has five fields"),
            ("@fortnightly", "@weekly"),
            ("0 0 30 2 *", "is never due"),
        ] {
            assert!(why(cron).contains(wanted), "{}", why(cron));
        }
        assert!(why(&"*".repeat(300)).contains("longer"));
        for zone in ["Europe/Bernau", "", "CEST+1", "../etc/passwd"] {
            let refused = Timetable::read("@daily", zone).expect_err(zone);
            assert!(matches!(refused, Error::Zone(_)) && refused.to_string().contains("Europe/Berlin"), "{refused}");
        }
    }
}
