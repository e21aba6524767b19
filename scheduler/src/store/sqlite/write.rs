//! What the writers' threads do: each function what the store's method of its name says.

use std::time::Duration;

use bytes::Bytes;
use proto::id::{Digest, Epoch, Shard, WorkflowName};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Commit, Error, rows};
use crate::store::{NewRun, RunWrite};

pub fn acquire(
    connection: &mut Connection,
    shard: Shard,
    owner: &str,
    lease: Duration,
) -> Result<Option<Epoch>, Error> {
    let now = rows::now();
    let mut statement = connection.prepare_cached(
        "UPDATE shards SET owner = ?2, epoch = epoch + 1, lease_until = ?4
         WHERE shard = ?1 AND (owner IS NULL OR owner = ?2 OR lease_until <= ?3) RETURNING epoch",
    )?;
    let until = now.plus(lease).as_millis();
    let epoch: Option<i64> =
        statement.query_row(params![shard.0, owner, now.as_millis(), until], |row| row.get(0)).optional()?;
    Ok(epoch.map(|epoch| Epoch(epoch.unsigned_abs())))
}

pub fn renew(connection: &mut Connection, owner: &str, lease: Duration) -> Result<Vec<Shard>, Error> {
    let mut statement =
        connection.prepare_cached("UPDATE shards SET lease_until = ?2 WHERE owner = ?1 RETURNING shard")?;
    let until = rows::now().plus(lease).as_millis();
    let mut shards: Vec<Shard> =
        statement.query_map(params![owner, until], |row| row.get(0).map(Shard))?.collect::<Result<_, _>>()?;
    shards.sort_unstable();
    Ok(shards)
}

pub fn release(connection: &mut Connection, owner: &str) -> Result<(), Error> {
    connection.execute("UPDATE shards SET owner = NULL, lease_until = 0 WHERE owner = ?1", [owner])?;
    Ok(())
}

pub fn define(connection: &mut Connection, digest: Digest, source: &Bytes) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO definitions (digest, source) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING",
        params![digest.as_bytes(), source.as_ref()],
    )?;
    Ok(())
}

pub fn register(connection: &mut Connection, name: &WorkflowName, digest: Digest) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO names (name, digest, registered_at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE
         SET digest = excluded.digest, registered_at = excluded.registered_at WHERE digest <> excluded.digest",
        params![name.as_str(), digest.as_bytes(), rows::now().as_millis()],
    )?;
    Ok(())
}

pub fn put_values(connection: &mut Connection, values: &[(Digest, Bytes)]) -> Result<(), Error> {
    let transaction = begin(connection)?;
    let now = rows::now().as_millis();
    let mut statement = transaction.prepare_cached(
        r#"INSERT INTO "values" (digest, touched_at, bytes) VALUES (?1, ?2, ?3)
           ON CONFLICT (digest) DO UPDATE SET touched_at = excluded.touched_at"#,
    )?;
    for (digest, bytes) in values {
        statement.execute(params![digest.as_bytes(), now, bytes.as_ref()])?;
    }
    drop(statement);
    Ok(transaction.commit()?)
}

