//! What work reads, built once per process: programs, values and snapshots by digest, each behind an `Arc`.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use engine::{program::Program, snapshot::Snapshot, value::Value};
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::{
    codec,
    id::Digest,
    limits::VALUE_BYTES_MAX,
    manifest::{Manifest, ManifestRef},
    value::{List, Part, Stored, ValueRef},
};

use crate::{
    blocking,
    cache::{Cache, Counters, Loaded},
    lists,
    metrics::Metrics,
    values::{self, Values},
};

/// Of the budget, the parts that programs and values get; snapshots get the rest. Snapshots share values behind `Arc`s,
/// so that a value in both caches takes its memory once.
const PROGRAMS_SHARE: usize = 8;
const VALUES_SHARE: usize = 2;
/// Values of one snapshot, or parts of one list, that are fetched at once.
const FETCHED_AT_ONCE: usize = 8;
/// How many times its JSON a parsed value takes; see [`Value::heap_bytes`].
pub(crate) const JSON_GROWTH: usize = 8;
/// Compiling a definition takes as long as reading about so many times its bytes: unoptimised, 0.6 ms against 0.14 ms
/// for a KiB, and a little for a Tera.
const COMPILE_COST: usize = 8;

/// Everything that evaluation reads, by digest.
pub(crate) struct Snapshots {
    values_service: Values,
    programs: Cache<Digest, Arc<Program>, Error>,
    values: Cache<Digest, Value, Error>,
    snapshots: Cache<Digest, Snapshot, Error>,
    metrics: Arc<Metrics>,
}

/// Why something to read is not to be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// The values service does not have it or does not answer.
    #[error("value {digest}: {source}")]
    Fetch { digest: Digest, source: Arc<values::Error> },
    /// It is there, and not what it should be.
    #[error("{what} {digest} cannot be read: {why}")]
    Unreadable { what: &'static str, digest: Digest, why: String },
    /// A list would be larger than any value may be.
    #[error("the list has {bytes} bytes, more than the limit of {VALUE_BYTES_MAX}: publish less of each item")]
    TooLarge { bytes: u64 },
    /// Another one waited for it and failed.
    #[error(transparent)]
    Shared(Arc<Error>),
}

impl Error {
    /// Whether it may be had later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.is_passing(),
            Self::Unreadable { .. } | Self::TooLarge { .. } => false,
            Self::Shared(error) => error.is_passing(),
        }
    }

    /// The code of the failure that it is to a task.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Fetch { source, .. } => source.code(),
            Self::Unreadable { .. } => "value_unreadable",
            Self::TooLarge { .. } => "value_too_large",
            Self::Shared(error) => error.code(),
        }
    }
}

impl Snapshots {
    pub(crate) fn new(values_service: Values, budget_bytes: usize, metrics: Arc<Metrics>) -> Self {
        let programs = budget_bytes / PROGRAMS_SHARE;
        let values = (budget_bytes - programs) / VALUES_SHARE;
        Self {
            values_service,
            programs: Cache::new(programs),
            values: Cache::new(values),
            snapshots: Cache::new(budget_bytes - programs - values),
            metrics,
        }
    }

    /// The compiled workflow with this source.
    pub(crate) async fn program(&self, definition: Stored) -> Result<Arc<Program>, Error> {
        let load = async {
            let source = self.fetch(definition).await?;
            let program = blocking::sized(source.len() * COMPILE_COST, move || compile(&source)).await;
            let program = program.map_err(|why| {
                let digest = definition.digest;
                Error::Unreadable { what: "definition", digest, why }
            })?;
            let heap_bytes = program.heap_bytes();
            Ok(Loaded { value: Arc::new(program), heap_bytes })
        };
        self.programs.get_or_load(&definition.digest, load).await.map_err(Error::Shared)
    }

    /// The snapshot that a manifest describes. All who ask for the same one get the same one.
    pub(crate) async fn snapshot(&self, manifest: &ManifestRef) -> Result<Snapshot, Error> {
        self.metrics.context_clones.inc();
        let digest = match manifest {
            ManifestRef::Inline(manifest) => Digest::of(&codec::encode(manifest)),
            ManifestRef::Stored(stored) => stored.digest,
        };
        let load = async {
            let fetched;
            let manifest = match manifest {
                ManifestRef::Inline(manifest) => manifest,
                ManifestRef::Stored(stored) => {
                    fetched = self.manifest(*stored).await?;
                    &fetched
                }
            };
            let snapshot = self.build(manifest).await?;
            Ok(Loaded { heap_bytes: snapshot.heap_bytes(), value: snapshot })
        };
        self.snapshots.get_or_load(&digest, load).await.map_err(Error::Shared)
    }

    async fn manifest(&self, stored: Stored) -> Result<Manifest, Error> {
        let bytes = self.fetch(stored).await?;
        codec::decode_within(&bytes, usize::MAX).map_err(|error| Error::Unreadable {
            what: "manifest",
            digest: stored.digest,
            why: error.to_string(),
        })
    }

