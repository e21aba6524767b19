//! A worker: takes work from a queue, evaluates it beside a shared snapshot, runs actions, reports.
//!
//! A library too: with [`action::Action`] people build their own worker binary with their own actions.
//!
//! Reading order: [`service`] starts and drains it, `consume` takes deliveries, `perform` handles one to its end:
//! `phases` only evaluates, `act` makes one `attempt`, `range` makes those of many items, `call` renders what child runs
//! start with, `follow` is what all of these lead to. `snapshots`, `lists` and [`cache`] hold what evaluation reads, `secrets` what only an input may read, `upload`, `parts` and [`values`] move large values, `mail` what was done,
//! `blocking` and `hindrance` are the two kinds of waiting. `station` is what all of them share, `revoked` and `running`
//! what is known of runs, `heartbeat`, `http` and [`metrics`] are signs of life, and [`action`] is what tasks can do.

mod act;
pub mod action;
mod attempt;
mod blocking;
pub mod cache;
mod call;
mod claim;
mod consume;
mod follow;
mod heartbeat;
mod hindrance;
mod http;
mod lists;
mod mail;
pub mod metrics;
mod parts;
mod perform;
mod phases;
mod range;
mod revoked;
mod running;
mod secrets;
pub mod service;
mod snapshots;
mod station;
mod upload;
pub mod values;
