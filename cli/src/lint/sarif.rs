//! A log of SARIF 2.1.0 (OASIS), which code scanning and editors take. Section numbers are those of the standard.

use std::fmt::Write;

use engine::diagnostic::{Diagnostic, Diagnostics, Severity, codes};
use serde::Serialize;

use super::{Region, message, region};
use crate::output;

const SCHEMA_URI: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The folder that has a page for each code.
const PAGES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/src/codes");

#[derive(Debug, Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'a str,
    version: &'a str,
    runs: [Run<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    column_kind: &'a str,
    invocations: [Invocation; 1],
    results: Vec<Finding<'a>>,
}

#[derive(Debug, Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'a str,
    version: &'a str,
    information_uri: &'a str,
    rules: Vec<Rule<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    id: &'a str,
    short_description: Text,
    help_uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Debug, Serialize)]
struct Notification {
    level: &'static str,
    message: Text,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'a str,
    message: Text,
    locations: [Location; 1],
}

#[derive(Debug, Serialize)]
struct Text {
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Physical,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    region: Place,
}

#[derive(Debug, Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

pub(super) fn render(checked: &[Diagnostics]) -> String {
    let codes = found_codes(checked);
    let results = checked.iter().flat_map(|diagnostics| {
        let uri = uri(diagnostics.file());
        let codes = &codes;
        diagnostics.iter().map(move |diagnostic| finding(diagnostics, diagnostic, &uri, codes))
    });
    let run = Run {
        tool: Tool {
            driver: Driver {
                name: "leveret",
                version: env!("CARGO_PKG_VERSION"),
                information_uri: env!("CARGO_PKG_REPOSITORY"),
                rules: codes.iter().map(|code| rule(code)).collect(),
            },
        },
        column_kind: "unicodeCodePoints",
        invocations: [Invocation {
            execution_successful: true,
            tool_execution_notifications: checked.iter().filter_map(left_out).collect(),
        }],
        results: results.collect(),
    };
    output::pretty_document(&Log { schema: SCHEMA_URI, version: "2.1.0", runs: [run] })
}

/// Every code that was found, sorted.
fn found_codes<'a>(checked: &'a [Diagnostics]) -> Vec<&'a str> {
    let mut codes: Vec<&'a str> = checked.iter().flat_map(Diagnostics::iter).map(|found| found.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn rule(code: &str) -> Rule<'_> {
    // A test holds that each has one.
    let summary = codes::summary(code).unwrap_or(code);
    Rule { id: code, short_description: Text::of(summary), help_uri: format!("{PAGES}/{code}.md") }
}

fn finding<'a>(diagnostics: &Diagnostics, diagnostic: &'a Diagnostic, uri: &str, codes: &[&str]) -> Finding<'a> {
    let Region { line, column, end_line, end_column } = region(diagnostics, diagnostic);
    Finding {
        rule_id: diagnostic.code,
        rule_index: codes.binary_search(&diagnostic.code).expect("every code that was found is listed"),
        level: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: Text::of(&message(diagnostic)),
        locations: [Location {
            physical_location: Physical {
                artifact_location: Artifact { uri: uri.to_owned() },
                region: Place { start_line: line, start_column: column, end_line, end_column },
            },
        }],
    }
}

fn left_out(diagnostics: &Diagnostics) -> Option<Notification> {
    let count = diagnostics.left_out();
    let text = format!("{count} more problems of {} not shown", diagnostics.file());
    (count > 0).then(|| Notification { level: "note", message: Text::of(&text) })
}

impl Text {
    /// Braces are doubled, as single ones stand for arguments (3.11.5), and what would read as a link is none (3.11.6).
    fn of(text: &str) -> Self {
        Self { text: text.replace('{', "{{").replace('}', "}}").replace("](", "] (") }
    }
}

/// The file as a URI (3.10): a relative one as it was named, so that it is found in the repository.
fn uri(file: &str) -> String {
    let mut uri = if file.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in file.strip_prefix("./").unwrap_or(file).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte.into()),
            _ => write!(uri, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_uris() {
        assert_eq!(uri("./a b/ü:1.yaml"), "a%20b/%C3%BC%3A1.yaml");
        assert_eq!(uri("/tmp/a.yaml"), "file:///tmp/a.yaml");
        assert_eq!(uri("../a.yaml"), "../a.yaml");
    }

    #[test]
    fn texts_hold_neither_arguments_nor_links() {
        assert_eq!(Text::of("say {{ a }} or [b](c) {0}").text, "say {{{{ a }}}} or [b] (c) {{0}}");
    }
}
