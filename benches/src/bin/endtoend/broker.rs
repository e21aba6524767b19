//! The broker between the processes, and its own counters.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::memory::Memory;

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
    /// One that runs already, by its address and its folder for `scripts/broker.sh`, or a new one.
    pub fn find_or_start(running: Option<(String, PathBuf)>) -> Result<Self> {
        let script = PathBuf::from("scripts/broker.sh");
        ensure!(script.exists(), "{} is not there: run this from the workspace's folder", script.display());
        match running {
            Some((url, folder)) => Ok(Self { url, script, folder, own: None }),
            None => Self::start(script),
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
        let mut sum = Octets::default();
        for line in self.ctl(&["list_connections", "recv_oct", "send_oct", "--no-table-headers"])?.lines() {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            if let (Some(Ok(received)), Some(Ok(sent))) = (numbers.next(), numbers.next()) {
                sum.received += received;
                sum.sent += sent;
            }
        }
        ensure!(sum.received > 0, "the broker names no connection");
        Ok(sum)
    }

    /// Its version.
    pub fn version(&self) -> Result<String> {
        Ok(self.ctl(&["version"])?.trim().to_owned())
    }

    /// Its memory.
    pub fn memory(&self) -> Result<Memory> {
        let file = self.folder.join("pid");
        let pid = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Memory::of(pid.trim().parse().with_context(|| format!("{}: {pid}", file.display()))?))
    }

    fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.script).arg("ctl").arg(&self.folder).args(arguments).output();
        let output = output.context("asking the broker")?;
        ensure!(output.status.success(), "rabbitmqctl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
