//! Every code that a person can meet has a page in `docs/src/codes`: what it means, when, what to do. What a page shows
//! gives that very code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use leveret_engine::{
    diagnostic::{Diagnostics, Severity, codes},
    lint,
    parse::script,
    program::Program,
};
use regex::Regex;

/// Where codes stand in our sources, as a word in quotes.
const PLACES: [&str; 14] = [
    r"\b(?:Failure|Rejection|Error)::new\(\s*WORD\s*,",
    r"\bproblem\(\s*WORD\s*,",
    r"\bDiagnostic::(?:error|warning)\(\s*WORD",
    r"\bwarn\(\s*found,\s*WORD",
    r"\brefuse\(\s*WORD",
    r"\bcode:\s*WORD",
    r"\bmissing\(\s*WORD",
    r"\breport\(\s*WORD",
    r"\binvalid\(\s*WORD",
    r#"\bRefused::new\([^,"]*,\s*WORD"#,
    r#"\bSelf::new\(StatusCode[^,"]*,\s*WORD"#,
    r#"\brefuse\(\s*StatusCode[^,"]*,\s*WORD"#,
    r"\bSelf::new\(\s*WORD, message\)",
    r"\bmap_or\(\s*WORD, \|problem\|",
];

/// Pieces of our sources in which every word in quotes is a code.
const PIECES: [&str; 2] = [r"(?s)\blet code = (.*?);\n", r"(?s)\bfn code\([^)]*\)[^{]*\{(.*?)\n    \}"];

const WORD: &str = r#""([a-z][a-z0-9]*(?:_[a-z0-9]+)*)""#;

/// A page, taken apart.
#[derive(Debug)]
struct Page {
    kinds: Vec<String>,
    line: String,
    /// Other codes that what it shows gives too.
    beside: BTreeSet<String>,
    files: Vec<String>,
    script: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn pages() -> BTreeMap<String, Page> {
    let entries = fs::read_dir(root().join("docs/src/codes")).expect("there");
    let paths = entries.map(|entry| entry.expect("readable").path()).filter(|path| !path.ends_with("README.md"));
    paths
        .map(|path| {
            let code = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            let page = page(&code, &text);
            (code, page)
        })
        .collect()
}

fn page(code: &str, text: &str) -> Page {
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let [title, kinds, line, ..] = paragraphs.as_slice() else { panic!("{code}: a title, its kinds and a line") };
    assert_eq!(*title, format!("# `{code}`"));
    let kinds: Vec<String> = kinds.trim_matches('*').split(", ").map(str::to_owned).collect();
    for kind in &kinds {
        assert!(["error", "warning", "script", "failure", "refusal"].contains(&kind.as_str()), "{code}: {kind}");
    }
    assert!(text.contains("\n**What to do:** "), "{code}");
    let blocks = |fence: &str| -> Vec<String> {
        let fence = format!("```{fence}\n");
        let pieces = text.split(&fence).skip(1);
        pieces.filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
    };
    let beside = text.split("\nTogether with [`").skip(1).filter_map(|rest| rest.split('`').next());
    Page {
        line: (*line).to_owned(),
        beside: beside.map(str::to_owned).collect(),
        files: blocks("yaml"),
        script: blocks("yaml,script").pop(),
        kinds,
    }
}

/// Our sources, without their tests.
fn sources() -> Vec<String> {
    let mut open: Vec<PathBuf> = ["proto", "engine", "queue", "scheduler", "worker", "cli"]
        .map(|package| root().join(package).join("src"))
        .into();
    let mut sources = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).expect("there").map(|entry| entry.expect("readable").path()));
        } else {
            let text = fs::read_to_string(&path).expect("readable");
            sources.push(text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned());
        }
    }
    sources
}

#[test]
fn every_code_has_a_page() {
    let pages = pages();
    let sources = sources();
    let pattern = |place: &str| Regex::new(&place.replace("WORD", WORD)).expect("valid");
    let mut missing = BTreeSet::new();
    let mut look = |code: &str| {
        if !pages.contains_key(code) {
            missing.insert(code.to_owned());
        }
    };
    for place in PLACES.map(pattern) {
        let found: Vec<_> = sources.iter().flat_map(|source| place.captures_iter(source)).collect();
        assert!(!found.is_empty(), "no code stands there any more: {place}");
        found.iter().for_each(|captures| look(&captures[1]));
    }
    let word = pattern("WORD");
    for piece in PIECES.map(pattern) {
        for captures in sources.iter().flat_map(|source| piece.captures_iter(source)) {
            word.captures_iter(&captures[1]).for_each(|captures| look(&captures[1]));
        }
    }
    assert!(missing.is_empty(), "write docs/src/codes/<code>.md for {missing:?}");
}

#[test]
fn every_page_has_a_code() {
    let sources = sources();
    for code in pages().keys() {
        let quoted = format!("\"{code}\"");
        assert!(sources.iter().any(|source| source.contains(&quoted)), "nothing gives the code {code} any more");
    }
}

