//! `when`: a condition, bare or in braces.

use super::{
    expression, outcome,
    reader::Reader,
    yaml::{Content, Yaml},
};
use crate::spec::{OutcomeTest, When};

/// Reads a `when`. After a refusal it holds always, which nobody gets to see.
pub(super) fn read(reader: &mut Reader<'_>, name: &str, yaml: &Yaml) -> When {
    let text = match &yaml.content {
        Content::Bool(value) => return When::Outcome(OutcomeTest::Constant(*value)),
        Content::Text(text) => text,
        Content::Null | Content::Number(_) | Content::List(_) | Content::Map(_) => {
            reader.refuse_type(name, "a condition such as `succeeded()`", yaml);
            return ALWAYS;
        }
    };
    let bare = match expression::is_template(text) {
        true => expression::lone(text),
        false => Some(text.trim()),
    };
    let foreign = text.contains("${{") || text.contains("<%");
    match bare {
        Some("") => {
            let help = "write a condition such as `succeeded()`, or leave `when` out";
            reader.refuse("condition_empty", yaml.span, format!("`{name}` is empty"), help);
            ALWAYS
        }
        Some(condition) if !foreign => {
            expression::check_code(reader, condition, yaml.span);
            match outcome::parse(condition) {
                Some(test) => When::Outcome(test),
                None => When::Expression(reader.expression(name, condition, yaml.span)),
            }
        }
        Some(_) | None if foreign => {
            let help = "`<% … %>` is Orquesta and `${{ … }}` GitHub Actions; here, write the bare expression: `when: succeeded()`";
            reader.refuse("foreign_expression", yaml.span, format!("`{name}` is no expression"), help);
            ALWAYS
        }
        Some(_) | None => {
            let help = "write one bare expression: `when: succeeded() and result.status == 200`";
            reader.refuse("not_one_expression", yaml.span, format!("`{name}` is not exactly one expression"), help);
            ALWAYS
        }
    }
}

const ALWAYS: When = When::Outcome(OutcomeTest::Constant(true));
