//! The processes: one scheduler, some workers, stopped however the measurement ends.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::http;

/// How long a process may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A service that runs, and where it answers.
pub struct Service {
    child: Child,
    pub http: SocketAddr,
}

/// A scheduler and its workers.
pub struct Fleet {
    pub scheduler: Service,
    pub workers: Vec<Service>,
}

impl Fleet {
    /// Starts `workers` workers and their scheduler under a prefix of their own, and waits until all are ready.
    pub fn start(binary: &Path, folder: &Path, amqp: &str, prefix: &str, workers: u32) -> Result<Self> {
        let service = |name: &str, server: Option<SocketAddr>| -> Result<Service> {
            let http = free_address()?;
            let log = fs::File::create(folder.join(format!("{name}.log"))).context("making a log file")?;
            let mut command = Command::new(binary);
            command
                .arg(name.split('-').next().unwrap_or(name))
                .env("LEVERET_AMQP_URL", amqp)
                .env("LEVERET_PREFIX", prefix)
                .env("LEVERET_HTTP_ADDR", http.to_string())
                .env("LEVERET_STORE_URL", format!("sqlite:{}", folder.join("leveret.db").display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            if let Some(server) = server {
                command.env("LEVERET_SERVER_URL", format!("http://{server}"));
            }
            let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
            Ok(Service { child, http })
        };
        let mut fleet = Self { scheduler: service("scheduler", None)?, workers: Vec::new() };
        fleet.scheduler.wait_until_ready(folder, "scheduler")?;
        for number in 1..=workers {
            fleet.workers.push(service(&format!("worker-{number}"), Some(fleet.scheduler.http))?);
        }
        for (number, worker) in (1..).zip(&mut fleet.workers) {
            worker.wait_until_ready(folder, &format!("worker-{number}"))?;
        }
        Ok(fleet)
    }
}

impl Service {
    /// The most memory that it ever had, in KiB.
    pub fn peak_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("reading its memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| format!("VmHWM: {line}"))
    }

    #[expect(clippy::disallowed_methods, reason = "a process of its own gives no other sign that it is ready")]
    fn wait_until_ready(&mut self, folder: &Path, name: &str) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while http::get(self.http, "/readyz").is_err() {
            let ended = self.child.try_wait().context("looking after a process")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
                bail!("{name} is not ready ({ended:?}):\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on. Somebody else may take it before the service does; that ends the measurement.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    listener.local_addr().context("looking for a free port")
}
