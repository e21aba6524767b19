//! The table of `cargo bench --bench context`: collects what Criterion has measured, and lays the designs side by side.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::shapes::Payload;

/// The group that the benchmarks of the table are in.
pub const GROUP: &str = "context";
/// Contexts of which the rendering of 1,000 items is measured, and their results.
pub const SIZES: [(&str, usize); 4] = [("100KB", 10), ("1MB", 100), ("5MB", 500), ("10MB", 1_000)];

/// The designs, as ids name them and as the table does.
const DESIGNS: [(&str, &str); 3] = [("leveret", "Leveret"), ("seed", "seed's design"), ("deep", "deep copy")];
/// What takes too long to be measured whole, what it is made of, and how often.
const EXTRAPOLATED: [(&str, &str, u32); 4] = [
    ("items.deep.1000", "items.deep.100", 10),
    ("thousand.seed.100KB", "seed.item.102400", 1_000),
    ("thousand.seed.1MB", "seed.item.1048576", 1_000),
    ("thousand.seed.5MB", "seed.item.5242880", 1_000),
];

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// By which others ask for it: `clone.leveret.500`.
    pub id: String,
    /// What was measured.
    pub what: String,
    /// `ns` or `bytes`.
    pub unit: &'static str,
    /// Of the samples.
    pub median: f64,
    /// Criterion's interval of the median, at 95 %.
    pub low: f64,
    /// The other end of it.
    pub high: f64,
    /// How many there were.
    pub samples: usize,
}

/// The folder for results, beside the build's.
#[must_use]
pub fn folder() -> PathBuf {
    target().join("bench")
}

/// Where Criterion leaves its own.
#[must_use]
pub fn criterion() -> PathBuf {
    target().join("criterion")
}

fn target() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(beside, PathBuf::from)
}

/// Every row that was measured into `criterion` and `folder`, by id.
///
/// # Errors
/// When nothing was, or a file is not as it should be.
pub fn collect(criterion: &Path, folder: &Path) -> Result<Vec<Row>> {
    let group = criterion.join(GROUP);
    let mut rows = BTreeMap::new();
    let benchmarks = fs::read_dir(&group).with_context(|| format!("read {}: nothing was measured", group.display()))?;
    for benchmark in benchmarks {
        let measured = benchmark.context("list what was measured")?.path().join("new");
        if measured.join("estimates.json").exists() {
            let row = timed(&measured)?;
            rows.insert(row.id.clone(), row);
        }
    }
    for (id, part, times) in EXTRAPOLATED {
        if let Some(part) = rows.get(part) {
            let times = f64::from(times);
            let what = format!("{}; extrapolated: {times} × {}", what(id), part.id);
            let (median, low, high) = (part.median * times, part.low * times, part.high * times);
            rows.insert(id.to_owned(), Row { id: id.to_owned(), what, median, low, high, ..part.clone() });
        }
    }
    if let Ok(heap) = fs::read(folder.join("heap.json")) {
        let heap: BTreeMap<String, f64> = serde_json::from_slice(&heap).context("read heap.json")?;
        rows.extend(heap.into_iter().map(|(id, bytes)| (id.clone(), counted(id, bytes))));
    }
    ensure!(!rows.is_empty(), "nothing was measured: cargo bench -p leveret-benches --bench context");
    Ok(rows.into_values().collect())
}

fn timed(measured: &Path) -> Result<Row> {
    let read = |name: &str| -> Result<Value> {
        let path = measured.join(name);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    };
    let (benchmark, estimates, sample) = (read("benchmark.json")?, read("estimates.json")?, read("sample.json")?);
    let id = benchmark["function_id"].as_str().context("a benchmark without a name")?.to_owned();
    let estimate = |pointer: &str| {
        let estimate = estimates.pointer(pointer).and_then(Value::as_f64);
        estimate.with_context(|| format!("{id}: its estimates have no {pointer}"))
    };
    Ok(Row {
        what: what(&id),
        unit: "ns",
        median: estimate("/median/point_estimate")?,
        low: estimate("/median/confidence_interval/lower_bound")?,
        high: estimate("/median/confidence_interval/upper_bound")?,
        samples: sample["times"].as_array().map_or(0, Vec::len),
        id,
    })
}

