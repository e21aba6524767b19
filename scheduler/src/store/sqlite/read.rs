//! What the readers' threads do: each function what the store's method of its name says.

use std::collections::HashMap;

use bytes::Bytes;
use proto::{
    id::{Digest, RunId, ScheduleName, Shard, WorkflowName},
    time::Timestamp,
    view::Summary,
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, params_from_iter, types::ToSqlOutput};

use super::{Error, Head, OutboxRow, TimerRow, rows};
use crate::store::rows::{HEAD_COLUMNS, HeadRow, LIVE, Parameter};

pub fn shards(connection: &Connection) -> Result<u16, Error> {
    let text: String = connection.query_row("SELECT value FROM meta WHERE name = 'shards'", [], |row| row.get(0))?;
    text.parse().map_err(rows::damaged)
}

pub fn heads(connection: &Connection, ids: &[RunId]) -> Result<HashMap<RunId, Head>, Error> {
    let mut statement = connection.prepare_cached(&format!("SELECT {HEAD_COLUMNS} FROM runs WHERE id = ?1"))?;
    let mut heads = HashMap::with_capacity(ids.len());
    for id in ids {
        if let Some(row) = statement.query_row([id.as_str()], head_row).optional()? {
            heads.insert(id.clone(), row.read()?);
        }
    }
    Ok(heads)
}

pub fn facts(connection: &Connection, id: &RunId) -> Result<Vec<Bytes>, Error> {
    let mut statement = connection.prepare_cached("SELECT seq, fact FROM facts WHERE run = ?1 ORDER BY seq")?;
    let facts = statement.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows::in_order(id, facts.collect::<Result<Vec<_>, _>>()?.into_iter())
}

pub fn live_runs(connection: &Connection, shard: Shard) -> Result<Vec<RunId>, Error> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT id FROM runs WHERE shard = ?1 AND {LIVE} ORDER BY id"))?;
    let ids = statement.query_map([shard.0], |row| row.get::<_, String>(0))?;
    ids.map(|id| rows::run_id(&id?)).collect()
}

pub fn outbox(connection: &Connection, shard: Shard) -> Result<Vec<OutboxRow>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT key, run, kind, body FROM outbox WHERE shard = ?1 ORDER BY position")?;
    let mut found = statement.query([shard.0])?;
    let mut outbox = Vec::new();
    while let Some(row) = found.next()? {
        let (run, kind): (String, String) = (row.get(1)?, row.get(2)?);
        outbox.push(rows::outbox_row(row.get(0)?, &run, shard, &kind, row.get(3)?)?);
    }
    Ok(outbox)
}

pub fn timers(connection: &Connection, shard: Shard) -> Result<Vec<TimerRow>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT key, run, due FROM timers WHERE shard = ?1 ORDER BY due, key")?;
    let mut found = statement.query([shard.0])?;
    let mut timers = Vec::new();
    while let Some(row) = found.next()? {
        let run = rows::run_id(&row.get::<_, String>(1)?)?;
        timers.push(TimerRow { key: row.get(0)?, run, shard, due: Timestamp::from_millis(row.get(2)?) });
    }
    Ok(timers)
}

pub fn schedules(connection: &Connection, shard: Shard) -> Result<Vec<(ScheduleName, Bytes)>, Error> {
    let mut statement = connection.prepare_cached("SELECT name, body FROM schedules WHERE shard = ?1 ORDER BY name")?;
    let mut found = statement.query([shard.0])?;
    let mut schedules = Vec::new();
    while let Some(row) = found.next()? {
        let name = row.get::<_, String>(0)?.parse().map_err(rows::damaged)?;
        schedules.push((name, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
    }
    Ok(schedules)
}

pub fn schedule(connection: &Connection, name: &ScheduleName) -> Result<Option<Bytes>, Error> {
    let mut statement = connection.prepare_cached("SELECT body FROM schedules WHERE name = ?1")?;
    bytes(statement.query_row([name.as_str()], |row| row.get(0)).optional())
}

pub fn list(connection: &Connection, sql: &str, parameters: &[Parameter]) -> Result<Vec<Summary>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params_from_iter(parameters), head_row)?;
    found.map(|row| Ok(row?.read()?.summary)).collect()
}

pub fn registered(connection: &Connection, name: &WorkflowName) -> Result<Option<Digest>, Error> {
    let mut statement = connection.prepare_cached("SELECT digest FROM names WHERE name = ?1")?;
    statement.query_row([name.as_str()], |row| row.get(0).map(Digest::from_bytes)).optional().map_err(Error::from)
}

pub fn definition(connection: &Connection, digest: Digest) -> Result<Option<Bytes>, Error> {
    let mut statement = connection.prepare_cached("SELECT source FROM definitions WHERE digest = ?1")?;
    bytes(statement.query_row([digest.as_bytes()], |row| row.get(0)).optional())
}

pub fn workflows(connection: &Connection) -> Result<Vec<(WorkflowName, Digest, Timestamp)>, Error> {
    let mut statement = connection.prepare_cached("SELECT name, digest, registered_at FROM names ORDER BY name")?;
    let mut found = statement.query([])?;
    let mut names = Vec::new();
    while let Some(row) = found.next()? {
        let name = row.get::<_, String>(0)?.parse().map_err(rows::damaged)?;
        names.push((name, Digest::from_bytes(row.get(1)?), Timestamp::from_millis(row.get(2)?)));
    }
    Ok(names)
}

pub fn value(connection: &Connection, digest: Digest) -> Result<Option<Bytes>, Error> {
    let mut statement = connection.prepare_cached(r#"SELECT bytes FROM "values" WHERE digest = ?1"#)?;
    bytes(statement.query_row([digest.as_bytes()], |row| row.get(0)).optional())
}

pub fn absent_values(connection: &Connection, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
    let mut statement = connection.prepare_cached(r#"SELECT 1 FROM "values" WHERE digest = ?1"#)?;
    let mut absent = Vec::new();
    for digest in digests {
        if !statement.exists(params![digest.as_bytes()])? {
            absent.push(*digest);
        }
    }
    Ok(absent)
}

fn bytes(found: rusqlite::Result<Option<Vec<u8>>>) -> Result<Option<Bytes>, Error> {
    Ok(found?.map(Bytes::from))
}

fn head_row(row: &Row<'_>) -> rusqlite::Result<HeadRow> {
    Ok(HeadRow {
        id: row.get(0)?,
        workflow: row.get(1)?,
        definition: row.get(2)?,
        content: row.get(3)?,
        labels: row.get(4)?,
        status: row.get(5)?,
        error: row.get(6)?,
        started_at: row.get(7)?,
        finished_at: row.get(8)?,
    })
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Integer(number) => number.to_sql(),
        }
    }
}
