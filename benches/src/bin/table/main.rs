//! The targets beside what was measured: one table from the results of all benches.
//!
//! ```text
//! cargo run --release -p leveret-benches --bin table
//! ```
//!
//! Reads `target/bench/micro.json` (criterion), `target/bench/endtoend.json` and `docs/benchmarks/peers.json`, as far as they
//! are there, prints the table and writes it to `docs/benchmarks/targets.md`. A row whose figures are missing says which.

mod inputs;
mod targets;

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context, Result};

use inputs::Inputs;

/// Where the table is kept.
const OUT: &str = "docs/benchmarks/targets.md";

fn main() -> Result<()> {
    let inputs = Inputs::read()?;
    let table = targets::table(&inputs);
    std::io::stdout().lock().write_all(table.as_bytes()).context("printing the table")?;
    let folder = Path::new(OUT).parent().context("the table has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let text = format!("# Targets\n\nWritten by `make bench`. {}\n\n{table}", inputs.machine());
    fs::write(OUT, text).with_context(|| format!("writing {OUT}"))
}
