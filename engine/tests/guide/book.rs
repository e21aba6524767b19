//! The pages of the guide, and what is on them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A page of Markdown.
pub struct Page {
    /// Its path below the root of the workspace, such as `docs/src/items.md`.
    pub name: String,
    pub text: String,
}

/// A piece of code between fences.
pub struct Block<'p> {
    /// What stands behind the opening fence, such as `yaml`.
    pub kind: &'p str,
    /// Counts headings before it: blocks below one heading belong together.
    pub section: usize,
    pub code: String,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Every page of the book, by name.
pub fn pages() -> Vec<Page> {
    let names = ["docs/src", "docs/src/codes"].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).expect("the book is there");
        let names =
            entries.map(|entry| entry.expect("it can be read").file_name().into_string().expect("it is a text"));
        names.filter(|name| name.ends_with(".md")).map(move |name| format!("{folder}/{name}"))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.iter().map(|name| page(name)).collect()
}

pub fn page(name: &str) -> Page {
    let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    Page { name: name.to_owned(), text }
}

impl Page {
    /// Its blocks of code, in order.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        let mut section = 0;
        for line in self.text.lines() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(kind), None) => open = Some(Block { kind, section, code: String::new() }),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.code.extend([line, "\n"]),
                (None, None) => section += usize::from(line.starts_with('#')),
            }
        }
        assert!(open.is_none(), "{}: a block of code has no end", self.name);
        blocks
    }

    /// The text without its blocks of code.
    pub fn prose(&self) -> String {
        let mut is_code = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let is_fence = line.starts_with("```");
            is_code ^= is_fence;
            if !is_code && !is_fence {
                prose.extend([line, "\n"]);
            }
        }
        prose
    }

    /// What headings are called in links, as GitHub and mdBook make them.
    pub fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// The cells of each row of its tables, heads among them.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let prose = self.prose();
        let rows = prose.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
        rows.map(|row| row.replace(r"\|", "\u{1}").split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect())
            .collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The words between back quotes.
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