    async fn build(&self, manifest: &Manifest) -> Result<Snapshot, Error> {
        let bytes: u64 = manifest.values().map(ValueRef::bytes).sum();
        // Collected first: the compiler cannot tell that a stream which makes them from borrows may change threads.
        let entries: Vec<_> = manifest.iter().map(|(path, value)| self.entry(path, value)).collect();
        let entries: Vec<_> = stream::iter(entries).buffered(FETCHED_AT_ONCE).try_collect().await?;
        Ok(blocking::sized(weight(bytes), || Snapshot::build(entries)).await)
    }

    async fn entry(&self, path: &str, value: &ValueRef) -> Result<(String, Value), Error> {
        Ok((path.to_owned(), self.value(value).await?))
    }

    /// A value, wherever it is.
    async fn value(&self, value: &ValueRef) -> Result<Value, Error> {
        match value {
            ValueRef::Inline(json) => read(json.as_bytes()),
            ValueRef::Stored(stored) => self.stored(*stored).await,
            ValueRef::List(list) => self.list(list).await,
        }
    }

    async fn stored(&self, stored: Stored) -> Result<Value, Error> {
        let load = async {
            let bytes = self.fetch(stored).await?;
            let loaded = move || {
                let value = read(&bytes)?;
                Ok(Loaded { heap_bytes: value.heap_bytes(), value })
            };
            blocking::sized(weight(stored.bytes), loaded).await
        };
        self.values.get_or_load(&stored.digest, load).await.map_err(Error::Shared)
    }

    /// Puts a list together from its parts.
    async fn list(&self, list: &List) -> Result<Value, Error> {
        let bytes: u64 = list.parts.iter().map(|part| part.values.bytes()).sum();
        if bytes > VALUE_BYTES_MAX as u64 {
            return Err(Error::TooLarge { bytes });
        }
        let parts: Vec<_> = list.parts.iter().map(|part| self.part(part)).collect();
        let parts: Vec<(Part, Bytes)> = stream::iter(parts).buffered(FETCHED_AT_ONCE).try_collect().await?;
        let mut source = Vec::new();
        for (count, values) in &list.source {
            source.push((*count, self.bytes(values).await?));
        }
        let places = list.places;
        blocking::sized(weight(bytes), move || lists::join(places, &parts, &source)).await
    }

    async fn part(&self, part: &Part) -> Result<(Part, Bytes), Error> {
        Ok((part.clone(), self.bytes(&part.values).await?))
    }

    async fn bytes(&self, value: &ValueRef) -> Result<Bytes, Error> {
        match value {
            ValueRef::Inline(json) => Ok(Bytes::copy_from_slice(json.as_bytes())),
            ValueRef::Stored(stored) => self.fetch(*stored).await,
            ValueRef::List(_) => Err(misshapen("a part of a list is itself a list")),
        }
    }

    async fn fetch(&self, stored: Stored) -> Result<Bytes, Error> {
        let begun = Instant::now();
        let fetched = self.values_service.get(&stored).await;
        self.metrics.value_fetch.observe(begun.elapsed().as_secs_f64());
        fetched.map_err(|source| Error::Fetch { digest: stored.digest, source: Arc::new(source) })
    }

    /// Keeps a value that this process made: who reads it next is often here.
    pub(crate) fn keep(&self, stored: Stored, value: &Value, heap_bytes: usize) {
        self.values.insert(&stored.digest, Loaded { value: value.clone(), heap_bytes });
    }

    /// The values service itself, for uploads.
    pub(crate) fn service(&self) -> &Values {
        &self.values_service
    }

    /// What the cache of snapshots did, for metrics.
    pub(crate) fn counters(&self) -> Counters {
        self.snapshots.counters()
    }

    /// Heap bytes of everything cached.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.programs.counters().heap_bytes + self.values.counters().heap_bytes + self.snapshots.counters().heap_bytes
    }
}

fn compile(source: &[u8]) -> Result<Program, String> {
    let source = std::str::from_utf8(source).map_err(|error| error.to_string())?;
    match Program::compile(source, "definition") {
        Ok((program, _)) => Ok(program),
        Err(diagnostics) => {
            let problems: Vec<String> = diagnostics.problems().into_iter().map(|problem| problem.message).collect();
            Err(problems.join("; "))
        }
    }
}

fn weight(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

pub(crate) fn read(bytes: &[u8]) -> Result<Value, Error> {
    Value::from_json(bytes).map_err(|error| Error::Unreadable {
        what: "value",
        digest: Digest::of(bytes),
        why: error.to_string(),
    })
}

pub(crate) fn misshapen(why: &str) -> Error {
    Error::Unreadable { what: "list", digest: Digest::of(b""), why: why.to_owned() }
}
