//! Templates of text, plain paths and comparisons of these alone, which are read without Tera's machine.
//!
//! Most are that: `{{ item }}`, `https://{{ item }}:{{ parameters.port }}/`, `result.status == 200`. Following a path takes
//! a quarter of what rendering it takes. Whatever is out of the ordinary when one is evaluated, such as a name that is
//! undefined or a list inside text, is left to Tera: then users get the same message, whichever way a template is read.

use std::{borrow::Cow, cell::RefCell, cmp::Ordering, ops::Range};

use proto::limits::RENDERED_BYTES_MAX;
use tera::{
    Value,
    value::{Key, ValueKind},
};

use super::{
    compile::{Form, Gives},
    lexer::{self, Inside, Kind},
    names,
};
use crate::snapshot::Scope;

/// A template that is read by following its paths, and comparing what they lead to.
#[derive(Debug)]
pub struct Plain {
    gives: Gives,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Expression(Expression),
}

#[derive(Debug)]
enum Expression {
    Path(Path),
    Comparison { left: Operand, comparator: Comparator, right: Operand },
}

#[derive(Debug)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy)]
enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
struct Path {
    root: &'static str,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// A token, as it is written.
type Word<'s> = (Kind, &'s str);

/// Entries of a map through which looking is cheaper than a hash of the key.
const SCANNED_MAX: usize = 12;

/// Bytes that a thread keeps ready to write texts into.
const READY_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Plain {
    /// The template that `source` is, if it is a plain one: no tags, comments or trimming, and no operator but one comparison.
    #[must_use]
    pub fn of(source: &str, form: Form, gives: Gives) -> Option<Self> {
        let parts = match form {
            Form::Expression => vec![Part::Expression(expression(source, &lexer::expression(source).ok()?)?)],
            Form::Template => parts(source)?,
        };
        let parts = match gives {
            Gives::Text => parts,
            // What stands around the only expression is blank.
            Gives::Value => parts.into_iter().filter(|part| matches!(part, Part::Expression(_))).collect(),
        };
        Some(Self { gives, parts })
    }

    /// What it gives; `None` when that is for Tera to say.
    #[must_use]
    pub fn value(&self, scope: &Scope) -> Option<Value> {
        match (self.gives, &self.parts[..]) {
            (Gives::Value, [Part::Expression(expression)]) => expression.value(scope).map(Cow::into_owned),
            (Gives::Value, _) => None,
            (Gives::Text, parts) => TEXT.with_borrow_mut(|text| {
                text.clear();
                let is_whole = parts.iter().all(|part| part.write(scope, text).is_some());
                let value = (is_whole && text.len() <= RENDERED_BYTES_MAX).then(|| Value::from(text.as_str()));
                text.shrink_to(READY_BYTES_MAX);
                value
            }),
        }
    }
}

