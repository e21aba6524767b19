//! The filter that asks a value with JSONPath, RFC 9535.
//!
//! The crate that answers cannot be interrupted, and a short query may name a value over and over:
//! `$[0,0][0,0][0,0]…` doubles with every pair of brackets. So the most that a query could look at is reckoned first,
//! from its text and the value's size; a bound too high refuses a query that would have been quick, never the reverse.

use jsonpath_rust::{parser::parse_json_path, query::js_path_process};
use serde_json::Value as Tree;
use tera::{Kwargs, State, Tera, TeraResult, Value as TeraValue};

use crate::value::Value;

/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 1024;
/// The most that brackets and parentheses of a query may be nested.
const NESTING_MAX: usize = 16;
/// The most values that a query may look at, each as often as it does. About a second's worth.
const LOOKS_MAX: u64 = 10_000_000;
/// What a regular expression counts, in values: the crate compiles it for each one.
const REGEX_LOOKS: u64 = 100;

pub fn register(tera: &mut Tera) {
    tera.register_filter("json_path", json_path);
}

/// `json_path(query="$.books[?@.price < 10].title")`: a list of all that matches, empty when nothing does.
fn json_path(value: TeraValue, kwargs: Kwargs, _: &State) -> TeraResult<TeraValue> {
    let query: &str = kwargs.must_get("query")?;
    let failed = |reason: &str| tera::Error::message(format!("{query:?} is no JSONPath: {reason}"));
    if query.len() > QUERY_BYTES_MAX {
        let message = format!("a JSONPath has at most {QUERY_BYTES_MAX} bytes, this one has {}", query.len());
        return Err(tera::Error::message(message));
    }
    let shape = Shape::of(query);
    if shape.nesting > NESTING_MAX {
        return Err(failed(&format!("its brackets are nested more than {NESTING_MAX} deep")));
    }
    let tree = Value::from(value).to_serde().map_err(tera::Error::message)?;
    if shape.looks(&tree) > LOOKS_MAX {
        let message = format!("{query:?} might look at more than {LOOKS_MAX} values here: narrow it or the value");
        return Err(tera::Error::message(message));
    }
    let parsed = parse_json_path(query).map_err(|error| {
        // The crate draws the query over several lines; the last one says what it expected.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches([' ', '=']).to_owned();
        failed(&reason)
    })?;
    let found = js_path_process(&parsed, &tree).map_err(|error| failed(&error.to_string()))?;
    let found: Vec<TeraValue> = found.into_iter().map(|found| Value::from_serde(found.val).into_tera()).collect();
    Ok(found.into())
}

/// What of a query's text says how much it may look at.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    nesting: usize,
    /// Each may double what is looked at.
    commas: u32,
    /// Each looks at all that is below a value.
    descents: u32,
    filters: u32,
    /// Each within a filter begins anew at the top.
    roots: u32,
    regexes: u32,
}

impl Shape {
    fn of(query: &str) -> Self {
        let mut shape = Self::default();
        let mut depth = 0_usize;
        let mut quote = None;
        let mut chars = query.char_indices();
        while let Some((at, char)) = chars.next() {
            match (quote, char) {
                (Some(_), '\\') => {
                    chars.next();
                }
                (Some(open), _) if open == char => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(char),
                (None, '[' | '(') => {
                    depth += 1;
                    shape.nesting = shape.nesting.max(depth);
                    let before = query[..at].trim_end();
                    shape.regexes +=
                        u32::from(char == '(' && (before.ends_with("match") || before.ends_with("search")));
                }
                (None, ']' | ')') => depth = depth.saturating_sub(1),
                (None, ',') => shape.commas += 1,
                (None, '?') => shape.filters += 1,
                (None, '$') => shape.roots += 1,
                (None, '.') => shape.descents += u32::from(query[at + 1..].starts_with('.')),
                (None, _) => {}
            }
        }
        shape
    }

