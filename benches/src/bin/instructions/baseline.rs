//! The counts that are written down, and what has become of them.

use std::{collections::BTreeMap, fmt, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::paths::PATHS;

/// From here on a path has become dearer, or cheaper: in percent of what is written down.
const TOLERATED_PERCENT: u64 = 10;

/// Instructions of one operation, by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Baseline(BTreeMap<String, u64>);

/// What has become of every path.
pub struct Verdict {
    lines: String,
    /// Whether some path takes more than is tolerated, or is not written down.
    pub is_worse: bool,
    is_better: bool,
}

impl Baseline {
    pub fn of(counts: Vec<(&str, u64)>) -> Self {
        Self(counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
    }

    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, rest) = line.split_once(char::is_whitespace).with_context(|| format!("{line:?}: no count"))?;
            let count = rest.split_whitespace().next().unwrap_or_default();
            let count: u64 = count.parse().with_context(|| format!("{line:?}: no count"))?;
            ensure!(count > 0, "{line:?}: a path takes more than nothing");
            counts.insert(name.to_owned(), count);
        }
        Ok(Self(counts))
    }

    pub fn write(&self, file: &Path) -> Result<()> {
        fs::write(file, self.text()).with_context(|| format!("write {}", file.display()))
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# Instructions of one operation, counted by callgrind. `make instructions` fails when one takes over {TOLERATED_PERCENT} % more;\n\
             # `scripts/instructions --accept` writes this file. Say in the commit why a count has risen.\n"
        );
        for path in &PATHS {
            if let Some(count) = self.0.get(path.name) {
                let _ = writeln!(text, "{:<16}{count:>9}  {}", path.name, path.what);
            }
        }
        text
    }

    pub fn compare(&self, counts: &[(&str, u64)]) -> Verdict {
        let mut verdict = Verdict { lines: String::new(), is_worse: false, is_better: false };
        for (name, now) in counts {
            let _ = write!(verdict.lines, "{name:<16}{now:>9}");
            let Some(before) = self.0.get(*name) else {
                verdict.is_worse = true;
                verdict.lines.push_str("  NOT WRITTEN DOWN\n");
                continue;
            };
            // A count is far below what a float holds exactly.
            #[allow(clippy::cast_precision_loss)]
            let percent = (*now as f64 / *before as f64 - 1.0) * 100.0;
            let _ = write!(verdict.lines, "  was {before:>9}  {percent:+.1} %");
            if *now * 100 > before * (100 + TOLERATED_PERCENT) {
                verdict.is_worse = true;
                verdict.lines.push_str("  TOO MANY");
            } else if *now * 100 < before * (100 - TOLERATED_PERCENT) {
                verdict.is_better = true;
                verdict.lines.push_str("  fewer");
            }
            verdict.lines.push('\n');
        }
        verdict
    }
}

impl Verdict {
    /// A line for each path.
    pub fn lines(&self) -> &str {
        &self.lines
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("instructions of one operation, against benches/instructions.txt:\n")?;
        f.write_str(&self.lines)?;
        match (self.is_worse, self.is_better) {
            (true, _) => writeln!(
                f,
                "instructions: a path takes over {TOLERATED_PERCENT} % more than is written down. Find out why: build\n\
                 with `cargo build --release -p leveret-benches --bin instructions`, then\n  \
                 valgrind --tool=callgrind --toggle-collect='*instructions*counted*' target/release/instructions --go PATH\n\
                 and callgrind_annotate. If it is worth it: scripts/instructions --accept, and say why in the commit."
            ),
            (false, true) => writeln!(
                f,
                "instructions: a path takes over {TOLERATED_PERCENT} % fewer. Keep it: scripts/instructions --accept"
            ),
            (false, false) => {
                writeln!(f, "instructions: every path is within {TOLERATED_PERCENT} % of what is written down")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let baseline = Baseline::of(PATHS.iter().zip(1..).map(|(path, count)| (path.name, count)).collect());
        assert_eq!(Baseline::parse(&baseline.text()).expect("its own text"), baseline);
        for text in ["render-item", "render-item many", "render-item 0"] {
            Baseline::parse(text).expect_err(text);
        }
    }

    #[test]
    fn over_ten_percent_more_fails_and_less_is_told() {
        let baseline = Baseline::of(vec![("a", 1_000), ("b", 1_000)]);
        for (a, b, is_worse, is_better) in [
            (1_000, 1_000, false, false),
            (1_100, 900, false, false),
            (1_101, 1_000, true, false),
            (1_000, 899, false, true),
            (500, 2_000, true, true),
        ] {
            let verdict = baseline.compare(&[("a", a), ("b", b)]);
            assert_eq!((verdict.is_worse, verdict.is_better), (is_worse, is_better), "{verdict}");
        }
        assert!(baseline.compare(&[("new", 1)]).is_worse, "a path that nobody wrote down is not let through");
    }
}
