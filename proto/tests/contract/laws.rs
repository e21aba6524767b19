//! Laws of reading and writing, for any input: nothing panics, and what was written reads back.

use leveret_proto::{
    codec,
    control::Control,
    event::Event,
    id::{Digest, Instance, ItemIndex, RunId, TaskName},
    items::ItemSet,
    job::{Answer, Message, Submission},
    json::Json,
    limits::JSON_DEPTH_MAX,
    manifest::ManifestRef,
    outcome::FromWorker,
    value::ValueRef,
    work::{Phase, Work, WorkKey},
};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

/// Reads `bytes` as everything that comes from outside.
fn read_all(bytes: &[u8]) {
    let _ = codec::decode::<Message>(bytes).map(Submission::try_from);
    let _ = codec::decode::<Answer>(bytes);
    let _ = codec::decode::<Work>(bytes);
    let _ = codec::decode::<FromWorker>(bytes);
    let _ = codec::decode::<Control>(bytes);
    let _ = codec::decode::<Event>(bytes);
    let _ = codec::decode::<ManifestRef>(bytes);
    let _ = codec::decode::<ValueRef>(bytes);
    let _ = codec::decode::<ItemSet>(bytes);
    let _ = Json::canonical(bytes);
}

/// Every golden file's bytes.
fn goldens() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let entries = std::fs::read_dir(folder).expect("the golden folder exists");
    entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no other", |n| n.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::hash_map(any::<String>(), inner, 0..8).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Prepare), Just(Phase::Items), Just(Phase::Act), Just(Phase::Settle), Just(Phase::Output)]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in r#"[\[\]{}",:0-9eE.+\\ u-]{0,200}"#) {
        read_all(text.as_bytes());
    }

    #[test]
    fn a_damaged_message_never_panics(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let goldens = goldens();
        let mut bytes = which.get(&goldens).clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        read_all(&bytes);
    }

    #[test]
    fn canonical_json_is_stable_and_means_the_same(value in any_json()) {
        let first = Json::canonical(value.to_string().as_bytes()).expect("valid JSON within the limits");
        prop_assert_eq!(&Json::canonical(first.as_bytes()).expect("still valid"), &first);
        prop_assert_eq!(first.parse::<Value>().expect("valid"), value);
        let sent = codec::encode(&ValueRef::Inline(first.clone()));
        prop_assert_eq!(codec::decode::<ValueRef>(&sent).expect("ours"), ValueRef::Inline(first));
    }

    #[test]
    fn nesting_is_refused_before_parsing(extra in 1..10_000usize, open in prop_oneof![Just("["), Just("{\"a\":")]) {
        let text = open.repeat(JSON_DEPTH_MAX + extra);
        prop_assert_eq!(Json::canonical(text.as_bytes()).expect_err("deep").code(), "json_too_deep");
    }

    #[test]
    fn item_sets_read_back(gaps in vec((0..1_000u32, 1..1_000u32), 0..40)) {
        let mut from = 0;
        let runs: Vec<(u32, u32)> = gaps.into_iter().map(|(gap, length)| {
            let first = from + gap;
            from = first + length;
            (first, length)
        }).collect();
        let set = ItemSet::try_from(runs).expect("ascending");
        prop_assert_eq!(&codec::decode::<ItemSet>(&codec::encode(&set)).expect("ours"), &set);
        let pushed: ItemSet = set.iter().collect();
        prop_assert_eq!(pushed.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
        prop_assert_eq!(pushed.len(), set.len());
        prop_assert_eq!(pushed.last(), set.last());
    }

    #[test]
    fn any_runs_are_refused_or_ascend(runs in vec((any::<u32>(), 0..5u32), 0..6)) {
        if let Ok(set) = ItemSet::try_from(runs) {
            let all: Vec<ItemIndex> = set.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(all.len(), set.len() as usize);
        }
    }

    #[test]
    fn work_keys_read_back(
        run in "[A-Za-z0-9._:@-]{1,128}",
        task in proptest::option::of(("[A-Za-z_][A-Za-z0-9_]{0,63}", any::<u32>())),
        phase in any_phase(),
        serial in any::<u32>(),
    ) {
        let run: RunId = run.parse().expect("valid");
        let task = task.map(|(name, instance)| (name.parse::<TaskName>().expect("valid"), Instance(instance)));
        let key = WorkKey { run, task, phase, serial };
        prop_assert_eq!(key.to_string().parse::<WorkKey>().expect("ours"), key.clone());
        prop_assert_eq!(codec::decode::<WorkKey>(&codec::encode(&key)).expect("ours"), key);
    }

    #[test]
    fn any_text_is_refused_or_reads_back(text in any::<String>()) {
        if let Ok(key) = text.parse::<WorkKey>() {
            prop_assert_eq!(key.to_string().parse::<WorkKey>().expect("it was read before"), key);
        }
        if let Ok(id) = text.parse::<RunId>() {
            prop_assert_eq!(id.as_str(), text.as_str());
        }
    }

    #[test]
    fn digests_read_back(bytes in any::<[u8; 32]>()) {
        let digest = Digest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>().expect("ours"), digest);
        prop_assert_eq!(codec::decode::<Digest>(&codec::encode(&digest)).expect("ours"), digest);
    }
}
