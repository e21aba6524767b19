//! Where runs are kept: SQLite, Postgres, or memory for tests, behind one enum with one meaning.
//!
//! Facts are the truth; everything else here is either an index of them or what must outlive a crash beside them.
//! All of a turn is one [`Commit`]: whole or not at all, and only while the committer owns every shard it touches.
//! The suite in `tests/store` says what each method means and runs on all three.
//!
//! Reading order: `record` declares what is written and read, [`memory`] is the plainest store, then [`sqlite`] and
//! [`postgres`]; `rows` has what the two databases share.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use proto::{
    id::{Digest, Epoch, RunId, ScheduleName, Shard, WorkflowName},
    time::Timestamp,
    view::Summary,
};

pub mod memory;
pub mod postgres;
mod record;
mod rows;
pub mod sqlite;

pub use record::{Commit, Filter, Head, NewRun, OutboxKind, OutboxRow, RunWrite, ScheduleWrite, TimerRow};

/// A store that is open.
#[derive(Debug)]
pub enum Store {
    /// Files on this machine, for one scheduler.
    Sqlite(sqlite::Store),
    /// A server, for several schedulers.
    Postgres(postgres::Store),
    /// Nothing outlives the process: for tests and benches.
    Memory(memory::Store),
}

/// Why a store did not do it, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another scheduler took the shard; nothing was committed. Forget the shard, its runs, and their inputs.
    #[error("shard {shard} has another owner")]
    Fenced {
        /// The shard.
        shard: Shard,
    },
    /// Another scheduler created the run first; nothing was committed. Look it up and treat the job as a duplicate.
    #[error("run {run} exists already")]
    Conflict {
        /// The run.
        run: RunId,
    },
    /// The bytes have another digest than was said; nothing was kept. Reject them.
    #[error("the bytes do not have digest {digest}")]
    Mismatch {
        /// The digest that was claimed.
        digest: Digest,
    },
    /// No room; nothing was committed. Stop taking work until there is.
    #[error("the store's disk is full")]
    Full(#[source] Source),
    /// It cannot be reached or did not answer in time. A commit may or may not have happened: forget the runs it
    /// touched, try again later, and read them anew.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// Another process has the files open. Stop.
    #[error("store {} is open in another process, which holds {}: stop that one, or give this one a file of its own", path.display(), lock.display())]
    InUse {
        /// The main file.
        path: PathBuf,
        /// The lock file that the other process holds.
        lock: PathBuf,
    },
    /// Not a store's address. Stop. The address itself is not shown, since it may hold a password.
    #[error(
        "the store's address is not valid, {0}: it is sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory:"
    )]
    Address(String),
    /// Nothing that waiting can mend: wrong credentials, damaged files, or a mistake of ours. Stop.
    #[error("the store cannot be used")]
    Broken(#[source] Source),
}

/// What went wrong underneath.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Opens the store at `url`: `sqlite:PATH`, `postgres://…` or `memory:`. What is missing in it is created.
///
/// # Errors
/// [`Error::Unavailable`] when the server cannot be reached; all others are for a person to mend.
pub fn open(url: &str) -> BoxFuture<'_, Result<Store, Error>> {
    // Boxed: its code, of two databases, is compiled here, and not again wherever a store is opened.
    opened(url).boxed()
}

async fn opened(url: &str) -> Result<Store, Error> {
    match url.split_once(':') {
        Some(("sqlite", path)) => sqlite::Store::open(path).await.map(Store::Sqlite),
        Some(("postgres" | "postgresql", _)) => postgres::Store::open(url).await.map(Store::Postgres),
        Some(("memory", "")) => Ok(Store::Memory(memory::Store::new())),
        Some(_) | None => Err(Error::Address("it begins with no kind of store".to_owned())),
    }
}

impl Store {
    /// How many shards all runs are divided into; fixed when the store was created.
    #[must_use]
    pub fn shards(&self) -> u16 {
        match self {
            Self::Sqlite(store) => store.shards(),
            Self::Postgres(store) => store.shards(),
            Self::Memory(_) => memory::SHARDS,
        }
    }

