//! The store for production and for several schedulers: a Postgres server, reached through a small pool.
//!
//! Statements are prepared once per connection and a commit sends its statements together, so that it costs three
//! round trips whatever its size. Every wait is bounded; a connection that did not answer in time is thrown away.
//! Leases go by the server's clock alone. A pooler that shares connections between statements cannot stand between.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use proto::{
    id::{Digest, Epoch, RunId, ScheduleName, Shard, WorkflowName},
    time::Timestamp,
    view::Summary,
};
use tokio::time::timeout;
use tokio_postgres::{
    Config, NoTls, Row,
    error::SqlState,
    types::{FromSqlOwned, ToSql},
};

use super::{
    Commit, Error, Filter, Head, OutboxRow, TimerRow,
    rows::{self, HEAD_COLUMNS, HeadRow, LIVE, Parameter},
};

mod commit;

mod schema {
    refinery::embed_migrations!("migrations/postgres");
}

/// Connections at most.
const CONNECTIONS_MAX: usize = 8;
/// The longest wait for a connection: a free one, or a new one.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait for the answer to one call.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The key of the lock under which one scheduler migrates and the others wait: "leveret" in ASCII.
const MIGRATION_LOCK: i64 = 0x006c_6576_6572_6574;

/// A store on a server.
#[derive(Debug)]
pub struct Store {
    shards: u16,
    pool: Pool,
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Store {
    /// Connects and migrates.
    pub(super) async fn open(url: &str) -> Result<Self, Error> {
        let mut config: Config = url.parse().map_err(|error| Error::Address(with_cause(&error)))?;
        bound_waits(&mut config);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(CONNECTIONS_MAX)
            .wait_timeout(Some(CONNECT_WITHIN))
            .create_timeout(Some(CONNECT_WITHIN))
            .recycle_timeout(Some(CONNECT_WITHIN))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Broken(error.into()))?;
        let mut store = Self { shards: 0, pool };
        store.migrate().await?;
        let shards: Option<String> = store.one("SELECT value FROM meta WHERE name = 'shards'", &[]).await?;
        let shards = shards.ok_or_else(|| rows::damaged("the number of shards is not in table meta"))?;
        store.shards = shards.parse().map_err(rows::damaged)?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), Error> {
        let mut client = self.client().await?;
        let migrated = timeout(ANSWER_WITHIN, async {
            client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
            schema::migrations::runner().run_async(&mut **client).await.map_err(not_migrated)
        })
        .await;
        // Ending the session also ends its lock, whatever happened.
        discard(client);
        migrated.map_err(|elapsed| Error::Unavailable(elapsed.into()))?.map(|_| ())
    }

    pub(super) fn shards(&self) -> u16 {
        self.shards
    }

    pub(super) async fn acquire(&self, shard: Shard, owner: &str, lease: Duration) -> Result<Option<Epoch>, Error> {
        let sql = "UPDATE shards SET owner = $2, epoch = epoch + 1,
                       lease_until = clock_timestamp() + make_interval(secs => $3)
                   WHERE shard = $1 AND (owner IS NULL OR owner = $2 OR lease_until <= clock_timestamp())
                   RETURNING epoch";
        let epoch: Option<i64> = self.one(sql, &[&i32::from(shard.0), &owner, &lease.as_secs_f64()]).await?;
        Ok(epoch.map(|epoch| Epoch(epoch.unsigned_abs())))
    }

    pub(super) async fn renew(&self, owner: &str, lease: Duration) -> Result<Vec<Shard>, Error> {
        let sql = "UPDATE shards SET lease_until = clock_timestamp() + make_interval(secs => $2)
                   WHERE owner = $1 RETURNING shard";
        let found = self.query(sql, &[&owner, &lease.as_secs_f64()]).await?;
        let mut shards = found.iter().map(|row| shard(row, 0)).collect::<Result<Vec<_>, _>>()?;
        shards.sort_unstable();
        Ok(shards)
    }

    pub(super) async fn release(&self, owner: &str) -> Result<(), Error> {
        let sql = "UPDATE shards SET owner = NULL, lease_until = '-infinity' WHERE owner = $1";
        self.query(sql, &[&owner]).await.map(|_| ())
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let mut client = self.client().await?;
        let done = timeout(ANSWER_WITHIN, commit::run(&mut client, &commit)).await;
        done.unwrap_or_else(|elapsed| {
            discard(client);
            Err(Error::Unavailable(elapsed.into()))
        })
    }

