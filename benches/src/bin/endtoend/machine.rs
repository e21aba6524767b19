//! Where it was measured.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::broker::Broker;

/// Processor, memory, kernel and versions, by name.
pub fn describe(broker: &Broker, leveret: &Path) -> Result<BTreeMap<String, String>> {
    let line = |file: &str, key: &str| -> Result<String> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        let found = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        Ok(found.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let output = Command::new(leveret).arg("--version").output().context("asking leveret for its version")?;
    let cores = std::thread::available_parallelism().context("counting cores")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's version")?;
    let facts = [
        ("cpu", line("/proc/cpuinfo", "model name")?),
        ("cores", cores.to_string()),
        ("memory", line("/proc/meminfo", "MemTotal")?),
        ("kernel", kernel.trim().to_owned()),
        ("rabbitmq", broker.version()?),
        ("leveret", String::from_utf8_lossy(&output.stdout).trim().to_owned()),
    ];
    Ok(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
