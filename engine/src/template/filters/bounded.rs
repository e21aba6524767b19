//! Tera's own filters and functions that make much of little, done again: what they make is spent before it is made.
//!
//! They give what Tera's give, and take what Tera's take.

use proto::limits::ITEMS_MAX;
use tera::{Kwargs, State, Tera, TeraResult, Value};

use crate::template::budget::{self, PLACE_BYTES};

/// The widest indentation, as in Tera.
const INDENT_MAX: usize = 1000;

pub fn register(tera: &mut Tera) {
    tera.register_filter("replace", replace);
    tera.register_filter("join", join);
    tera.register_filter("indent", indent);
    tera.register_filter("split", split);
    tera.register_function("range", range);
}

/// `replace(from="a", to="b")`: every occurrence.
fn replace(text: &str, kwargs: Kwargs, _: &State) -> TeraResult<String> {
    let from: &str = kwargs.must_get("from")?;
    let to: &str = kwargs.must_get("to")?;
    let found = text.matches(from).count();
    budget::spend(text.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(text.replace(from, to))
}

/// `join(sep=", ")`: one text of all elements.
fn join(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<String> {
    let separator: &str = kwargs.get("sep")?.unwrap_or_default();
    let mut joined = String::new();
    for (index, element) in list.iter().enumerate() {
        let before = joined.len();
        if index > 0 {
            joined.push_str(separator);
        }
        match element.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&element.to_string()),
        }
        budget::spend(joined.len() - before)?;
    }
    Ok(joined)
}

/// `indent(width=4, indentation=" ", first=false, blank=false)`: each line but the first and blank ones.
fn indent(text: &str, kwargs: Kwargs, _: &State) -> TeraResult<String> {
    let width = kwargs.get::<usize>("width")?.unwrap_or(4).min(INDENT_MAX);
    let indentation: &str = kwargs.get("indentation")?.unwrap_or(" ");
    let first = kwargs.get::<bool>("first")?.unwrap_or(false);
    let blank = kwargs.get::<bool>("blank")?.unwrap_or(false);
    if indentation.chars().count() != 1 {
        return Err(tera::Error::message("the `indentation` of `indent` is exactly one character"));
    }
    let indentation = indentation.repeat(width);
    budget::spend(text.len().saturating_add(text.lines().count().saturating_mul(indentation.len())))?;
    let mut indented = String::new();
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        if is_indented {
            indented.push_str(&indentation);
        }
        indented.push_str(line);
    }
    if text.ends_with('\n') {
        indented.push('\n');
    }
    Ok(indented)
}

/// `split(pat=",")`: the parts between.
fn split(text: &str, kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let separator: &str = kwargs.must_get("pat")?;
    budget::spend(text.split(separator).count().saturating_mul(PLACE_BYTES))?;
    Ok(text.split(separator).map(Value::from).collect())
}

/// `range(start=0, end=10, step_by=1)`: whole numbers from `start` on, `end` not among them. As many as a task may
/// have items; Tera's own ends at 100,000.
fn range(kwargs: Kwargs, _: &State) -> TeraResult<Vec<i128>> {
    let start = kwargs.get::<i64>("start")?.unwrap_or(0);
    let end: i64 = kwargs.must_get("end")?;
    let step = kwargs.get::<i64>("step_by")?.unwrap_or(1);
    let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step));
    if step == 0 {
        return Err(tera::Error::message("`range` needs a `step_by` other than 0"));
    }
    if start > end && step > 0 {
        return Err(tera::Error::message(format!("`range` goes up, but its `start` {start} is above its `end` {end}")));
    }
    // From 64 bits, none of this overflows 128.
    let length = match step > 0 {
        true => (end - start + step - 1) / step,
        false => ((start - end - step - 1) / -step).max(0),
    };
    if length > i128::from(ITEMS_MAX) {
        return Err(tera::Error::message(format!(
            "`range` would have {length} numbers, more than the limit of {ITEMS_MAX}"
        )));
    }
    let length = usize::try_from(length).expect("at most as many as there may be items");
    budget::spend(length * PLACE_BYTES)?;
    Ok((0..length).zip(0_i128..).map(|(_, index)| start + index * step).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tera::Context;

    use super::*;

    fn rendered(mut tera: Tera, source: &str, x: Value) -> Result<String, String> {
        let mut context = Context::new();
        context.insert_value("x", x);
        tera.autoescape_on(Vec::<&str>::new());
        tera.render_str(source, &context, false).map_err(|error| error.to_string())
    }

    fn ours() -> Tera {
        let mut tera = Tera::new();
        register(&mut tera);
        tera
    }

    proptest! {
        #[test]
        fn they_give_what_teras_give(
            text in "[ab\n\r, ]{0,12}", from in "[ab,]{0,2}", to in "[abc]{0,3}", width in 0..5_u8, first: bool, blank: bool,
            start in -9..9_i8, end in -9..9_i8, step in -4..4_i8,
        ) {
            for source in [
                format!("{{{{ x | replace(from='{from}', to='{to}') }}}}"),
                format!("{{{{ x | split(pat='{from}') }}}}"),
                format!("{{{{ x | split(pat=',') | join(sep='{to}') }}}}"),
                "{{ [x, 1, none, [x, 2], 1.5] | join }}".to_owned(),
                format!("{{{{ x | indent(width={width}, first={first}, blank={blank}) }}}}"),
                format!("{{{{ x | indent(indentation='{to}') }}}}"),
                format!("{{{{ range(start={start}, end={end}, step_by={step}) }}}}"),
            ] {
                let tera = rendered(Tera::new(), &source, text.as_str().into());
                let ours = rendered(ours(), &source, text.as_str().into());
                prop_assert_eq!(tera.clone().ok(), ours.clone().ok(), "{}: {:?} {:?}", source, tera, ours);
            }
        }
    }

    #[test]
    fn nothing_is_made_that_is_too_large() {
        let text = Value::from("a\n".repeat(4 << 20));
        for source in [
            "{{ x | replace(from='', to=x) }}",
            "{{ x | indent(width=1000) }}",
            "{{ x | split(pat='a') | join(sep=x) }}",
            "{{ x | replace(from='a', to=x) }}",
        ] {
            let (given, excess) = budget::within(None, 0, || rendered(ours(), source, text.clone()));
            assert!(given.is_err());
            assert_eq!(excess, Some(budget::Excess::Size), "{source}");
        }
        assert!(
            rendered(ours(), "{{ range(end=1000001) }}", Value::none()).expect_err("long").contains("1000001 numbers")
        );
        let extremes = "{{ range(start=9223372036854775807, end=-9223372036854775807, step_by=-1) }}";
        assert!(rendered(ours(), extremes, Value::none()).expect_err("long").contains("more than the limit"));
    }
}
