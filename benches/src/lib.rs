//! Measurements. `benches/render.rs` is what one item costs on a worker, `benches/machine.rs` what a step costs in a
//! scheduler, and `src/bin/endtoend` the whole of it: real processes on a real RabbitMQ, beside bare lapin on the same one.

pub mod report;
