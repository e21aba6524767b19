//! The filters and functions of templates, beyond Tera's own: those that users of Jinja, StackStorm and Ansible expect.
//!
//! Arguments are named, as everywhere in Tera. An `attribute` is a path such as `result.status` or `rows.0.name`.

mod bounded;
mod lists;
mod paths;
mod patterns;
mod texts;
mod times;
mod yaml;

use std::sync::LazyLock;

use proto::work::Status;
use tera::{Kwargs, State, Tera, TeraResult, Value};

use super::{budget, guard};

/// Under this name the context keeps how the action ended: the number of its [`proto::work::Status`].
pub const STATUS: &str = "__status";
/// Under this name the context keeps the time, as text.
pub const NOW: &str = "__now";

/// Tera's own filters, less those that only serve HTML.
const TERAS: [&str; 35] = [
    "safe",
    "default",
    "upper",
    "lower",
    "wordcount",
    "escape",
    "escape_html",
    "escape_xml",
    "newlines_to_br",
    "pluralize",
    "trim",
    "trim_start",
    "trim_end",
    "replace",
    "capitalize",
    "title",
    "truncate",
    "indent",
    "str",
    "int",
    "float",
    "length",
    "reverse",
    "split",
    "abs",
    "round",
    "first",
    "last",
    "nth",
    "join",
    "sort",
    "get",
    "values",
    "keys",
    "pairs",
];

/// Ours; [`tera`] registers each.
const OURS: [&str; 30] = [
    "to_json",
    "from_json",
    "to_yaml",
    "from_yaml",
    "json_path",
    "regex_match",
    "regex_search",
    "regex_replace",
    "map",
    "zip",
    "product",
    "batch",
    "flatten",
    "sort_by",
    "where",
    "sum",
    "min",
    "max",
    "b64encode",
    "b64decode",
    "sha256",
    "url_encode",
    "shell_quote",
    "to_seconds",
    "to_duration",
    "format_time",
    "basename",
    "dirname",
    // Tera's, done again: its order is that of a hash map.
    "group_by",
    // Tera's, done again with `attribute`.
    "unique",
];

/// The name of every filter that users may write.
pub fn names() -> impl Iterator<Item = &'static str> {
    TERAS.into_iter().chain(OURS)
}

/// Filters whose result may be larger than what they are given: it is looked at.
const LARGER: [&str; 29] = [
    "escape",
    "escape_html",
    "escape_xml",
    "newlines_to_br",
    "pluralize",
    "replace",
    "title",
    "upper",
    "truncate",
    "indent",
    "str",
    "split",
    "join",
    "pairs",
    "to_json",
    "to_yaml",
    "from_json",
    "json_path",
    "regex_search",
    "regex_replace",
    "map",
    "zip",
    "product",
    "batch",
    "b64encode",
    "url_encode",
    "shell_quote",
    "flatten",
    "format_time",
];
/// Whether what filter `name` gives may be larger than what it is given.
#[must_use]
pub fn makes_larger(name: &str) -> bool {
    LARGER.contains(&name)
}

/// Filters that can take long on little: what they do grows faster than what they are given.
const SLOW: [&str; 6] = ["regex_match", "regex_search", "regex_replace", "json_path", "product", "from_yaml"];

/// Whether filter `name` can take long on little.
#[must_use]
pub fn may_be_slow(name: &str) -> bool {
    SLOW.contains(&name)
}

/// A Tera with all filters and functions, and without templates.
#[must_use]
pub fn tera() -> Tera {
    static PROTOTYPE: LazyLock<Tera> = LazyLock::new(prototype);
    PROTOTYPE.clone()
}

fn prototype() -> Tera {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    guard::register(&mut tera);
    budget::register(&mut tera);
    bounded::register(&mut tera);
    lists::register(&mut tera);
    paths::register(&mut tera);
    patterns::register(&mut tera);
    texts::register(&mut tera);
    times::register(&mut tera);
    yaml::register(&mut tera);
    for (name, test) in OUTCOMES {
        tera.register_function(name, move |_: Kwargs, state: &State| outcome(state).map(test));
    }
    tera.register_function("now", now);
    tera
}

const STATUSES: [Status; 5] = [Status::Succeeded, Status::Failed, Status::TimedOut, Status::Crashed, Status::Canceled];

/// Whether an outcome function holds for a status.
type Holds = fn(Status) -> bool;
const OUTCOMES: [(&str, Holds); 6] = [
    ("succeeded", |status| status == Status::Succeeded),
    ("failed", |status| status != Status::Succeeded),
    ("timed_out", |status| status == Status::TimedOut),
    ("crashed", |status| status == Status::Crashed),
    ("canceled", |status| status == Status::Canceled),
    ("completed", |_| true),
];

/// What [`STATUS`] holds for `status`.
#[must_use]
pub fn status_value(status: Status) -> Value {
    Value::from(status as u8)
}

fn outcome(state: &State) -> TeraResult<Status> {
    let number: Option<usize> = state.get(STATUS)?;
    let status = number.and_then(|number| STATUSES.get(number));
    status.copied().ok_or_else(|| tera::Error::message("how the action ended is not known here"))
}

fn now(_: Kwargs, state: &State) -> TeraResult<Value> {
    let now: Option<Value> = state.get(NOW)?;
    now.ok_or_else(|| tera::Error::message("the time is not known here"))
}

#[cfg(test)]
mod tests {
    use tera::Context;

    use super::*;

    #[test]
    fn every_name_is_a_filter_and_no_more() {
        let unknown = |name: &str| {
            tera()
                .add_raw_template("t", &format!("{{{{ 1 | {name} }}}}"))
                .is_err_and(|e| e.to_string().contains("Unknown"))
        };
        for name in names() {
            assert!(!unknown(name), "{name}");
        }
        assert!(unknown("nope"));
    }

    #[test]
    fn statuses_are_numbered_in_their_order() {
        for (number, status) in STATUSES.into_iter().enumerate() {
            assert_eq!(status as usize, number);
        }
    }

    #[test]
    fn nothing_is_escaped_and_the_environment_is_closed() {
        let render = |source: &str| tera().render_str(source, &Context::new(), false);
        assert_eq!(render("{{ '<&>' }}").expect("valid"), "<&>");
        assert!(render("{{ get_env(name='HOME') }}").is_err());
    }
}
