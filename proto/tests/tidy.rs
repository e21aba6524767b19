//! Holds what the style guide says and a program can see: who imports whom, how long files and functions are, how files begin.
//!
//! It lies in `proto` because that builds first, and reads the whole workspace. A crude scan is enough: it knows strings,
//! comments and braces, and no more of Rust.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Which of our crates each may know; `benches` may know all.
const IMPORTS: [(&str, &[&str]); 6] = [
    ("proto", &[]),
    ("engine", &["proto"]),
    ("queue", &["proto"]),
    ("scheduler", &["proto", "engine", "queue"]),
    ("worker", &["proto", "engine", "queue"]),
    ("cli", &["proto", "engine", "queue", "scheduler", "worker"]),
];

/// Foreign crates that one of ours keeps to itself. Benches may measure them beside ours.
const KEEPERS: [(&str, &str); 6] = [
    ("tera", "engine"),
    ("lapin", "queue"),
    ("rusqlite", "scheduler"),
    ("tokio-postgres", "scheduler"),
    ("deadpool-postgres", "scheduler"),
    ("refinery", "scheduler"),
];

/// Where in `scheduler` a database may be named.
const STORE: &str = "scheduler/src/store";

#[test]
fn imports_run_one_way() {
    let mut problems = String::new();
    for (name, allowed) in IMPORTS {
        let dependencies = dependencies(&root().join(name).join("Cargo.toml"));
        for (ours, _) in IMPORTS {
            if dependencies.iter().any(|dependency| dependency == ours) && !allowed.contains(&ours) {
                let _ = writeln!(problems, "{name}/Cargo.toml: {name} must not know {ours}");
            }
        }
        for (foreign, keeper) in KEEPERS {
            if dependencies.iter().any(|dependency| dependency == foreign) && keeper != name {
                let _ = writeln!(problems, "{name}/Cargo.toml: only {keeper} may know {foreign}");
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn only_the_store_knows_databases() {
    let databases: Vec<String> = KEEPERS
        .iter()
        .filter(|(_, keeper)| *keeper == "scheduler")
        .map(|(name, _)| format!("{}::", name.replace('-', "_")))
        .collect();
    check(|source| {
        if !source.path.starts_with("scheduler/src") || source.path.starts_with(STORE) {
            return Vec::new();
        }
        source.lines_with(&databases, &format!("a database is named outside {STORE}"))
    });
}

#[test]
fn files_say_what_they_are_for() {
    check(
        |source| {
            if source.text.starts_with("//! ") { Vec::new() } else { vec![(1, "does not begin with `//!`".into())] }
        },
    );
}

#[test]
fn files_are_short() {
    check(|source| {
        let lines = source.text.lines().count();
        let problem = format!("has {lines} lines, {FILE_LINES_MAX} are the most");
        if lines > FILE_LINES_MAX { vec![(lines, problem)] } else { Vec::new() }
    });
}

#[test]
fn functions_fit_a_screen() {
    check(|source| {
        let long = functions(&source.code).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        long.map(|(at, lines)| (at, format!("a function of {lines} lines, {FUNCTION_LINES_MAX} are the most")))
            .collect()
    });
}

#[test]
fn nothing_is_unwrapped_or_left_undone() {
    check(|source| {
        let unfinished = ["todo!", "unimplemented!", "#[ignore", "#[should_panic"].map(String::from);
        let mut problems = source.lines_with(&unfinished, "is not finished, or skips a test");
        if !source.is_test {
            problems.extend(source.lines_with(&[".unwrap()".to_owned()], "unwraps: say why it holds with `expect`"));
        }
        problems
    });
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut problems = String::new();
    let wanted = ["rs", "toml", "md", "yaml", "yml", "json", "sql", "py", "sh", ""];
    for path in files(&root(), &wanted) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            let found =
                [concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/ro", "ot/")].into_iter().find(|folder| {
                    line.match_indices(folder)
                        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}*".contains(c)))
                });
            if let Some(folder) = found {
                let _ = writeln!(problems, "{}:{}: names {folder}", path.display(), at + 1);
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

/// A Rust file of the workspace.
struct Source {
    /// From the workspace's root.
    path: PathBuf,
    text: String,
    /// The text with comments, literals and what only unit tests may do blanked, line for line.
    code: String,
    is_test: bool,
}

impl Source {
    fn lines_with(&self, needles: &[String], problem: &str) -> Vec<(usize, String)> {
        let found = |line: &str| needles.iter().find(|needle| line.contains(needle.as_str())).cloned();
        let lines = self.code.lines().enumerate();
        lines.filter_map(|(at, line)| found(line).map(|needle| (at + 1, format!("`{needle}` {problem}")))).collect()
    }
}

fn check(rule: impl Fn(&Source) -> Vec<(usize, String)>) {
    let mut problems = String::new();
    for path in files(&root(), &["rs"]) {
        let text = fs::read_to_string(&path).expect("a source file is text");
        let path = path.strip_prefix(root()).expect("it was found under the root").to_owned();
        let is_test = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
            || path.file_stem().is_some_and(|stem| stem == "tests");
        let code = without_tests(&blanked(&text));
        let source = Source { path, text, code, is_test };
        for (line, problem) in rule(&source) {
            let _ = writeln!(problems, "{}:{line}: {problem}", source.path.display());
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Files with one of the extensions (`""`: none), without build products and what git keeps.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("its entries too").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" && name != "__pycache__" {
                folders.push(path);
            } else if path.is_file() && name != ".git" {
                let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
                if extensions.contains(&extension.as_str()) {
                    found.push(path);
                }
            }
        }
    }
    found.sort();
    found
}

/// Names under `[dependencies]` of a manifest, which says one per line.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).expect("every crate has a manifest");
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned();
        } else if let Some((name, _)) = line.split_once(['=', '.']).filter(|_| !line.starts_with('#')) {
            tables.entry(table.clone()).or_default().push(name.trim().to_owned());
        }
    }
    tables.remove("dependencies").unwrap_or_default()
}

