//! What a process takes of memory, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};

/// Memory of one process.
pub struct Memory {
    pid: u32,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Forgets the peak so far.
    pub fn reset(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").context("resetting a peak of memory")
    }

    /// The most that was resident at once, in MiB.
    pub fn peak_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).context("reading a peak of memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("VmHWM: {line}"))?;
        Ok(kib / 1024.0)
    }
}
