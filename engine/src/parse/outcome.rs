//! Conditions that ask only how a task ended, so that nothing needs to be evaluated for them.
//!
//! The grammar is the part of Tera's expressions that matters here, with its precedence: `not` binds tighter than
//! `and`, `and` tighter than `or`. Whatever else stands in a condition makes it an expression.

use crate::spec::OutcomeTest;

/// Longer conditions are left to Tera, so that neither reading nor asking them recurses deep.
const TOKENS_MAX: usize = 128;

/// The test that `condition` is, when it is one.
pub(super) fn parse(condition: &str) -> Option<OutcomeTest> {
    let tokens = tokens(condition)?;
    let mut parser = Parser { tokens: &tokens };
    let test = parser.or()?;
    parser.tokens.is_empty().then_some(test)
}

/// Words and parentheses; `None` when there is anything else.
fn tokens(condition: &str) -> Option<Vec<&str>> {
    let mut tokens = Vec::new();
    let mut rest = condition.trim_start();
    while !rest.is_empty() {
        let word = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let length = match rest.as_bytes()[0] {
            b'(' | b')' => 1,
            _ => word,
        };
        if length == 0 || tokens.len() == TOKENS_MAX {
            return None;
        }
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Option<OutcomeTest> {
        let mut left = self.and()?;
        while self.takes("or") {
            left = OutcomeTest::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<OutcomeTest> {
        let mut left = self.not()?;
        while self.takes("and") {
            left = OutcomeTest::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    /// Tera refuses `not not`, so this does not take it either.
    fn not(&mut self) -> Option<OutcomeTest> {
        match self.takes("not") {
            true => Some(OutcomeTest::Not(Box::new(self.atom()?))),
            false => self.atom(),
        }
    }

    fn atom(&mut self) -> Option<OutcomeTest> {
        let test = match self.next()? {
            "(" => {
                let inner = self.or()?;
                return self.takes(")").then_some(inner);
            }
            "true" | "True" => return Some(OutcomeTest::Constant(true)),
            "false" | "False" => return Some(OutcomeTest::Constant(false)),
            "succeeded" => OutcomeTest::Succeeded,
            "failed" => OutcomeTest::Failed,
            "timed_out" => OutcomeTest::TimedOut,
            "crashed" => OutcomeTest::Crashed,
            "canceled" => OutcomeTest::Canceled,
            "completed" => OutcomeTest::Completed,
            _ => return None,
        };
        (self.takes("(") && self.takes(")")).then_some(test)
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn takes(&mut self, token: &str) -> bool {
        let is_next = self.tokens.first() == Some(&token);
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutcomeTest::{And, Completed, Constant, Failed, Not, Or, Succeeded, TimedOut};

    #[test]
    fn outcome_tests_are_told_from_expressions() {
        let not = |test| Not(Box::new(test));
        let and = |a, b| And(Box::new(a), Box::new(b));
        let or = |a, b| Or(Box::new(a), Box::new(b));
        for (condition, test) in [
            ("succeeded()", Some(Succeeded)),
            (" failed ( ) ", Some(Failed)),
            ("true", Some(Constant(true))),
            ("not failed() and completed()", Some(and(not(Failed), Completed))),
            ("failed() or succeeded() and timed_out()", Some(or(Failed, and(Succeeded, TimedOut)))),
            ("not (failed() or timed_out())", Some(not(or(Failed, TimedOut)))),
            ("((succeeded()))", Some(Succeeded)),
            ("not not failed()", None),
            ("failed", None),
            ("failed() and result.x", None),
            ("failed() == true", None),
            ("failed()failed()", None),
            ("(failed()", None),
            ("failed(1)", None),
            ("", None),
            ("succeeded() or", None),
            ("é", None),
        ] {
            assert_eq!(parse(condition), test, "{condition}");
        }
        assert_eq!(parse(&"(".repeat(100_000)), None);
        assert_eq!(parse(&format!("failed(){}", " and failed()".repeat(10_000))), None);
    }
}
