//! Runs that come of others: children, and runs that begin with what another has come to know.

use serde_json::json;

use crate::{process::leveret, run::workflow, served::Dev};

const PARENT: &str = "\
name: parent
parameters:
  words: { type: array, items: { type: string }, default: [ab, c] }
tasks:
  one:
    workflow: child
    input: { word: hello }
    next: [{ when: succeeded(), publish: { first: \"{{ result.length }}\" }, do: many }]
  many:
    workflow: child
    with_items: \"{{ parameters.words }}\"
    input: { word: \"{{ item }}\" }
output:
  first: \"{{ workflow.first }}\"
  lengths: \"{{ task.many.result | map(attribute='length') }}\"
";

const CHILD: &str = "\
name: child
parameters:
  word: { type: string, required: true }
tasks:
  count:
    action: core.echo
    input: { message: \"{{ parameters.word | length }}\" }
output:
  length: \"{{ task.count.result }}\"
";

/// Says what it finds, and makes nothing of its own.
const READER: &str = "\
name: reader
parameters:
  words: { type: array, required: true }
tasks:
  many: { action: core.fail, input: { message: never }, next: [{ publish: { first: 0 } }] }
  read:
    action: core.echo
    input: { message: \"{{ workflow.first }} {{ parameters.words | length }} {{ task.many.status }}\" }
    next: [{ when: failed(), do: many }]
output:
  read: \"{{ task.read.result }}\"
  lengths: \"{{ task.many.result }}\"
";

fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn further_files_are_the_children_of_the_first() {
    let (folder, parent) = workflow(PARENT);
    let child = written(&folder, "child.yaml", CHILD);
    let run = leveret(&["run", &parent, &child]).expect(0);
    assert_eq!(run.json(), json!({ "first": 5, "lengths": [2, 1] }));
    let alone = leveret(&["run", &parent]).expect(3);
    assert!(alone.stderr.contains("[workflow_unknown]"), "{}", alone.stderr);
    let broken = written(&folder, "broken.yaml", "name: broken\n");
    leveret(&["run", &parent, &child, &broken]).expect(2);
}

#[test]
fn children_are_seen_below_their_parent() {
    let dev = Dev::start();
    let (folder, parent) = workflow(PARENT);
    let child = written(&folder, "child.yaml", CHILD);
    dev.call(&["register", &child]).expect(0);
    dev.call(&["submit", &parent, "--id", "p", "--wait"]).expect(0);
    let tree = dev.call(&["get", "p", "--tree"]).expect(0).stdout;
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines[0], "p  parent  succeeded", "{tree}");
    assert_eq!((lines.len(), tree.matches("count  succeeded").count()), (9, 3), "{tree}");
    let document = dev.call(&["get", "p", "--tree", "-o", "json"]).expect(0).json();
    let children = document["tree"]["children"].as_array().expect("a list");
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|child| child["run"]["parent"] == "p"), "{document}");
    // A rerun shows no children of its own where it has kept what they came to.
    let again = dev.call(&["rerun", "p", "--from", "many", "--wait", "-o", "json"]).expect(0).json();
    assert_eq!(again["run"]["output"]["first"], 5);
    assert!(again["run"]["tasks"]["one"]["children"].is_null(), "{again}");
    assert_eq!(again["run"]["tasks"]["many"]["children"].as_array().map(Vec::len), Some(2), "{again}");
    dev.stop();
}

#[test]
fn a_context_is_carried_into_another_run() {
    let dev = Dev::start();
    let (folder, parent) = workflow(PARENT);
    let child = written(&folder, "child.yaml", CHILD);
    dev.call(&["register", &child]).expect(0);
    dev.call(&["submit", &parent, "--id", "p", "--wait"]).expect(0);
    let context = dev.call(&["get", "p", "--context"]).expect(0);
    let many = json!([{ "length": 2 }, { "length": 1 }]);
    assert_eq!(context.json()["task"]["many"]["result"], many);
    dev.stop();

    let file = written(&folder, "context.json", &context.stdout);
    let reader = written(&folder, "reader.yaml", READER);
    let read = leveret(&["run", &reader, "--context", &file]).expect(0).json();
    assert_eq!(read, json!({ "read": "5 2 succeeded", "lengths": many }));
    let given = leveret(&["run", &reader, "--context", &file, "-p", "words=[1]"]).expect(0).json();
    assert_eq!(given["read"], "5 1 succeeded", "what is given goes before what was known");
    let wrong = written(&folder, "wrong.yaml", "tasks: {}\n");
    let refused = leveret(&["run", &reader, "--context", &wrong]).expect(2);
    assert!(refused.stderr.contains("the context cannot be read"), "{}", refused.stderr);
}
