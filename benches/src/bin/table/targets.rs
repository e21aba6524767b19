//! The targets, each with how it is judged.

use leveret_benches::report::{Row, short};

use crate::inputs::Inputs;

/// What "flat" and "constant" allow: the largest over the smallest.
const FLAT: f64 = 1.10;

/// Sizes of the contexts in the benches of one process.
const CLONES: [&str; 5] = ["0", "10", "50", "100", "500"];
const THOUSANDS: [&str; 4] = ["100KB", "1MB", "5MB", "10MB"];
/// And in those from end to end.
const COLDS: [&str; 4] = ["1KB", "100KB", "1MB", "5MB"];

/// A row of the table.
struct Target {
    what: &'static str,
    wanted: &'static str,
    judge: fn(&Inputs) -> Result<Finding, String>,
}

/// What came of a target.
#[derive(Debug)]
struct Finding {
    /// The figure, with its spread.
    measured: String,
    /// Of what was measured to the bound, or to what stands beside it.
    ratio: String,
    /// What stands beside it.
    beside: String,
    met: bool,
}

const TARGETS: [Target; 18] = [
    Target { what: "context clone, every size", wanted: "≤ 15 ns, flat", judge: clone },
    Target {
        what: "clone + item + render of 1,000 items, 100 KB to 10 MB",
        wanted: "≤ 200 µs, flat within 10 %",
        judge: thousand,
    },
    Target { what: "typed evaluation over 1 MB", wanted: "≤ 250 ns", judge: typed },
    Target { what: "10,000 no-op items", wanted: "≥ 3× the floor", judge: noop },
    Target { what: "10,000 no-op items", wanted: "≥ 25× Celery", judge: noop_celery },
    Target { what: "1,000 items sharing 1 MB, cold", wanted: "≤ 0.2 s", judge: |inputs| cold(inputs, "1MB", 0.2) },
    Target { what: "1,000 items sharing 5 MB, cold", wanted: "≤ 0.5 s", judge: |inputs| cold(inputs, "5MB", 0.5) },
    Target {
        what: "bytes through the broker, 1 MB",
        wanted: "≤ 1/500 of Celery's",
        judge: |inputs| wire(inputs, "1MB"),
    },
    Target {
        what: "bytes through the broker, 5 MB",
        wanted: "≤ 1/500 of Celery's",
        judge: |inputs| wire(inputs, "5MB"),
    },
    Target {
        what: "bytes per item through the broker, 1 KB to 5 MB",
        wanted: "constant (within 10 %)",
        judge: constant,
    },
    Target { what: "20,000 runs by queue", wanted: "≥ 35 % of the floor", judge: queue },
    Target { what: "20,000 runs by queue", wanted: "≥ 8× Celery with results", judge: queue_celery },
    Target { what: "40 tasks in sequence", wanted: "≤ 0.2 s", judge: sequence },
    Target { what: "submit to finished, idle", wanted: "p50 ≤ 8 ms, p99 ≤ 25 ms", judge: latency },
    Target { what: "100,000 items against 10,000", wanted: "≤ 11× the time", judge: growth },
    Target { what: "scheduler's memory, 100,000 items", wanted: "≤ 150 MiB", judge: scheduler_memory },
    Target { what: "worker's memory beside its caches, 100,000 items", wanted: "≤ 64 MiB", judge: worker_memory },
    Target { what: "render that reads one field of 300 KB", wanted: "≤ 1 µs", judge: field },
];

/// The table, and how many of its targets are met.
pub fn table(inputs: &Inputs) -> String {
    let mut text = "| what | target | measured | ratio | beside it | met |\n|---|---|---|---|---|---|\n".to_owned();
    let mut met = 0;
    for Target { what, wanted, judge } in &TARGETS {
        let line = match judge(inputs) {
            Ok(finding) => {
                met += u32::from(finding.met);
                let Finding { measured, ratio, beside, met } = finding;
                format!(
                    "| {what} | {wanted} | {measured} | {ratio} | {beside} | {} |\n",
                    if met { "yes" } else { "**no**" }
                )
            }
            Err(missing) => format!("| {what} | {wanted} | not measured: {missing} | | | |\n"),
        };
        text.push_str(&line);
    }
    text.push_str(&format!("\n{met} of {} are met. Medians, with the lowest and the highest sample.\n", TARGETS.len()));
    text
}

