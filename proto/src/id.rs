//! Names of things, each a type of its own, so that a run is never passed where a task is meant.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// An id or a name that breaks the rules for its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct Error {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("The ", $kind, " as text.")]
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    return Ok(Self(text.into()));
                }
                let shown = text.chars().take(140).collect();
                Err(Error { kind: $kind, text: shown, rule: $rule })
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One execution of a workflow. Chosen by the client or made by [`RunId::fresh`], or that of a child run, which
    /// has a `~` in it: [`RunId::child`].
    RunId,
    "run id",
    "1 to 128 of A-Z a-z 0-9 . _ : @ -",
    |text| within(text, RUN_ID_BYTES_MAX) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-~".contains(&b))
);
text_id!(
    /// The name of a workflow.
    WorkflowName,
    "workflow name",
    "1 to 128 of a-z 0-9 . _ -, beginning with a letter or digit",
    |text| within(text, 128)
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && text.as_bytes()[0].is_ascii_alphanumeric()
);
text_id!(
    /// The name of a task within its workflow.
    TaskName,
    "task name",
    "1 to 64 of A-Z a-z 0-9 _, not beginning with a digit",
    is_identifier
);
text_id!(
    /// A key that templates can say: a parameter, a var or a published value.
    KeyName,
    "key",
    "1 to 64 of A-Z a-z 0-9 _, not beginning with a digit",
    is_identifier
);
text_id!(
    /// The name of a worker pool, which is also the routing key of its work.
    PoolName,
    "pool name",
    "1 to 64 of A-Z a-z 0-9 . _ -",
    |text| within(text, 64) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
);
text_id!(
    /// One worker process, unique for its life.
    WorkerId,
    "worker id",
    "1 to 128 of A-Z a-z 0-9 . _ : @ -",
    |text| within(text, 128) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b))
);
text_id!(
    /// The name of a schedule. Short enough that `NAME@2026-12-01T09:00:00Z` is a run id.
    ScheduleName,
    "schedule name",
    "1 to 100 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
    |text| within(text, 100)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.as_bytes()[0].is_ascii_alphanumeric()
);

/// The longest run id, in bytes.
const RUN_ID_BYTES_MAX: usize = 128;

impl RunId {
    /// The id of the run that the task started as `instance` calls with its work number `serial`, for `item` if it has
    /// items. Always the same, so that a child is started once.
    ///
    /// `order-17~3.1` and `order-17~3.1.42`. What would be too long becomes a digest behind the two bytes by which
    /// [`Shard::of`] finds the shard of the outermost run: all its descendants share it.
    #[must_use]
    pub fn child(&self, instance: Instance, serial: u32, item: Option<ItemIndex>) -> Self {
        let place = item.map_or_else(|| format!("{instance}.{serial}"), |item| format!("{instance}.{serial}.{item}"));
        let plain = format!("{self}~{place}");
        let id = match plain.len() <= RUN_ID_BYTES_MAX {
            true => plain,
            false => format!("~{:04x}.{}", self.shard_hash(), &Digest::of(plain.as_bytes()).to_string()[..32]),
        };
        Self(id.into())
    }

    /// Whether this is the id of a child run, which no client may choose.
    #[must_use]
    pub fn is_child(&self) -> bool {
        self.as_str().contains('~')
    }

    /// The number by which a run's shard is found: that of its outermost run.
    fn shard_hash(&self) -> u16 {
        let (root, rest) = self.as_str().split_once('~').unwrap_or((self.as_str(), ""));
        if root.is_empty()
            && let Some(hash) = rest.get(..4).and_then(|head| u16::from_str_radix(head, 16).ok())
        {
            return hash;
        }
        let schedule = root.parse().ok().and_then(|root: Self| root.schedule());
        hash_of(schedule.as_ref().map_or(root, ScheduleName::as_str))
    }

    /// The run of a schedule's tick: the same for the same due time, so that a tick is one run whoever takes it.
    #[must_use]
    pub fn of_tick(schedule: &ScheduleName, due: Timestamp) -> Self {
        // A due time is a whole second, and its fraction is left out then.
        let due = due.to_whole_seconds();
        Self(format!("{schedule}@{due}").into())
    }

    /// The schedule of whose tick this may be the run; anybody can choose such an id.
    #[must_use]
    pub fn schedule(&self) -> Option<ScheduleName> {
        let (name, due) = self.0.split_once('@')?;
        let is_due = due.len() == 20 && due.ends_with('Z') && due.parse::<Timestamp>().is_ok();
        if is_due { name.parse().ok() } else { None }
    }

    /// A new id that sorts by the time of its making (UUID version 7).
    #[must_use]
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }
}

/// The number of a shard comes from the first two bytes of BLAKE3.
fn hash_of(text: &str) -> u16 {
    let hash = blake3::hash(text.as_bytes());
    u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])
}

/// Whether `text` can be the name of a task, a parameter, a var or a published key.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    within(text, 64)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.as_bytes()[0].is_ascii_digit()
}