    /// Takes `shard` for `owner` when it is free, its lease is over, or it is `owner`'s already. Each taking has an
    /// epoch of its own, and ends the ones before. `None` when somebody else holds it.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Full`] or [`Error::Broken`].
    pub async fn acquire(&self, shard: Shard, owner: &str, lease: Duration) -> Result<Option<Epoch>, Error> {
        match self {
            Self::Sqlite(store) => store.acquire(shard, owner, lease).await,
            Self::Postgres(store) => store.acquire(shard, owner, lease).await,
            Self::Memory(store) => Ok(store.acquire(shard, owner, lease)),
        }
    }

    /// Extends `owner`'s leases from now on and says which shards are still its own, in order.
    ///
    /// # Errors
    /// As [`Store::acquire`].
    pub async fn renew(&self, owner: &str, lease: Duration) -> Result<Vec<Shard>, Error> {
        match self {
            Self::Sqlite(store) => store.renew(owner, lease).await,
            Self::Postgres(store) => store.renew(owner, lease).await,
            Self::Memory(store) => Ok(store.renew(owner, lease)),
        }
    }

    /// Gives back every shard of `owner`, so that at a planned stop nobody waits for leases to end.
    ///
    /// # Errors
    /// As [`Store::acquire`].
    pub async fn release(&self, owner: &str) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.release(owner).await,
            Self::Postgres(store) => store.release(owner).await,
            Self::Memory(store) => {
                store.release(owner);
                Ok(())
            }
        }
    }

    /// Does all of `commit`, or nothing.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::Conflict`], [`Error::Full`]; [`Error::Unavailable`], after which it may have
    /// happened; [`Error::Broken`] when a fact's position is taken or a run is absent.
    ///
    /// # Panics
    /// When a shard has no fence, or a run or a key stands in a list twice: a mistake of the caller.
    pub async fn commit(&self, commit: Commit) -> Result<(), Error> {
        commit.assert_sound();
        match self {
            Self::Sqlite(store) => store.commit(commit).await,
            Self::Postgres(store) => store.commit(commit).await,
            Self::Memory(store) => store.commit(commit),
        }
    }

    /// Those of `ids` that exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Broken`], as for all reads.
    pub async fn heads(&self, ids: &[RunId]) -> Result<HashMap<RunId, Head>, Error> {
        match self {
            Self::Sqlite(store) => store.heads(ids).await,
            Self::Postgres(store) => store.heads(ids).await,
            Self::Memory(store) => Ok(store.heads(ids)),
        }
    }

    /// All facts of a run, in order; none when there is no such run.
    ///
    /// # Errors
    /// As [`Store::heads`]; a missing position is [`Error::Broken`].
    pub async fn facts(&self, id: &RunId) -> Result<Vec<Bytes>, Error> {
        match self {
            Self::Sqlite(store) => store.facts(id).await,
            Self::Postgres(store) => store.facts(id).await,
            Self::Memory(store) => store.facts(id),
        }
    }

    /// The runs of a shard that have not ended.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn live_runs(&self, shard: Shard) -> Result<Vec<RunId>, Error> {
        match self {
            Self::Sqlite(store) => store.live_runs(shard).await,
            Self::Postgres(store) => store.live_runs(shard).await,
            Self::Memory(store) => Ok(store.live_runs(shard)),
        }
    }

    /// The messages of a shard that are not confirmed, in the order of their adding.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn outbox(&self, shard: Shard) -> Result<Vec<OutboxRow>, Error> {
        match self {
            Self::Sqlite(store) => store.outbox(shard).await,
            Self::Postgres(store) => store.outbox(shard).await,
            Self::Memory(store) => Ok(store.outbox(shard)),
        }
    }

    /// The timers of a shard, the first due first.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn timers(&self, shard: Shard) -> Result<Vec<TimerRow>, Error> {
        match self {
            Self::Sqlite(store) => store.timers(shard).await,
            Self::Postgres(store) => store.timers(shard).await,
            Self::Memory(store) => Ok(store.timers(shard)),
        }
    }

    /// The schedules of a shard with what was last written of them, by name.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn schedules(&self, shard: Shard) -> Result<Vec<(ScheduleName, Bytes)>, Error> {
        match self {
            Self::Sqlite(store) => store.schedules(shard).await,
            Self::Postgres(store) => store.schedules(shard).await,
            Self::Memory(store) => Ok(store.schedules(shard)),
        }
    }

    /// What was last written of a schedule.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn schedule(&self, name: &ScheduleName) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Sqlite(store) => store.schedule(name).await,
            Self::Postgres(store) => store.schedule(name).await,
            Self::Memory(store) => Ok(store.schedule(name)),
        }
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        match self {
            Self::Sqlite(store) => store.list(filter).await,
            Self::Postgres(store) => store.list(filter).await,
            Self::Memory(store) => Ok(store.list(filter)),
        }
    }

    /// Keeps a workflow's source under its digest.
    ///
    /// # Errors
    /// [`Error::Mismatch`], or as [`Store::acquire`].
    pub async fn define(&self, digest: Digest, source: Bytes) -> Result<(), Error> {
        check_digest(digest, &source).await?;
        match self {
            Self::Sqlite(store) => store.define(digest, source).await,
            Self::Postgres(store) => store.define(digest, source).await,
            Self::Memory(store) => {
                store.define(digest, source);
                Ok(())
            }
        }
    }

    /// Lets `name` stand for the definition `digest` from now on. Naming the same one again changes nothing.
    ///
    /// # Errors
    /// As [`Store::acquire`].
    pub async fn register(&self, name: &WorkflowName, digest: Digest) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.register(name, digest).await,
            Self::Postgres(store) => store.register(name, digest).await,
            Self::Memory(store) => {
                store.register(name, digest);
                Ok(())
            }
        }
    }

    /// The definition that `name` stands for.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn registered(&self, name: &WorkflowName) -> Result<Option<Digest>, Error> {
        match self {
            Self::Sqlite(store) => store.registered(name).await,
            Self::Postgres(store) => store.registered(name).await,
            Self::Memory(store) => Ok(store.registered(name)),
        }
    }

    /// A workflow's source.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn definition(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Sqlite(store) => store.definition(digest).await,
            Self::Postgres(store) => store.definition(digest).await,
            Self::Memory(store) => Ok(store.definition(digest)),
        }
    }

    /// Every registered name, with its definition and when it was registered, by name.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn workflows(&self) -> Result<Vec<(WorkflowName, Digest, Timestamp)>, Error> {
        match self {
            Self::Sqlite(store) => store.workflows().await,
            Self::Postgres(store) => store.workflows().await,
            Self::Memory(store) => Ok(store.workflows()),
        }
    }

    /// Keeps a value; durable when this returns. One that is there already counts as touched now.
    ///
    /// # Errors
    /// [`Error::Mismatch`], or as [`Store::acquire`].
    pub async fn put_value(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        check_digest(digest, &bytes).await?;
        match self {
            Self::Sqlite(store) => store.put_values(vec![(digest, bytes)]).await,
            Self::Postgres(store) => store.put_value(digest, bytes).await,
            Self::Memory(store) => {
                store.put_value(digest, bytes);
                Ok(())
            }
        }
    }

    /// A value.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn value(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Sqlite(store) => store.value(digest).await,
            Self::Postgres(store) => store.value(digest).await,
            Self::Memory(store) => Ok(store.value(digest)),
        }
    }

    /// Those of `digests` that are not kept, in the order given.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub async fn absent_values(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        match self {
            Self::Sqlite(store) => store.absent_values(digests).await,
            Self::Postgres(store) => store.absent_values(digests).await,
            Self::Memory(store) => Ok(store.absent_values(digests)),
        }
    }
}

/// Bytes that are hashed at once, in some 0.2 ms; more would hold up whatever else runs on this thread.
const HASHED_IN_PLACE_MAX: usize = 256 * 1024;

/// Refuses bytes from outside that are not what they are said to be.
async fn check_digest(digest: Digest, bytes: &Bytes) -> Result<(), Error> {
    let found = if bytes.len() <= HASHED_IN_PLACE_MAX {
        Digest::of(bytes)
    } else {
        let bytes = bytes.clone();
        let hashed = tokio::task::spawn_blocking(move || Digest::of(&bytes)).await;
        hashed.map_err(|error| Error::Broken(error.into()))?
    };
    if found == digest { Ok(()) } else { Err(Error::Mismatch { digest }) }
}