    pub(super) async fn heads(&self, ids: &[RunId]) -> Result<HashMap<RunId, Head>, Error> {
        let ids: Vec<&str> = ids.iter().map(RunId::as_str).collect();
        let sql = format!("SELECT {HEAD_COLUMNS} FROM runs WHERE id = ANY($1)");
        let found = self.query(&sql, &[&ids]).await?;
        found.iter().map(|row| head(row).map(|head| (head.summary.id.clone(), head))).collect()
    }

    pub(super) async fn facts(&self, id: &RunId) -> Result<Vec<Bytes>, Error> {
        let found = self.query("SELECT seq, fact FROM facts WHERE run = $1 ORDER BY seq", &[&id.as_str()]).await?;
        let facts =
            found.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>, Error>>()?;
        rows::in_order(id, facts.into_iter())
    }

    pub(super) async fn live_runs(&self, shard: Shard) -> Result<Vec<RunId>, Error> {
        let sql = format!("SELECT id FROM runs WHERE shard = $1 AND {LIVE} ORDER BY id");
        let found = self.query(&sql, &[&i32::from(shard.0)]).await?;
        found.iter().map(|row| rows::run_id(row.try_get(0)?)).collect()
    }

    pub(super) async fn outbox(&self, shard: Shard) -> Result<Vec<OutboxRow>, Error> {
        let sql = "SELECT key, run, kind, body FROM outbox WHERE shard = $1 ORDER BY position";
        let found = self.query(sql, &[&i32::from(shard.0)]).await?;
        let read =
            |row: &Row| rows::outbox_row(row.try_get(0)?, row.try_get(1)?, shard, row.try_get(2)?, row.try_get(3)?);
        found.iter().map(read).collect()
    }

    pub(super) async fn timers(&self, shard: Shard) -> Result<Vec<TimerRow>, Error> {
        let sql = "SELECT key, run, due FROM timers WHERE shard = $1 ORDER BY due, key";
        let found = self.query(sql, &[&i32::from(shard.0)]).await?;
        let read = |row: &Row| {
            let due = Timestamp::from_millis(row.try_get(2)?);
            Ok(TimerRow { key: row.try_get(0)?, run: rows::run_id(row.try_get(1)?)?, shard, due })
        };
        found.iter().map(read).collect()
    }

    pub(super) async fn schedules(&self, shard: Shard) -> Result<Vec<(ScheduleName, Bytes)>, Error> {
        let sql = "SELECT name, body FROM schedules WHERE shard = $1 ORDER BY name";
        let found = self.query(sql, &[&i32::from(shard.0)]).await?;
        let read = |row: &Row| {
            let name = row.try_get::<_, &str>(0)?.parse().map_err(rows::damaged)?;
            Ok((name, Bytes::from(row.try_get::<_, Vec<u8>>(1)?)))
        };
        found.iter().map(read).collect()
    }

    pub(super) async fn schedule(&self, name: &ScheduleName) -> Result<Option<Bytes>, Error> {
        let found: Option<Vec<u8>> = self.one("SELECT body FROM schedules WHERE name = $1", &[&name.as_str()]).await?;
        Ok(found.map(Bytes::from))
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let (sql, parameters) = rows::list_query(filter);
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(as_sql).collect();
        let found = self.query(&sql, &parameters).await?;
        found.iter().map(|row| head(row).map(|head| head.summary)).collect()
    }

    pub(super) async fn define(&self, digest: Digest, source: Bytes) -> Result<(), Error> {
        let sql = "INSERT INTO definitions (digest, source) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";
        self.query(sql, &[&bytea(&digest), &source.as_ref()]).await.map(|_| ())
    }

    pub(super) async fn register(&self, name: &WorkflowName, digest: Digest) -> Result<(), Error> {
        let sql = "INSERT INTO names (name, digest, registered_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE
                   SET digest = excluded.digest, registered_at = excluded.registered_at
                   WHERE names.digest <> excluded.digest";
        self.query(sql, &[&name.as_str(), &bytea(&digest), &rows::now().as_millis()]).await.map(|_| ())
    }

    pub(super) async fn registered(&self, name: &WorkflowName) -> Result<Option<Digest>, Error> {
        let found: Option<Vec<u8>> = self.one("SELECT digest FROM names WHERE name = $1", &[&name.as_str()]).await?;
        found.map(|bytes| rows::digest(&bytes)).transpose()
    }

    pub(super) async fn definition(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let found: Option<Vec<u8>> =
            self.one("SELECT source FROM definitions WHERE digest = $1", &[&bytea(&digest)]).await?;
        Ok(found.map(Bytes::from))
    }