fn within(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id!(
    /// One start of a task within a run; a task that loops has several. Counted from 1 in the whole run.
    Instance,
    u32
);
number_id!(
    /// Position of an item in its list, from 0.
    ItemIndex,
    u32
);
number_id!(
    /// Which try of a task or an item this is, from 1. A lost worker raises it too.
    Attempt,
    u32
);
number_id!(
    /// The part of all runs that one scheduler owns: `hash(run id) % shards`.
    Shard,
    u16
);
number_id!(
    /// Counts the owners of a shard; a commit under an old one is refused.
    Epoch,
    u64
);

impl Shard {
    /// The shard of `run` among `shards`, which is fixed when a store is first migrated.
    ///
    /// The runs of a schedule are in the schedule's shard: taking a tick and accepting its run is one commit of one owner.
    #[must_use]
    pub fn of(run: &RunId, shards: u16) -> Self {
        Self(run.shard_hash() % shards.max(1))
    }

    /// The shard of `schedule` among `shards`.
    #[must_use]
    pub fn of_schedule(schedule: &ScheduleName, shards: u16) -> Self {
        Self(hash_of(schedule.as_str()) % shards.max(1))
    }
}

/// A BLAKE3 hash of some bytes: the identity of a value, a manifest or a definition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes themselves, as stores keep them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| Error {
            kind: "digest",
            text: text.chars().take(80).collect(),
            rule: "64 hexadecimal digits",
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!("a.b:c@d-e_F9".parse::<RunId>().is_ok());
        assert!("a/b".parse::<RunId>().is_err());
        assert!("".parse::<RunId>().is_err());
        assert!("x".repeat(129).parse::<RunId>().is_err());
        assert!("check-fleet".parse::<WorkflowName>().is_ok());
        assert!("-x".parse::<WorkflowName>().is_err());
        assert!("Check".parse::<WorkflowName>().is_err());
        assert!("_ok9".parse::<TaskName>().is_ok());
        assert!("9no".parse::<TaskName>().is_err());
        assert!("a-b".parse::<TaskName>().is_err());
    }

    #[test]
    fn a_digest_reads_back() {
        let digest = Digest::of(b"leveret");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("zz".parse::<Digest>().is_err());
    }

    #[test]
    fn children_stay_in_the_shard_of_their_outermost_run() {
        for root in ["r", "order-17", "nightly@2026-12-01T09:00:00Z", &"x".repeat(128)] {
            let root: RunId = root.parse().expect("valid");
            let mut run = root.clone();
            for depth in 0..40 {
                run = run.child(Instance(depth), 1, (depth % 2 == 0).then_some(ItemIndex(7)));
                assert!(run.is_child() && run.as_str().parse::<RunId>().is_ok(), "{run}");
                assert_eq!(Shard::of(&run, 4096), Shard::of(&root, 4096), "{run}");
            }
        }
        let root: RunId = "order-17".parse().expect("valid");
        assert_eq!(root.child(Instance(3), 1, None).as_str(), "order-17~3.1");
        assert_eq!(root.child(Instance(3), 1, Some(ItemIndex(42))).as_str(), "order-17~3.1.42");
        assert!(!root.is_child());
    }

    #[test]
    fn a_tick_is_a_run_beside_its_schedule() {
        let name: ScheduleName = "nightly-1".parse().expect("valid");
        let run = RunId::of_tick(&name, "2026-12-01T09:00:00Z".parse().expect("a time"));
        assert_eq!(run.as_str(), "nightly-1@2026-12-01T09:00:00Z");
        assert_eq!(run.schedule(), Some(name.clone()));
        assert_eq!(Shard::of(&run, 16), Shard::of_schedule(&name, 16));
        for other in [
            "nightly-1",
            "nightly-1@",
            "a@b",
            "@2026-12-01T09:00:00Z",
            "n@2026-12-01T09:00:00.5Z",
            "n@2026-13-01T09:00:00Z",
        ] {
            assert_eq!(other.parse::<RunId>().expect(other).schedule(), None, "{other}");
        }
        let longest: ScheduleName = "n".repeat(100).parse().expect("valid");
        assert!(RunId::of_tick(&longest, Timestamp::default()).as_str().parse::<RunId>().is_ok());
        assert!("n".repeat(101).parse::<ScheduleName>().is_err() && "a@b".parse::<ScheduleName>().is_err());
    }

    #[test]
    fn shards_cover_all_and_stay() {
        let run: RunId = "run-1".parse().expect("valid");
        assert_eq!(Shard::of(&run, 1), Shard(0));
        assert_eq!(Shard::of(&run, 16), Shard::of(&run, 16));
        let hit: std::collections::HashSet<_> =
            (0..400).map(|i| Shard::of(&format!("run-{i}").parse().expect("valid"), 16)).collect();
        assert_eq!(hit.len(), 16);
    }
}