fn counted(id: String, bytes: f64) -> Row {
    Row { what: what(&id), unit: "bytes", median: bytes, low: bytes, high: bytes, samples: 1, id }
}

/// What a row measures.
fn what(id: &str) -> String {
    let parts: Vec<&str> = id.split('.').collect();
    let results = |count: &str| {
        let payload = Payload::of_results(count.parse().unwrap_or(0));
        format!("{count} results ({} bytes of JSON)", grouped(payload.bytes()))
    };
    let sized = |name: &str| {
        let results = SIZES.iter().find(|(size, _)| *size == name).map_or(0, |(_, results)| *results);
        format!("{name} of context ({} bytes of JSON)", grouped(Payload::of_results(results).bytes()))
    };
    let last = parts.last().copied().unwrap_or_default();
    match parts[0] {
        "clone" if last == "bare" => "clone of an `Arc` of a number".to_owned(),
        "clone" => format!("clone of a context (`Snapshot`) with {}", results(last)),
        "scope" => format!("clone of a worker's `Scope` over {}, without an item", results(last)),
        "variables" => {
            let payload = Payload::of_variables(last.parse().unwrap_or(0));
            format!(
                "clone of a context (`Snapshot`) with {last} variables ({} bytes of JSON)",
                grouped(payload.bytes())
            )
        }
        "items" => format!("{last} items: clone and item each, over {}", results("100")),
        "render" => format!("{last} input, rendered beside 10 variables and a result of 1 KB"),
        "thousand" => {
            format!("1,000 items: clone, item and rendering (`evaluate::input`) each, beside {}", sized(last))
        }
        "leveret" | "seed" => {
            format!("one item: clone, item and rendering (`evaluate::input`), beside a context of {last} bytes")
        }
        "field" => "input of one field of a result with a text of 300 KB".to_owned(),
        "rows" => "input of one field of a result with a list of 300 KB".to_owned(),
        "typed" if last == "path" => format!("value of one path (`Program::evaluate`), beside {}", sized("1MB")),
        "typed" if last == "sum" => {
            format!("value of one sum, which takes Tera (`Program::evaluate`), beside {}", sized("1MB"))
        }
        "typed" => format!("value of one expression (`Program::evaluate`), beside {}", sized(last)),
        "miss" => format!("snapshot from the bytes of its values, {}", sized(last)),
        "publish" => format!("clone, and a value published into it, with {}", results(last)),
        "export" => format!("context written out as JSON, {}", sized(last)),
        "import" => format!("context read from JSON, {}", sized(last)),
        "heap" => format!("bytes held by {}", sized(last)),
        "asked" => format!("bytes allocated for one item: clone, item and rendering, beside {}", sized(last)),
        "threads" => format!("clone beside {}, from two threads at once", results("100")),
        _ => id.to_owned(),
    }
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The rows as other programs read them.
#[must_use]
pub fn document(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "id": row.id, "what": row.what, "unit": row.unit,
            "median": row.median, "low": row.low, "high": row.high, "sample_count": row.samples,
        })
    };
    json!({ "schema": 1, "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

/// The rows as Markdown: a line for what was measured, a column for each design.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines: Vec<(String, [Option<&Row>; 3])> = Vec::new();
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| order(&row.id));
    for row in sorted {
        let Some(design) = DESIGNS.iter().position(|(id, _)| row.id.split('.').any(|part| part == *id)) else {
            continue;
        };
        let key = row.id.replacen(DESIGNS[design].0, "*", 1);
        if lines.last().is_none_or(|(last, _)| *last != key) {
            lines.push((key, [None; 3]));
        }
        if let Some((_, columns)) = lines.last_mut() {
            columns[design] = Some(row);
        }
    }
    let names = DESIGNS.map(|(_, name)| name).join(" | ");
    let mut text = format!("| what | {names} | seed ÷ Leveret | deep ÷ Leveret |\n|---|---|---|---|---|---|\n");
    for (_, [ours, seed, deep]) in lines {
        let what = [ours, seed, deep].into_iter().flatten().next().map_or("", |row| row.what.as_str());
        let ratio = |other: Option<&Row>| match (ours, other) {
            (Some(ours), Some(other)) => ratio(other.median / ours.median),
            _ => String::new(),
        };
        let cell = |row: Option<&Row>| row.map(cell).unwrap_or_default();
        let (first, second) = (ratio(seed), ratio(deep));
        let _ = writeln!(text, "| {what} | {} | {} | {} | {first} | {second} |", cell(ours), cell(seed), cell(deep));
    }
    text
}

