//! `leveret graph`: pictures on stdout, problems on stderr.

use crate::process::leveret;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/check-fleet.yaml");

#[test]
fn a_file_is_drawn_in_each_format() {
    let text = leveret(&["graph", EXAMPLE]).expect(0);
    assert_eq!(text.stderr, "");
    insta::assert_snapshot!(text.stdout, @r#"
    check-fleet starts with probe

    probe  http.request
    │ for each of parameters.hosts
    │ concurrency parameters.concurrency
    │ tolerate parameters.tolerate
    │ retry 2, delay 100ms exponential to 1s
    └─ completed() ─▶ report  (publish unhealthy)

    report  template.render
    └─ succeeded() and task.probe.status != "succeeded" ─▶ fail
    "#);
    assert_eq!(leveret(&["graph", EXAMPLE, "-o", "text"]).expect(0).stdout, text.stdout);
    for (format, first) in [("mermaid", "flowchart TD\n"), ("dot", "digraph \"check-fleet\" {\n")] {
        let drawn = leveret(&["graph", EXAMPLE, "-o", format]).expect(0).stdout;
        assert!(drawn.starts_with(first), "{drawn}");
    }
}

#[test]
fn what_is_not_valid_is_not_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.yaml").display().to_string();
    std::fs::write(&path, "name: broken\ntaks: {}\n").expect("written");
    let ended = leveret(&["graph", &path]).expect(2);
    assert!(ended.stdout.is_empty() && ended.stderr.contains(&format!("{path}:2:1")), "{}", ended.stderr);
    assert!(leveret(&["graph", "./no-such-file.yaml"]).expect(2).stderr.contains("cannot read ./no-such-file.yaml"));
    leveret(&["graph", EXAMPLE, "-o", "svg"]).expect(2);
}
