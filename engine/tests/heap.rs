//! What things cost in memory, by an allocator that counts: estimates are honest, and sharing is sharing.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

mod build;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use build::{Build, FIRST};
use leveret_engine::{
    evaluate,
    program::Program,
    snapshot::{Scope, Snapshot},
    value::Value,
};
use proto::id::ItemIndex;

struct Counting;

thread_local! {
    /// Bytes that this thread has now, as jemalloc rounds them, and bytes that it has ever asked for.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// The smallest size class of jemalloc, which the `leveret` binary has, that holds a block: as its manual lists them, four to
/// each doubling from 64 on.
fn rounded(bytes: usize) -> isize {
    let doublings = (4..).flat_map(|log| (5..=8_usize).map(move |quarters| quarters << log));
    let mut classes = [8, 16, 32, 48, 64].into_iter().chain(doublings);
    classes.find(|class| *class >= bytes).expect("they go on").cast_signed()
}

fn count(held: isize, asked: usize) {
    // Ignored while a thread goes down.
    let _ = HELD.try_with(|bytes| bytes.set(bytes.get() + held));
    let _ = ASKED.try_with(|bytes| bytes.set(bytes.get() + asked));
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(rounded(layout.size()), layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-rounded(layout.size()), 0);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(rounded(size) - rounded(layout.size()), size);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `make` leaves allocated.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    let made = make();
    (made, usize::try_from(HELD.get() - before).expect("it freed more than it took"))
}

/// What `act` asks for, also if it frees it.
fn asked<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let made = act();
    (made, ASKED.get() - before)
}

/// A result as actions return it: `rows` rows of some 100 bytes.
fn rows(rows: usize) -> String {
    let row = |n: usize| {
        format!(
            r#"{{"id":{n},"name":"host-{n:05}","ok":true,"tags":["a","b"],"text":"some text that is longer than inline"}}"#
        )
    };
    format!("[{}]", (0..rows).map(row).collect::<Vec<_>>().join(","))
}

#[test]
fn estimates_of_values_are_honest() {
    let wide = format!("{{{}}}", (0..5_000).map(|n| format!(r#""key-{n}":{n}"#)).collect::<Vec<_>>().join(","));
    for json in [
        rows(1),
        rows(10),
        rows(5_000),
        wide,
        format!("[{}]", vec!["0"; 50_000].join(",")),
        format!("[{}]", vec![r#"{"a":0}"#; 20_000].join(",")),
        format!("[{}]", vec!["[]"; 20_000].join(",")),
        format!("\"{}\"", "x".repeat(100_000)),
        r#"{"exit_code":0,"stdout":"a line that is long enough","stderr":"","duration_ms":12}"#.to_owned(),
    ] {
        let (value, bytes) = held(|| Value::from_json(json.as_bytes()).expect("valid"));
        let ratio = value.heap_bytes() as f64 / bytes as f64;
        assert!((1.0 / 1.5..=1.5).contains(&ratio), "{} for {bytes}: {ratio} ({:.40})", value.heap_bytes(), json);
    }
}

#[test]
fn estimates_of_programs_are_honest() {
    for tasks in [1, 10, 100] {
        let build = || {
            (0..tasks).fold(Build::new(), |build, n| {
                build
                    .task(
                        &format!("t{n}"),
                        r#"{"url": "https://{{ item }}:{{ parameters.port }}/healthz", "timeout": "{{ workflow.t }}"}"#,
                    )
                    .items(r#""{{ parameters.hosts }}""#, None, None)
                    .next("succeeded() and result | length > 5", &[("n", r#""{{ item_errors | length }}""#)])
            })
        };
        drop(build().program());
        let (program, bytes): (Program, usize) = held(|| build().program());
        let ratio = program.heap_bytes() as f64 / bytes as f64;
        assert!((0.5..=2.0).contains(&ratio), "{tasks} tasks: {} for {bytes}: {ratio}", program.heap_bytes());
    }
}

#[test]
fn a_snapshot_is_shared_whatever_its_size() {
    let program = Build::new()
        .task("t", r#"{"name": "{{ task.t.result[index].name }}", "all": "{{ task.t.result }}", "text": "{{ item }}: {{ parameters.port }}"}"#)
        .items("[1]", None, None)
        .program();
    let cost = |count: usize| {
        let result = Value::from_json(rows(count).as_bytes()).expect("valid");
        let snapshot = Snapshot::build([
            ("task.t.result".to_owned(), result),
            ("parameters.port".to_owned(), Value::from_u64(443)),
        ]);
        let evaluate = |index: u32| {
            let scope = Scope::new(&snapshot).with_item(Value::from_u64(index.into()), ItemIndex(index));
            evaluate::input(&program, FIRST, &scope).expect("defined")
        };
        drop(evaluate(0));
        let (_, clone) = asked(|| snapshot.clone());
        let (_, bytes) = asked(|| evaluate(1));
        (snapshot.heap_bytes(), clone, bytes)
    };
    let (small, large) = (cost(10), cost(10_000));
    assert!(large.0 > 5_000_000, "{large:?}");
    assert_eq!((small.1, large.1), (0, 0), "a clone allocates");
    assert_eq!(small.2, large.2, "an evaluation allocates by the size of its context");
    assert!(large.2 < 8_192, "{} bytes for one item", large.2);
}

#[test]
fn publishing_copies_keys_and_no_values() {
    let result = Value::from_json(rows(10_000).as_bytes()).expect("valid");
    let snapshot = Snapshot::build([("workflow.big".to_owned(), result)]);
    let mut scope = Scope::new(&snapshot);
    let (_, bytes) = asked(|| scope.publish(&"k".parse().expect("valid"), Value::null()));
    assert!(bytes < 2_048, "{bytes}");
}
