//! A commit as a few statements over arrays, sent together.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
};

use deadpool_postgres::{Object, Transaction};
use futures_util::future::join_all;
use proto::{
    id::{Digest, Epoch, Shard},
    time::Timestamp,
};
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql},
};

use super::{Error, bytea, rows};
use crate::store::{Commit, NewRun, OutboxRow, RunWrite, ScheduleWrite, TimerRow};

/// Puts values of digests `$1` with bytes `$3`, touched at `$2`.
pub const PUT_VALUES: &str = r#"INSERT INTO "values" (digest, touched_at, bytes)
    SELECT digest, $2::bigint, bytes FROM unnest($1::bytea[], $3::bytea[]) AS new (digest, bytes)
    ON CONFLICT (digest) DO UPDATE SET touched_at = excluded.touched_at"#;

const CHECK_FENCES: &str =
    "UPDATE shards SET seq = seq + 1 FROM unnest($1::int[], $2::bigint[]) AS fence (shard, epoch)
    WHERE shards.shard = fence.shard AND shards.epoch = fence.epoch RETURNING shards.shard";

const CREATE_RUNS: &str = "INSERT INTO runs
        (id, shard, workflow, definition, content, labels, status, error, started_at, finished_at)
    SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::bytea[], $5::bytea[], $6::text[], $7::text[],
        $8::text[], $9::bigint[], $10::bigint[])
    ON CONFLICT (id) DO NOTHING RETURNING id";

const UPDATE_RUNS: &str = "UPDATE runs SET status = new.status, error = new.error, finished_at = new.finished_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS new (id, status, error, finished_at)
    WHERE runs.id = new.id RETURNING runs.id";

const ADD_LABELS: &str = "INSERT INTO run_labels (label, run) SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT DO NOTHING";

const ADD_FACTS: &str =
    "INSERT INTO facts (run, seq, fact) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])";

const ADD_REFS: &str = "INSERT INTO value_refs (run, digest) SELECT * FROM unnest($1::text[], $2::bytea[])
    ON CONFLICT DO NOTHING";

const REMOVE_OUTBOX: &str = "DELETE FROM outbox WHERE key = ANY($1)";

const ADD_OUTBOX: &str = "INSERT INTO outbox (key, run, shard, kind, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::bytea[])
    ON CONFLICT (key) DO UPDATE
    SET run = excluded.run, shard = excluded.shard, kind = excluded.kind, body = excluded.body";

const CLEAR_TIMERS: &str = "DELETE FROM timers WHERE key = ANY($1)";

const SET_TIMERS: &str = "INSERT INTO timers (key, run, shard, due)
    SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[])
    ON CONFLICT (key) DO UPDATE SET run = excluded.run, shard = excluded.shard, due = excluded.due";

const REMOVE_SCHEDULES: &str = "DELETE FROM schedules WHERE name = ANY($1)";

const SET_SCHEDULES: &str = "INSERT INTO schedules (name, shard, body)
    SELECT * FROM unnest($1::text[], $2::int[], $3::bytea[])
    ON CONFLICT (name) DO UPDATE SET shard = excluded.shard, body = excluded.body";

/// Does all of `commit` or nothing. Begin, statements, end: three round trips.
pub async fn run(client: &mut Object, commit: &Commit) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let statements = statements(commit);
    let mut prepared = Vec::with_capacity(statements.len());
    for statement in &statements {
        prepared.push(transaction.prepare_cached(statement.sql).await?);
    }
    // Each request leaves when its future is first polled, which `join_all` does in order for so few. After the first
    // error the server refuses the rest, so the first in order is the one that tells.
    let answers = join_all(
        statements.iter().zip(&prepared).map(|(statement, prepared)| send(&transaction, prepared, &statement.columns)),
    )
    .await;
    for (statement, answer) in statements.iter().zip(answers) {
        statement.expected.check(&answer?, commit)?;
    }
    Ok(transaction.commit().await?)
}

async fn send(
    transaction: &Transaction<'_>,
    prepared: &tokio_postgres::Statement,
    columns: &[Column<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let columns: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column.as_ref() as _).collect();
    transaction.query(prepared, &columns).await
}

struct Statement<'a> {
    sql: &'static str,
    columns: Vec<Column<'a>>,
    expected: Expected,
}

