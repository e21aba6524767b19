//! A real scheduler, with the queue's memory twin and a real store; the tests play its clients and workers.

#![allow(clippy::unwrap_used)]

mod cancel;
mod children;
mod claims;
mod faults;
mod http;
mod jobs;
mod orders;
mod orders_http;
mod outcomes;
mod recovery;
mod robot;
mod runs;
mod schedules;
mod site;
mod storm;
