//! The contract between Leveret's processes: ids, values, messages, topology names and limits.
//!
//! This crate does no IO and knows no runtime. Everything that crosses a process border or is stored is
//! declared here, and `tests/golden` freezes how it looks on the wire.
//!
//! Reading order: [`id`] and [`time`] name things, [`json`] and [`value`] carry data, [`manifest`] says which
//! data a piece of work reads, [`work`] and [`outcome`] are the two messages of every task, [`job`],
//! [`control`] and [`event`] are what the outside sees, [`view`], [`explain`] and [`schedule`] are what HTTP answers, [`topology`] and
//! [`limits`] hold the names and numbers, and [`codec`] is the only way in.

pub mod codec;
pub mod control;
pub mod event;
pub mod explain;
pub mod failure;
pub mod id;
pub mod items;
pub mod job;
pub mod json;
pub mod limits;
pub mod manifest;
pub mod outcome;
pub mod schedule;
pub mod time;
pub mod topology;
pub mod value;
pub mod view;
pub mod work;

/// The version that every message and stored fact carries in its `schema` field.
pub const SCHEMA: u16 = 1;
