//! One suite for both carriers, and faults that only a real broker has.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod broker;
mod carrier;
mod conformance;
mod faults;
mod proxy;
mod topology;
