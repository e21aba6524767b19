//! Clients against a `leveret dev`.

use nix::sys::signal::Signal;

use crate::{
    process::{Ended, Running, leveret, start},
    run::workflow,
    visitor::Door,
};

const DOUBLE: &str = "\
name: double
parameters:
  numbers: { type: array, items: { type: integer }, required: true }
tasks:
  twice:
    action: core.echo
    with_items: \"{{ parameters.numbers }}\"
    input: { message: \"{{ item * 2 }}\" }
output:
  doubled: \"{{ task.twice.result }}\"
";

const WAITING: &str = "\
name: waiting
parameters: { url: { type: string, required: true } }
tasks:
  wait:
    action: http.request
    input: { url: \"{{ parameters.url }}\" }
";

/// A server, its folder and its address.
pub struct Dev {
    process: Running,
    url: String,
    folder: tempfile::TempDir,
}

impl Dev {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"))
    }

    pub fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_knowing(folder, &[])
    }

    /// With these variables.
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        Self::start_knowing(tempfile::tempdir().expect("a folder"), variables)
    }

    fn start_knowing(folder: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let data = folder.path().join("data").display().to_string();
        let variables = [&[("LEVERET_LOG", "warn")], variables].concat();
        let mut process = start(&["dev", "--http", "127.0.0.1:0", "--data", &data], &variables);
        let line = process.said("serving at ");
        let url = line.split(['/', ';']).find(|part| part.starts_with("127.")).expect("an address");
        Self { url: format!("http://{url}"), process, folder }
    }

    pub fn call(&self, words: &[&str]) -> Ended {
        leveret(&[words, &["--server", &self.url]].concat())
    }

    fn begin(&self, words: &[&str]) -> Running {
        start(&[words, &["--server", &self.url]].concat(), &[])
    }

    pub fn stop(self) -> tempfile::TempDir {
        self.process.signal(Signal::SIGTERM);
        self.process.end().expect(0);
        self.folder
    }
}

#[test]
fn a_registered_workflow_is_run_by_its_name() {
    let dev = Dev::start();
    let (_folder, path) = workflow(DOUBLE);
    assert!(dev.call(&["workflows"]).expect(0).stderr.contains("no workflows are registered"));
    assert!(dev.call(&["register", &path]).expect(0).stdout.starts_with("double "));
    assert_eq!(dev.call(&["workflows", "-o", "json"]).expect(0).json()["workflows"][0]["name"], "double");
    assert!(dev.call(&["workflows"]).expect(0).stdout.starts_with("NAME"));

    let submit = ["submit", "double", "-p", "numbers=[1, 2]", "--id", "one", "--label", "team=ops"];
    let waited = dev.call(&[&submit[..], &["--wait"]].concat()).expect(0);
    assert_eq!(waited.json(), serde_json::json!({ "doubled": [2, 4] }));
    assert!(waited.stderr.starts_with("double succeeded in"), "{}", waited.stderr);
    // The same again is the same run.
    assert_eq!(dev.call(&submit).expect(0).stdout, "one accepted, as before\n");
    let other = dev.call(&["submit", "double", "-p", "numbers=[3]", "--id", "one"]).expect(2);
    assert!(other.stderr.contains("[id_conflict]"), "{}", other.stderr);

    let listed = dev.call(&["list", "-o", "json", "--label", "team=ops", "--since", "1h"]).expect(0).json();
    assert_eq!((&listed["schema"], &listed["runs"][0]["id"]), (&1.into(), &"one".into()));
    let table = dev.call(&["list", "--status", "succeeded", "--workflow", "double"]).expect(0).stdout;
    assert!(table.starts_with("ID   WORKFLOW  STATUS") && table.contains("\none  double    succeeded"), "{table}");
    assert!(dev.call(&["list", "--label", "team=dev"]).expect(0).stderr.contains("no such runs"));

    let text = dev.call(&["get", "one"]).expect(0).stdout;
    assert!(text.contains("label     team=ops") && text.contains("twice  succeeded"), "{text}");
    let json = dev.call(&["get", "one", "-o", "json"]).expect(0).json();
    assert_eq!(json["run"]["tasks"]["twice"]["items"]["succeeded"], 2, "{json}");
    let watched = dev.call(&["watch", "one", "-o", "json"]).expect(0);
    assert_eq!(watched.json()["run"]["output"], json["run"]["output"]);
    dev.stop();
}

