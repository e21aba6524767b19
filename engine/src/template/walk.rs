//! Goes over the tokens of one expression or tag and notes what it finds in the [`Scanner`].
//!
//! This is no parser: of Tera's grammar it knows operands, brackets and what binds tighter than `is`. When it
//! meets something that cannot be, it stops and leaves the message to Tera.

use std::ops::Range;

use super::{
    budget, filters, guard,
    lexer::{Kind, Token},
    names,
    scan::{Edit, Found, Path, Scanner, Segment, WhenUndefined},
};

/// The most that brackets may be nested; Tera allows 40 levels.
const DEPTH_MAX: usize = 64;
/// The most texts that one expression puts together with `~`: each step copies all that is there.
const CONCATENATIONS_MAX: usize = 32;
const CONSTANTS: [&str; 7] = ["true", "True", "false", "False", "none", "None", "null"];
const TAGS_REFUSED: [&str; 7] = ["include", "extends", "block", "component", "import", "macro", "from"];

/// Whether `if` continues an expression or ends it, as in a comprehension.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ternary {
    /// It is part of it.
    Allowed,
    /// It belongs to what is around.
    Ends,
}

/// How strongly the operator before an operand binds, compared with `is`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    Looser,
    Tighter,
}

/// An operand that is guarded unless what follows makes up for it being undefined.
struct Unguarded {
    range: Range<usize>,
    path: Option<usize>,
}

/// A walk over the tokens between two delimiters.
pub struct Walk<'s, 'a> {
    scanner: &'s mut Scanner<'a>,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Lists and maps around, with nothing in between that would use what stands here.
    literals: usize,
}

impl<'s, 'a> Walk<'s, 'a> {
    /// A walk that begins at the first of `tokens`.
    pub fn new(scanner: &'s mut Scanner<'a>, tokens: &'a [Token]) -> Self {
        Self { scanner, tokens, at: 0, depth: 0, literals: 0 }
    }

