//! Measurements, and what several of them need.
//!
//! `benches/context` puts a context beside the design that Leveret began with, and beside plain copies; [`micro`] makes one
//! table of it. `benches/render.rs` is what one item costs on a worker, `benches/machine.rs` what a step costs in a
//! scheduler. `src/bin/endtoend` is the whole of it: real processes on a real RabbitMQ, beside bare lapin on the same one;
//! `src/bin/table` holds all results against the targets. `src/bin/instructions` counts instead of measuring, so that CI sees a
//! regression. [`shapes`] is what they evaluate, [`play`] the runs that they step through, [`report`] how results are kept.

pub mod micro;
pub mod play;
pub mod report;
pub mod shapes;
