//! A whole worker on the memory twin, with a real values service; the test plays the scheduler.

mod act;
mod claim;
mod evaluation;
mod metrics;
mod range;
mod secrets;
mod sharing;
mod stage;
mod stop;
mod time_limit;
mod trouble;
mod values;
