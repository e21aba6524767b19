//! The filter that writes a time as people read it.

use std::sync::LazyLock;

use jiff::{
    SignedDuration, Timestamp,
    fmt::strtime,
    tz::{TimeZone, TimeZoneDatabase},
};
use tera::{Kwargs, State, Tera, TeraResult, Value, value::ValueKind};

/// RFC 3339, to the second.
const DEFAULT_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%:z";
/// The longest format, in bytes.
const FORMAT_BYTES_MAX: usize = 1024;

pub fn register(tera: &mut Tera) {
    tera.register_filter("format_time", format_time);
}

/// `format_time(format="%d.%m.%Y %H:%M", tz="Europe/Berlin")`, of an RFC 3339 text or of seconds since 1970.
fn format_time(value: Value, kwargs: Kwargs, _: &State) -> TeraResult<String> {
    let format: &str = kwargs.get("format")?.unwrap_or(DEFAULT_FORMAT);
    let zone: &str = kwargs.get("tz")?.unwrap_or("UTC");
    if format.len() > FORMAT_BYTES_MAX {
        let message = format!("a format has at most {FORMAT_BYTES_MAX} bytes, this one has {}", format.len());
        return Err(tera::Error::message(message));
    }
    let zoned = time(&value)?.to_zoned(time_zone(zone)?);
    strtime::format(format, &zoned)
        .map_err(|error| tera::Error::message(format!("{format:?} is no format of a time: {error}")))
}

fn time(value: &Value) -> TeraResult<Timestamp> {
    let wanted = |shown: String| {
        let message =
            format!("a time is RFC 3339 such as \"2026-11-30T08:00:00Z\", or seconds since 1970, not {shown}");
        tera::Error::message(message)
    };
    match (value.kind(), value.as_i64(), value.as_f64()) {
        (ValueKind::String, _, _) => {
            let text = value.as_str().unwrap_or_default();
            text.trim().parse().map_err(|_| wanted(format!("{text:?}")))
        }
        (_, Some(seconds), _) => Timestamp::from_second(seconds).map_err(|_| wanted(seconds.to_string())),
        (_, None, Some(seconds)) => SignedDuration::try_from_secs_f64(seconds)
            .and_then(Timestamp::from_duration)
            .map_err(|_| wanted(seconds.to_string())),
        (_, None, None) => Err(wanted(crate::value::kind(value).to_owned())),
    }
}

/// From the zones that are built in, so that a template gives the same on every worker.
fn time_zone(name: &str) -> TeraResult<TimeZone> {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    ZONES.get(name).map_err(|_| {
        tera::Error::message(format!("there is no time zone {name:?}: names are those of IANA, such as Europe/Berlin"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(value: impl Into<Value>, format: &str, tz: &str) -> Result<String, String> {
        let kwargs = Kwargs::from([("format", format.into()), ("tz", tz.into())]);
        format_time(value.into(), kwargs, &State::new(&tera::Context::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn times_of_every_form_are_one() {
        for value in
            [Value::from("2026-11-30T00:53:20.5Z"), 1_796_000_000.5.into(), "2026-11-30T01:53:20.5+01:00".into()]
        {
            assert_eq!(formatted(value, "%F %T%.f", "UTC"), Ok("2026-11-30 00:53:20.5".into()));
        }
        assert_eq!(formatted(1_796_000_000, "%H:%M %Z", "Europe/Berlin"), Ok("01:53 CET".into()));
        assert_eq!(formatted(1_780_000_000, DEFAULT_FORMAT, "Europe/Berlin"), Ok("2026-05-28T22:26:40+02:00".into()));
    }

    #[test]
    fn errors_say_what_was_given_and_what_is_wanted() {
        for (value, format, tz, says) in [
            (Value::from("yesterday"), "%F", "UTC", "not \"yesterday\""),
            ("2026-11-30".into(), "%F", "UTC", "RFC 3339"),
            (Value::from(true), "%F", "UTC", "not a boolean"),
            (i64::MAX.into(), "%F", "UTC", "not 9223372036854775807"),
            (f64::NAN.into(), "%F", "UTC", "not NaN"),
            (0.into(), "%é", "UTC", "is no format"),
            (0.into(), "%F", "Berlin", "no time zone \"Berlin\""),
        ] {
            let error = formatted(value, format, tz).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }
}