/// Rows of one kind together, the small ones first.
fn order(id: &str) -> (String, u64, String) {
    let without: Vec<&str> = id.split('.').filter(|part| !DESIGNS.iter().any(|(design, _)| design == part)).collect();
    let last = without.last().copied().unwrap_or_default();
    let number: String = last.chars().take_while(char::is_ascii_digit).collect();
    let unit = if last.ends_with("MB") { 1_000 } else { 1 };
    (without[0].to_owned(), number.parse::<u64>().unwrap_or(0) * unit, last.to_owned())
}

fn cell(row: &Row) -> String {
    let around = match row.low < row.high {
        true => format!(" ({}–{})", amount(row.low, row.unit), amount(row.high, row.unit)),
        false => String::new(),
    };
    let mark = if row.what.contains("extrapolated") { " *" } else { "" };
    format!("{}{around}{mark}", amount(row.median, row.unit))
}

fn amount(number: f64, unit: &str) -> String {
    let steps: &[(f64, &str)] = match unit {
        "ns" => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
        _ => &[(1e6, "MB"), (1e3, "KB"), (1.0, "B")],
    };
    let (step, name) =
        steps.iter().find(|(step, _)| number >= *step).copied().unwrap_or((1.0, steps[steps.len() - 1].1));
    format!("{} {name}", digits(number / step))
}

fn ratio(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// Three digits that count.
fn digits(number: f64) -> String {
    match number {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(criterion: &Path, id: &str, median: f64) {
        let new = criterion.join(GROUP).join(id).join("new");
        fs::create_dir_all(&new).expect("a folder of the test");
        let estimate = json!({ "point_estimate": median, "confidence_interval": { "lower_bound": median - 1.0, "upper_bound": median + 1.0 } });
        for (name, value) in [
            ("benchmark.json", json!({ "group_id": GROUP, "function_id": id })),
            ("estimates.json", json!({ "median": estimate })),
            ("sample.json", json!({ "times": [1.0, 2.0, 3.0] })),
        ] {
            fs::write(new.join(name), value.to_string()).expect("a file of the test");
        }
    }

    #[test]
    fn what_was_measured_becomes_rows_and_what_was_not_is_multiplied() {
        let folder = tempfile::tempdir().expect("a folder of the test");
        let criterion = folder.path().join("criterion");
        measured(&criterion, "clone.leveret.100", 10.0);
        measured(&criterion, "clone.seed.100", 50.0);
        measured(&criterion, "seed.item.1048576", 5e6);
        fs::write(folder.path().join("heap.json"), r#"{"heap.leveret.1MB":8000000}"#).expect("a file of the test");
        let rows = collect(&criterion, folder.path()).expect("all is there");
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(
            ids,
            ["clone.leveret.100", "clone.seed.100", "heap.leveret.1MB", "seed.item.1048576", "thousand.seed.1MB"]
        );
        assert_eq!((rows[0].median, rows[0].low, rows[0].high, rows[0].samples), (10.0, 9.0, 11.0, 3));
        assert_eq!((rows[4].median, rows[2].unit), (5e9, "bytes"));
        let table = table(&rows);
        assert!(table.contains("| 10.0 ns (9.00 ns–11.0 ns) | 50.0 ns (49.0 ns–51.0 ns) |  | 5.00× |  |"), "{table}");
        assert!(table.contains("5.00 s") && table.contains("extrapolated: 1000 × seed.item.1048576"), "{table}");
        assert_eq!(document(&rows)["rows"][0]["id"], "clone.leveret.100");
    }

    #[test]
    fn nothing_measured_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder of the test");
        collect(folder.path(), folder.path()).expect_err("nothing is there");
    }
}
