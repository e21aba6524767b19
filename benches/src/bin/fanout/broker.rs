//! The broker between the processes, and its own counters.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// A RabbitMQ, perhaps one of our own.
pub struct Broker {
    pub url: String,
    script: PathBuf,
    folder: PathBuf,
    /// One that was started here ends when its standard input closes; then its folder goes.
    own: Option<(Child, TempDir)>,
}

/// What went through all connections, as the broker counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Octets {
    /// By the broker, from the processes.
    pub received: u64,
    /// By the broker, to the processes.
    pub sent: u64,
}

impl Broker {
    /// The one that the environment names, or a new one.
    pub fn find_or_start(script: &Path) -> Result<Self> {
        ensure!(script.exists(), "{} is not there: run this from the workspace's folder", script.display());
        let script = script.to_owned();
        match (env::var("LEVERET_AMQP_URL"), env::var_os("LEVERET_BROKER_DIR")) {
            (Ok(url), Some(folder)) => Ok(Self { url, script, folder: folder.into(), own: None }),
            (Err(_), None) => Self::start(script),
            (Ok(_), None) | (Err(_), Some(_)) => bail!("LEVERET_AMQP_URL and LEVERET_BROKER_DIR go together"),
        }
    }

    fn start(script: PathBuf) -> Result<Self> {
        let temporary = TempDir::new().context("making a folder for the broker")?;
        let folder = temporary.path().join("broker");
        let mut child = Command::new(&script)
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", script.display()))?;
        let stdout = child.stdout.take().expect("it is piped");
        let mut url = String::new();
        BufReader::new(stdout).read_line(&mut url).context("waiting for the broker")?;
        ensure!(url.starts_with("amqp://"), "the broker did not start; its last words are above");
        Ok(Self { url: url.trim().to_owned(), script, folder, own: Some((child, temporary)) })
    }

    /// What it has counted on the connections that are open now.
    pub fn octets(&self) -> Result<Octets> {
        let output = Command::new(&self.script)
            .arg("ctl")
            .arg(&self.folder)
            .args(["list_connections", "recv_oct", "send_oct", "--no-table-headers"])
            .output()
            .context("asking the broker for its connections")?;
        ensure!(output.status.success(), "rabbitmqctl: {}", String::from_utf8_lossy(&output.stderr));
        let mut sum = Octets::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            if let (Some(Ok(received)), Some(Ok(sent))) = (numbers.next(), numbers.next()) {
                sum.received += received;
                sum.sent += sent;
            }
        }
        ensure!(sum.received > 0, "the broker names no connection");
        Ok(sum)
    }
}

impl Octets {
    /// What was counted since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self { received: self.received.saturating_sub(earlier.received), sent: self.sent.saturating_sub(earlier.sent) }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            drop(child.stdin.take());
            // Nothing is left to be done about one that does not end.
            let _ = child.wait();
        }
    }
}
