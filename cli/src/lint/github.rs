//! Workflow commands of GitHub Actions: a line on stdout that becomes a mark at a line of a changed file.

use engine::diagnostic::{Diagnostic, Diagnostics, Severity};

use super::{Region, message, region};

pub(super) fn render(checked: &[Diagnostics]) -> String {
    let mut lines = String::new();
    for diagnostics in checked {
        for diagnostic in diagnostics.iter() {
            lines.push_str(&command(diagnostics, diagnostic));
        }
        if diagnostics.left_out() > 0 {
            let file = property(diagnostics.file());
            lines.push_str(&format!("::notice file={file}::{} more problems not shown\n", diagnostics.left_out()));
        }
    }
    lines
}

fn command(diagnostics: &Diagnostics, diagnostic: &Diagnostic) -> String {
    let kind = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let Region { line, column, end_line, end_column } = region(diagnostics, diagnostic);
    // GitHub refuses columns where a problem goes over several lines.
    let place = match line == end_line {
        true => format!("line={line},col={column},endColumn={end_column}"),
        false => format!("line={line},endLine={end_line}"),
    };
    format!(
        "::{kind} file={},{place},title={}::{}\n",
        property(diagnostics.file()),
        property(diagnostic.code),
        escaped(&message(diagnostic)),
    )
}

/// What GitHub takes for the end of a message is escaped as in a URL.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Values of properties must not hold their separators either.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use engine::spec::Span;

    use super::*;

    #[test]
    fn commands_are_escaped() {
        let mut diagnostics = Diagnostics::new("100%: a,b\r.yaml", "name: a\ntasks:\n  b: 1\n");
        let one = Span { offset: 8, length: 5 };
        diagnostics.push(Diagnostic::error("odd", one, "50% :: of a\r\nb").with_help("c,d"));
        diagnostics.push(Diagnostic::warning("long", Span { offset: 8, length: 10 }, "two lines"));
        insta::assert_snapshot!(render(&[diagnostics]), @r"
        ::error file=100%25%3A a%2Cb%0D.yaml,line=2,col=1,endColumn=6,title=odd::50%25 :: of a%0D%0Ab%0Ahelp: c,d
        ::warning file=100%25%3A a%2Cb%0D.yaml,line=2,endLine=3,title=long::two lines
        ");
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let mut diagnostics = Diagnostics::new("a.yaml", "a");
        for number in 0..engine::diagnostic::KEPT_MAX + 7 {
            diagnostics.push(Diagnostic::warning("odd", Span::default(), number.to_string()));
        }
        assert!(render(&[diagnostics]).ends_with("::notice file=a.yaml::7 more problems not shown\n"));
    }
}
