//! Postgres servers for tests: the one that the environment names, or private ones that end with this process.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use proto::id::RunId;
use tempfile::TempDir;
use tokio_postgres::NoTls;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres.sh");

/// A private server. It stops when this is dropped, and also when this process ends in any other way, since the script
/// waits for the end of its standard input.
pub struct Server {
    pub url: String,
    folder: PathBuf,
    guard: Child,
    input: Option<ChildStdin>,
}

impl Server {
    /// Starts one.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder for the server").keep();
        let mut guard = Command::new(SCRIPT)
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/postgres.sh runs");
        let mut url = String::new();
        let output = guard.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut url).expect("the script's answer");
        assert!(url.starts_with("postgres://"), "no Postgres for tests, see the script's message above");
        Self { url: url.trim().to_owned(), folder, input: guard.stdin.take(), guard }
    }

    /// Stops it as a power cut would.
    pub fn crash(&self) {
        script("stop", &self.folder);
    }

    /// Starts it again where it was.
    pub fn restart(&self) {
        script("start", &self.folder);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        self.guard.wait().expect("the script ends");
    }
}

fn script(command: &str, folder: &Path) {
    let done = Command::new(SCRIPT).arg(command).arg(folder).stdout(Stdio::null()).status();
    assert!(done.expect("scripts/postgres.sh runs").success(), "postgres.sh {command}");
}

/// The URL of a new and empty schema on the server that all tests share.
pub async fn fresh_schema() -> String {
    static SHARED: OnceLock<Server> = OnceLock::new();
    let given = std::env::var("LEVERET_TEST_POSTGRES_URL");
    let base = given.unwrap_or_else(|_| SHARED.get_or_init(Server::start).url.clone());
    let schema = format!("test_{}", RunId::fresh().as_str().replace('-', "_"));
    sql(&base, &format!("CREATE SCHEMA {schema}")).await;
    let separator = if base.contains('?') { '&' } else { '?' };
    format!("{base}{separator}options=-csearch_path%3D{schema}")
}

/// Runs statements on a connection of its own.
pub async fn sql(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    let run = async {
        let done = client.batch_execute(statements).await;
        drop(client);
        done
    };
    let (done, ended) = tokio::join!(run, connection);
    done.expect("statements run");
    ended.expect("the connection ends well");
}
