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
use proto::{
    id::{PoolName, Shard},
    topology::Topology,
};
use tempfile::TempDir;

use crate::{amqp, http, memory::Memory};

/// How long a process may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The pool whose only worker is no part of what is measured.
pub const LOADER: &str = "loader";

/// What a fleet is started with.
pub struct Setup<'a> {
    pub binary: &'a Path,
    pub amqp: &'a str,
    pub prefix: String,
    /// In the pool `default`.
    pub workers: u32,
    /// Whether there is one in the pool [`LOADER`] too.
    pub loader: bool,
    /// Where workers reach the scheduler, when it is not the scheduler itself.
    pub relay: Option<&'a dyn Fn(SocketAddr) -> Result<SocketAddr>>,
}

/// A service that runs, and where it answers.
pub struct Service {
    child: Child,
    pub http: SocketAddr,
}

/// A scheduler and its workers. Workers end first.
pub struct Fleet {
    pub workers: Vec<Service>,
    _loader: Option<Service>,
    pub scheduler: Service,
    pub topology: Topology,
    folder: TempDir,
}

impl Fleet {
    /// Starts all, and waits until they are ready.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        let folder = TempDir::new().context("making a folder")?;
        let mut scheduler = Service::start(setup, folder.path(), "scheduler", &["scheduler"], None)?;
        scheduler.wait_until_ready(folder.path(), "scheduler")?;
        let server = setup.relay.map_or(Ok(scheduler.http), |relay| relay(scheduler.http))?;
        let names: Vec<String> = (1..=setup.workers).map(|number| format!("worker-{number}")).collect();
        let mut workers = Vec::new();
        for name in &names {
            workers.push(Service::start(setup, folder.path(), name, &["worker"], Some(server))?);
        }
        let arguments = ["worker", "--pool", LOADER];
        let loader = setup.loader.then(|| Service::start(setup, folder.path(), LOADER, &arguments, Some(server)));
        let mut loader = loader.transpose()?;
        for (name, worker) in names.iter().zip(&mut workers) {
            worker.wait_until_ready(folder.path(), name)?;
        }
        if let Some(loader) = &mut loader {
            loader.wait_until_ready(folder.path(), LOADER)?;
        }
        let topology = Topology::new(setup.prefix.clone());
        Ok(Self { workers, _loader: loader, scheduler, topology, folder })
    }

    /// Files of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The most memory that a worker had, in MiB.
    pub fn worker_peak_mib(&self) -> Result<f64> {
        let peaks: Result<Vec<f64>> = self.workers.iter().map(|worker| worker.memory().peak_mib()).collect();
        Ok(peaks?.into_iter().fold(0.0, f64::max))
    }

    /// Stops it and removes its queues and exchanges.
    pub async fn end(self, channel: &lapin::Channel) -> Result<()> {
        let topology = self.topology.clone();
        drop(self);
        let default: PoolName = "default".parse().context("a pool's name")?;
        let loader: PoolName = LOADER.parse().context("a pool's name")?;
        for queue in [
            topology.jobs_queue(),
            topology.work_queue(&default),
            topology.work_queue(&loader),
            topology.outcomes_queue(Shard(0)),
            topology.dead_queue(),
            topology.rejected_queue(),
        ] {
            amqp::delete(channel, &queue).await?;
        }
        for exchange in [
            topology.jobs_exchange(),
            topology.work_exchange(),
            topology.outcomes_exchange(),
            topology.events_exchange(),
            topology.control_exchange(),
            topology.dead_exchange(),
        ] {
            let deleting =
                channel.exchange_delete(exchange.as_str().into(), lapin::options::ExchangeDeleteOptions::default());
            deleting.await.with_context(|| format!("deleting {exchange}"))?;
        }
        Ok(())
    }
}

impl Service {
    fn start(
        setup: &Setup<'_>,
        folder: &Path,
        name: &str,
        arguments: &[&str],
        server: Option<SocketAddr>,
    ) -> Result<Self> {
        let http = free_address()?;
        let log = fs::File::create(folder.join(format!("{name}.log"))).context("making a log file")?;
        let mut command = Command::new(setup.binary);
        command
            .args(arguments)
            .env("LEVERET_AMQP_URL", setup.amqp)
            .env("LEVERET_PREFIX", &setup.prefix)
            .env("LEVERET_HTTP_ADDR", http.to_string())
            .env("LEVERET_STORE_URL", format!("sqlite:{}", folder.join("leveret.db").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(server) = server {
            command.env("LEVERET_SERVER_URL", format!("http://{server}"));
        }
        let child = command.spawn().with_context(|| format!("starting {}", setup.binary.display()))?;
        Ok(Self { child, http })
    }

    pub fn memory(&self) -> Memory {
        Memory::of(self.child.id())
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