impl Part {
    fn write(&self, scope: &Scope, text: &mut String) -> Option<()> {
        match self {
            Self::Text(plain) => text.push_str(plain),
            Self::Expression(expression) => {
                let value = expression.value(scope)?;
                match value.kind() {
                    ValueKind::String => text.push_str(value.as_str()?),
                    ValueKind::U64 => text.push_str(itoa::Buffer::new().format(value.as_u64()?)),
                    ValueKind::I64 => text.push_str(itoa::Buffer::new().format(value.as_i64()?)),
                    ValueKind::Bool => text.push_str(if value.as_bool()? { "true" } else { "false" }),
                    // The rest has rules of its own, or may not stand in text.
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

impl Expression {
    fn value<'s>(&'s self, scope: &'s Scope) -> Option<Cow<'s, Value>> {
        match self {
            Self::Path(path) => path.follow(scope).map(Cow::Borrowed),
            Self::Comparison { left, comparator, right } => {
                let holds = comparator.holds(left.value(scope)?, right.value(scope)?)?;
                Some(Cow::Owned(holds.into()))
            }
        }
    }
}

impl Operand {
    fn value<'s>(&'s self, scope: &'s Scope) -> Option<&'s Value> {
        match self {
            Self::Path(path) => path.follow(scope),
            Self::Literal(value) => Some(value),
        }
    }
}

impl Comparator {
    fn of(symbol: Word<'_>) -> Option<Self> {
        match symbol {
            (Kind::Symbol, "==") => Some(Self::Equal),
            (Kind::Symbol, "!=") => Some(Self::NotEqual),
            (Kind::Symbol, "<") => Some(Self::Less),
            (Kind::Symbol, "<=") => Some(Self::LessOrEqual),
            (Kind::Symbol, ">") => Some(Self::Greater),
            (Kind::Symbol, ">=") => Some(Self::GreaterOrEqual),
            _ => None,
        }
    }

    /// Whether it does; `None` where Tera has no order.
    fn holds(self, left: &Value, right: &Value) -> Option<bool> {
        Some(match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left.partial_cmp(right)? == Ordering::Less,
            Self::LessOrEqual => left.partial_cmp(right)? != Ordering::Greater,
            Self::Greater => left.partial_cmp(right)? == Ordering::Greater,
            Self::GreaterOrEqual => left.partial_cmp(right)? != Ordering::Less,
        })
    }
}

impl Path {
    fn follow<'s>(&'s self, scope: &'s Scope) -> Option<&'s Value> {
        let root = scope.get(self.root)?;
        let found = self.steps.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => entry(value, key),
            Step::Index(index) => value.as_array()?.get(*index),
        })?;
        (!found.is_undefined()).then_some(found)
    }
}

/// What the map that `value` is has at `key`. As Tera does, looks through a small map without a hash.
fn entry<'v>(value: &'v Value, key: &'v str) -> Option<&'v Value> {
    let map = value.as_map()?;
    match map.len() <= SCANNED_MAX {
        true => map.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value),
        false => map.get(&Key::Str(key)),
    }
}

fn parts(source: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let text = |range: Range<usize>| {
        let text = &source[range];
        let is_plain = ["{{", "{%", "{#"].iter().all(|open| !text.contains(open));
        is_plain.then(|| Part::Text(text.to_owned()))
    };
    let mut done = 0;
    for piece in lexer::split(source).ok()? {
        match piece {
            // What lies between two expressions is taken whole.
            lexer::Piece::Text { .. } => {}
            lexer::Piece::Tag(_) => return None,
            lexer::Piece::Variable(inside) => {
                let Range { start, end } = inside.range;
                let open = start.checked_sub(2)?;
                // With a dash in between, white space around is trimmed.
                if &source[open..start] != "{{" || !source[end..].starts_with("}}") {
                    return None;
                }
                parts.extend([text(done..open)?, Part::Expression(expression(source, &inside)?)]);
                done = end + 2;
            }
        }
    }
    parts.push(text(done..source.len())?);
    parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    Some(parts)
}

/// The expression that `inside` is, if it is one of these.
fn expression(source: &str, inside: &Inside) -> Option<Expression> {
    let words: Vec<Word<'_>> = inside.tokens.iter().map(|token| (token.kind, &source[token.range.clone()])).collect();
    let comparator = |(at, word): (usize, &Word<'_>)| Some((at, Comparator::of(*word)?));
    match words.iter().enumerate().find_map(comparator) {
        None => Some(Expression::Path(path(&words)?)),
        Some((at, comparator)) => {
            let (left, right) = (operand(&words[..at])?, operand(&words[at + 1..])?);
            Some(Expression::Comparison { left, comparator, right })
        }
    }
}

fn operand(words: &[Word<'_>]) -> Option<Operand> {
    let literal = match words {
        [(Kind::Name, "true")] => Value::from(true),
        [(Kind::Name, "false")] => Value::from(false),
        [(Kind::Name, "none")] => Value::none(),
        // Tera reads whole numbers as these too; others are left to it.
        [(Kind::Number, number)] => Value::from(number.parse::<i64>().ok()?),
        [(Kind::Text, literal)] => Value::from(unquoted(literal)?),
        _ => return Some(Operand::Path(path(words)?)),
    };
    Some(Operand::Literal(literal))
}

/// What stands in a text literal without escapes.
fn unquoted(literal: &str) -> Option<&str> {
    (!literal.contains('\\')).then(|| &literal[1..literal.len() - 1])
}

/// The path that `words` are, and nothing else: names with dots between them, and what is known between brackets.
fn path(words: &[Word<'_>]) -> Option<Path> {
    let [(Kind::Name, first), rest @ ..] = words else { return None };
    let root = names::ROOTS.into_iter().find(|root| root == first)?;
    let steps = steps(rest)?;
    // Tasks that have not run are in no snapshot: who reads all of them gets those too.
    let is_known = root != "task" || !steps.is_empty();
    is_known.then_some(Path { root, steps })
}

fn steps(mut words: &[Word<'_>]) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !words.is_empty() {
        let (step, rest) = match words {
            [(_, "."), (Kind::Name, key), rest @ ..] => (Step::Key((*key).to_owned()), rest),
            [(_, "["), (Kind::Text, key), (_, "]"), rest @ ..] => (Step::Key(unquoted(key)?.to_owned()), rest),
            [(_, "["), (Kind::Number, index), (_, "]"), rest @ ..] => (Step::Index(index.parse().ok()?), rest),
            _ => return None,
        };
        steps.push(step);
        words = rest;
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::id::ItemIndex;

    use super::*;
    use crate::{
        snapshot::Snapshot,
        spec::{Span, TaskIndex, Text},
        template::{
            compile, filters, guard,
            names::{Place, Purpose},
        },
    };

    fn is_plain(source: &str) -> bool {
        Plain::of(source, Form::Template, Gives::Text).is_some()
    }

    #[test]
    fn texts_paths_and_comparisons_are_plain_and_nothing_else_is() {
        for source in [
            "",
            "a",
            "{{ item }}",
            "{{item}}{{ index }}",
            " {{ task.a.result.b }} }} ",
            "é{{ item.b }}é",
            "{{ item[0]['a'].b }}",
            "{{ item == 1 }}",
            "{{ 'a' != item[1] }}",
            "{{ item.a >= parameters.b }}",
            "{{ item == none }}",
        ] {
            assert!(is_plain(source), "{source}");
        }
        for source in [
            "{{ item + 1 }}",
            "{{ item[-1] }}",
            "{{ item[index] }}",
            "{{ item[0:1] }}",
            "{{ item[1.5] }}",
            "{{ item['\\n'] }}",
            "{{ item[0] 1 }}",
            "{{ item == }}",
            "{{ item == 1.5 }}",
            "{{ item == -1 }}",
            "{{ item == 1 == 1 }}",
            "{{ item == 1 and index == 2 }}",
            "{{ not item == 1 }}",
            "{{ item | length > 5 }}",
            "{{ item == task }}",
            "{{ item in parameters }}",
            "{{ item?.a }}",
            "{{ item | str }}",
            "{{- item }}",
            "{{ item -}}",
            "{{ 'a' }}",
            "{{ true }}",
            "{{ succeeded() }}",
            "{{ not item }}",
            "{{ item }}{# #}",
            "{# #}{{ item }}",
            "{% raw %}{% endraw %}{{ item }}",
            "{% if item %}{% endif %}",
            "{{ task }}",
            "{{ item",
            "{{ item. }}",
            "{{ }}",
        ] {
            assert!(!is_plain(source), "{source}");
        }
    }

    fn scope() -> Scope {
        let parameters = br#"{"text": "ab", "long": "a text of more than twenty-one bytes <&>", "n": -3, "yes": true,
            "half": 0.5, "none": null, "list": [1, "a"], "map": {"k": {"l": 5}, "item": "x"}, "big": 18446744073709551615}"#;
        let parameters = crate::value::Value::from_json(parameters).expect("valid");
        let snapshot = Snapshot::build([("parameters".to_owned(), parameters)]);
        Scope::new(&snapshot).clone().with_item(crate::value::Value::from_text("web-1"), ItemIndex(7))
    }

    /// What Tera makes of the template, and what following its paths gives.
    fn both(source: &str, form: Form) -> Option<(Option<Value>, Option<Value>)> {
        let place = Place { task: Some(TaskIndex(0)), has_items: true, purpose: Purpose::Input };
        let text = Text { source: source.to_owned(), span: Span::default() };
        let template = compile::template("t".to_owned(), &text, form, place, &[]).ok()?;
        let plain = template.plain.as_ref().expect("made of text and paths").value(&scope());
        let mut tera = filters::tera();
        tera.add_raw_template("t", &template.rewritten()).expect("it was compiled");
        let rendered = scope().read(|context| match template.gives {
            Gives::Value => guard::catching(|| tera.render_to("t", context, std::io::sink())).ok().flatten(),
            Gives::Text => tera.render("t", context).ok().map(Value::from),
        });
        Some((rendered, plain))
    }

    fn path() -> impl Strategy<Value = String> {
        let roots = prop::sample::select(vec!["item", "index", "parameters", "workflow", "env"]);
        let keys = ["text", "long", "n", "yes", "half", "none", "list", "map", "big", "k", "l", "item", "typo"];
        let steps = prop_oneof![
            4 => prop::sample::select(keys.to_vec()).prop_map(|key| format!(".{key}")),
            1 => prop::sample::select(keys.to_vec()).prop_map(|key| format!("['{key}']")),
            1 => (0..3).prop_map(|index| format!("[{index}]")),
        ];
        (roots, prop::collection::vec(steps, 0..4)).prop_map(|(root, steps)| format!("{root}{}", steps.concat()))
    }

    /// A path, or a comparison with one.
    fn expression() -> impl Strategy<Value = String> {
        let literals = ["0", "7", "3", "18446744073709551615", "'ab'", "`web-1`", "\"a\"", "true", "false", "none"];
        let operand = || prop_oneof![path(), path(), prop::sample::select(literals.to_vec()).prop_map(str::to_owned)];
        let comparators = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
        prop_oneof![
            path(),
            (operand(), comparators, operand()).prop_map(|(left, by, right)| format!("{left} {by} {right}")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn following_paths_gives_what_tera_gives(
            parts in prop::collection::vec(
                prop_oneof![
                    expression().prop_map(|expression| format!("{{{{ {expression} }}}}")),
                    expression().prop_map(|expression| format!("{{{{{expression}}}}}")),
                    prop::sample::select(vec![" ", "\n", "é", "}}", "a", "{", "%}", "<&>"]).prop_map(str::to_owned),
                ],
                0..5,
            ),
            expression in expression(),
        ) {
            for (source, form) in [(parts.concat(), Form::Template), (expression, Form::Expression)] {
                if form == Form::Expression && Plain::of(&source, form, Gives::Value).is_none() {
                    continue;
                }
                // One `{` may make a delimiter with what follows it; then it is no template of this kind, or none at all.
                if form == Form::Template && !is_plain(&source) {
                    continue;
                }
                if let Some((rendered, Some(plain))) = both(&source, form) {
                    prop_assert_eq!(rendered, Some(plain), "{}", source);
                }
            }
        }
    }

    #[test]
    fn comparisons_hold_as_they_do_in_tera() {
        for left in
            ["index", "parameters.half", "parameters.text", "parameters.yes", "parameters.none", "parameters.list"]
        {
            for comparator in ["==", "!=", "<", "<=", ">", ">="] {
                for right in ["6", "7", "8", "'ab'", "'b'", "true", "none", left] {
                    let source = format!("{left} {comparator} {right}");
                    let (rendered, plain) = both(&source, Form::Expression).expect("right");
                    assert_eq!(rendered, plain, "{source}");
                }
            }
        }
    }

    #[test]
    fn what_is_usual_is_not_left_to_tera() {
        for (source, json) in [
            ("{{ item }}", "web-1"),
            ("https://{{ item }}:{{ parameters.n }}/{{ parameters.yes }}", "https://web-1:-3/true"),
            ("{{ parameters.map.item }}{{ index }}", "x7"),
            ("{{ parameters.big }}.", "18446744073709551615."),
            ("{{ parameters.list[1] }}{{ parameters['map'].k.l }}", "a5"),
            ("{{ parameters.n < 0 }}, {{ parameters.map.k.l >= 6 }}, {{ item == 'web-1' }}", "true, false, true"),
        ] {
            let (rendered, plain) = both(source, Form::Template).expect("right");
            assert_eq!(plain, Some(Value::from(json)), "{source}");
            assert_eq!(rendered, plain, "{source}");
        }
        // No error is made here, and no rule is written twice.
        for source in [
            "{{ parameters.typo }}",
            "{{ parameters.list[2] }}",
            "{{ parameters.typo == 1 }}",
            "{{ item < 1 }}",
            "a{{ parameters.list }}",
            "a{{ parameters.none }}",
            "{{ parameters.text.typo }}",
        ] {
            assert_eq!(both(source, Form::Template).expect("right").1, None, "{source}");
        }
    }
}
