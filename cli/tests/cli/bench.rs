//! `leveret bench`: that it measures what was asked, and leaves nothing behind.

use crate::{process::leveret, run::workflow};

const VARIABLE: &str = "LEVERET_TEST_AMQP_URL";

#[test]
fn figures_are_a_document() {
    let words = ["bench", "--items", "300", "--context", "100000", "--workers", "2", "-o", "json"];
    let ended = leveret(&words).expect(0);
    assert_eq!(ended.stderr, "", "nothing to say when stderr is no terminal");
    let document = ended.json();
    assert_eq!(document["schema"], 1);
    let bench = &document["bench"];
    assert_eq!(
        (&bench["items"], &bench["context_bytes"], &bench["workers"], &bench["queues"]),
        (&300.into(), &100_000.into(), &2.into(), &"memory".into())
    );
    let figure = |name: &str| bench[name].as_f64().unwrap_or_else(|| panic!("no {name} in {document}"));
    assert!(figure("seconds") > 0.0 && figure("seconds") <= figure("run_seconds") + 0.001, "{document}");
    assert!((figure("items_per_second") * figure("seconds") - 300.0).abs() < 0.01, "{document}");
    assert!(figure("peak_memory_bytes") > 1e6, "{document}");
}

#[test]
fn figures_are_a_table() {
    let ended = leveret(&["bench", "--items", "10", "--context", "1"]).expect(0);
    let whats: Vec<&str> = ended.stdout.lines().filter_map(|line| line.split("  ").next()).collect();
    let expected = ["items", "context", "workers", "queues", "items/s", "seconds", "whole run", "peak memory"];
    assert_eq!(whats, expected, "{}", ended.stdout);
}

#[test]
fn what_cannot_be_measured_is_wrong_use() {
    for words in [["--items", "0"], ["--context", "33554433"], ["--workers", "0"]] {
        leveret(&["bench", words[0], words[1]]).expect(2);
    }
    let refused = leveret(&["bench", "--amqp", "amqp://127.0.0.1:1/%2f"]).expect(3);
    assert!(refused.stderr.contains("RabbitMQ is not reachable"), "{}", refused.stderr);
}

#[test]
fn a_broker_is_left_as_it_was() {
    let amqp = std::env::var(VARIABLE).unwrap_or_else(|_| panic!("set {VARIABLE}, or run the tests with `make test`"));
    let ended = leveret(&["bench", "--items", "300", "--context", "100000", "--amqp", &amqp, "-o", "json"]).expect(0);
    let document = ended.json();
    assert_eq!(document["bench"]["queues"], "rabbitmq");
    assert!(document["bench"]["items_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{document}");

    let mut words = ended.stderr.split_whitespace();
    let prefix = words.find(|word| word.starts_with("leveret-bench-")).expect("it says its prefix");
    let (_folder, path) = workflow("name: any\ntasks: { only: { action: core.noop } }\n");
    let submit = ["submit", &path, "--amqp", &amqp, "--prefix", prefix.trim_end_matches('…')];
    let refused = leveret(&submit).expect(3);
    assert!(refused.stderr.contains("a scheduler makes the queue"), "{}", refused.stderr);
}
