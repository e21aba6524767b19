//! `leveret explain` against a `leveret dev`.

use serde_json::json;

use crate::{run::workflow, served::Dev};

const FLEET: &str = "\
name: fleet
parameters:
  hosts: { type: array, items: { type: string }, required: true }
  user: { type: string, default: root }
vars: { greeting: \"{{ 'hi ' ~ parameters.user }}\" }
tasks:
  probe:
    action: core.echo
    with_items: \"{{ parameters.hosts }}\"
    input: { message: \"{{ item }} of {{ parameters.hosts | length }}\" }
    next: [{ publish: { count: \"{{ parameters.hosts | length }}\" }, do: page }]
  page:
    action: core.echo
    timeout: \"{{ workflow.count * 10 }}s\"
    input:
      message:
        count: \"{{ workflow.count }}\"
        first: \"{{ task.probe.result[0] }}\"
        token: \"Bearer {{ secrets.token }}\"
        home: \"{{ env.LEVERET_HOME_OF }}\"
        said: [\"{{ workflow.greeting }}\", \"{{ workflow.nothing | default(value='-') }}\"]
    next:
      - when: parameters.user == 'nobody'
        publish: { nothing: 1 }
        do: last
      - when: succeeded()
        do: last
  last:
    action: core.echo
    input: { message: { seen: \"{{ workflow.count }}\", not: \"{{ workflow.nothing }}\" } }
";

#[test]
fn a_person_sees_what_a_task_got_and_from_where() {
    let dev = Dev::start_with(&[
        ("LEVERET_SECRET_TOKEN", "hunter2-hunter2"),
        ("LEVERET_HOME_OF", "hare"),
        ("LEVERET_ENV_ALLOW", "LEVERET_HOME_OF"),
    ]);
    let (_folder, path) = workflow(FLEET);
    let id = ["--id", "one"];
    dev.call(&[&["submit", &path, "-p", "hosts=[\"a\", \"b\"]", "--wait"][..], &id].concat()).expect(1);

    let page = dev.call(&["explain", "one", "page", "-o", "json"]).expect(0).json();
    assert_eq!(
        page["input"]["message"],
        json!({ "count": 2, "first": "a of 2", "token": "***", "home": "<env LEVERET_HOME_OF of the worker>",
                "said": ["hi root", "-"] })
    );
    assert_eq!(page["settings"], json!({ "timeout": "20s" }));
    assert!(page["failures"] == json!([]) && !page.to_string().contains("hunter2"), "{page}");
    let sources: Vec<_> = page["given"]["paths"].as_array().expect("a list").iter().collect();
    let source = |path: &str| {
        let read = sources.iter().find(|read| read["path"] == path).unwrap_or_else(|| panic!("{path} in {page}"));
        (read["source"]["from"].clone(), read["source"]["task"].clone())
    };
    assert_eq!(source("workflow.count"), (json!("published"), json!("probe")));
    assert_eq!(source("task.probe.result"), (json!("ended"), json!("probe")));
    assert_eq!(source("workflow.greeting"), (json!("var"), json!(null)));
    assert_eq!(source("parameters.user"), (json!("default"), json!(null)));
    assert_eq!(source("workflow.nothing"), (json!(null), json!(null)));
    let text = dev.call(&["explain", "one", "page"]).expect(0).stdout;
    for words in ["page#2", "\"token\": \"***\"", "published by probe#1 at ", "not there", "known to workers alone"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }

    let item = dev.call(&["explain", "one", "probe", "--item", "1", "-o", "json"]).expect(0).json();
    assert_eq!((&item["input"]["message"], &item["given"]["item"]["status"]), (&json!("b of 2"), &json!("succeeded")));
    let all = dev.call(&["explain", "one", "probe"]).expect(0).stdout;
    assert!(all.contains("<of each item>") && all.contains("with_items  [\"a\",\"b\"]"), "{all}");
    assert!(all.contains("given with the job at "), "{all}");

    let last = dev.call(&["explain", "one", "last"]).expect(0).stdout;
    for words in ["\"seen\": 2", "<template_error: ", "`workflow.nothing` was not there: page may publish it"] {
        assert!(last.contains(words), "{words} in\n{last}");
    }
    dev.stop();
}

#[test]
fn what_never_was_is_not_explained() {
    let dev = Dev::start();
    let (_folder, path) = workflow(FLEET);
    dev.call(&["submit", &path, "-p", "hosts=[]", "--id", "one", "--wait"]).expect(1);
    for (words, told) in [
        (&["none", "probe"][..], "there is no run none"),
        (&["one", "nope"], "fleet has no task nope"),
        (&["one", "probe", "--item", "7"], "probe has no item 7: it has 0"),
        (&["one", "page", "--item", "7"], "page has no list of items"),
        (&["one", "page", "--start", "9"], "page has no start 9"),
    ] {
        let refused = dev.call(&[&["explain"], words].concat()).expect(3).stderr;
        assert!(refused.contains(told), "{told} in {refused}");
    }
    dev.stop();
}

const LARGE: &str = "\
name: large
tasks:
  stored: { action: core.echo, input: { message: \"{{ range(end=1000) }}\" }, next: [{ do: more }] }
  more: { action: core.echo, input: { message: \"{{ range(end=300000) }}\" }, next: [{ do: count }] }
  count:
    action: core.echo
    input: { message: { few: \"{{ task.stored.result | length }}\", many: \"{{ task.more.result | length }}\" } }
";

#[test]
fn what_is_kept_elsewhere_is_fetched_unless_it_is_large() {
    let dev = Dev::start();
    let (_folder, path) = workflow(LARGE);
    dev.call(&["submit", &path, "--id", "one", "--wait"]).expect(0);
    let count = dev.call(&["explain", "one", "count", "-o", "json"]).expect(0).json();
    assert_eq!(count["input"]["message"]["few"], 1000, "{}", count["input"]);
    let many = "<needs task.more.result, whose 1.9 MiB were not fetched>";
    assert_eq!(count["input"]["message"]["many"], many, "{}", count["input"]);
    let read = |path: &str| {
        let paths = count["given"]["paths"].as_array().expect("a list");
        paths.iter().find(|read| read["path"] == path).unwrap_or_else(|| panic!("{path} in {paths:?}"))
    };
    assert_eq!(read("task.stored.result")["omitted"], json!(null));
    let more = read("task.more.result");
    assert!(more["omitted"] == true && more["value"]["stored"]["digest"].is_string(), "{more}");
    let text = dev.call(&["explain", "one", "count"]).expect(0).stdout;
    assert!(text.contains("`task.more.result` has 1.9 MiB and was not fetched"), "{text}");
    dev.stop();
}
