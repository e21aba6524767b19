//! Workflows rehearsed: every scenario comes out as its script says, and the rehearsal itself tells what is wrong.
//!
//! `scenarios` plays the corpus in `tests/scenarios`, `read` is what a script may say, `told` is how differences look.

mod read;
mod scenarios;
mod told;
