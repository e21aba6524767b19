//! From a template's source to what Tera compiles, with every problem that can be seen before it runs.

use proto::{id::TaskName, limits::TEMPLATE_BYTES_MAX};

use super::{
    fault, filters, guard,
    lexer::{self, Piece},
    names::{self, Place},
    plain::Plain,
    scan::{Edit, Found, Path, Scanner, Segment, WhenUndefined},
};
use crate::spec::{Span, Text};

/// Something wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Where its text stands in the file.
    pub span: Span,
    /// The stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With braces.
    Template,
    /// An expression without braces.
    Expression,
}

/// What a template gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// The value of its only expression, with its type.
    Value,
    /// A text.
    Text,
}

/// A template, rewritten for Tera.
#[derive(Debug)]
pub struct Template {
    /// Its name within Tera.
    pub name: String,
    /// The source as the user wrote it.
    pub source: String,
    /// How it is written.
    pub form: Form,
    /// What it gives.
    pub gives: Gives,
    /// Every path that it reads.
    pub paths: Vec<Path>,
    /// Whether its value may hold something undefined, which must be looked for.
    pub may_hold_undefined: bool,
    /// Whether it may take longer than its source and its data suggest.
    pub may_be_slow: bool,
    /// What each turn of a loop may make without being seen: text inside a block that takes it up.
    pub turn_bytes: usize,
    /// How it is read without Tera, when it is nothing but text, paths and comparisons.
    pub plain: Option<Plain>,
    /// What was inserted, in order.
    edits: Vec<Edit>,
}

/// Rewrites `text`, which is to be called `name`.
///
/// # Errors
/// With everything that is wrong with it, except what Tera finds when it compiles the rewritten source.
pub fn template(
    name: String,
    text: &Text,
    form: Form,
    place: Place,
    tasks: &[TaskName],
) -> Result<Template, Vec<TemplateProblem>> {
    let problem = |code, message, help| TemplateProblem { span: text.span, code, message, help };
    let source = &text.source;
    if source.len() > TEMPLATE_BYTES_MAX {
        let message = format!("a template has {} bytes, more than the limit of {TEMPLATE_BYTES_MAX}", source.len());
        return Err(vec![problem("template_too_large", message, None)]);
    }
    let unreadable = || {
        let message = fault::syntax(source, form).unwrap_or_else(|| "this cannot be read as a template".to_owned());
        Err(vec![problem("template_syntax", message, None)])
    };
    let Ok((gives, mut found)) = scan(source, form) else { return unreadable() };
    if found.is_unclear && found.refused.is_empty() {
        return unreadable();
    }
    let mut problems: Vec<_> =
        found.refused.iter().map(|refused| problem(refused.code, refused.message.clone(), None)).collect();
    let mut report = |code, message, help| problems.push(problem(code, message, help));
    check_paths(&found, place, tasks, &mut report);
    check_calls(&found, place, &mut report);
    if !problems.is_empty() {
        return Err(problems);
    }
    found.edits.sort_by_key(|edit| edit.at);
    Ok(Template {
        name,
        source: source.clone(),
        form,
        gives,
        paths: found.paths,
        may_hold_undefined: found.has_literals && found.has_optionals,
        may_be_slow: found.may_be_slow,
        turn_bytes: if found.has_captures { source.len() } else { 0 },
        plain: Plain::of(source, form, gives),
        edits: found.edits,
    })
}

fn scan(source: &str, form: Form) -> Result<(Gives, Found), lexer::Unreadable> {
    match form {
        Form::Expression => {
            let inside = lexer::expression(source)?;
            let mut scanner = Scanner::new(source);
            scanner.expression(&inside, guard::CAPTURE);
            let mut found = scanner.finish();
            found.edits.insert(0, Edit { at: 0, text: "{{ " });
            found.edits.push(Edit { at: source.len(), text: " }}" });
            Ok((Gives::Value, found))
        }
        Form::Template => {
            let pieces = lexer::split(source)?;
            let gives = gives(&pieces);
            let behind = match gives {
                Gives::Value => guard::CAPTURE,
                Gives::Text => guard::TEXT,
            };
            let mut scanner = Scanner::new(source);
            for piece in &pieces {
                match piece {
                    Piece::Text { .. } => {}
                    Piece::Variable(inside) => scanner.expression(inside, behind),
                    Piece::Tag(inside) => scanner.tag(inside),
                }
            }
            Ok((gives, scanner.finish()))
        }
    }
}

