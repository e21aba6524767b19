//! The scheduler: owns every run, decides with `engine`'s machine, and remembers in a store.
//!
//! Reading order: `service` starts and stops it, `event_loop` waits, `turn` is where everything that happened is
//! decided and written in one transaction, `desk` is what it has in memory, `intake` and `intern` are how jobs and
//! values come in, `dispatch`, `letters` and `outbox` how messages go out, `timers` what rings, `recover` how
//! unfinished work is taken up, `schedule` what runs by the clock, `lease` how its shards stay its own, [`store`] where
//! it is all kept, `http` what people and workers ask (`lists` and `timeline` are what some of it is put together by),
//! [`access`] who may, and [`metrics`] and `gauges` what Prometheus
//! sees.

pub mod access;
mod call;
mod clock;
mod desk;
mod dispatch;
mod event_loop;
mod gauges;
mod health;
mod http;
mod intake;
mod intern;
mod lease;
mod letters;
mod lines;
mod lists;
pub mod metrics;
mod outbox;
mod programs;
mod recover;
mod schedule;
pub mod service;
pub mod store;
mod timeline;
mod timers;
mod turn;
mod workers;
