//! Walks the tokens of a template: which paths are read, where guards go, what is refused.
//!
//! Tera lets an undefined name pass under `not and or == != in ~ if` and in literals. So every operand that can be
//! undefined is wrapped, `not result.typo` becoming `not (result.typo | __d)`, except right before `default`,
//! `is defined` and `is undefined`, and in chains with `?.`. Guards stand where the value is used, not before the
//! whole template: `failed() or result.json.state != 'ready'` must not look into a result that is not there.
//!
//! [`super::walk`] goes over the tokens of one expression or tag; this is what it finds and what it remembers from
//! one to the next.

use std::ops::Range;

use super::{budget, lexer::Inside, walk::Walk};

/// The most that `for` loops, comprehensions included, may be nested.
const LOOPS_MAX: usize = 3;

/// What was found in one template.
#[derive(Debug, Default)]
pub struct Found {
    /// Every path that is read, in order of its end.
    pub paths: Vec<Path>,
    /// Texts to insert, in no order; of two at one place the earlier goes first.
    pub edits: Vec<Edit>,
    /// Names of functions called.
    pub functions: Vec<String>,
    /// Names of filters applied.
    pub filters: Vec<String>,
    /// Names of tests asked.
    pub tests: Vec<String>,
    /// What the language refuses though Tera would take it.
    pub refused: Vec<Refused>,
    /// A list or map is written out.
    pub has_literals: bool,
    /// Something may be undefined without failing: a chain with `?.`.
    pub has_optionals: bool,
    /// A loop, or what may take longer than its source and its data suggest.
    pub may_be_slow: bool,
    /// A `set` or `filter` block takes up what is rendered inside it.
    pub has_captures: bool,
    /// Something could not be understood: Tera must say what.
    pub is_unclear: bool,
}

/// A read of a name and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Where it stands in the source.
    pub range: Range<usize>,
    /// The first name.
    pub root: String,
    /// What follows, as far as it is written out.
    pub segments: Vec<Segment>,
    /// Whether the name is the template's own: from `set`, `for` or a comprehension.
    pub is_local: bool,
    /// What happens when it is undefined.
    pub when_undefined: WhenUndefined,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// `.name` or `["name"]`.
    Name(String),
    /// `[expression]` or a slice.
    Computed,
}

/// What happens when a path is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUndefined {
    /// It is an error.
    Fails,
    /// It stands before `default`, or has `?.` in it.
    Passes,
    /// It is asked: `is defined`, `is undefined`.
    Asked,
}

/// A text to insert into the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where, in bytes of the source.
    pub at: usize,
    /// What.
    pub text: &'static str,
}

/// Something that templates may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: &'static str,
    /// What.
    pub message: String,
}

/// Scans the pieces of one template, in order.
#[derive(Debug)]
pub struct Scanner<'a> {
    pub(super) source: &'a str,
    pub(super) found: Found,
    /// Names from `set`, from then on; where they are undefined after all, guards notice.
    pub(super) set: Vec<&'a str>,
    /// Names of the loops around, innermost last.
    pub(super) loops: Vec<Vec<&'a str>>,
}

impl<'a> Scanner<'a> {
    /// A scanner of `source`.
    #[must_use]
    pub fn new(source: &'a str) -> Self {
        Self { source, found: Found::default(), set: Vec::new(), loops: Vec::new() }
    }

    /// Scans an expression and puts `behind` after its end, as in `{{ (expression) | filter }}`. That filter must
    /// refuse undefined.
    pub fn expression(&mut self, inside: &'a Inside, behind: &'static str) {
        self.found.edits.push(Edit { at: inside.range.start, text: "(" });
        let mut walk = Walk::new(self, &inside.tokens);
        walk.checked();
        let is_whole = walk.is_done();
        self.found.is_unclear |= !is_whole;
        self.found.edits.push(Edit { at: inside.range.end, text: behind });
    }

    /// Scans a tag.
    pub fn tag(&mut self, inside: &'a Inside) {
        let mut walk = Walk::new(self, &inside.tokens);
        walk.tag();
        let is_whole = walk.is_done();
        self.found.is_unclear |= !is_whole;
        if inside.tokens.first().is_some_and(|first| &self.source[first.range.clone()] == "for") {
            self.turn(inside.range.end);
        }
    }

    /// Puts a look at time and size at the beginning of a loop's body. Its tag closes at `close`.
    fn turn(&mut self, close: usize) {
        let (tag_end, text) = match self.source[close..].starts_with('-') {
            true => (close + 3, budget::TURN_TRIMMED),
            false => (close + 2, budget::TURN),
        };
        self.found.edits.push(Edit { at: tag_end, text });
    }

    /// Puts the whole expression from `start` to `end` before a filter: `behind` begins with `)` and ends with one.
    pub(super) fn wrap(&mut self, start: usize, end: usize, behind: &'static str) {
        self.found.edits.push(Edit { at: start, text: "((" });
        self.found.edits.push(Edit { at: end, text: behind });
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Found {
        self.found
    }

    pub(super) fn is_local(&self, name: &str) -> bool {
        self.set.contains(&name) || self.loops.iter().flatten().any(|local| *local == name)
    }

    pub(super) fn refuse(&mut self, code: &'static str, message: String) {
        self.found.refused.push(Refused { code, message });
    }

    pub(super) fn enter_loop(&mut self, locals: Vec<&'a str>) {
        self.found.may_be_slow = true;
        for name in &locals {
            if name.starts_with("__") {
                self.refuse("reserved_name", format!("`{name}` cannot be the name of a loop variable"));
            }
        }
        self.loops.push(locals);
        if self.loops.len() == LOOPS_MAX + 1 {
            self.refuse("loops_too_deep", format!("loops are nested more than {LOOPS_MAX} deep"));
        }
    }
}