/// The typing rule: one expression and nothing but white space around it gives that expression's value.
fn gives(pieces: &[Piece]) -> Gives {
    let mut rest = pieces.iter().filter(|piece| **piece != Piece::Text { is_blank: true });
    match (rest.next(), rest.next()) {
        (Some(Piece::Variable(_)), None) => Gives::Value,
        _ => Gives::Text,
    }
}

type Report<'r> = dyn FnMut(&'static str, String, Option<String>) + 'r;

fn check_paths(found: &Found, place: Place, tasks: &[TaskName], report: &mut Report<'_>) {
    for path in found.paths.iter().filter(|path| !path.is_local) {
        let root = path.root.as_str();
        if root.starts_with("__") {
            report("reserved_name", format!("`{root}` cannot be read"), None);
        } else if !names::ROOTS.contains(&root) {
            report("unknown_name", format!("there is no `{root}` to read"), Some(root_help(root)));
        } else if let Some(refusal) = place.refuses(root) {
            report(refusal.code, format!("`{root}` {}", refusal.reason), None);
        } else if let ("task", Some(Segment::Name(name))) = (root, path.segments.first())
            && !tasks.iter().any(|task| task.as_str() == name)
        {
            let help = did_you_mean(name, tasks.iter().map(TaskName::as_str));
            report("unknown_task", format!("this workflow has no task `{name}`"), help);
        }
    }
}

fn check_calls(found: &Found, place: Place, report: &mut Report<'_>) {
    let functions = || names::OUTCOME_FUNCTIONS.into_iter().chain(names::FUNCTIONS);
    for name in &found.functions {
        if !functions().any(|known| known == name) {
            let help = did_you_mean(name, functions().chain(filters::names()));
            report("unknown_function", format!("there is no function `{name}`"), help);
        } else if let Some(refusal) = place.refuses_outcome().filter(|_| is_outcome(name)) {
            report(refusal.code, format!("`{name}()` {}", refusal.reason), None);
        }
    }
    for name in &found.filters {
        if !filters::names().any(|known| known == name) {
            report("unknown_filter", format!("there is no filter `{name}`"), did_you_mean(name, filters::names()));
        }
    }
    for name in &found.tests {
        if !names::TESTS.contains(&name.as_str()) {
            report("unknown_test", format!("there is no test `{name}`"), did_you_mean(name, names::TESTS));
        }
    }
}

fn is_outcome(function: &str) -> bool {
    names::OUTCOME_FUNCTIONS.contains(&function)
}

fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    names::nearest(name, candidates).map(|near| format!("did you mean `{near}`?"))
}

/// What to write instead of an unknown first name, which may be a habit from another system.
fn root_help(root: &str) -> String {
    let habit = match root {
        "inputs" | "params" | "input" | "action_parameters" => Some("parameters"),
        "vars" | "variables" | "ctx" | "context" | "publish" => Some("workflow"),
        "tasks" | "steps" | "needs" => Some("task"),
        "outputs" | "output" => Some("result"),
        "loop" => Some("index"),
        _ => None,
    };
    match habit.or_else(|| names::nearest(root, names::ROOTS)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("templates read {}; a text needs quotes", names::ROOTS.join(", ")),
    }
}

impl Template {
    /// What Tera compiles.
    #[must_use]
    pub fn rewritten(&self) -> String {
        let mut rewritten = String::with_capacity(self.source.len() + 32 * self.edits.len());
        let mut done = 0;
        for edit in &self.edits {
            rewritten.push_str(&self.source[done..edit.at]);
            rewritten.push_str(edit.text);
            done = edit.at;
        }
        rewritten.push_str(&self.source[done..]);
        rewritten
    }

    /// Where in the user's source a position of the rewritten one is; inside an insertion: where that was made.
    #[must_use]
    pub fn original(&self, at: usize) -> usize {
        let mut inserted = 0;
        for edit in &self.edits {
            let from = edit.at + inserted;
            if at < from {
                break;
            }
            if at < from + edit.text.len() {
                return edit.at;
            }
            inserted += edit.text.len();
        }
        (at - inserted).min(self.source.len())
    }