fn clone(inputs: &Inputs) -> Result<Finding, String> {
    let rows = rows(inputs, "clone.leveret.", &CLONES)?;
    let (slowest, flat) = (slowest(&rows), flatness(&rows));
    Ok(Finding {
        measured: nanos(slowest),
        ratio: format!("slowest size {} × the fastest", short(flat)),
        beside: format!("{}; {}", ranged(inputs, "clone.arc.", &["bare"]), ranged(inputs, "clone.seed.", &CLONES)),
        met: slowest.median <= 15.0 && flat <= FLAT,
    })
}

fn thousand(inputs: &Inputs) -> Result<Finding, String> {
    let rows = rows(inputs, "thousand.leveret.", &THOUSANDS)?;
    let (slowest, flat) = (slowest(&rows), flatness(&rows));
    Ok(Finding {
        measured: nanos(slowest),
        ratio: format!("slowest size {} × the fastest", short(flat)),
        beside: ranged(inputs, "thousand.seed.", &["1MB"]),
        met: slowest.median <= 200_000.0 && flat <= FLAT,
    })
}

fn typed(inputs: &Inputs) -> Result<Finding, String> {
    Ok(below(inputs.row("typed.leveret.1MB")?, 250.0, nanos, String::new()))
}

fn field(inputs: &Inputs) -> Result<Finding, String> {
    Ok(below(inputs.row("field.leveret")?, 1000.0, nanos, ranged(inputs, "field.seed", &[""])))
}

fn noop(inputs: &Inputs) -> Result<Finding, String> {
    against_floor(inputs, "noop", "floor.tasks.10000", 3.0)
}

fn queue(inputs: &Inputs) -> Result<Finding, String> {
    against_floor(inputs, "queue", "floor.tasks.20000", 0.35)
}

fn noop_celery(inputs: &Inputs) -> Result<Finding, String> {
    against_celery(inputs, "noop", "peers.celery.noop.no_results", 25.0)
}

fn queue_celery(inputs: &Inputs) -> Result<Finding, String> {
    against_celery(inputs, "queue", "peers.celery.noop.rpc", 8.0)
}

fn cold(inputs: &Inputs, size: &str, bound: f64) -> Result<Finding, String> {
    let beside = ranged(inputs, "peers.celery.cold.", &[size]);
    Ok(below(inputs.row(&format!("cold.{size}"))?, bound, measured, beside))
}

/// What goes through the broker, both ways. What goes past it, by the values service, is said too.
fn wire(inputs: &Inputs, size: &str) -> Result<Finding, String> {
    let (ours, theirs) = (format!("cold.{size}"), format!("peers.celery.cold.{size}"));
    let octets = |id: &str| Ok::<_, String>(inputs.beside(id, "bytes_in")? + inputs.beside(id, "bytes_out")?);
    let ours_bytes = octets(&ours)?;
    let values = inputs.beside(&ours, "values_bytes")?;
    let theirs_bytes = octets(&theirs)?;
    Ok(Finding {
        measured: format!("{} bytes, and {} by the values service", short(ours_bytes), short(values)),
        ratio: format!(
            "1/{}; with values 1/{}",
            short(theirs_bytes / ours_bytes),
            short(theirs_bytes / (ours_bytes + values))
        ),
        beside: format!("{theirs}: {} bytes", short(theirs_bytes)),
        met: ours_bytes <= theirs_bytes / 500.0,
    })
}

