//! Workflows rehearsed: every scenario comes out as its script says, and the rehearsal itself tells what is wrong.
//!
//! `scenarios` plays the corpus in `tests/scenarios`, `histories` replays what was stored once, `read` is what a script
//! may say, `told` is how differences look.

mod histories;
mod read;
mod scenarios;
mod told;
