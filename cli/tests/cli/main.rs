//! The built binary, from outside: words in, exit code, stdout and stderr out.
//!
//! `process` starts it and waits with deadlines, `visitor` lets a test see that an action has begun. `local` is what
//! needs no scheduler, `rehearse` is `leveret test`, `run` is `leveret run`, `served` is every client against
//! `leveret dev`, and `broker` is what goes through RabbitMQ.

mod broker;
mod local;
mod process;
mod rehearse;
mod run;
mod served;
mod visitor;