    /// Whether all tokens were understood.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == self.tokens.len()
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| &self.scanner.source[token.range.clone()])
    }

    fn peek_kind(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn is_name(&self, word: &str) -> bool {
        self.peek_kind() == Some(Kind::Name) && self.peek(0) == word
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek_kind(), Some(Kind::Symbol | Kind::Brace)) && self.peek(0) == symbol
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let is_there = self.is_symbol(symbol);
        if is_there {
            self.note_brace();
            self.at += 1;
        }
        is_there
    }

    fn eat_name(&mut self) -> Option<&'a str> {
        let name = (self.peek_kind() == Some(Kind::Name)).then(|| self.peek(0))?;
        self.at += 1;
        Some(name)
    }

    fn expect(&mut self, symbol: &str) {
        if !self.eat_symbol(symbol) {
            self.unclear();
        }
    }

    /// Where the token before ends.
    fn end(&self) -> usize {
        self.tokens[..self.at].last().map_or(0, |token| token.range.end)
    }

    /// Gives up on these tokens.
    fn unclear(&mut self) {
        self.scanner.found.is_unclear = true;
        self.at = self.tokens.len();
    }

    fn note_brace(&mut self) {
        let Some(token) = self.tokens.get(self.at).filter(|token| token.kind == Kind::Brace) else { return };
        self.scanner.found.edits.push(Edit { at: token.range.end, text: " " });
    }

    /// An expression whose value is used: guarded.
    pub fn value(&mut self, ternary: Ternary) {
        let unguarded = self.sum(ternary);
        self.guard(unguarded);
    }

    /// An expression whose value goes to a filter that refuses undefined itself: a lone path needs no guard.
    pub fn checked(&mut self) {
        let unguarded = self.sum(Ternary::Allowed);
        let is_lone = |unguarded: &Unguarded| unguarded.path.is_some() && unguarded.range.end == self.end();
        let unguarded = unguarded.filter(|unguarded| !is_lone(unguarded));
        self.guard(unguarded);
    }

    fn guard(&mut self, unguarded: Option<Unguarded>) {
        let Some(Unguarded { range, path: _ }) = unguarded else { return };
        self.scanner.found.edits.push(Edit { at: range.start, text: "(" });
        self.scanner.found.edits.push(Edit { at: range.end, text: guard::DEFINED });
    }

    fn pass(&mut self, unguarded: Option<Unguarded>, when_undefined: WhenUndefined) {
        if let Some(path) = unguarded.and_then(|unguarded| unguarded.path) {
            self.scanner.found.paths[path].when_undefined = when_undefined;
        }
    }

    /// Operands and operators. What is a single operand is given back unguarded: the caller knows what follows.
    fn sum(&mut self, ternary: Ternary) -> Option<Unguarded> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.unclear();
        }
        let mut binding = Binding::Looser;
        let mut ifs = 0;
        let mut is_sole = true;
        let start = self.tokens.get(self.at).map_or(0, |token| token.range.start);
        let mut concatenations = 0;
        let sole = loop {
            while self.is_symbol("-") || self.is_name("not") {
                is_sole = false;
                self.at += 1;
            }
            let operand = self.operand(binding);
            let Some((tokens, next)) = self.operator(ternary, &mut ifs) else {
                if is_sole {
                    break operand;
                }
                self.guard(operand);
                break None;
            };
            self.guard(operand);
            is_sole = false;
            concatenations += usize::from(self.peek(0) == "~");
            self.at += tokens;
            binding = next;
        };
        self.depth -= 1;
        if concatenations > 0 {
            self.scanner.wrap(start, self.end(), budget::MADE_WHOLE);
        }
        if concatenations > CONCATENATIONS_MAX {
            let message = format!(
                "more than {CONCATENATIONS_MAX} times `~` in one expression: write a text with `{{{{ }}}}` in it"
            );
            self.scanner.refuse("too_many_concatenations", message);
        }
        sole
    }

    /// How many tokens the operator here has, and how it binds; `None` when the expression ends.
    fn operator(&self, ternary: Ternary, ifs: &mut usize) -> Option<(usize, Binding)> {
        match (self.peek_kind()?, self.peek(0)) {
            (Kind::Symbol, "+" | "-" | "*" | "/" | "//" | "%" | "**" | "~") => Some((1, Binding::Tighter)),
            (Kind::Symbol, "<" | ">" | "<=" | ">=" | "==" | "!=") => Some((1, Binding::Tighter)),
            (Kind::Name, "and" | "or") => Some((1, Binding::Looser)),
            (Kind::Name, "in") => Some((1, Binding::Tighter)),
            (Kind::Name, "not") if self.peek(1) == "in" => Some((2, Binding::Tighter)),
            (Kind::Name, "if") if ternary == Ternary::Allowed => {
                *ifs += 1;
                Some((1, Binding::Looser))
            }
            (Kind::Name, "else") if *ifs > 0 => {
                *ifs -= 1;
                Some((1, Binding::Looser))
            }
            _ => None,
        }
    }

    /// One operand with its subscripts, filters and tests.
    fn operand(&mut self, binding: Binding) -> Option<Unguarded> {
        let Some(start) = self.tokens.get(self.at).map(|token| token.range.start) else {
            self.unclear();
            return None;
        };
        let is_negated = self.at > 0 && matches!(self.tokens[self.at - 1].kind, Kind::Symbol) && self.before() == "-";
        let mut unguarded = self.primary();
        loop {
            if self.is_symbol("[") {
                self.guard(unguarded.take());
                self.subscript();
                // A minus before it would change sides if the whole were put in parentheses.
                unguarded = (!is_negated).then(|| Unguarded { range: start..self.end(), path: None });
            } else if self.eat_symbol("|") {
                let Some(name) = self.eat_name() else {
                    self.unclear();
                    return None;
                };
                self.scanner.found.filters.push(name.to_owned());
                match name {
                    "default" => self.pass(unguarded.take(), WhenUndefined::Passes),
                    _ => self.guard(unguarded.take()),
                }
                self.filter_arguments(name);
            } else if self.is_name("is") {
                self.at += if self.peek(1) == "not" { 2 } else { 1 };
                let Some(name) = self.eat_name() else {
                    self.unclear();
                    return None;
                };
                self.scanner.found.tests.push(name.to_owned());
                match (name, binding) {
                    ("defined" | "undefined", Binding::Looser) => self.pass(unguarded.take(), WhenUndefined::Asked),
                    _ => self.guard(unguarded.take()),
                }
                self.arguments();
            } else {
                return unguarded;
            }
        }
    }

    fn before(&self) -> &'a str {
        &self.scanner.source[self.tokens[self.at - 1].range.clone()]
    }

    fn primary(&mut self) -> Option<Unguarded> {
        match (self.peek_kind()?, self.peek(0)) {
            (Kind::Text | Kind::Number, _) => {
                self.at += 1;
                None
            }
            (Kind::Name, name) if CONSTANTS.contains(&name) => {
                self.at += 1;
                None
            }
            (Kind::Name, name) if self.peek(1) == "(" => {
                self.scanner.found.functions.push(name.to_owned());
                self.scanner.found.may_be_slow |= name == "range";
                self.at += 1;
                self.arguments();
                None
            }
            (Kind::Name, _) => self.path(),
            (Kind::Symbol, "(") => {
                self.at += 1;
                let sole = self.sum(Ternary::Allowed);
                self.expect(")");
                sole
            }
            (Kind::Symbol, "[") => {
                self.literal(Self::list);
                None
            }
            (Kind::Symbol, "{") => {
                self.literal(Self::map);
                None
            }
            (Kind::Symbol, "<") => {
                self.scanner.refuse("template_tag_refused", "components cannot be used in workflows".to_owned());
                self.unclear();
                None
            }
            _ => {
                self.unclear();
                None
            }
        }
    }

    /// A name and what follows it: `task.probe["result"].rows[0]`.
    fn path(&mut self) -> Option<Unguarded> {
        let start = self.tokens[self.at].range.start;
        let root = self.eat_name()?;
        let mut segments = Vec::new();
        let mut when_undefined = WhenUndefined::Fails;
        loop {
            let step = self.peek(0);
            match self.peek_kind() {
                Some(Kind::Symbol) if step == "." || step == "?." => {
                    self.at += 1;
                    let Some(name) = self.eat_name() else {
                        self.unclear();
                        return None;
                    };
                    segments.push(Segment::Name(name.to_owned()));
                }
                Some(Kind::Symbol) if step == "[" || step == "?[" => {
                    segments.push(self.literal_subscript().map_or(Segment::Computed, Segment::Name));
                    self.subscript();
                }
                _ => break,
            }
            if step.starts_with('?') {
                when_undefined = WhenUndefined::Passes;
                self.scanner.found.has_optionals = true;
            }
        }
        let range = start..self.end();
        let is_local = self.scanner.is_local(root);
        self.scanner.found.paths.push(Path {
            range: range.clone(),
            root: root.to_owned(),
            segments,
            is_local,
            when_undefined,
        });
        let is_loop = root == "loop" && is_local;
        let path = Some(self.scanner.found.paths.len() - 1);
        (when_undefined == WhenUndefined::Fails && !is_loop).then_some(Unguarded { range, path })
    }

    /// The text of the subscript here, when it is nothing but a text.
    fn literal_subscript(&self) -> Option<String> {
        let token = self.tokens.get(self.at + 1).filter(|token| token.kind == Kind::Text)?;
        let text = &self.scanner.source[token.range.start + 1..token.range.end - 1];
        (self.peek(2) == "]" && !text.contains('\\')).then(|| text.to_owned())
    }

    /// `[expression]` or a slice, behind an operand.
    fn subscript(&mut self) {
        self.at += 1;
        while self.at < self.tokens.len() && !self.is_symbol("]") {
            if !self.eat_symbol(":") {
                self.value(Ternary::Allowed);
                if !self.is_symbol(":") && !self.is_symbol("]") {
                    return self.unclear();
                }
            }
        }
        self.expect("]");
    }

    /// `(name=expression, …)`, if it is there.
    fn arguments(&mut self) {
        if !self.eat_symbol("(") {
            return;
        }
        let literals = std::mem::take(&mut self.literals);
        while self.at < self.tokens.len() && !self.is_symbol(")") {
            if self.eat_name().is_none() || !self.eat_symbol("=") {
                return self.unclear();
            }
            self.value(Ternary::Allowed);
            if !self.eat_symbol(",") && !self.is_symbol(")") {
                return self.unclear();
            }
        }
        self.expect(")");
        self.literals = literals;
    }

    /// The arguments of the filter `name`, and behind it a look at what it made.
    fn filter_arguments(&mut self, name: &str) {
        self.arguments();
        self.scanner.found.may_be_slow |= filters::may_be_slow(name);
        if filters::makes_larger(name) {
            self.scanner.found.edits.push(Edit { at: self.end(), text: budget::MADE });
        }
    }

    /// A list or a map, with a look at what it became unless it is made of constants.
    fn literal(&mut self, walk: impl FnOnce(&mut Self)) {
        self.scanner.found.has_literals = true;
        let start = self.tokens[self.at].range.start;
        let operands = |found: &Found| (found.paths.len(), found.functions.len());
        let before = operands(&self.scanner.found);
        let around = self.literals;
        let is_element = around > 0 && matches!(self.before(), "[" | "{" | "," | ":" | "...");
        self.literals = around + 1;
        walk(self);
        self.literals = around;
        // The outermost one is looked at with all that is in it.
        let is_looked_at = is_element && matches!(self.peek(0), "," | "]" | "}");
        if operands(&self.scanner.found) != before && !is_looked_at {
            self.scanner.wrap(start, self.end(), budget::MADE_WHOLE);
        }
    }

    fn list(&mut self) {
        if let Some(locals) = self.comprehension() {
            return self.comprehended(locals);
        }
        self.at += 1;
        while self.at < self.tokens.len() && !self.is_symbol("]") {
            self.eat_symbol("...");
            self.value(Ternary::Allowed);
            if !self.eat_symbol(",") && !self.is_symbol("]") {
                return self.unclear();
            }
        }
        self.expect("]");
    }

    fn map(&mut self) {
        self.at += 1;
        while self.at < self.tokens.len() && !self.is_symbol("}") {
            if !self.eat_symbol("...") {
                self.at += 1;
                self.expect(":");
            }
            self.value(Ternary::Allowed);
            if !self.eat_symbol(",") && !self.is_symbol("}") {
                return self.unclear();
            }
        }
        self.expect("}");
    }

    /// The names that the list here binds, if it is a comprehension: they stand behind the expression that uses them.
    fn comprehension(&self) -> Option<Vec<&'a str>> {
        let mut depth = 0usize;
        for ahead in 1.. {
            let token = self.tokens.get(self.at + ahead)?;
            match (token.kind, self.peek(ahead)) {
                (Kind::Symbol, "[" | "(" | "{" | "?[") => depth += 1,
                (Kind::Symbol | Kind::Brace, "]" | ")" | "}") => depth = depth.checked_sub(1)?,
                (Kind::Symbol, ",") if depth == 0 => return None,
                (Kind::Name, "for") if depth == 0 && !self.peek(ahead - 1).ends_with('.') => {
                    let first = self.peek(ahead + 1);
                    let second = (self.peek(ahead + 2) == ",").then(|| self.peek(ahead + 3));
                    return Some([first].into_iter().chain(second).collect());
                }
                _ => {}
            }
        }
        None
    }

    /// `[expression for locals in list if condition]`. The list does not see the locals.
    fn comprehended(&mut self, locals: Vec<&'a str>) {
        self.at += 1;
        let literals = std::mem::take(&mut self.literals);
        self.scanner.enter_loop(locals.clone());
        let each = self.spanned(Ternary::Allowed);
        self.scanner.loops.pop();
        // `for x in` or `for k, v in`.
        let has_binding = self.is_name("for") && self.peek(2 * locals.len()) == "in";
        if !has_binding {
            return self.unclear();
        }
        self.at += 2 * locals.len() + 1;
        self.value(Ternary::Ends);
        let mut asked = each;
        if self.is_name("if") {
            self.at += 1;
            self.scanner.loops.push(locals);
            asked = self.spanned(Ternary::Ends);
            self.scanner.loops.pop();
        }
        self.scanner.wrap(asked.start, asked.end, budget::EACH);
        self.expect("]");
        self.literals = literals;
    }

    /// As [`Self::value`]; gives where it stands.
    fn spanned(&mut self, ternary: Ternary) -> Range<usize> {
        let start = self.tokens.get(self.at).map_or(0, |token| token.range.start);
        self.value(ternary);
        start..self.end()
    }

    /// The inside of a tag.
    pub fn tag(&mut self) {
        match self.eat_name() {
            Some("set" | "set_global") => self.set_tag(),
            Some("for") => self.for_tag(),
            Some("endfor") => {
                self.scanner.loops.pop();
            }
            Some("if" | "elif") => self.value(Ternary::Allowed),
            Some("filter") => {
                self.scanner.found.has_captures = true;
                self.filter_name();
                self.filters();
            }
            Some("else" | "endif" | "endset" | "endfilter" | "break" | "continue") => {}
            Some(name) if TAGS_REFUSED.contains(&name) => {
                self.scanner.refuse("template_tag_refused", format!("`{name}` cannot be used in workflows"));
                self.unclear();
            }
            None if self.is_symbol("<") => {
                self.scanner.refuse("template_tag_refused", "components cannot be used in workflows".to_owned());
                self.unclear();
            }
            Some(_) | None => self.unclear(),
        }
    }

    fn set_tag(&mut self) {
        // By setting a name again and again, a few lines make much.
        self.scanner.found.may_be_slow = true;
        let Some(name) = self.eat_name() else { return self.unclear() };
        if names::ROOTS.contains(&name) || name.starts_with("__") {
            self.scanner.refuse("reserved_name", format!("`{name}` cannot be set: choose another name"));
        }
        match self.eat_symbol("=") {
            true => self.value(Ternary::Allowed),
            false => {
                self.scanner.found.has_captures = true;
                self.filters();
            }
        }
        self.scanner.set.push(name);
    }

    fn for_tag(&mut self) {
        let mut locals = vec!["loop"];
        loop {
            let Some(name) = self.eat_name() else { return self.unclear() };
            locals.push(name);
            if !self.eat_symbol(",") {
                break;
            }
        }
        if !self.is_name("in") {
            return self.unclear();
        }
        self.at += 1;
        self.value(Ternary::Allowed);
        self.scanner.enter_loop(locals);
    }

    /// `| filter(…) | filter`, behind nothing.
    fn filters(&mut self) {
        while self.eat_symbol("|") {
            self.filter_name();
        }
    }

    fn filter_name(&mut self) {
        let Some(name) = self.eat_name() else { return self.unclear() };
        self.scanner.found.filters.push(name.to_owned());
        self.filter_arguments(name);
    }
}