/// All of a commit but its values, which are durable already. Whatever fails rolls back all.
pub fn commit(connection: &mut Connection, commit: &Commit) -> Result<(), Error> {
    let transaction = begin(connection)?;
    check_fences(&transaction, commit)?;
    for write in &commit.runs {
        match &write.created {
            Some(new) => create_run(&transaction, write, new)?,
            None => update_run(&transaction, write)?,
        }
        add_facts(&transaction, write)?;
    }
    write_outbox(&transaction, commit)?;
    write_timers(&transaction, commit)?;
    write_schedules(&transaction, commit)?;
    Ok(transaction.commit()?)
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, Error> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

fn check_fences(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), Error> {
    let mut statement =
        transaction.prepare_cached("UPDATE shards SET seq = seq + 1 WHERE shard = ?1 AND epoch = ?2")?;
    for (shard, epoch) in &commit.fences {
        let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
        if statement.execute(params![shard.0, epoch])? == 0 {
            return Err(Error::Fenced { shard: *shard });
        }
    }
    Ok(())
}

fn create_run(transaction: &Transaction<'_>, write: &RunWrite, new: &NewRun) -> Result<(), Error> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO runs (id, shard, workflow, definition, content, labels, status, error, started_at, finished_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
    )?;
    let created = statement.execute(params![
        write.id.as_str(),
        write.shard.0,
        new.workflow.as_str(),
        new.definition.as_bytes(),
        new.content.as_bytes(),
        rows::text(&new.labels),
        write.status.as_str(),
        write.error.as_ref().map(rows::text),
        new.started_at.as_millis(),
        write.finished_at.map(|at| at.as_millis()),
    ])?;
    if created == 0 {
        return Err(Error::Conflict { run: write.id.clone() });
    }
    let mut statement = transaction.prepare_cached("INSERT INTO run_labels (label, run) VALUES (?1, ?2)")?;
    for label in &new.labels {
        statement.execute(params![rows::label_text(label), write.id.as_str()])?;
    }
    Ok(())
}

fn update_run(transaction: &Transaction<'_>, write: &RunWrite) -> Result<(), Error> {
    let mut statement =
        transaction.prepare_cached("UPDATE runs SET status = ?2, error = ?3, finished_at = ?4 WHERE id = ?1")?;
    let updated = statement.execute(params![
        write.id.as_str(),
        write.status.as_str(),
        write.error.as_ref().map(rows::text),
        write.finished_at.map(|at| at.as_millis()),
    ])?;
    if updated == 0 {
        return Err(Error::Broken(format!("run {} does not exist", write.id).into()));
    }
    Ok(())
}

fn add_facts(transaction: &Transaction<'_>, write: &RunWrite) -> Result<(), Error> {
    let mut statement = transaction.prepare_cached("INSERT INTO facts (run, seq, fact) VALUES (?1, ?2, ?3)")?;
    for (seq, fact) in (i64::from(write.first_seq)..).zip(&write.facts) {
        statement.execute(params![write.id.as_str(), seq, fact.as_ref()])?;
    }
    let mut statement =
        transaction.prepare_cached("INSERT INTO value_refs (run, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for digest in &write.value_refs {
        statement.execute(params![write.id.as_str(), digest.as_bytes()])?;
    }
    Ok(())
}

fn write_outbox(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), Error> {
    let mut statement = transaction.prepare_cached("DELETE FROM outbox WHERE key = ?1")?;
    for key in &commit.outbox_remove {
        statement.execute([key])?;
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO outbox (key, run, shard, kind, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key) DO UPDATE
         SET run = excluded.run, shard = excluded.shard, kind = excluded.kind, body = excluded.body",
    )?;
    for row in &commit.outbox_add {
        let body = row.body.as_deref();
        statement.execute(params![row.key, row.run.as_str(), row.shard.0, row.kind.as_str(), body])?;
    }
    Ok(())
}

fn write_timers(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), Error> {
    let mut statement = transaction.prepare_cached("DELETE FROM timers WHERE key = ?1")?;
    for key in &commit.timers_clear {
        statement.execute([key])?;
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO timers (key, run, shard, due) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE
         SET run = excluded.run, shard = excluded.shard, due = excluded.due",
    )?;
    for row in &commit.timers_set {
        statement.execute(params![row.key, row.run.as_str(), row.shard.0, row.due.as_millis()])?;
    }
    Ok(())
}

fn write_schedules(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), Error> {
    let mut remove = transaction.prepare_cached("DELETE FROM schedules WHERE name = ?1")?;
    let mut set = transaction.prepare_cached(
        "INSERT INTO schedules (name, shard, body) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE
         SET shard = excluded.shard, body = excluded.body",
    )?;
    for write in &commit.schedules {
        match &write.body {
            Some(body) => set.execute(params![write.name.as_str(), write.shard.0, body.as_ref()])?,
            None => remove.execute([write.name.as_str()])?,
        };
    }
    Ok(())
}