#[test]
fn the_index_lists_every_page() {
    let index = fs::read_to_string(root().join("docs/src/codes/README.md")).expect("there");
    let row = |(code, page): (&String, &Page)| {
        format!("| [`{code}`]({code}.md) | {} | {} |\n", page.kinds.join(", "), page.line)
    };
    let rows: String = pages().iter().map(row).collect();
    let (_, table) = index.split_once("|---|---|---|\n").expect("a table");
    assert_eq!(table, rows);
}

#[test]
fn codes_of_files_are_listed_with_the_line_of_their_page() {
    let is_of_file =
        |page: &Page| page.kinds.iter().any(|kind| ["error", "warning", "script"].contains(&kind.as_str()));
    let pages = pages();
    let lines: Vec<(&str, &str)> = pages
        .iter()
        .filter(|(_, page)| is_of_file(page))
        .map(|(code, page)| (code.as_str(), page.line.as_str()))
        .collect();
    assert_eq!(codes::CODES, lines);
    assert_eq!(codes::summary("unknown_key"), Some("There is no such key here."));
    assert_eq!(codes::summary("no_such_code"), None);
}

/// What is too large for a page.
fn made(code: &str) -> Option<String> {
    let echo =
        |message: &str| format!("name: large\ntasks:\n  a: {{ action: core.echo, input: {{ message: {message} }} }}\n");
    Some(match code {
        "alias_too_large" => {
            let doubled: String =
                (1..40).map(|at| format!("  a{at}: [&x{at} [*x{}, *x{}]]\n", at - 1, at - 1)).collect();
            format!("name: large\nvars:\n  a0: [&x0 [long, long, long]]\n{doubled}tasks: {{ a: {{}} }}\n")
        }
        "json_too_deep" => echo(&format!("{}{}", "[".repeat(200), "]".repeat(200))),
        "loops_too_deep" => {
            let open: String = (0..4).map(|at| format!("{{% for x{at} in [1] %}}")).collect();
            echo(&format!("\"{open}{}\"", "{% endfor %}".repeat(4)))
        }
        "submission_too_large" => format!("name: large\ntasks: {{ a: {{}} }}\n# {}\n", "x".repeat(256 * 1024)),
        "template_too_large" => echo(&format!("\"{{{{ 1 }}}}{}\"", "x".repeat(64 * 1024))),
        "too_many_concatenations" => echo(&format!("\"{{{{ 1{} }}}}\"", " ~ 1".repeat(33))),
        "too_many_tasks" => {
            let tasks: String = (0..10_001).map(|at| format!("  t{at}: {{}}\n")).collect();
            format!("name: large\ntasks:\n{tasks}")
        }
        _ => return None,
    })
}

/// What is told of the first of `files`, which are looked at together, or of a script for it.
fn told(code: &str, files: &[String], play: Option<&str>) -> Diagnostics {
    let file = format!("{code}.yaml");
    let compiled: Vec<_> = files.iter().map(|source| Program::compile(source, &file)).collect();
    let programs: Vec<&Program> = compiled.iter().filter_map(|one| Some(&one.as_ref().ok()?.0)).collect();
    let workflows: Vec<_> = programs.iter().map(|program| program.workflow()).collect();
    match (&compiled[0], play) {
        (Err(found), _) => found.clone(),
        (Ok(_), Some(play)) => script(play, &file, workflows[0], &workflows[1..]).expect_err(code),
        (Ok((program, warnings)), None) => {
            let mut found = warnings.clone();
            found.extend(lint::check_among(program, &files[0], &file, &super::lint::actions(), &workflows));
            found
        }
    }
}

/// What is wrong with what the page of `code` shows.
fn wrong(code: &str, page: &Page) -> Option<String> {
    let is_of = |kind: &str| page.kinds.iter().any(|other| other == kind);
    if !is_of("error") && !is_of("warning") && !is_of("script") {
        return (!page.files.is_empty()).then(|| format!("{code} shows a file, and is of none"));
    }
    let files = made(code).map_or_else(|| page.files.clone(), |file| vec![file]);
    if files.is_empty() {
        return Some(format!("{code} shows nothing"));
    }
    let found = told(code, &files, page.script.as_deref());
    let mut expected = page.beside.clone();
    expected.insert(code.to_owned());
    let codes: BTreeSet<String> = found.iter().map(|diagnostic| diagnostic.code.to_owned()).collect();
    let is_fitting = |severity| match severity {
        Severity::Error => is_of("error") || is_of("script"),
        Severity::Warning => is_of("warning"),
    };
    let is_right = codes == expected && found.iter().all(|diagnostic| is_fitting(diagnostic.severity));
    (!is_right).then(|| format!("{code} gives:\n{found}"))
}

#[test]
fn what_a_page_shows_gives_its_code() {
    let pages = pages();
    // Whatever YAML can say is JSON, up to what other codes tell.
    let shown = pages.iter().filter(|(code, _)| *code != "json_invalid");
    let wrong: Vec<String> = shown.filter_map(|(code, page)| wrong(code, page)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
