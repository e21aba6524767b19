//! With which outcomes a condition can hold, as far as that can be told without running anything.

use std::ops::Range;

use proto::work::Status;

use crate::{
    parse,
    spec::{Node, OutcomeTest, When},
    template::lexer::{self, Kind, Token},
};

/// A set of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statuses(u8);

const EACH: [Status; 5] = [Status::Succeeded, Status::Failed, Status::TimedOut, Status::Crashed, Status::Canceled];

impl Statuses {
    pub(super) const ALL: Self = Self(0b1_1111);
    pub(super) const NONE: Self = Self(0);
    pub(super) const SUCCEEDED: Self = Self(0b1);
    pub(super) const FAILED: Self = Self(0b10);
    pub(super) const TIMED_OUT: Self = Self(0b100);

    fn of(test: &OutcomeTest) -> Self {
        let holds = EACH.iter().enumerate().filter(|(_, status)| test.holds(**status));
        Self(holds.fold(0, |set, (at, _)| set | 1 << at))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn includes(self, other: Self) -> bool {
        other.without(self).is_empty()
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        !self.and(other).is_empty()
    }
}

/// The outcomes with which `when` may hold.
pub(super) fn may(when: &When) -> Statuses {
    let field = match when {
        When::Outcome(test) => return Statuses::of(test),
        When::Expression(field) => field,
    };
    match &field.node {
        Node::Template(text) | Node::Expression(text) => expression(&text.source),
        Node::Literal(_) | Node::List(_) | Node::Map(_) => Statuses::ALL,
    }
}

/// The outcomes with which `when` surely holds.
pub(super) fn must(when: &When) -> Statuses {
    match when {
        When::Outcome(test) => Statuses::of(test),
        When::Expression(_) => Statuses::NONE,
    }
}

/// `succeeded() and result.ok or timed_out()`: of every alternative the parts that only ask for the outcome.
fn expression(source: &str) -> Statuses {
    let Ok(inside) = lexer::expression(source) else { return Statuses::ALL };
    let is_name = |token: &Token, word: &str| token.kind == Kind::Name && source[token.range.clone()] == *word;
    // A ternary binds looser than `or`.
    if inside.tokens.iter().any(|token| is_name(token, "if")) {
        return Statuses::ALL;
    }
    let alternatives = split(source, &inside.tokens, "or");
    let holds = |parts: Vec<&[Token]>| {
        parts.into_iter().filter_map(|part| outcome(source, part)).fold(Statuses::ALL, Statuses::and)
    };
    alternatives
        .into_iter()
        .map(|alternative| holds(split(source, alternative, "and")))
        .fold(Statuses::NONE, Statuses::or)
}

fn outcome(source: &str, tokens: &[Token]) -> Option<Statuses> {
    let whole: Range<usize> = tokens.first()?.range.start..tokens.last()?.range.end;
    parse::outcome_test(&source[whole]).map(|test| Statuses::of(&test))
}

/// `tokens`, cut at each `word` that stands in no brackets.
fn split<'t>(source: &str, tokens: &'t [Token], word: &str) -> Vec<&'t [Token]> {
    let mut depth = 0i32;
    tokens
        .split(|token| {
            match &source[token.range.clone()] {
                "(" | "[" | "{" | "?[" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            depth == 0 && token.kind == Kind::Name && source[token.range.clone()] == *word
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_found_in_conditions() {
        let failures = Statuses::ALL.without(Statuses::SUCCEEDED);
        for (source, statuses) in [
            ("succeeded() and result.ok", Statuses::SUCCEEDED),
            ("result.ok and succeeded()", Statuses::SUCCEEDED),
            ("failed() and result.ok or not succeeded()", failures),
            ("failed() or result.ok", Statuses::ALL),
            ("(failed() or result.ok)", Statuses::ALL),
            ("succeeded() and failed() and result.ok", Statuses::NONE),
            ("(succeeded() or failed()) and [result.ok and failed()]", Statuses::ALL),
            ("succeeded() if result.ok else failed()", Statuses::ALL),
            ("not (succeeded() and result.ok)", Statuses::ALL),
            ("result.x == 'succeeded() and'", Statuses::ALL),
        ] {
            assert_eq!(expression(source), statuses, "{source}");
        }
    }
}
