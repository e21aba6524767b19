//! The contract, frozen: how every message looks, what the README says of it, and laws of reading and writing.

mod docs;
mod golden;
mod laws;
mod messages;
mod readme;
mod samples;
mod values;
