//! Secrets of workflows: where they come from, which task gets which, and that none of them leaves the worker.
//!
//! A task gets those that its `input` names, so that a secret that happens to be an ordinary word is masked only
//! where it was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    snapshot::Scope,
    spec::{Node, Task},
    value::Value,
};
use proto::failure::Failure;

/// What a variable that holds a secret begins with.
const PREFIX: &str = "LEVERET_SECRET_";
/// Bytes that a file of a secret may have.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Shorter ones are not masked: they would be found in everything.
const MASKED_CHARS_MIN: usize = 4;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// Where secrets come from.
#[derive(Debug, Clone)]
pub(crate) struct Secrets(Arc<Sources>);

struct Sources {
    /// By name, as in the environment: without the prefix.
    variables: BTreeMap<String, String>,
    dir: Option<PathBuf>,
}

/// The secrets that one task may read.
#[derive(Clone, Default)]
pub(crate) struct Revealed(Arc<BTreeMap<String, String>>);

/// Which secrets a task's input reads.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    These(BTreeSet<String>),
    /// It computes names.
    All,
}

impl Secrets {
    /// Those of `environment`, and of the files in `dir`, which go first and are read anew for each piece of work, so
    /// that they may be exchanged.
    pub(crate) fn new(environment: &BTreeMap<String, String>, dir: Option<PathBuf>) -> Self {
        let secret = |(name, value): (&String, &String)| Some((name.strip_prefix(PREFIX)?.to_owned(), value.clone()));
        Self(Arc::new(Sources { variables: environment.iter().filter_map(secret).collect(), dir }))
    }

    /// The secrets that the input of `task` reads.
    pub(crate) async fn of(&self, task: &Task) -> Revealed {
        let named = named(&task.input.node);
        if named == Named::These(BTreeSet::new()) {
            return Revealed::default();
        }
        let sources = self.0.clone();
        let read = tokio::task::spawn_blocking(move || sources.read(named)).await;
        Revealed(Arc::new(read.expect("reading small files does not panic")))
    }
}

impl Sources {
    fn read(&self, named: Named) -> BTreeMap<String, String> {
        let names = match named {
            Named::These(names) => names,
            Named::All => self.names(),
        };
        names.into_iter().filter_map(|name| self.find(&name).map(|secret| (name, secret))).collect()
    }

    fn find(&self, name: &str) -> Option<String> {
        let variable = || self.variables.get(name).or_else(|| self.variables.get(&name.to_uppercase()));
        self.dir.as_deref().and_then(|dir| file(dir, name)).or_else(|| variable().cloned())
    }

    /// Every name there is. Variables are mostly written in capitals, and read without.
    fn names(&self) -> BTreeSet<String> {
        let variables = self.variables.keys().flat_map(|name| [name.clone(), name.to_lowercase()]);
        let files = self.dir.iter().filter_map(|dir| dir.read_dir().ok()).flatten().flatten();
        variables.chain(files.filter_map(|entry| entry.file_name().into_string().ok())).collect()
    }
}

/// The secret in a file, without the end of its last line.
fn file(dir: &Path, name: &str) -> Option<String> {
    // Mounted secrets have hidden files beside them, and nothing outside the folder is a secret.
    let is_name = !name.starts_with('.') && !name.contains(['/', '\0']);
    let path = dir.join(is_name.then_some(name)?);
    if !path.is_file() {
        return None;
    }
    let mut text = String::new();
    match std::fs::File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Some(text.strip_suffix('\n').map_or(text.as_str(), |text| text.trim_end_matches('\r')).to_owned()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "secret cannot be read");
            None
        }
    }
}

/// The secrets that the templates below `node` name. One too many does no harm.
fn named(node: &Node) -> Named {
    match node {
        Node::Literal(_) => Named::These(BTreeSet::new()),
        Node::Template(text) | Node::Expression(text) => named_in(&text.source),
        Node::List(nodes) => all_named(nodes.iter()),
        Node::Map(entries) => all_named(entries.iter().map(|(_, node)| node)),
    }
}

fn all_named<'a>(nodes: impl Iterator<Item = &'a Node>) -> Named {
    let mut names = BTreeSet::new();
    for node in nodes {
        match named(node) {
            Named::These(these) => names.extend(these),
            Named::All => return Named::All,
        }
    }
    Named::These(names)
}

fn named_in(source: &str) -> Named {
    let mut names = BTreeSet::new();
    for (at, root) in source.match_indices("secrets") {
        let is_within_a_word = source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let behind = source[at + root.len()..].trim_start();
        if is_within_a_word || behind.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        match step(behind) {
            Some(name) => names.insert(name.to_owned()),
            None => return Named::All,
        };
    }
    Named::These(names)
}

