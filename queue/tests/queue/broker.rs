//! The broker that tests run against: the one named in the environment, else a private one for this process.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// Where a running broker is named.
pub const VARIABLE: &str = "LEVERET_TEST_AMQP_URL";

/// The AMQP url of a broker, started now if none is named. A test that gets none fails.
pub fn url() -> &'static str {
    static BROKER: OnceLock<(String, Option<Child>)> = OnceLock::new();
    let (url, _) = BROKER.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(url) => (url, None),
        Err(_) => start(),
    });
    url
}

/// The child's standard input stays open as long as this process lives; its end stops the broker.
fn start() -> (String, Option<Child>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/broker.sh");
    let folder = std::env::temp_dir().join(format!("leveret-rabbitmq-{}", std::process::id()));
    let mut child = Command::new(script)
        .arg("run")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/broker.sh runs");
    let mut url = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut url).expect("the script prints the url");
    assert!(url.starts_with("amqp://"), "no broker: set {VARIABLE} or install rabbitmq-server");
    (url.trim().to_owned(), Some(child))
}
