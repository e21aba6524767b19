//! The built binary, from outside: words in, exit code, stdout and stderr out.
//!
//! `bench` is `leveret bench`. `process` starts it and waits with deadlines, `visitor` lets a test see that an action has begun. `local` is what
//! needs no scheduler, `graph`, `lint` and `rehearse` (`leveret test`) with files of their own, `run` is `leveret run`,
//! `plugin` the same with the example plugins, `served` is every client against `leveret dev`, `explain` what tasks got there, `orders` what runs are told there, `family` runs that come of others, `schedule` what is run by
//! the clock, and `broker` what goes through RabbitMQ.

mod bench;
mod broker;
mod explain;
mod family;
mod graph;
mod lint;
mod local;
mod orders;
mod plugin;
mod process;
mod rehearse;
mod run;
mod schedule;
mod served;
mod visitor;
