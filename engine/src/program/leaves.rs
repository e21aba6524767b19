//! A field evaluated leaf by leaf: for people, who want to see what a template gives beside one that fails.

use std::collections::BTreeSet;

use proto::failure::Failure;
use tera::Map;

use super::{Compiled, Fault, Piece, Program};
use crate::{
    snapshot::Scope,
    spec::Field,
    template::{
        names::OUTCOME_FUNCTIONS,
        scan::{Path, Segment},
    },
    value::Value,
};

/// What a field gives, in the shape in which it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// A value without templates, or what a template gives.
    Value(Value),
    /// A template that reads a secret: it is not evaluated.
    Secret,
    /// A template that reads the item or its index, and the scope has none.
    OfItem,
    /// A template that reads how the action ended, and the scope does not know.
    OfOutcome,
    /// A template that reads this path, whose value is not at hand.
    Omitted(String),
    /// A template that fails.
    Failed(Failure),
    /// A list with templates in it.
    List(Vec<Rendered>),
    /// A map with templates in it, sorted by key.
    Map(Vec<(String, Rendered)>),
}

impl Program {
    /// Evaluates `field`, one of this program's workflow, leaf by leaf: one that fails keeps no other from being seen,
    /// and one that reads a secret shows nothing of it. Nor is one evaluated that reads a path of `omitted`.
    #[must_use]
    pub fn leaves(&self, field: &Field, scope: &Scope, omitted: &[&str]) -> Rendered {
        self.leaf(self.compiled(field), &Known { scope, omitted }, &field.name)
    }

    /// The names that templates of `field` read below `root`, such as `env`, as far as they are written out.
    #[must_use]
    pub fn names_read(&self, field: &Field, root: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.each_template(self.compiled(field), &mut |compiled| {
            names.extend(compiled.read_of(root).filter_map(|path| match path.segments.first() {
                Some(Segment::Name(name)) => Some(name.clone()),
                Some(Segment::Computed) | None => None,
            }));
        });
        names
    }

    fn compiled(&self, field: &Field) -> &Piece {
        let piece = self.sites.get(field.site.0 as usize).and_then(Option::as_ref);
        piece.expect("every field of a program's workflow was compiled")
    }

    fn leaf(&self, piece: &Piece, known: &Known<'_>, name: &str) -> Rendered {
        match piece {
            Piece::Constant(value) => Rendered::Value(value.clone()),
            Piece::Template(index) => self.rendered_leaf(&self.tera.list[*index], known, name),
            Piece::List(pieces) => {
                let leaf = |(at, piece)| self.leaf(piece, known, &format!("{name}[{at}]"));
                Rendered::List(pieces.iter().enumerate().map(leaf).collect())
            }
            Piece::Map(pieces) => {
                let leaf = |key: &str, piece| (key.to_owned(), self.leaf(piece, known, &format!("{name}.{key}")));
                Rendered::Map(pieces.iter().map(|(key, piece)| leaf(&key.to_string(), piece)).collect())
            }
        }
    }

    fn rendered_leaf(&self, compiled: &Compiled, known: &Known<'_>, name: &str) -> Rendered {
        let lacks = |root: &str| compiled.read_of(root).next().is_some() && known.scope.get(root).is_none();
        if compiled.read_of("secrets").next().is_some() {
            return Rendered::Secret;
        }
        if ["item", "index"].into_iter().any(lacks) {
            return Rendered::OfItem;
        }
        if ["result", "error", "item_errors"].into_iter().any(lacks) || compiled.asks_outcome() {
            return Rendered::OfOutcome;
        }
        if let Some(path) = known.omitted.iter().find(|path| compiled.needs(path)) {
            return Rendered::Omitted((*path).to_owned());
        }
        match self.template(compiled, known.scope) {
            Ok(value) => Rendered::Value(value),
            Err(Fault { code, message, .. }) => Rendered::Failed(Failure::new(code, format!("{name}: {message}"))),
        }
    }