/// The text with comments, strings and characters replaced by blanks; lines stay where they are.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("only whole characters were blanked, or none")
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let until = |needle: &[u8], from: usize| {
        let found = rest[from..].windows(needle.len()).position(|window| window == needle);
        at + found.map_or(rest.len(), |found| from + found + needle.len())
    };
    match rest {
        [b'/', b'/', ..] => until(b"\n", 0),
        [b'/', b'*', ..] => until(b"*/", 2),
        [b'"', ..] => at + 1 + quoted(&rest[1..]),
        [b'r', b'"' | b'#', ..] if at == 0 || !is_name(bytes[at - 1]) || bytes[at - 1] == b'b' => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return at;
            }
            until(&[b"\"".as_slice(), &b"#".repeat(hashes)].concat(), 2 + hashes)
        }
        [b'\'', b'\\', _, ..] => until(b"'", 3),
        // A lifetime has no closing quote after its first character; a character of several bytes is searched as text.
        [b'\'', first, ..] if *first >= 0x80 => until(b"'", 1),
        [b'\'', _, b'\'', ..] => at + 3,
        _ => at,
    }
}

/// Length of a string's inside and its closing quote.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The code with every `unwrap` in a `#[cfg(test)]` module blanked: tests may.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(test)]") {
        let start = from + found;
        from = start + 1;
        let Some(open) = out[start..].find(['{', ';']).map(|open| start + open) else { break };
        if out.as_bytes()[open] == b'{' {
            let end = block_end(&out, open);
            let blank = out[open + 1..end].replace(".unwrap()", "         ");
            out.replace_range(open + 1..end, &blank);
        }
    }
    out
}

/// Where the block that opens at `open` closes.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// Line and length in lines of every function with a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let named = code[at + 3..].starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !named || (at > 0 && is_name(code.as_bytes()[at - 1])) {
            continue;
        }
        // An array type in the signature has a `;` of its own: only one outside brackets ends a function without a body.
        let mut depth = 0_i32;
        let open = code[at..].char_indices().find(|(_, c)| {
            depth += i32::from("([".contains(*c)) - i32::from(")]".contains(*c));
            depth == 0 && "{;".contains(*c)
        });
        if let Some((open, '{')) = open {
            let newlines = |text: &str| text.matches('\n').count();
            found.push((1 + newlines(&code[..at]), 1 + newlines(&code[at..block_end(code, at + open)])));
        }
    }
    found
}

#[test]
fn the_scan_knows_strings_comments_and_braces() {
    let text = "fn a() {\n  let b = \"}\"; // }\n  let c = '}'; let d = r#\"\"}\"#; let e: &'static str = \"\\\"}\";\n}\nfn f(x: [u8; 2]);\nfn g() {}\n";
    assert_eq!(functions(&blanked(text)), [(1, 4), (6, 1)]);
    let tested = without_tests("x.unwrap();\n#[cfg(test)]\nmod tests { fn a() { y.unwrap(); } }\nz.unwrap();");
    assert_eq!(tested.matches(".unwrap()").count(), 2);
}