fn constant(inputs: &Inputs) -> Result<Finding, String> {
    let mut bytes = Vec::new();
    for size in COLDS {
        let id = format!("cold.{size}");
        bytes.push(inputs.beside(&id, "bytes_in_per_item")? + inputs.beside(&id, "bytes_out_per_item")?);
    }
    let (least, most) =
        (bytes.iter().copied().fold(f64::INFINITY, f64::min), bytes.iter().copied().fold(0.0, f64::max));
    Ok(Finding {
        measured: bytes.iter().map(|bytes| short(*bytes)).collect::<Vec<_>>().join(", "),
        ratio: format!("largest {} × the smallest", short(most / least)),
        beside: String::new(),
        met: most / least <= FLAT,
    })
}

fn sequence(inputs: &Inputs) -> Result<Finding, String> {
    Ok(below(inputs.row("sequence")?, 0.2, measured, String::new()))
}

fn latency(inputs: &Inputs) -> Result<Finding, String> {
    let (p50, p99) = (inputs.beside("latency", "p50_ms")?, inputs.beside("latency", "p99_ms")?);
    let floor = match (inputs.beside("floor.latency", "p50_ms"), inputs.beside("floor.latency", "p99_ms")) {
        (Ok(p50), Ok(p99)) => format!("floor.latency: p50 {} ms, p99 {} ms", short(p50), short(p99)),
        (Err(_), _) | (_, Err(_)) => String::new(),
    };
    Ok(Finding {
        measured: format!("p50 {} ms, p99 {} ms", short(p50), short(p99)),
        ratio: format!("{} and {} of the bounds", short(p50 / 8.0), short(p99 / 25.0)),
        beside: floor,
        met: p50 <= 8.0 && p99 <= 25.0,
    })
}

fn growth(inputs: &Inputs) -> Result<Finding, String> {
    let (few, many) = (inputs.row("items.10000")?, inputs.row("items.100000")?);
    let ratio = many.median / few.median;
    Ok(Finding {
        measured: measured(many),
        ratio: format!("{} ×", short(ratio)),
        beside: format!("items.10000: {}", measured(few)),
        met: ratio <= 11.0,
    })
}

fn scheduler_memory(inputs: &Inputs) -> Result<Finding, String> {
    memory(inputs.beside("items.100000", "scheduler_peak_mib")?, 150.0, String::new())
}

fn worker_memory(inputs: &Inputs) -> Result<Finding, String> {
    let peak = inputs.beside("items.100000", "worker_peak_mib")?;
    let caches = inputs.beside("items.100000", "worker_cache_mib")?;
    memory(peak - caches, 64.0, format!("{} MiB in all, {} MiB of them in caches", short(peak), short(caches)))
}

fn memory(mib: f64, bound: f64, beside: String) -> Result<Finding, String> {
    Ok(Finding {
        measured: format!("{} MiB at the peak", short(mib)),
        ratio: of_bound(mib / bound),
        beside,
        met: mib <= bound,
    })
}

fn against_floor(inputs: &Inputs, id: &str, floor: &str, bound: f64) -> Result<Finding, String> {
    let (row, floor) = (inputs.row(id)?, inputs.row(floor)?);
    let beside = |name: &str| inputs.beside(id, name);
    let (ratio, low, high) = (beside("ratio")?, beside("ratio_low")?, beside("ratio_high")?);
    Ok(Finding {
        measured: measured(row),
        ratio: format!("{} × the floor ({}–{})", short(ratio), short(low), short(high)),
        beside: format!("{}: {}", floor.id, measured(floor)),
        met: ratio >= bound,
    })
}

fn against_celery(inputs: &Inputs, id: &str, celery: &str, bound: f64) -> Result<Finding, String> {
    let (row, celery) = (inputs.row(id)?, inputs.row(celery)?);
    let ratio = row.median / celery.median;
    Ok(Finding {
        measured: measured(row),
        ratio: format!("{} ×", short(ratio)),
        beside: format!("{}: {}", celery.id, measured(celery)),
        met: ratio >= bound,
    })
}

