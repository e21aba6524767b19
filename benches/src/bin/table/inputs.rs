//! The results of all benches, as far as they are there.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use leveret_benches::report::{Report, Row};

/// Files of results, and who writes them.
const FILES: [(&str, &str); 3] = [
    ("target/bench/micro.json", "make bench"),
    ("target/bench/endtoend.json", "make bench"),
    ("docs/benchmarks/peers.json", "make bench-peers"),
];

/// All rows by their names.
pub struct Inputs {
    rows: BTreeMap<String, Row>,
    machine: BTreeMap<String, String>,
}

impl Inputs {
    /// Reads what is there; what is there and cannot be read is an error.
    pub fn read() -> Result<Self> {
        let mut inputs = Self { rows: BTreeMap::new(), machine: BTreeMap::new() };
        for (file, _) in FILES {
            let path = Path::new(file);
            if path.exists() {
                let report = Report::read(path)?;
                inputs.add(report);
            }
        }
        Ok(inputs)
    }

    /// Adds the rows of a report, but for those that are there: the comparison with peers measures ours too, less often.
    pub fn add(&mut self, report: Report) {
        for row in report.rows {
            self.rows.entry(row.id.clone()).or_insert(row);
        }
        self.machine.extend(report.machine);
    }

    /// A row, or what is missing.
    pub fn row(&self, id: &str) -> Result<&Row, String> {
        let (file, writer) = match id.split('.').next() {
            Some("peers") => FILES[2],
            Some("clone" | "thousand" | "typed" | "field") => FILES[0],
            Some(_) | None => FILES[1],
        };
        self.rows.get(id).ok_or_else(|| format!("`{id}` is not in `{file}`, which `{writer}` writes"))
    }

    /// A figure beside a row, or what is missing.
    pub fn beside(&self, id: &str, name: &str) -> Result<f64, String> {
        self.row(id)?.beside.get(name).copied().ok_or_else(|| format!("`{id}` has no `{name}`"))
    }

    /// Where it was measured, in a line.
    pub fn machine(&self) -> String {
        let facts: Vec<String> = self.machine.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        facts.join("; ")
    }

    #[cfg(test)]
    pub fn of(rows: Vec<Row>) -> Self {
        let mut inputs = Self { rows: BTreeMap::new(), machine: BTreeMap::new() };
        inputs.add(Report { schema: 1, machine: BTreeMap::new(), rows });
        inputs
    }
}
