//! An allocator that counts while it is told to, and the rows that come of it. While it is not, it costs a block one look
//! at a flag, so that it does not show in what is timed.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use leveret_benches::{micro, shapes::Payload};

use crate::{Ours, address, deep::Deep, seed::Seed, seed_item};

struct Counting {
    is_on: AtomicBool,
    asked: AtomicUsize,
    freed: AtomicUsize,
}

impl Counting {
    fn count(&self, asked: usize, freed: usize) {
        if self.is_on.load(Relaxed) {
            self.asked.fetch_add(asked, Relaxed);
            self.freed.fetch_add(freed, Relaxed);
        }
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.count(0, layout.size());
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size, layout.size());
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting =
    Counting { is_on: AtomicBool::new(false), asked: AtomicUsize::new(0), freed: AtomicUsize::new(0) };

/// Bytes that `act` asks for, and those of them that what it gives still holds.
fn counted<T>(act: impl FnOnce() -> T) -> (usize, usize) {
    ALLOCATOR.asked.store(0, Relaxed);
    ALLOCATOR.freed.store(0, Relaxed);
    ALLOCATOR.is_on.store(true, Relaxed);
    let made = black_box(act());
    ALLOCATOR.is_on.store(false, Relaxed);
    let (asked, freed) = (ALLOCATOR.asked.load(Relaxed), ALLOCATOR.freed.load(Relaxed));
    drop(made);
    (asked, asked.saturating_sub(freed))
}

/// Writes what a context of 1 MB holds, and what an item of it asks for, where the table is made of it.
pub fn write() {
    let payload = Payload::of_results(100);
    let (seed, ours) = (Seed::of(&payload), Ours::of(&payload, &address()));
    // Once before: what is made only once is none of an item's.
    let _ = (ours.item(7), seed_item(&seed, 7));
    let bytes = [
        ("heap.leveret.1MB", counted(|| payload.snapshot()).1),
        ("heap.seed.1MB", counted(|| Seed::of(&payload)).1),
        ("heap.deep.1MB", counted(|| Deep::of(&payload)).1),
        ("asked.leveret.1MB", counted(|| ours.item(7)).0),
        ("asked.seed.1MB", counted(|| seed_item(&seed, 7)).0),
    ];
    let rows: serde_json::Map<_, _> = bytes.map(|(id, bytes)| (id.to_owned(), bytes.into())).into_iter().collect();
    let path = micro::folder().join("heap.json");
    fs::create_dir_all(micro::folder()).expect("the target folder can be written");
    fs::write(&path, serde_json::Value::Object(rows).to_string()).expect("the target folder can be written");
}
