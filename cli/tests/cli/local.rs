//! What needs no scheduler.

use crate::process::{leveret, start};

const BROKEN: &str = "\
name: broken
taks: {}
tasks:
  a:
    action: core.echo
    input: { message: \"{{ parameters.nope }}\" }
    nxt: []
";

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("written");
    (folder, path.display().to_string())
}

#[test]
fn help_and_version_are_data() {
    let help = leveret(&["--help"]).expect(0);
    for command in [
        "run",
        "scheduler",
        "worker",
        "submit",
        "register",
        "list",
        "get",
        "watch",
        "cancel",
        "pause",
        "resume",
        "signal",
        "rerun",
        "lint",
    ] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}: {}", help.stdout);
    }
    assert!(help.stdout.contains("Exit codes: 0 done"), "{}", help.stdout);
    assert!(leveret(&["--version"]).expect(0).stdout.starts_with("leveret "));
    assert!(leveret(&["run", "--help"]).expect(0).stdout.contains("NAME:=JSON"));
}

#[test]
fn wrong_words_are_wrong_use() {
    for words in
        [&["runn"][..], &["run"], &["run", "a.yaml", "-p", "x"], &["list", "--status", "happy"], &["get", "a b"]]
    {
        let ended = leveret(words).expect(2);
        assert!(ended.stdout.is_empty() && ended.stderr.starts_with("error:"), "{words:?}: {}", ended.stderr);
    }
    let name = leveret(&["run", "fleet"]).expect(2);
    assert!(name.stderr.contains("fleet is no file") && name.stderr.contains("./fleet"), "{}", name.stderr);
    let absent = leveret(&["lint", "./no-such-file.yaml"]).expect(2);
    assert!(absent.stderr.contains("cannot read ./no-such-file.yaml"), "{}", absent.stderr);
}

#[test]
fn completion_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = leveret(&["completion", shell]).expect(0).stdout;
        assert!(script.contains("leveret") && script.contains("drain-timeout"), "{shell}");
    }
}