    fn each_template<'a>(&'a self, piece: &'a Piece, visit: &mut impl FnMut(&'a Compiled)) {
        match piece {
            Piece::Constant(_) => {}
            Piece::Template(index) => visit(&self.tera.list[*index]),
            Piece::List(pieces) => pieces.iter().for_each(|piece| self.each_template(piece, visit)),
            Piece::Map(pieces) => pieces.iter().for_each(|(_, piece)| self.each_template(piece, visit)),
        }
    }
}

/// What templates are evaluated with.
struct Known<'a> {
    scope: &'a Scope,
    /// Paths whose values are not at hand.
    omitted: &'a [&'a str],
}

impl Compiled {
    /// Whether it reads `path`, by itself or with a root as a whole.
    fn needs(&self, path: &str) -> bool {
        self.reads()
            .any(|read| path.strip_prefix(&read.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    fn read_of<'a>(&'a self, root: &'a str) -> impl Iterator<Item = &'a Path> + 'a {
        self.template.paths.iter().filter(move |path| !path.is_local && path.root == root)
    }

    /// Whether it asks `succeeded()` or another of these, which stand in no path. One too many does no harm.
    fn asks_outcome(&self) -> bool {
        OUTCOME_FUNCTIONS.iter().any(|function| self.template.source.contains(&format!("{function}()")))
    }
}

impl Rendered {
    /// As a value: `shown` says what stands in the place of what is none.
    pub fn into_value(self, shown: &mut impl FnMut(Self) -> Value) -> Value {
        match self {
            Self::Value(value) => value,
            Self::List(leaves) => Value::from_list(leaves.into_iter().map(|leaf| leaf.into_value(shown)).collect()),
            Self::Map(leaves) => {
                let leaves = leaves.into_iter().map(|(key, leaf)| (key.into(), leaf.into_value(shown).into_tera()));
                tera::Value::from(leaves.collect::<Map>()).into()
            }
            Self::Secret | Self::OfItem | Self::OfOutcome | Self::Omitted(_) | Self::Failed(_) => shown(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    const SOURCE: &str = "\
name: w
parameters: { a: { type: integer } }
tasks:
  act:
    action: core.echo
    with_items: [1, 2]
    input:
      far: \"{{ workflow | length }}\"
      fine: \"{{ parameters.a + 1 }}\"
      broken: [\"{{ parameters.a.b.c }}\", plain]
      token: \"Bearer {{ secrets.token }}\"
      hidden: \"{% set x = secrets.token %}{{ x }}\"
      of: \"{{ item }} in {{ env.HOME }}{{ env['PORT'] }}\"
";

    #[test]
    fn a_leaf_that_fails_or_is_secret_hides_no_other() {
        let (program, _) = Program::compile(SOURCE, "w.yaml").unwrap_or_else(|problems| panic!("{problems:?}"));
        let input = &program.workflow().tasks[0].input;
        let snapshot = Snapshot::build([("parameters.a".to_owned(), Value::from_u64(1))]);
        let rendered = program.leaves(input, &Scope::new(&snapshot).with_env([]), &["workflow.far"]);
        let mut failures = Vec::new();
        let json = rendered.into_value(&mut |leaf| {
            let word = match &leaf {
                Rendered::Secret => "secret",
                Rendered::OfItem => "item",
                Rendered::OfOutcome => "outcome",
                Rendered::Omitted(path) => path,
                Rendered::Failed(failure) => {
                    failures.push(failure.message.clone());
                    "failed"
                }
                Rendered::Value(_) | Rendered::List(_) | Rendered::Map(_) => "whole",
            };
            Value::from_text(word)
        });
        let expected = r#"{"broken":["failed","plain"],"far":"workflow.far","fine":2,"hidden":"secret","of":"item","token":"secret"}"#;
        assert_eq!(json.to_json().expect("JSON").as_str(), expected);
        assert_eq!(failures.len(), 1);
        assert!(failures[0].starts_with("tasks.act.input.broken[0]: "), "{failures:?}");
        assert_eq!(program.names_read(input, "env").into_iter().collect::<Vec<_>>(), ["HOME", "PORT"]);
    }
}
