//! Laws of the state machine, held against a model that keeps its own book and never reads the machine's flags.

mod book;
mod check;
mod drive;
mod explained;
mod explained_items;
mod fan;
mod flow;
mod generate;
mod laws;
mod ledger;
mod scenes;
mod scenes_of_calls;
mod scenes_of_claims;
mod scenes_of_ends;
mod scenes_of_ranges;
mod scenes_of_reruns;
mod scenes_of_views;
mod seen;
mod stage;
mod whole;
mod worker;