/// A figure that is to be small.
fn below(row: &Row, bound: f64, show: fn(&Row) -> String, beside: String) -> Finding {
    Finding { measured: show(row), ratio: of_bound(row.median / bound), beside, met: row.median <= bound }
}

fn of_bound(share: f64) -> String {
    format!("{} of the bound", short(share))
}

fn rows<'a>(inputs: &'a Inputs, prefix: &str, sizes: &[&str]) -> Result<Vec<&'a Row>, String> {
    sizes.iter().map(|size| inputs.row(&format!("{prefix}{size}"))).collect()
}

fn slowest<'a>(rows: &[&'a Row]) -> &'a Row {
    rows.iter().max_by(|one, other| one.median.total_cmp(&other.median)).expect("there are sizes")
}

fn flatness(rows: &[&Row]) -> f64 {
    let fastest = rows.iter().map(|row| row.median).fold(f64::INFINITY, f64::min);
    slowest(rows).median / fastest
}

/// What stands beside it, from the smallest size to the largest; nothing where that was not measured.
fn ranged(inputs: &Inputs, prefix: &str, sizes: &[&str]) -> String {
    let found: Vec<&Row> = sizes.iter().filter_map(|size| inputs.row(&format!("{prefix}{size}")).ok()).collect();
    let show =
        |row: &Row| if row.unit == "ns" { time(row.median) } else { format!("{} {}", short(row.median), row.unit) };
    match found.as_slice() {
        [] => String::new(),
        [only] => format!("{}: {}", only.id, show(only)),
        [first, .., last] => format!("{} to {}: {} to {}", first.id, last.id, show(first), show(last)),
    }
}

fn measured(row: &Row) -> String {
    format!("{} {} ({}–{})", short(row.median), row.unit, short(row.low), short(row.high))
}

/// As [`measured`], of nanoseconds.
fn nanos(row: &Row) -> String {
    format!("{} ({}–{})", time(row.median), time(row.low), time(row.high))
}

/// Nanoseconds in a unit that suits them.
fn time(nanos: f64) -> String {
    match nanos {
        1e9.. => format!("{} s", short(nanos / 1e9)),
        1e6.. => format!("{} ms", short(nanos / 1e6)),
        1e3.. => format!("{} µs", short(nanos / 1e3)),
        _ => format!("{} ns", short(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, unit: &str, figure: f64) -> Row {
        Row::new(id, "", unit, vec![figure])
    }

    #[test]
    fn what_is_missing_is_named() {
        let table = table(&Inputs::of(Vec::new()));
        assert!(table.contains("not measured: `sequence` is not in `target/bench/endtoend.json`"), "{table}");
        assert!(table.contains("0 of 18 are met"), "{table}");
    }

    #[test]
    fn a_slow_or_uneven_figure_is_not_met() {
        let clones = |last: f64| {
            let sizes = CLONES.iter().map(|size| format!("clone.leveret.{size}"));
            let mut rows: Vec<Row> = sizes.map(|id| row(&id, "ns", 10.0)).collect();
            rows[4].median = last;
            clone(&Inputs::of(rows)).unwrap()
        };
        assert!(clones(10.9).met);
        assert!(!clones(12.0).met, "not flat");
        assert!(!clones(16.0).met, "too slow");
        assert!(sequence(&Inputs::of(vec![row("sequence", "s", 0.2)])).unwrap().met);
        assert!(!sequence(&Inputs::of(vec![row("sequence", "s", 0.21)])).unwrap().met);
    }

    #[test]
    fn bytes_are_counted_both_ways() {
        let with_bytes = |id: &str, bytes: f64| row(id, "s", 1.0).with("bytes_in", bytes).with("bytes_out", bytes);
        let ours = with_bytes("cold.1MB", 1000.0).with("values_bytes", 2000.0);
        let judged = |theirs| wire(&Inputs::of(vec![ours.clone(), with_bytes("peers.celery.cold.1MB", theirs)]), "1MB");
        assert!(judged(500_000.0).unwrap().met);
        assert!(!judged(499_000.0).unwrap().met);
    }
}
