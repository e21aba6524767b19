//! The two services and a client, through RabbitMQ.

use nix::sys::signal::Signal;

use crate::{
    process::{leveret, start},
    run::workflow,
};

const VARIABLE: &str = "LEVERET_TEST_AMQP_URL";
const WORKER: &str = "a-token-for-workers";
const OPERATE: &str = "a-token-for-people";
const ECHO: &str = "\
name: echo
parameters: { word: { type: string, required: true } }
tasks:
  say: { action: core.echo, input: { message: \"{{ parameters.word }}\" } }
output:
  said: \"{{ task.say.result }}\"
";

#[test]
fn a_job_goes_through_the_broker() {
    let amqp = std::env::var(VARIABLE).unwrap_or_else(|_| panic!("set {VARIABLE}, or run the tests with `make test`"));
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}", folder.path().join("leveret.db").display());
    let name = folder.path().file_name().expect("a name").to_string_lossy().replace('.', "");
    let prefix = format!("leveret-cli-{name}");
    let common = [("LEVERET_AMQP_URL", amqp.as_str()), ("LEVERET_PREFIX", &prefix), ("LEVERET_QUEUE_TYPE", "classic")];
    let (_folder, path) = workflow(ECHO);

    let unready = ["submit", &path, "-p", "word=a", "--amqp", &amqp, "--prefix", &prefix];
    let refused = leveret(&unready).expect(3);
    assert!(refused.stderr.contains("a scheduler makes the queue"), "{}", refused.stderr);

    let list = format!("worker:{WORKER},operate:{OPERATE}");
    let of = |name, value| [&common[..], &[(name, value)]].concat();
    let mut scheduler = start(&["scheduler", "--store", &store, "--http", "127.0.0.1:0"], &of("LEVERET_TOKENS", &list));
    let line = scheduler.said("scheduler started");
    let address = line.split("http=").nth(1).expect("where it serves").trim().to_owned();
    let server = format!("http://{address}");
    let mut worker =
        start(&["worker", "--http", "off", "--server", &server, "--log-format", "json"], &of("LEVERET_TOKEN", WORKER));
    worker.said("\"message\":\"worker started\"");

    let unknown = leveret(&["list", "--server", &server]).expect(2);
    assert!(unknown.stderr.contains("LEVERET_TOKEN"), "{}", unknown.stderr);
    let forbidden = leveret(&["list", "--server", &server, "--token", WORKER]).expect(2);
    assert!(!forbidden.stderr.contains(WORKER), "{}", forbidden.stderr);

    let submit = [
        "submit",
        &path,
        "-p",
        "word=hello",
        "--amqp",
        &amqp,
        "--prefix",
        &prefix,
        "--server",
        &server,
        "--token",
        OPERATE,
    ];
    let id = leveret(&[&submit[..], &["-o", "id"]].concat()).expect(0).stdout;
    let waited = leveret(&[&submit[..], &["--wait"]].concat()).expect(0);
    assert_eq!(waited.json(), serde_json::json!({ "said": "hello" }));
    let get = leveret(&["get", id.trim(), "-o", "json", "--server", &server, "--token", OPERATE]).expect(0).json();
    assert_eq!(get["run"]["output"]["said"], "hello", "jobs are taken in order");

    worker.signal(Signal::SIGTERM);
    worker.end().expect(0);
    scheduler.signal(Signal::SIGTERM);
    scheduler.end().expect(0);
}