/// The name in `.name`, `?.name` or `["name"]`.
fn step(behind: &str) -> Option<&str> {
    let behind = behind.strip_prefix('?').unwrap_or(behind);
    if let Some(name) = behind.strip_prefix('.') {
        let name = name.trim_start();
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
        return Some(&name[..end]).filter(|name| !name.is_empty());
    }
    let inside = behind.strip_prefix('[')?.trim_start();
    let quote = inside.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let (name, behind) = inside[1..].split_once(quote)?;
    behind.trim_start().starts_with(']').then_some(name)
}

impl Revealed {
    /// `scope` with `secrets` in it, if there are any.
    pub(crate) fn within(&self, scope: &Scope) -> Scope {
        match self.0.is_empty() {
            true => scope.clone(),
            false => {
                scope.clone().with_secrets(self.0.iter().map(|(name, secret)| (name.clone(), Value::from_text(secret))))
            }
        }
    }

    /// `failure` without secrets.
    pub(crate) fn masked_failure(&self, mut failure: Failure) -> Failure {
        failure.message = self.masked_text(failure.message);
        failure.code = self.masked_text(failure.code);
        failure
    }

    /// `value` without secrets, in keys too, and as numbers that read like one.
    pub(crate) fn masked(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::Null | Value::Bool(_) => value,
            Value::Number(number) => {
                let text = number.to_string();
                match self.longest_first().contains(&text.as_str()) {
                    true => Value::String(MASK.to_owned()),
                    false => Value::Number(number),
                }
            }
            Value::String(text) => Value::String(self.masked_text(text)),
            Value::Array(values) => values.into_iter().map(|value| self.masked(value)).collect(),
            Value::Object(entries) => {
                entries.into_iter().map(|(key, value)| (self.masked_text(key), self.masked(value))).collect()
            }
        }
    }

    /// `text` without secrets.
    pub(crate) fn masked_text(&self, text: String) -> String {
        self.longest_first().into_iter().fold(text, |text, secret| match text.contains(secret) {
            true => text.replace(secret, MASK),
            false => text,
        })
    }

    /// What is masked. A secret that is part of another must not spoil the other's mask.
    fn longest_first(&self) -> Vec<&str> {
        let is_long = |secret: &&str| secret.chars().count() >= MASKED_CHARS_MIN;
        let mut secrets: Vec<&str> = self.0.values().map(String::as_str).filter(is_long).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("variables", &self.variables.keys()).field("dir", &self.dir).finish()
    }
}

impl std::fmt::Debug for Revealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn these<const N: usize>(names: [&str; N]) -> Named {
        Named::These(names.map(str::to_owned).into())
    }

    #[test]
    fn names_are_found_in_templates() {
        for (source, expected) in [
            ("{{ parameters.secrets_of }} {{ my_secrets.a }}", these([])),
            (
                "{{ secrets.a }} {{ secrets?.b }} {{ secrets [\"c-d\"] }} {{ secrets['e'] ~ secrets . f }}",
                these(["a", "b", "c-d", "e", "f"]),
            ),
            ("{{ secrets[item] }}", Named::All),
            ("{{ secrets[\"a\" ~ item] }}", Named::All),
            ("{{ secrets | to_json }}", Named::All),
        ] {
            assert_eq!(named_in(source), expected, "{source}");
        }
    }

    #[test]
    fn files_go_before_variables_and_stay_in_their_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("secrets");
        std::fs::create_dir(&dir).expect("made");
        for (path, text) in [("secrets/a", "file\r\n"), ("secrets/.hidden", "x"), ("outside", "x")] {
            std::fs::write(folder.path().join(path), text).expect("written");
        }
        let environment = [("LEVERET_SECRET_A", "variable"), ("LEVERET_SECRET_B_C", "other"), ("PATH", "/bin")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = Secrets::new(&environment.into(), Some(dir)).0;
        let found = |name: &str| secrets.find(name);
        assert_eq!(found("a").as_deref(), Some("file"));
        assert_eq!((found("A").as_deref(), found("b_c").as_deref()), (Some("variable"), Some("other")));
        assert_eq!([".hidden", "../outside", "PATH", "", "b"].map(found), [const { None }; 5]);
        let all: Vec<_> = secrets.read(Named::All).into_keys().collect();
        assert_eq!(all, ["A", "B_C", "a", "b_c"]);
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let secrets = [("a", "1234"), ("b", "1234567"), ("c", "abc")];
        let revealed = Revealed(Arc::new(secrets.map(|(name, secret)| (name.to_owned(), secret.to_owned())).into()));
        let value = json!({ "k-1234567": ["x1234y", 1234, 12345, { "abc": "abc 12345678" }], "n": null });
        let masked = json!({ "k-***": ["x***y", "***", 12345, { "abc": "abc ***8" }], "n": null });
        assert_eq!(revealed.masked(value), masked);
        let failure = revealed.masked_failure(Failure::new("c", "no 1234"));
        assert_eq!(failure.message, "no ***");
        assert_eq!(format!("{revealed:?}"), r#"{"a", "b", "c"}"#);
    }
}
