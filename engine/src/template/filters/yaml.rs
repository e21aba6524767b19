//! Filters to and from YAML.

use proto::limits::{SUBMISSION_BYTES_MAX, VALUE_DEPTH_MAX};
use serde_json::Value as Tree;
use tera::{Kwargs, State, Tera, TeraResult, Value as TeraValue};

use crate::{diagnostic::Severity, parse, value::Value};

/// What an older reader of YAML takes for something else than a text when it stands without quotes.
const NO_TEXTS: [&str; 13] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity", "none"];

pub fn register(tera: &mut Tera) {
    tera.register_filter("to_yaml", to_yaml);
    tera.register_filter("from_yaml", from_yaml);
}

/// `to_yaml`: in block style, with sorted keys and a line break at the end.
fn to_yaml(value: TeraValue, _: Kwargs, _: &State) -> TeraResult<String> {
    if value.is_undefined() {
        return Err(tera::Error::message("undefined has no YAML"));
    }
    let tree = Value::from(value).to_serde().map_err(tera::Error::message)?;
    let mut text = String::new();
    write(&tree, 0, &mut text);
    Ok(text)
}

/// Writes `tree`, whose first line begins where `text` ends, and whose others begin with `indent` spaces.
fn write(tree: &Tree, indent: usize, text: &mut String) {
    let begin = |text: &mut String, index: usize| {
        if index > 0 {
            text.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match tree {
        Tree::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                begin(text, index);
                text.push_str("- ");
                write(value, indent + 2, text);
            }
        }
        Tree::Object(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                begin(text, index);
                scalar(key, text);
                text.push(':');
                match is_flat(value) {
                    true => text.push(' '),
                    false => {
                        text.push('\n');
                        text.extend(std::iter::repeat_n(' ', indent + 2));
                    }
                }
                write(value, indent + 2, text);
            }
        }
        Tree::String(string) => {
            scalar(string, text);
            text.push('\n');
        }
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Array(_) | Tree::Object(_) => {
            text.push_str(&tree.to_string());
            text.push('\n');
        }
    }
}

/// Whether `tree` takes a single line.
fn is_flat(tree: &Tree) -> bool {
    match tree {
        Tree::Array(values) => values.is_empty(),
        Tree::Object(entries) => entries.is_empty(),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => true,
    }
}

/// A text, in quotes unless every reader takes it for a text without them. JSON's quotes are YAML's too.
fn scalar(string: &str, text: &mut String) {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || b"_/".contains(byte);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./ ".contains(&byte);
    let is_plain = string.as_bytes().first().is_some_and(is_first)
        && string.bytes().all(is_inner)
        && !string.ends_with(' ')
        && !NO_TEXTS.contains(&string.to_ascii_lowercase().as_str());
    match is_plain {
        true => text.push_str(string),
        false => text.push_str(&Tree::from(string).to_string()),
    }
}

/// `from_yaml`: one document, within the bounds of a workflow file. A text without any content gives null.
fn from_yaml(text: &str, _: Kwargs, _: &State) -> TeraResult<TeraValue> {
    if text.len() > SUBMISSION_BYTES_MAX {
        let length = text.len();
        let message = format!("the YAML has {length} bytes, more than the limit of {SUBMISSION_BYTES_MAX}");
        return Err(tera::Error::message(message));
    }
    let diagnostics = match parse::data(text, "text") {
        Ok(json) => {
            let value = Value::from_json(json.as_bytes()).map_err(tera::Error::message)?;
            return Ok(value.into_tera());
        }
        Err(diagnostics) => diagnostics,
    };
    let wrong = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
    match wrong {
        Some(wrong) if wrong.code == "file_empty" => Ok(TeraValue::none()),
        Some(wrong) => {
            let (line, _) = diagnostics.position(wrong.span);
            Err(tera::Error::message(format!("no YAML that can be read here, line {line}: {}", wrong.message)))
        }
        None => {
            Err(tera::Error::message(format!("the YAML nests lists and maps deeper than {VALUE_DEPTH_MAX} levels")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn yaml(tree: &Tree) -> String {
        let mut text = String::new();
        write(tree, 0, &mut text);
        text
    }

    fn read(text: &str) -> TeraResult<TeraValue> {
        from_yaml(text, Kwargs::default(), &State::new(&tera::Context::new()))
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let text = prop_oneof![
            "[ -~]{0,8}",
            "\\PC{0,4}",
            prop::sample::select(vec![
                "", "no", "007", "1e3", "~", "- a", "a: b", "a #b", "\n", "x\ty", "0x1f", ".inf", "=", "<<"
            ])
            .prop_map(str::to_owned)
        ];
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::from),
            any::<i64>().prop_map(Tree::from),
            any::<u64>().prop_map(Tree::from),
            (-1e9..1e9).prop_map(Tree::from),
            text.clone().prop_map(Tree::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|entries| Tree::from(entries.into_iter().collect::<serde_json::Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(tree in tree()) {
            let text = yaml(&tree);
            let back = read(&text).map(|value| Value::from(value).to_serde().expect("of JSON"));
            prop_assert_eq!(back.map_err(|error| format!("{error}: {text}")), Ok(tree));
        }
    }

    #[test]
    fn yaml_is_in_block_style() {
        let tree = serde_json::json!({"a": [1, {"b": [], "c": "x y"}, [2, 3]], "d": {}, "e": {"f": null}, "no": "yes"});
        assert_eq!(
            yaml(&tree),
            "a:\n  - 1\n  - b: []\n    c: x y\n  - - 2\n    - 3\nd: {}\ne:\n  f: null\n\"no\": \"yes\"\n"
        );
    }

    #[test]
    fn yaml_is_bounded() {
        let wrong = |text: &str| read(text).expect_err("refused").to_string();
        let bomb = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{p}, *a{p}, *a{p}, *a{p}]\n", p = n - 1)
        });
        assert!(wrong(&bomb).contains("copy too much"), "{}", wrong(&bomb));
        assert!(wrong(&format!("{}{}", "[".repeat(120), "]".repeat(120))).contains("deeper than"));
        assert!(wrong(&" ".repeat(300_000)).contains("more than the limit"));
        assert!(wrong("a: 1\nb: 1e999\n").contains("line 2"), "{}", wrong("a: 1\nb: 1e999\n"));
        assert!(wrong("{a: 1").contains("not valid YAML"));
        assert!(wrong("--- 1\n--- 2\n").contains("more than one document"));
        assert!(read("# nothing\n").expect("null").is_none());
    }
}
