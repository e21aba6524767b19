//! The book lists every chapter, and every link leads to something.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::book::{Page, page, pages, root};

/// Where pages that are no chapters live: a link from the book to a file beside it goes there.
const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");

#[test]
fn the_summary_lists_every_chapter_once() {
    let summary = page("docs/src/SUMMARY.md");
    let listed: Vec<String> = links(&summary).into_iter().map(|link| format!("docs/src/{link}")).collect();
    let chapters: BTreeSet<String> =
        pages().into_iter().map(|page| page.name).filter(|name| !is_summary(name)).collect();
    let known: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(known.symmetric_difference(&chapters).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(listed.len(), chapters.len(), "a chapter is listed twice");
}

#[test]
fn the_summary_calls_chapters_by_their_titles() {
    let summary = page("docs/src/SUMMARY.md");
    let entries = summary.text.lines().filter_map(|line| line.split_once('[')?.1.strip_suffix(')')?.split_once("]("));
    for (title, link) in entries {
        let chapter = page(&format!("docs/src/{link}"));
        assert_eq!(chapter.text.lines().next(), Some(format!("# {title}").as_str()), "{link}");
    }
}

#[test]
fn every_link_leads_to_something() {
    let all = pages();
    let mut problems = String::new();
    for page in &all {
        for link in links(page) {
            if let Err(problem) = follow(&all, page, &link) {
                let _ = writeln!(problems, "{}: {link}: {problem}", page.name);
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

fn follow(all: &[Page], from: &Page, link: &str) -> Result<(), &'static str> {
    if let Some(file) = link.strip_prefix(REPOSITORY) {
        let file = file.split('#').next().unwrap_or_default();
        return if root().join(file).exists() { Ok(()) } else { Err("there is no such file") };
    }
    if link.contains("://") {
        return Ok(());
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let (folder, _) = from.name.rsplit_once('/').ok_or("the page lies nowhere")?;
    let name = if file.is_empty() { from.name.clone() } else { format!("{folder}/{file}") };
    let target = all.iter().find(|page| page.name == name).ok_or("the book has no such chapter")?;
    let is_there = anchor.is_empty() || target.anchors().iter().any(|known| known == anchor);
    if is_there { Ok(()) } else { Err("the chapter has no such heading") }
}

fn links(page: &Page) -> Vec<String> {
    let prose = page.prose();
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

fn is_summary(name: &str) -> bool {
    name.ends_with("/SUMMARY.md")
}

#[test]
fn the_book_says_where_its_pages_are() {
    let settings = page("docs/book.toml").text;
    for line in ["[book]", r#"src = "src""#, "[output.html]"] {
        assert!(settings.lines().any(|found| found == line), "book.toml lacks {line}");
    }
}
