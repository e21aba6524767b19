//! The example of `docs/src/testing.md`: its scripts hold for its workflow.

use std::{fs, path::Path, sync::Arc};

use leveret_engine::{diagnostic::Colour, parse, program::Program, rehearsal};

#[test]
fn scripts_on_the_page_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let text = fs::read_to_string(root.join("docs/src/testing.md")).expect("the page is there");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (workflow, scripts) = match blocks.collect::<Vec<_>>().split_first() {
        Some((workflow, scripts)) if scripts.len() >= 2 => (*workflow, scripts.to_vec()),
        Some(_) | None => panic!("the page has lost its example"),
    };
    let (program, warnings) = Program::compile(workflow, "testing.md").expect("the workflow is valid");
    assert!(warnings.is_empty(), "{}", warnings.render(Colour::None));
    let programs = [Arc::new(program)];
    for source in scripts {
        let script = parse::script(source, "testing.md", programs[0].workflow());
        let script = script.unwrap_or_else(|problems| panic!("{}", problems.render(Colour::None)));
        let outcome = rehearsal::play(&programs, &script).expect("it ends");
        assert_eq!(rehearsal::check(&outcome, &script.expect), [], "{source}");
        assert_eq!(outcome.unused, [], "{source}");
    }
}