#[test]
fn lint_tells_everything_in_each_format() {
    let (_folder, path) = file("broken.yaml", BROKEN);
    let text = leveret(&["lint", &path]).expect(2).stdout;
    for place in [format!("{path}:2:1"), format!("{path}:7:5")] {
        assert!(text.contains(&place), "{place} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "colour only on a terminal");
    let json = leveret(&["lint", "-o", "json", &path]).expect(2).json();
    assert_eq!(json["schema"], 1);
    let problems = json["files"][0]["problems"].as_array().expect("a list").clone();
    assert!(problems.iter().any(|p| p["line"] == 2 && p["column"] == 1 && p["severity"] == "error"), "{problems:?}");
    let github = leveret(&["lint", "-o", "github", &path]).expect(2).stdout;
    assert!(github.lines().count() >= 2 && github.lines().all(|line| line.starts_with("::error file=")), "{github}");
}

#[test]
fn lint_passes_the_examples() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    for name in ["check-fleet.yaml", "process-log.yaml", "plugin.yaml"] {
        leveret(&["lint", "--strict", &format!("{root}/{name}")]).expect(0);
    }
}

#[test]
fn lint_fails_for_warnings_only_when_it_is_strict() {
    let (_folder, path) = file(
        "doubtful.yaml",
        "name: d\ntasks:\n  a:\n    action: http.request\n    input: { url: http://localhost, timout: 5s }\n",
    );
    let lenient = leveret(&["lint", &path]).expect(0).stdout;
    assert!(lenient.contains("unknown_input") && lenient.contains("did you mean `timeout`?"), "{lenient}");
    assert!(lenient.contains(&format!("{path}:5:37")), "{lenient}");
    assert_eq!(leveret(&["lint", "--strict", &path]).expect(2).stdout, lenient);
}

#[test]
fn settings_come_in_layers_and_secrets_are_masked() {
    let (_folder, path) =
        file("leveret.toml", "prefix = \"trial\"\nslots = 3\n[worker]\nslots = 5\npools = [\"a\", \"b\"]\n");
    let (_secret, store) = file("store-url", "postgres://me:sesame@db/leveret\n");
    let variables = [
        ("LEVERET_CONFIG", path.as_str()),
        ("LEVERET_AMQP_URL", "amqp://me:sesame@host"),
        ("LEVERET_STORE_URL_FILE", store.as_str()),
        ("LEVERET_TOKEN", "sesame"),
        ("LEVERET_SLOTS", "7"),
    ];
    let shown = start(&["config", "show"], &variables).end().expect(0);
    assert!(!shown.stdout.contains("sesame"), "{}", shown.stdout);
    for line in [
        "token = \"***\"  # LEVERET_TOKEN",
        "server_url = \"http://127.0.0.1:7780\"  # default",
        "amqp_url = \"amqp://me:***@host\"  # LEVERET_AMQP_URL",
        "slots = \"7\"  # LEVERET_SLOTS",
    ] {
        assert!(shown.stdout.contains(line), "{line} in\n{}", shown.stdout);
    }
    for (line, from) in [
        ("store_url = \"postgres://me:***@db/leveret\"", &store),
        ("prefix = \"trial\"", &path),
        ("pools = [\"a\", \"b\"]", &path),
    ] {
        assert!(shown.stdout.contains(&format!("{line}  # {from}")), "{line} in\n{}", shown.stdout);
    }
    let json = start(&["config", "show", "-o", "json"], &variables[..1]).end().expect(0).json();
    assert_eq!(json["settings"]["worker"]["slots"]["values"][0], "5", "its own table goes first");
    assert_eq!(json["settings"]["dev"]["slots"]["values"][0], "3");
}

#[test]
fn what_is_shown_can_be_used() {
    let shown = leveret(&["config", "show"]).expect(0).stdout;
    let (_folder, path) = file("leveret.toml", &shown);
    let again = leveret(&["config", "show", "--config", &path]).expect(0).stdout;
    let values =
        |text: &str| text.lines().map(|line| line.split("  # ").next().unwrap_or("").to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(&shown));
}

#[test]
fn bad_settings_are_wrong_use() {
    let (_folder, path) = file("leveret.toml", "slotz = 3\n");
    let ended = leveret(&["list", "--config", &path]).expect(2);
    assert!(ended.stderr.contains("unknown key `slotz`"), "{}", ended.stderr);
    let (_folder, path) = file("leveret.toml", "[worker]\nslots = \"many\"\n");
    let ended = leveret(&["worker", "--config", &path]).expect(2);
    assert!(ended.stderr.contains("'many'") && ended.stderr.contains("--slots"), "{}", ended.stderr);
    let both = [("LEVERET_TOKEN", "a"), ("LEVERET_TOKEN_FILE", "/dev/null")];
    let ended = start(&["list"], &both).end().expect(2);
    assert!(ended.stderr.contains("both LEVERET_TOKEN and LEVERET_TOKEN_FILE"), "{}", ended.stderr);
}

#[test]
fn nobody_there_is_not_reachable() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let server = format!("http://127.0.0.1:{port}");
    for words in [&["list"][..], &["get", "r1"], &["watch", "r1"], &["submit", "fleet"], &["cancel", "r1", "--yes"]] {
        let words = [words, &["--server", &server]].concat();
        let ended = leveret(&words).expect(3);
        assert!(ended.stderr.contains(&format!("cannot reach the scheduler at {server}")), "{}", ended.stderr);
        assert!(ended.stderr.contains("help: start one with `leveret dev`"), "{}", ended.stderr);
    }
    let amqp = format!("amqp://guest:sesame@127.0.0.1:{port}");
    let ended = leveret(&["worker", "--amqp", &amqp]).expect(3);
    assert!(ended.stderr.contains("RabbitMQ is not reachable") && !ended.stderr.contains("sesame"), "{}", ended.stderr);
}
