//! Files that are refused: every problem of each, as one line with its help.

use std::fmt::Write;

use leveret_engine::{
    diagnostic::{Colour, Severity},
    parse::parse,
};

#[test]
fn every_problem_is_told() {
    let files = super::files("broken");
    assert!(files.len() >= 35);
    let mut text = String::new();
    for (name, source) in files {
        let diagnostics = parse(&source, &name).expect_err(&name);
        assert!(diagnostics.has_errors(), "{name}");
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        assert_eq!(diagnostics.problems().len(), errors.count(), "{name}");
        for colour in [Colour::None, Colour::Ansi] {
            let report = diagnostics.render(colour);
            for diagnostic in diagnostics.iter() {
                assert!(
                    report.contains(diagnostic.code) && report.contains(&diagnostics.location(diagnostic.span)),
                    "{report}"
                );
            }
        }
        writeln!(text, "{}", super::told(&diagnostics)).expect("a string");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_report_is_readable() {
    let source = super::files("broken").into_iter().find(|(name, _)| name == "habits_orquesta.yaml").expect("there").1;
    insta::assert_snapshot!(parse(&source, "habits_orquesta.yaml").expect_err("broken").render(Colour::None));
}