    pub(super) async fn workflows(&self) -> Result<Vec<(WorkflowName, Digest, Timestamp)>, Error> {
        let found = self.query("SELECT name, digest, registered_at FROM names ORDER BY name", &[]).await?;
        let read = |row: &Row| {
            let name = row.try_get::<_, &str>(0)?.parse().map_err(rows::damaged)?;
            Ok((name, rows::digest(row.try_get(1)?)?, Timestamp::from_millis(row.try_get(2)?)))
        };
        found.iter().map(read).collect()
    }

    pub(super) async fn put_value(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        let values: (&[&[u8]], i64, &[&[u8]]) = (&[bytea(&digest)], rows::now().as_millis(), &[&bytes]);
        self.query(commit::PUT_VALUES, &[&values.0, &values.1, &values.2]).await.map(|_| ())
    }

    pub(super) async fn value(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let found: Option<Vec<u8>> =
            self.one(r#"SELECT bytes FROM "values" WHERE digest = $1"#, &[&bytea(&digest)]).await?;
        Ok(found.map(Bytes::from))
    }

    pub(super) async fn absent_values(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let wanted: Vec<&[u8]> = digests.iter().map(bytea).collect();
        let sql = r#"SELECT wanted.digest FROM unnest($1::bytea[]) WITH ORDINALITY AS wanted (digest, turn)
                     WHERE NOT EXISTS (SELECT 1 FROM "values" WHERE digest = wanted.digest) ORDER BY turn"#;
        let found = self.query(sql, &[&wanted]).await?;
        found.iter().map(|row| rows::digest(row.try_get(0)?)).collect()
    }

    /// Runs one statement and returns its rows.
    async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let client = self.client().await?;
        let answer = timeout(ANSWER_WITHIN, async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        })
        .await;
        match answer {
            Ok(rows) => Ok(rows?),
            Err(elapsed) => {
                discard(client);
                Err(Error::Unavailable(elapsed.into()))
            }
        }
    }

    /// The first column of the first row.
    async fn one<T: FromSqlOwned>(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<T>, Error> {
        let found = self.query(sql, parameters).await?;
        Ok(found.first().map(|row| row.try_get(0)).transpose()?)
    }

    async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) | PoolError::Closed => Error::Unavailable(error.into()),
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Error::Broken(error.into()),
        })
    }
}

/// Closes a connection instead of giving it back: an answer may still be on its way.
fn discard(client: Object) {
    drop(Object::take(client));
}

/// Lets a server that vanished without a word be noticed, where the address says nothing else.
fn bound_waits(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_WITHIN);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(2 * CONNECT_WITHIN);
    }
    if config.get_application_name().is_none() {
        config.application_name("leveret");
    }
}

fn bytea(digest: &Digest) -> &[u8] {
    digest.as_bytes()
}

fn as_sql(parameter: &Parameter) -> &(dyn ToSql + Sync) {
    match parameter {
        Parameter::Text(text) => text,
        Parameter::Integer(number) => number,
    }
}

fn shard(row: &Row, column: usize) -> Result<Shard, Error> {
    u16::try_from(row.try_get::<_, i32>(column)?).map(Shard).map_err(rows::damaged)
}

fn head(row: &Row) -> Result<Head, Error> {
    let row = HeadRow {
        id: row.try_get(0)?,
        workflow: row.try_get(1)?,
        definition: row.try_get(2)?,
        content: row.try_get(3)?,
        labels: row.try_get(4)?,
        status: row.try_get(5)?,
        error: row.try_get(6)?,
        started_at: row.try_get(7)?,
        finished_at: row.try_get(8)?,
    };
    row.read()
}

/// What a failed migration means; it wraps the server's errors.
fn not_migrated(error: refinery::Error) -> Error {
    let server = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
    let passing = server.is_some_and(passes);
    if passing { Error::Unavailable(error.into()) } else { Error::Broken(error.into()) }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code() == Some(&SqlState::DISK_FULL) {
            return Self::Full(error.into());
        }
        if passes(&error) { Self::Unavailable(error.into()) } else { Self::Broken(error.into()) }
    }
}

/// Whether waiting may mend it: a lost connection, a server that starts, stops or fails over, too many clients, or two
/// transactions in each other's way. Classes are those of appendix A of the Postgres manual.
fn passes(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        let no_answer = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
        return error.is_closed() || no_answer;
    };
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "40" | "53" | "57" | "58")
        || [SqlState::LOCK_NOT_AVAILABLE, SqlState::READ_ONLY_SQL_TRANSACTION].contains(code)
}

/// The text of an error whose own says too little.
fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