/// An array: what one column has in every row.
type Column<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// What the rows of an answer must be.
#[derive(Clone, Copy)]
enum Expected {
    /// Every shard that has a fence.
    Fences,
    /// Every run that was created.
    Created,
    /// Every run that was there before.
    Updated,
    /// Nothing.
    Nothing,
}

impl Expected {
    fn check(self, answer: &[Row], commit: &Commit) -> Result<(), Error> {
        match self {
            Self::Fences => {
                let found: HashSet<i32> = first_column(answer)?;
                let lost = commit.fences.iter().find(|(shard, _)| !found.contains(&number(*shard)));
                lost.map_or(Ok(()), |(shard, _)| Err(Error::Fenced { shard: *shard }))
            }
            Self::Created => {
                let found: HashSet<&str> = first_column(answer)?;
                let taken = created(commit).find(|(write, _)| !found.contains(write.id.as_str()));
                taken.map_or(Ok(()), |(write, _)| Err(Error::Conflict { run: write.id.clone() }))
            }
            Self::Updated => {
                let found: HashSet<&str> = first_column(answer)?;
                let missing = updated(commit).find(|write| !found.contains(write.id.as_str()));
                missing.map_or(Ok(()), |write| Err(rows::damaged(format!("run {} does not exist", write.id))))
            }
            Self::Nothing => Ok(()),
        }
    }
}

fn first_column<'a, T: FromSql<'a> + Eq + Hash>(answer: &'a [Row]) -> Result<HashSet<T>, Error> {
    answer.iter().map(|row| row.try_get(0).map_err(Error::from)).collect()
}

fn created(commit: &Commit) -> impl Iterator<Item = (&RunWrite, &NewRun)> {
    commit.runs.iter().filter_map(|write| Some((write, write.created.as_ref()?)))
}

fn updated(commit: &Commit) -> impl Iterator<Item = &RunWrite> {
    commit.runs.iter().filter(|write| write.created.is_none())
}

/// The statements of a commit, in their order.
fn statements(commit: &Commit) -> Vec<Statement<'_>> {
    let mut list = Vec::new();
    push(&mut list, CHECK_FENCES, Expected::Fences, commit.fences.clone(), |fences| {
        // An epoch that the column cannot hold is nobody's.
        let epoch = |(_, epoch): (Shard, Epoch)| i64::try_from(epoch.0).unwrap_or(-1);
        vec![column(fences, |(shard, _)| number(shard)), column(fences, epoch)]
    });
    push_values(&mut list, commit);
    push_runs(&mut list, commit);
    push_facts(&mut list, commit);
    push_outbox(&mut list, commit);
    push_timers(&mut list, commit);
    push_schedules(&mut list, commit);
    list
}

/// In the order of their digests, so that two schedulers that put the same ones wait for each other in one order only.
fn push_values<'a>(list: &mut Vec<Statement<'a>>, commit: &'a Commit) {
    let values: BTreeMap<&Digest, &[u8]> =
        commit.values.iter().map(|(digest, bytes)| (digest, bytes.as_ref())).collect();
    push(list, PUT_VALUES, Expected::Nothing, values.into_iter().collect(), |values: &[(&Digest, &[u8])]| {
        let now: Column<'_> = Box::new(rows::now().as_millis());
        vec![column(values, |(digest, _)| bytea(digest)), now, column(values, |(_, bytes)| bytes)]
    });
}

fn push_runs<'a>(list: &mut Vec<Statement<'a>>, commit: &'a Commit) {
    push(list, CREATE_RUNS, Expected::Created, created(commit).collect(), |runs: &[(&RunWrite, &NewRun)]| {
        vec![
            column(runs, |(write, _)| write.id.as_str()),
            column(runs, |(write, _)| number(write.shard)),
            column(runs, |(_, new)| new.workflow.as_str()),
            column(runs, |(_, new)| bytea(&new.definition)),
            column(runs, |(_, new)| bytea(&new.content)),
            column(runs, |(_, new)| rows::text(&new.labels)),
            column(runs, |(write, _)| write.status.as_str()),
            column(runs, |(write, _)| write.error.as_ref().map(rows::text)),
            column(runs, |(_, new)| new.started_at.as_millis()),
            column(runs, |(write, _)| write.finished_at.map(Timestamp::as_millis)),
        ]
    });
    push(list, UPDATE_RUNS, Expected::Updated, updated(commit).collect(), |runs: &[&RunWrite]| {
        vec![
            column(runs, |write| write.id.as_str()),
            column(runs, |write| write.status.as_str()),
            column(runs, |write| write.error.as_ref().map(rows::text)),
            column(runs, |write| write.finished_at.map(Timestamp::as_millis)),
        ]
    });
    let labels = created(commit).flat_map(|(write, new)| new.labels.iter().map(move |label| (write, label)));
    push(list, ADD_LABELS, Expected::Nothing, labels.collect(), |labels: &[(&RunWrite, (&String, &String))]| {
        vec![column(labels, |(_, label)| rows::label_text(label)), column(labels, |(write, _)| write.id.as_str())]
    });
}

