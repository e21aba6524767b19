//! The built binary, from outside: words in, exit code, stdout and stderr out.
//!
//! `process` starts it and waits with deadlines, `visitor` lets a test see that an action has begun. `local` is what
//! needs no scheduler, `run` is `leveret run`, `served` is every client against `leveret dev`,
//! `schedule` what is run by the clock, and `broker` is what
//! goes through RabbitMQ.

mod broker;
mod local;
mod process;
mod run;
mod schedule;
mod served;
mod visitor;
