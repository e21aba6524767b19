//! Filters with regular expressions, in the syntax of the `regex` crate: linear time, so no pattern can hang.

use std::{cell::RefCell, collections::HashMap};

use regex::{Captures, Regex, RegexBuilder};
use tera::{Kwargs, Map, State, Tera, TeraResult, Value, value::Key};

use crate::template::budget;

/// Compiled patterns that a thread keeps; when there are more, it forgets all.
const CACHED_MAX: usize = 128;
/// The most memory that one compiled pattern takes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

pub fn register(tera: &mut Tera) {
    tera.register_filter("regex_match", matches);
    tera.register_filter("regex_search", search);
    tera.register_filter("regex_replace", replace);
}

fn compiled(pattern: &str) -> TeraResult<Regex> {
    thread_local! {
        static CACHE: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    CACHE.with_borrow_mut(|cache| {
        if let Some(regex) = cache.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
        let regex = regex.map_err(|error| {
            // The crate draws the pattern over several lines; the last one says what is wrong.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            tera::Error::message(format!("{pattern:?} is no regular expression: {reason}"))
        })?;
        if cache.len() == CACHED_MAX {
            cache.clear();
        }
        cache.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })
}

/// `regex_match(pattern="v[0-9]+")`: whether the text begins with a match, as in Python and Ansible.
fn matches(text: &str, kwargs: Kwargs, _: &State) -> TeraResult<bool> {
    let regex = compiled(kwargs.must_get("pattern")?)?;
    Ok(regex.find(text).is_some_and(|found| found.start() == 0))
}

/// `regex_search(pattern="(?<major>[0-9]+)")`: the first match anywhere. A map of the named groups when there are
/// any, else a list of the whole match and every group; null without a match.
fn search(text: &str, kwargs: Kwargs, _: &State) -> TeraResult<Value> {
    let regex = compiled(kwargs.must_get("pattern")?)?;
    Ok(regex.captures(text).map_or_else(Value::none, |captures| groups(&regex, &captures)))
}

fn groups(regex: &Regex, captures: &Captures<'_>) -> Value {
    let text = |group: Option<regex::Match<'_>>| group.map_or_else(Value::none, |group| Value::from(group.as_str()));
    let named: Map =
        regex.capture_names().flatten().map(|name| (Key::from(name.to_owned()), text(captures.name(name)))).collect();
    match named.is_empty() {
        false => Value::from(named),
        true => Value::from(captures.iter().map(text).collect::<Vec<_>>()),
    }
}

/// `regex_replace(pattern="(a)(b)", replacement="$2$1")`: every match.
fn replace(text: &str, kwargs: Kwargs, _: &State) -> TeraResult<String> {
    let regex = compiled(kwargs.must_get("pattern")?)?;
    let replacement: &str = kwargs.must_get("replacement")?;
    let mut replaced = String::new();
    let mut done = 0;
    for captures in regex.captures_iter(text) {
        let found = captures.get(0).expect("group 0 is the whole match");
        let before = replaced.len();
        replaced.push_str(&text[done..found.start()]);
        captures.expand(replacement, &mut replaced);
        done = found.end();
        // Matches in a row may take time in proportion to the square of the text.
        budget::spend(replaced.len() - before)?;
    }
    replaced.push_str(&text[done..]);
    Ok(replaced)
}
