//! Measurements. `benches/render.rs` is what one item costs on a worker, `benches/machine.rs` what a step costs in a
//! scheduler, and `src/bin/fanout` the whole of it: real processes, a real RabbitMQ, 10,000 items beside contexts of
//! three sizes.