    /// Whether reading `path` must find something: nothing in this template makes up for it being undefined.
    #[must_use]
    pub fn requires(&self, path: &Path) -> bool {
        let is_asked = |asked: &&Path| {
            asked.when_undefined == WhenUndefined::Asked
                && asked.root == path.root
                && path.segments.starts_with(&asked.segments)
        };
        path.when_undefined == WhenUndefined::Fails && !self.paths.iter().any(|asked| is_asked(&asked))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tera::{Context, Value};

    use super::*;
    use crate::{spec::TaskIndex, template::names::Purpose};

    fn compiled(source: &str, form: Form) -> Result<Template, Vec<TemplateProblem>> {
        let place = Place { task: Some(TaskIndex(0)), has_items: true, purpose: Purpose::Retry };
        let text = Text { source: source.to_owned(), span: Span::default() };
        template("t".to_owned(), &text, form, place, &["t".parse().expect("valid")])
    }

    fn context() -> Context {
        let json = br#"{"n": 3, "s": "ab", "l": [1, 2, 3], "m": {"k": 5, "l": [7]}, "none": null, "yes": true}"#;
        let value = crate::value::Value::from_json(json).expect("valid");
        let mut context = Context::new();
        context.insert_value("parameters", value.into_tera());
        context
    }

    fn caught(source: &str) -> Option<Value> {
        let mut tera = filters::tera();
        tera.add_raw_template("t", source).ok()?;
        guard::catching(|| tera.render_to("t", &context(), std::io::sink())).ok().flatten()
    }

    #[test]
    fn positions_lead_back_to_the_source() {
        let source = "{% if not parameters.n %}{{ parameters.l[parameters.n] }}{% endif %}";
        let template = compiled(source, Form::Template).expect("right");
        let rewritten = template.rewritten();
        for word in ["not ", "%}{{", "parameters.l[", "]", "{% endif"] {
            let at = rewritten.find(word).expect(word);
            assert_eq!(source.find(word), Some(template.original(at)), "{word} in {rewritten}");
        }
        assert_eq!(template.original(rewritten.len()), source.len());
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "1",
            "2.5",
            "'a'",
            "true",
            "none",
            "parameters.n",
            "parameters.s",
            "parameters['yes']",
            "parameters.none",
            "parameters.m.k",
            "parameters.l[0]",
            "parameters.l[parameters.m.l[0] - 5]",
            "parameters.l[1:]",
            "parameters?.m?.k",
            "range(end=3)",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
            let operators =
                ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in"];
            let behind = [
                " | default(value=1)",
                " | str",
                " | length",
                " | to_json",
                " is defined",
                " is not string",
                "[0]",
                " | first",
            ];
            prop_oneof![
                (inner.clone(), prop::sample::select(operators.to_vec()), inner.clone())
                    .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
                (inner.clone(), prop::sample::select(behind.to_vec()))
                    .prop_map(|(left, behind)| format!("{left}{behind}")),
                inner.clone().prop_map(|inner| format!("({inner})")),
                inner.clone().prop_map(|inner| format!("not {inner}")),
                inner.clone().prop_map(|inner| format!("-{inner}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'a': {a}, 'b': {{'c': {b}}} }}")),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("{a} if {b} else {c}")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("[x ~ {a} for x in parameters.l if {b}]")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn rewriting_changes_no_value(source in expression()) {
            // What Tera gives as it is, ours gives too, unless something undefined went into it.
            let plain = caught(&format!("{{% set caught = {source} %}}{{{{ caught | __capture }}}}"));
            let ours = compiled(&source, Form::Expression).ok().and_then(|template| caught(&template.rewritten()));
            let may_be_undefined = source.contains("[0]") || source.contains("[parameters");
            match (plain, ours) {
                (Some(plain), Some(ours)) => prop_assert_eq!(plain, ours),
                (plain, None) => prop_assert!(plain.is_none() || may_be_undefined, "{:?}", plain),
                (None, Some(ours)) => prop_assert!(false, "{:?} where Tera fails", ours),
            }
        }

        #[test]
        fn any_text_is_answered(parts in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-", "(", ")", "[", "]", "{", "}", "a", "parameters", ".", "?.", "?[", "|",
            "is", "not", "in", "if", "else", "for", "set", "endfor", "=", ",", ":", "...", "'", "\"", "1", "default", "défaut",
            " ", "\n", "raw", "endraw", "filter", "and", "loop", "<", "~", "\\",
        ]), 0..24)) {
            for source in [parts.concat(), parts.join(" "), format!("{{{{ {} }}}}", parts.join(" ")), format!("{{% {} %}}", parts.join(" "))] {
                for form in [Form::Template, Form::Expression] {
                    if let Ok(template) = compiled(&source, form) {
                        prop_assert!(template.rewritten().len() >= source.len());
                    }
                }
            }
        }
    }
}
