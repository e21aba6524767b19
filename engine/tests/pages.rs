//! What pages show of the language is so: every workflow compiles without a warning, every filter exists.

use std::{fs, path::Path};

use leveret_engine::{diagnostic::Colour, program::Program};

fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    fs::read_to_string(root.join(name)).expect("the page is there")
}

#[test]
fn workflows_on_pages_compile() {
    for name in ["README.md", "docs/src/language.md"] {
        let text = page(name);
        let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
        assert!(!blocks.is_empty(), "{name} shows no workflow any more");
        for block in blocks {
            match Program::compile(&format!("{block}\n"), name) {
                Ok((_, warnings)) => assert!(warnings.is_empty(), "{}", warnings.render(Colour::None)),
                Err(problems) => panic!("{}", problems.render(Colour::None)),
            }
        }
    }
}

#[test]
fn filters_on_the_page_exist() {
    let text = page("docs/src/language.md");
    let (_, table) = text.split_once("Filters beyond Tera's own").expect("the page has the table");
    let (table, _) = table.split_once("\n## ").expect("another section follows");
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let filters: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(filters.len() > 20, "the page has lost its filters");
    for filter in filters {
        let source = format!(
            "name: f\nparameters: {{ x: {{}} }}\ntasks:\n  a:\n    action: core.echo\n    input: {{ message: '{{{{ parameters.x | {filter} }}}}' }}\n"
        );
        if let Err(problems) = Program::compile(&source, filter) {
            panic!("{}", problems.render(Colour::None));
        }
    }
}
