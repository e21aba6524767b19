//! Prints the table of what `cargo bench -p leveret-benches --bench context` has measured, and leaves it as
//! `target/bench/micro.json` for other programs.

use std::{fs, io::Write as _};

use anyhow::{Context, Result};
use leveret_benches::micro;

fn main() -> Result<()> {
    let rows = micro::collect(&micro::criterion(), &micro::folder())?;
    let path = micro::folder().join("micro.json");
    fs::create_dir_all(micro::folder()).context("make the folder of results")?;
    fs::write(&path, serde_json::to_vec_pretty(&micro::document(&rows))?)
        .with_context(|| format!("write {}", path.display()))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", micro::table(&rows))?;
    writeln!(out, "Medians, and Criterion's interval of each at 95 %. *: extrapolated, not measured whole.")?;
    Ok(())
}
