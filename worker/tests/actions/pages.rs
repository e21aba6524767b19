//! The guide tells every built-in action with every key of its input, and says what proves each.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use leveret_worker::action::registry::Actions;

fn page(name: &str) -> String {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").into();
    fs::read_to_string(root.join("docs/src").join(name)).expect("the page is there")
}

/// The words in quotes with which the rows of the first table in `text` begin.
fn rows(text: &str) -> BTreeSet<String> {
    let lines = text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    lines.filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect()
}

/// What stands below a heading.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    rest.split("\n## ").next().unwrap_or_default()
}

fn keys(actions: &Actions, name: &str) -> BTreeSet<String> {
    let schema = actions.get(name).expect("it was named").input_schema();
    schema["properties"].as_object().map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn the_page_of_actions_has_each_with_its_keys() {
    let actions = Actions::builtin();
    let page = page("actions.md");
    for name in actions.names() {
        let section = section(&page, name);
        // Plugins have further headings, and tables of what they are asked.
        let table = section.split("\n### ").next().unwrap_or_default();
        assert_eq!(rows(table), keys(&actions, name), "{name}");
    }
}

#[test]
fn the_table_of_proofs_has_each_with_its_keys() {
    let actions = Actions::builtin();
    let wanted = actions.names().flat_map(|name| {
        let keys = keys(&actions, name).into_iter().map(move |key| format!("{name}.{key}"));
        std::iter::once(name.to_owned()).chain(keys)
    });
    assert_eq!(rows(section(&page("coverage.md"), "Actions")), wanted.collect());
}
