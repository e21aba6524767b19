//! How results are kept: a file of rows, each a figure with its spread.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// Where it was measured: `cpu`, `cores`, `memory`, `kernel` and versions.
    #[serde(default)]
    pub machine: BTreeMap<String, String>,
    /// What was measured.
    pub rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name, such as `noop`.
    pub id: String,
    /// What was measured, in words.
    #[serde(default)]
    pub what: String,
    /// Of `median`, `low`, `high` and `samples`.
    #[serde(default)]
    pub unit: String,
    /// The middle one of the samples.
    pub median: f64,
    /// The lowest.
    #[serde(default)]
    pub low: f64,
    /// The highest.
    #[serde(default)]
    pub high: f64,
    /// All of them, in the order in which they were taken.
    #[serde(default)]
    pub samples: Vec<f64>,
    /// What was measured beside it, each name with its unit: `p50_ms`, `bytes_in`, `worker_peak_mib`.
    #[serde(flatten)]
    pub beside: BTreeMap<String, f64>,
}

impl Row {
    /// A row of at least one sample.
    ///
    /// # Panics
    /// Without any sample.
    pub fn new(id: impl Into<String>, what: impl Into<String>, unit: &str, samples: Vec<f64>) -> Self {
        let (low, median, high) = spread(&samples);
        Self {
            id: id.into(),
            what: what.into(),
            unit: unit.to_owned(),
            median,
            low,
            high,
            samples,
            beside: BTreeMap::new(),
        }
    }

    /// The same with one more figure beside it.
    #[must_use]
    pub fn with(mut self, name: &str, figure: f64) -> Self {
        self.beside.insert(name.to_owned(), figure);
        self
    }

    /// The same with the median of what was measured with each sample, its lowest and its highest.
    #[must_use]
    pub fn with_spread(self, name: &str, samples: &[f64]) -> Self {
        let (low, median, high) = spread(samples);
        self.with(name, median).with(&format!("{name}_low"), low).with(&format!("{name}_high"), high)
    }

    /// A row of a Markdown table with the columns of [`HEADING`].
    pub fn markdown(&self) -> String {
        let beside = self.beside.iter().fold(String::new(), |mut text, (name, figure)| {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{name} {}", short(*figure));
            text
        });
        format!(
            "| {} | {} | {} {} | {}–{} | {beside} |",
            self.id,
            self.what,
            short(self.median),
            self.unit,
            short(self.low),
            short(self.high),
        )
    }
}

/// The first two lines of a table of rows.
pub const HEADING: &str = "| row | what | median | low–high | beside it |\n|---|---|---|---|---|";

impl Report {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not there, or is none.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes it, and makes its folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self).context("writing the results")?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// The row of that name.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }
}

/// Lowest, median and highest.
///
/// # Panics
/// Without any sample.
#[must_use]
pub fn spread(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
    (sorted[0], median, sorted[sorted.len() - 1])
}

/// The sample that `share` of all are not above.
///
/// # Panics
/// Without any sample.
#[must_use]
pub fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// A figure with three digits that count, and thousands apart.
#[must_use]
pub fn short(figure: f64) -> String {
    let size = figure.abs();
    if size >= 1000.0 {
        return apart(figure.round() as i64);
    }
    let decimals = match size {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.0 => 0,
        _ => 4,
    };
    format!("{figure:.decimals$}")
}

fn apart(figure: i64) -> String {
    let digits = figure.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if figure < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_spread() {
        let row = Row::new("a", "b", "s", vec![3.0, 1.0, 2.0, 10.0]).with("p50_ms", 2.0);
        assert_eq!((row.low, row.median, row.high), (1.0, 2.5, 10.0));
        let read: Row = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        assert_eq!(read.beside.get("p50_ms"), Some(&2.0));
        assert_eq!(read.samples, row.samples);
    }

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&samples, 0.5), 100.0);
        assert_eq!(percentile(&samples, 0.99), 198.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn figures_are_short() {
        for (figure, text) in [
            (1_234_567.4, "1,234,567"),
            (999.6, "1000"),
            (12.34, "12.3"),
            (0.0416, "0.0416"),
            (0.0, "0"),
            (1.005, "1.00"),
        ] {
            assert_eq!(short(figure), text);
        }
    }
}
