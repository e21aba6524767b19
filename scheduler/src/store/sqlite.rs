//! The embedded store: one scheduler, two files, no server.
//!
//! `PATH` holds everything but values; `PATH.values` holds those, with a writer of its own; `PATH.lock` is locked as
//! long as this process has the others open. Each connection has a thread of its own, since SQLite blocks: one writer
//! and some readers per file. `synchronous=FULL`, because with WAL and NORMAL a power cut may take the last commits
//! although their inputs were acknowledged.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use proto::{
    id::{Digest, Epoch, RunId, ScheduleName, Shard, WorkflowName},
    time::Timestamp,
    view::Summary,
};
use rusqlite::{Connection, ErrorCode};

use super::{Commit, Error, Filter, Head, OutboxRow, TimerRow, rows};
use thread::Thread;

mod read;
mod thread;
mod write;

mod main_file {
    refinery::embed_migrations!("migrations/sqlite");
}

mod values_file {
    refinery::embed_migrations!("migrations/sqlite_values");
}

/// Connections that read each file: two, so that a long list does not hold up the replay of a run.
const READERS: usize = 2;

/// A store in files of this machine. Dropping it finishes what was begun and closes them.
#[derive(Debug)]
pub struct Store {
    shards: u16,
    main: Database,
    values: Database,
    // Dropped last: whoever gets the lock next must find the files closed.
    _lock: File,
}

/// One file: its writer, and its readers in turn.
#[derive(Debug)]
struct Database {
    writer: Thread,
    readers: [Thread; READERS],
    turn: AtomicUsize,
}

impl Store {
    /// Opens the store at `path`, with its folder.
    pub(super) async fn open(path: &str) -> Result<Self, Error> {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path == ":memory:" {
            return Err(Error::Address("no file is named".to_owned()));
        }
        let path = PathBuf::from(path);
        tokio::task::spawn_blocking(move || Self::open_files(&path))
            .await
            .map_err(|error| Error::Broken(error.into()))?
    }

    fn open_files(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::Broken(format!("folder {}: {error}", folder.display()).into()))?;
        }
        let lock = lock(path)?;
        let main = Database::open(path, "store", &main_file::migrations::runner())?;
        let values = Database::open(&beside(path, "values"), "values", &values_file::migrations::runner())?;
        let shards = read::shards(&connect(path)?)?;
        Ok(Self { shards, main, values, _lock: lock })
    }

    pub(super) fn shards(&self) -> u16 {
        self.shards
    }

    pub(super) async fn acquire(&self, shard: Shard, owner: &str, lease: Duration) -> Result<Option<Epoch>, Error> {
        let owner = owner.to_owned();
        self.main.write(move |connection| write::acquire(connection, shard, &owner, lease)).await
    }

    pub(super) async fn renew(&self, owner: &str, lease: Duration) -> Result<Vec<Shard>, Error> {
        let owner = owner.to_owned();
        self.main.write(move |connection| write::renew(connection, &owner, lease)).await
    }

    pub(super) async fn release(&self, owner: &str) -> Result<(), Error> {
        let owner = owner.to_owned();
        self.main.write(move |connection| write::release(connection, &owner)).await
    }

    pub(super) async fn commit(&self, mut commit: Commit) -> Result<(), Error> {
        let values = std::mem::take(&mut commit.values);
        if !values.is_empty() {
            self.put_values(values).await?;
        }
        self.main.write(move |connection| write::commit(connection, &commit)).await
    }

    pub(super) async fn heads(&self, ids: &[RunId]) -> Result<HashMap<RunId, Head>, Error> {
        let ids = ids.to_vec();
        self.main.read(move |connection| read::heads(connection, &ids)).await
    }

    pub(super) async fn facts(&self, id: &RunId) -> Result<Vec<Bytes>, Error> {
        let id = id.clone();
        self.main.read(move |connection| read::facts(connection, &id)).await
    }

    pub(super) async fn live_runs(&self, shard: Shard) -> Result<Vec<RunId>, Error> {
        self.main.read(move |connection| read::live_runs(connection, shard)).await
    }

    pub(super) async fn outbox(&self, shard: Shard) -> Result<Vec<OutboxRow>, Error> {
        self.main.read(move |connection| read::outbox(connection, shard)).await
    }

    pub(super) async fn timers(&self, shard: Shard) -> Result<Vec<TimerRow>, Error> {
        self.main.read(move |connection| read::timers(connection, shard)).await
    }

    pub(super) async fn schedules(&self, shard: Shard) -> Result<Vec<(ScheduleName, Bytes)>, Error> {
        self.main.read(move |connection| read::schedules(connection, shard)).await
    }

    pub(super) async fn schedule(&self, name: &ScheduleName) -> Result<Option<Bytes>, Error> {
        let name = name.clone();
        self.main.read(move |connection| read::schedule(connection, &name)).await
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let query = rows::list_query(filter);
        self.main.read(move |connection| read::list(connection, &query.0, &query.1)).await
    }

    pub(super) async fn define(&self, digest: Digest, source: Bytes) -> Result<(), Error> {
        self.main.write(move |connection| write::define(connection, digest, &source)).await
    }

    pub(super) async fn register(&self, name: &WorkflowName, digest: Digest) -> Result<(), Error> {
        let name = name.clone();
        self.main.write(move |connection| write::register(connection, &name, digest)).await
    }

    pub(super) async fn registered(&self, name: &WorkflowName) -> Result<Option<Digest>, Error> {
        let name = name.clone();
        self.main.read(move |connection| read::registered(connection, &name)).await
    }

    pub(super) async fn definition(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.main.read(move |connection| read::definition(connection, digest)).await
    }

    pub(super) async fn workflows(&self) -> Result<Vec<(WorkflowName, Digest, Timestamp)>, Error> {
        self.main.read(read::workflows).await
    }

    pub(super) async fn put_values(&self, values: Vec<(Digest, Bytes)>) -> Result<(), Error> {
        self.values.write(move |connection| write::put_values(connection, &values)).await
    }

    pub(super) async fn value(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.values.read(move |connection| read::value(connection, digest)).await
    }

    pub(super) async fn absent_values(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let digests = digests.to_vec();
        self.values.read(move |connection| read::absent_values(connection, &digests)).await
    }
}