#[test]
fn a_file_is_run_without_being_registered() {
    let dev = Dev::start();
    let (_folder, path) = workflow(DOUBLE);
    let id = dev.call(&["submit", &path, "-p", "numbers=[1]", "-o", "id"]).expect(0).stdout;
    let watched = dev.call(&["watch", id.trim()]).expect(0).stdout;
    assert!(watched.contains("\"doubled\": ["), "{watched}");
    let answer = dev.call(&["submit", &path, "-p", "numbers=[1]", "--id", "two", "-o", "json"]).expect(0).json();
    assert_eq!((&answer["id"], &answer["status"]), (&"two".into(), &"accepted".into()));
    let document = dev.call(&["submit", &path, "-p", "numbers=[1]", "--watch", "-o", "json"]).expect(0).json();
    assert_eq!(document["run"]["status"], "succeeded");
    dev.stop();
}

#[test]
fn what_is_not_there_is_not_found() {
    let dev = Dev::start();
    for words in [&["get", "nothing"][..], &["watch", "nothing"], &["cancel", "nothing", "--yes"]] {
        let ended = dev.call(words).expect(3);
        assert_eq!(ended.stderr, "error: there is no run nothing\n");
    }
    let unknown = dev.call(&["submit", "nothing"]).expect(3);
    assert!(unknown.stderr.contains("[workflow_unknown]"), "{}", unknown.stderr);
    let (_folder, path) = workflow(DOUBLE);
    dev.call(&["register", &path]).expect(0);
    let wrong = dev.call(&["submit", "double", "-p", "number=1"]).expect(2);
    for code in ["[parameter_required]", "[parameter_unknown]"] {
        assert!(wrong.stderr.contains(code), "{code} in {}", wrong.stderr);
    }
    let (_folder, broken) = workflow("name: broken\n");
    dev.call(&["register", &path, &broken]).expect(2);
    dev.stop();
}

#[test]
fn a_run_is_watched_left_and_cancelled() {
    let dev = Dev::start();
    let door = Door::open();
    let (_folder, path) = workflow(WAITING);
    let url = format!("url=http://127.0.0.1:{}/", door.port());
    let id = dev.call(&["submit", &path, "-p", &url, "-o", "id", "--id", "w"]).expect(0).stdout;
    assert_eq!(id, "w\n");
    let visit = door.visited();

    let mut watch = dev.begin(&["watch", "w", "-o", "json"]);
    watch.printed("\"status\":\"running\"");
    watch.signal(Signal::SIGINT);
    let left = watch.end().expect(130);
    assert!(left.stderr.contains("no longer watching; the run goes on"), "{}", left.stderr);

    let unasked = dev.call(&["cancel", "w"]).expect(2);
    assert!(unasked.stderr.contains("give --yes"), "{}", unasked.stderr);
    let mut watch = dev.begin(&["watch", "w", "-o", "json"]);
    watch.printed("\"status\":\"running\"");
    dev.call(&["cancel", "w", "--yes", "--reason", "enough"]).expect(0);
    visit.gone();
    let ended = watch.end().expect(1);
    assert!(
        ended.stdout.lines().last().is_some_and(|line| line.contains("\"status\":\"canceled\"")),
        "{}",
        ended.stdout
    );
    let again = dev.call(&["cancel", "w", "--yes"]).expect(0);
    assert!(again.stderr.contains("has ended already: canceled"), "{}", again.stderr);
    assert!(dev.call(&["get", "w"]).expect(0).stdout.contains("status    canceled"));
    dev.stop();
}

#[test]
fn runs_outlive_the_server() {
    let dev = Dev::start();
    let (_folder, path) = workflow(DOUBLE);
    dev.call(&["submit", &path, "-p", "numbers=[1]", "--id", "kept", "--wait"]).expect(0);
    let dev = Dev::start_in(dev.stop());
    assert!(dev.call(&["get", "kept"]).expect(0).stdout.contains("succeeded"));
    dev.stop();
}
