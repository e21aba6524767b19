//! What the pages at the top of the workspace say of files, limits and metrics is so.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use leveret_proto::limits;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("the page is there")
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let mut problems = String::new();
    for name in ["README.md", "ARCHITECTURE.md", "proto/README.md"] {
        let text = page(name);
        let folder = root().join(name).parent().expect("a file lies in a folder").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().expect("split gives one");
            if !folder.join(file).exists() {
                let _ = writeln!(problems, "{name}: {link} is not there");
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn every_metric_that_the_readme_names_is_declared() {
    let declared: BTreeSet<String> = ["scheduler/src", "worker/src"]
        .into_iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .flat_map(|file| metrics(&fs::read_to_string(file).expect("a source file"), '"'))
        .collect();
    let named = metrics(&page("README.md"), '`');
    assert!(named.len() >= 10, "the README has lost its metrics");
    for metric in named {
        assert!(declared.contains(&metric), "the README names {metric}, which nothing declares");
    }
}

/// Words in `quotes` that begin as metrics do, without their labels.
fn metrics(text: &str, quotes: char) -> BTreeSet<String> {
    let quoted = text.split(quotes).filter(|part| part.starts_with("leveret_"));
    quoted
        .map(|part| part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>())
        .filter(|name| name.matches('_').count() >= 1)
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_readme_tells_the_limits_as_they_are() {
    let readme = page("README.md");
    let thousands = |number: u32| match number / 1_000 {
        0 => number.to_string(),
        1_000.. => format!("{},{:03},{:03}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    };
    let rows = [
        ("submission_too_large", format!("{} KiB", limits::SUBMISSION_BYTES_MAX / 1024)),
        ("value_too_large", format!("{} MiB", limits::VALUE_BYTES_MAX / 1024 / 1024)),
        ("item_too_large", format!("{} KiB", limits::ITEM_BYTES_MAX / 1024)),
        ("too_many_items", thousands(limits::ITEMS_MAX)),
        ("too_many_tasks", thousands(limits::TASKS_MAX)),
        ("too_many_signals", thousands(limits::SIGNALS_MAX as u32)),
        ("nested_too_deep", limits::NESTING_MAX.to_string()),
        ("context_too_large", format!("{} MiB", limits::VALUE_BYTES_MAX / 1024 / 1024)),
        ("template_too_large", format!("{} KiB", limits::TEMPLATE_BYTES_MAX / 1024)),
        ("output_too_large", format!("{} MiB", limits::RENDERED_BYTES_MAX / 1024 / 1024)),
        ("json_too_deep", limits::JSON_DEPTH_MAX.to_string()),
    ];
    for (code, value) in rows {
        let row = format!("| {value} | `{code}` |");
        assert!(readme.contains(&row), "the README has no row that ends with {row}");
    }
}