impl Database {
    fn open(path: &Path, name: &str, migrations: &refinery::Runner) -> Result<Self, Error> {
        let mut connection = connect(path)?;
        migrations.run(&mut connection).map_err(|error| Error::Broken(error.into()))?;
        let writer = Thread::start(&format!("{name}-write"), connection)?;
        let reader = |turn: usize| {
            let connection = connect(path)?;
            connection.pragma_update(None, "query_only", true)?;
            Thread::start(&format!("{name}-read-{turn}"), connection)
        };
        Ok(Self { writer, readers: [reader(0)?, reader(1)?], turn: AtomicUsize::new(0) })
    }

    async fn write<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    {
        self.writer.run(job).await
    }

    async fn read<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.readers[turn % READERS].run(move |connection| job(connection)).await
    }
}

/// Takes the lock that keeps a second process out; the system drops it with this one, however it ends.
fn lock(path: &Path) -> Result<File, Error> {
    let lock = beside(path, "lock");
    let unusable = |error| Error::Broken(format!("lock file {}: {error}", lock.display()).into());
    let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_owned(), lock }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// The file next to `path` with one more extension.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // A value of 64 MiB leaves a log as large, which SQLite would otherwise keep for good.
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    // Negative means KiB. Much of a commit is index pages that the one before has just read.
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error.into()),
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted,
            ) => Self::Unavailable(error.into()),
            Some(_) | None => Self::Broken(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_stops_commits_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/down/leveret.db");
        let store = Store::open(path.to_str().expect("UTF-8")).await.expect("opens");
        store.define(Digest::of(b"a"), Bytes::from_static(b"a")).await.expect("fits");
        let shrink = |connection: &mut Connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            // Setting it answers with a row, and never cuts below what is used.
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        };
        store.main.write(shrink).await.expect("shrinks");
        let large = Bytes::from(vec![7; 1 << 20]);
        let refused = store.define(Digest::of(&large), large.clone()).await;
        assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
        assert_eq!(store.definition(Digest::of(b"a")).await.expect("reads"), Some(Bytes::from_static(b"a")));
        let grow = |connection: &mut Connection| {
            Ok(connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))?)
        };
        store.main.write(grow).await.expect("grows");
        store.define(Digest::of(&large), large).await.expect("fits again");
    }

    #[tokio::test]
    async fn nothing_is_acknowledged_before_it_is_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("s.db").to_str().expect("UTF-8")).await.expect("opens");
        for database in [&store.main, &store.values] {
            let settings = |connection: &mut Connection| {
                let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
                let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
                Ok((mode, synchronous))
            };
            assert_eq!(database.write(settings).await.expect("reads"), ("wal".to_owned(), 2));
        }
    }
}