fn push_facts<'a>(list: &mut Vec<Statement<'a>>, commit: &'a Commit) {
    let facts = commit.runs.iter().flat_map(|write| {
        (i64::from(write.first_seq)..).zip(&write.facts).map(|(seq, fact)| (write.id.as_str(), seq, fact.as_ref()))
    });
    push(list, ADD_FACTS, Expected::Nothing, facts.collect(), |facts: &[(&str, i64, &[u8])]| {
        vec![column(facts, |fact| fact.0), column(facts, |fact| fact.1), column(facts, |fact| fact.2)]
    });
    let refs = commit.runs.iter().flat_map(|write| write.value_refs.iter().map(|digest| (write.id.as_str(), digest)));
    push(list, ADD_REFS, Expected::Nothing, refs.collect(), |refs: &[(&str, &Digest)]| {
        vec![column(refs, |(run, _)| run), column(refs, |(_, digest)| bytea(digest))]
    });
}

fn push_outbox<'a>(list: &mut Vec<Statement<'a>>, commit: &'a Commit) {
    let keys = commit.outbox_remove.iter().collect();
    push(list, REMOVE_OUTBOX, Expected::Nothing, keys, |keys: &[&String]| vec![column(keys, String::as_str)]);
    push(list, ADD_OUTBOX, Expected::Nothing, commit.outbox_add.iter().collect(), |added: &[&OutboxRow]| {
        vec![
            column(added, |row| row.key.as_str()),
            column(added, |row| row.run.as_str()),
            column(added, |row| number(row.shard)),
            column(added, |row| row.kind.as_str()),
            column(added, |row| row.body.as_deref()),
        ]
    });
}

fn push_timers<'a>(list: &mut Vec<Statement<'a>>, commit: &'a Commit) {
    let keys = commit.timers_clear.iter().collect();
    push(list, CLEAR_TIMERS, Expected::Nothing, keys, |keys: &[&String]| vec![column(keys, String::as_str)]);
    push(list, SET_TIMERS, Expected::Nothing, commit.timers_set.iter().collect(), |timers: &[&TimerRow]| {
        vec![
            column(timers, |row| row.key.as_str()),
            column(timers, |row| row.run.as_str()),
            column(timers, |row| number(row.shard)),
            column(timers, |row| row.due.as_millis()),
        ]
    });
}

fn push_schedules<'a>(list: &mut Vec<Statement<'a>>, commit: &'a Commit) {
    let removed = commit.schedules.iter().filter(|write| write.body.is_none()).collect();
    push(list, REMOVE_SCHEDULES, Expected::Nothing, removed, |removed: &[&ScheduleWrite]| {
        vec![column(removed, |write| write.name.as_str())]
    });
    let set = commit.schedules.iter().filter_map(|write| Some((write, write.body.as_deref()?))).collect();
    push(list, SET_SCHEDULES, Expected::Nothing, set, |set: &[(&ScheduleWrite, &[u8])]| {
        vec![
            column(set, |(write, _)| write.name.as_str()),
            column(set, |(write, _)| number(write.shard)),
            column(set, |(_, body)| body),
        ]
    });
}

/// Adds the statement `sql` over `rows`, unless there are none.
fn push<'a, R>(
    list: &mut Vec<Statement<'a>>,
    sql: &'static str,
    expected: Expected,
    rows: Vec<R>,
    columns: impl FnOnce(&[R]) -> Vec<Column<'a>>,
) {
    if !rows.is_empty() {
        list.push(Statement { sql, columns: columns(&rows), expected });
    }
}

fn column<'a, R: Copy, T: ToSql + Sync + Send + 'a>(rows: &[R], read: impl Fn(R) -> T) -> Column<'a>
where
    Vec<T>: ToSql,
{
    Box::new(rows.iter().copied().map(read).collect::<Vec<T>>())
}

fn number(shard: Shard) -> i32 {
    i32::from(shard.0)
}
