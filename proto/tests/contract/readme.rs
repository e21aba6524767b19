//! The README's examples are golden files, and its numbers are the limits.

use std::collections::BTreeMap;

use leveret_proto::limits;

use crate::golden::compact;

const README: &str = include_str!("../../README.md");

/// The bodies of all fenced blocks in `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().expect("split gives one")).collect()
}

#[test]
fn every_example_is_a_golden_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let files: BTreeMap<String, String> = std::fs::read_dir(folder)
        .expect("the golden folder exists")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (compact(&std::fs::read_to_string(&path).expect("a file")), path.display().to_string())
        })
        .collect();
    let examples = blocks("json");
    assert!(examples.len() >= 8, "the README has lost its examples");
    for example in examples {
        assert!(files.contains_key(&compact(example)), "no golden file says\n{example}");
    }
}

#[test]
fn every_limit_is_told() {
    let sized = [
        ("SUBMISSION_BYTES_MAX", limits::SUBMISSION_BYTES_MAX),
        ("VALUE_BYTES_MAX", limits::VALUE_BYTES_MAX),
        ("INLINE_BYTES_MAX", limits::INLINE_BYTES_MAX),
        ("OUTCOME_VALUE_BYTES_MAX", limits::OUTCOME_VALUE_BYTES_MAX),
        ("MANIFEST_BYTES_MAX", limits::MANIFEST_BYTES_MAX),
        ("ITEM_BYTES_MAX", limits::ITEM_BYTES_MAX),
        ("PART_BYTES_MAX", limits::PART_BYTES_MAX),
        ("RANGE_BYTES_MAX", limits::RANGE_BYTES_MAX),
        ("MESSAGE_BYTES_MAX", limits::MESSAGE_BYTES_MAX),
        ("TEMPLATE_BYTES_MAX", limits::TEMPLATE_BYTES_MAX),
        ("RENDERED_BYTES_MAX", limits::RENDERED_BYTES_MAX),
    ];
    for (name, bytes) in sized {
        row(name, &with_unit(bytes));
    }
    row("ITEMS_MAX", "1,000,000");
    row("RANGE_ITEMS_MAX", "1,000");
    row("TASKS_MAX", "100,000");
    row("SIGNALS_MAX", "1,000");
    row("NESTING_MAX", &limits::NESTING_MAX.to_string());
    row("CHILDREN_MAX", &limits::CHILDREN_MAX.to_string());
    row("SCHEDULES_MAX", "10,000");
    assert_eq!((limits::SIGNALS_MAX, limits::SCHEDULES_MAX), (1_000, 10_000));
    row("JSON_DEPTH_MAX", &limits::JSON_DEPTH_MAX.to_string());
    assert_eq!((limits::ITEMS_MAX, limits::RANGE_ITEMS_MAX, limits::TASKS_MAX), (1_000_000, 1_000, 100_000));
}

/// The table has a row that begins with `name` and `value`.
fn row(name: &str, value: &str) {
    let start = format!("| `{name}` | {value} |");
    assert!(README.contains(&start), "the README has no row {start}");
}

fn with_unit(bytes: usize) -> String {
    const MEBIBYTE: usize = 1024 * 1024;
    match bytes {
        MEBIBYTE.. => format!("{} MiB", bytes / MEBIBYTE),
        _ => format!("{} KiB", bytes / 1024),
    }
}