    /// No query of this shape looks at more values of `tree`, each as often as it does.
    fn looks(&self, tree: &Tree) -> u64 {
        let (values, depth) = extent(tree);
        // A value has at most `depth` others above it, each of which may lead to it once per descent.
        let descents = self.descents + self.filters.saturating_sub(1);
        let regex = if self.regexes > 0 { REGEX_LOOKS } else { 1 };
        [2_u64.saturating_pow(self.commas), depth.saturating_pow(descents), values.saturating_pow(self.roots), regex]
            .into_iter()
            .fold(1, u64::saturating_mul)
    }
}

/// How many values there are in `tree`, and how deep they lie.
fn extent(tree: &Tree) -> (u64, u64) {
    let inner: Box<dyn Iterator<Item = &Tree>> = match tree {
        Tree::Array(values) => Box::new(values.iter()),
        Tree::Object(entries) => Box::new(entries.values()),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => return (1, 1),
    };
    let (values, depth) = inner.map(extent).fold((0, 0), |(sum, deepest), (n, depth)| (sum + n, deepest.max(depth)));
    (values + 1, depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str, query: &str) -> Result<String, String> {
        let value = Value::from_json(json.as_bytes()).expect("valid").into_tera();
        let found = json_path(value, Kwargs::from([("query", query.into())]), &State::new(&tera::Context::new()));
        let found = found.map_err(|error| error.to_string())?;
        Ok(Value::from(found).to_json().expect("of JSON").as_str().to_owned())
    }

    #[test]
    fn queries_of_the_rfc_are_answered() {
        let books =
            r#"{"books":[{"t":"a","p":8,"by":{"n":"x"}},{"t":"b","p":12},{"t":"c","p":9.5}],"n":18446744073709551615}"#;
        for (query, found) in [
            ("$.books[*].t", r#"["a","b","c"]"#),
            ("$.books[?@.p < 10].t", r#"["a","c"]"#),
            ("$.books[-1].p", "[9.5]"),
            ("$.books[0:2].t", r#"["a","b"]"#),
            ("$..n", r#"[18446744073709551615,"x"]"#),
            ("$['books'][0,2]['t']", r#"["a","c"]"#),
            ("$.books[?search(@.t, '[bc]')].p", "[12,9.5]"),
            ("$.books[?count(@.*) == 3].t", r#"["a"]"#),
            ("$.nothing", "[]"),
            ("$.books[?@.p == $.books[0].p].t", r#"["a"]"#),
        ] {
            assert_eq!(asked(books, query), Ok(found.to_owned()), "{query}");
        }
    }

    #[test]
    fn what_is_no_query_is_told() {
        for (query, says) in [
            ("books", "no JSONPath"),
            ("", "no JSONPath"),
            ("$.a[", "no JSONPath"),
            ("$[?@.a =~ 'x']", "no JSONPath"),
            ("$[99999999999999999999]", "no JSONPath"),
        ] {
            let error = asked("{}", query).expect_err(query);
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn bombs_are_refused_before_they_are_asked() {
        let deep = format!("{}1{}", r#"{"a":["#.repeat(40), "]}".repeat(40));
        for (json, query, says) in [
            ("[[[[1]]]]", "$".to_owned() + &"[0,0]".repeat(30), "look at more than"),
            (deep.as_str(), "$".to_owned() + &"..*".repeat(6), "look at more than"),
            ("[1]", "$".to_owned() + &"[?@".repeat(20) + &"]".repeat(20), "nested more than"),
            ("[1]", "$".to_owned() + &".a".repeat(600), "at most 1024 bytes"),
            ("[1]", "$[?".to_owned() + &"(".repeat(900), "nested more than"),
        ] {
            let error = asked(json, &query).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(
            Shape::of("$['a,b..?$']..x[1,2][?match(@.y, '(')]"),
            Shape { nesting: 2, commas: 2, descents: 1, filters: 1, roots: 1, regexes: 1 }
        );
    }
}
