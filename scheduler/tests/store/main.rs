//! What every store must do, as one suite that runs on memory, SQLite and a real Postgres; and beside it what only one
//! of them can show: files that another process holds, a server that goes away.

#![allow(clippy::unwrap_used)]

mod cases;
mod commits;
mod memory;
mod place;
mod postgres;
mod server;
mod sqlite;

use place::Place;

/// Makes each case a test of each place.
macro_rules! suite {
    ($($file:ident :: $case:ident),* $(,)?) => {
        suite!(@ on_memory, Place::memory(), $($file :: $case),*);
        suite!(@ on_sqlite, Place::sqlite(), $($file :: $case),*);
        suite!(@ on_postgres, Place::postgres().await, $($file :: $case),*);
    };
    (@ $name:ident, $place:expr, $($file:ident :: $case:ident),*) => {
        mod $name {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let place = $place;
                $file::$case(&place.open().await).await;
            })*
        }
    };
}

suite!(
    cases::a_shard_has_one_owner_at_a_time,
    cases::a_lease_that_is_over_can_be_taken,
    cases::a_renewed_lease_cannot_be_taken,
    cases::a_released_shard_is_free,
    cases::lists_are_newest_first_and_filtered,
    cases::live_runs_are_those_that_have_not_ended,
    cases::definitions_have_names,
    cases::values_are_kept_by_digest,
    cases::a_large_value_comes_back_whole,
    cases::any_text_of_a_user_can_be_kept,
    commits::a_run_is_kept_with_its_facts,
    commits::a_fact_is_written_once,
    commits::a_run_is_created_once,
    commits::a_run_that_is_absent_cannot_be_written,
    commits::a_stale_epoch_commits_nothing,
    commits::outbox_rows_are_added_and_removed,
    commits::timers_are_set_and_cleared,
    commits::schedules_are_written_and_removed,
    commits::values_come_with_a_commit,
    commits::a_commit_that_nobody_awaits_is_whole_or_nothing,
    commits::many_runs_are_one_commit,
);
