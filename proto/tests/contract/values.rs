//! References to values, sets of items and names, as golden files.

use std::collections::BTreeMap;

use leveret_proto::{
    id::Digest,
    json::Json,
    manifest::Manifest,
    value::{Form, List, Part, Stored, ValueRef},
    work::WorkKey,
};

use crate::{
    golden::{Golden, tag},
    samples::{inline, parse, set, stored},
};

pub fn check(golden: &mut Golden) {
    let part =
        |first: u32, values: ValueRef| Part { items: set(&[(first, 2)]), values, form: Form::Array, ignored: set(&[]) };
    let large = || ValueRef::Stored(stored("results of two items", 4_096));
    let mut late = part(1, inline("[10,20]"));
    late.ignored = set(&[(1, 1)]);
    let parts = vec![part(0, inline("[0,1]")), late, part(4, large())];
    let each = Part { form: Form::Each, ..part(0, inline(r#"{"deployed":true}"#)) };
    let error = Part { form: Form::Error, ..part(2, inline(r#"{"code":"not_started","message":"…"}"#)) };
    let forms = [&parts[0], &each, &error].map(|part| tag(&part.form));
    let source = vec![(3, inline(r#"["a","b","c"]"#)), (1, inline(r#"["d"]"#))];
    let samples = [
        ("value_inline", inline(r#"{"hosts":["a","b"],"port":443}"#)),
        ("value_stored", large()),
        ("value_list", ValueRef::list(List { places: Some(6), parts: parts.clone(), source: Vec::new() })),
        ("value_list_dense", ValueRef::list(List { places: None, parts, source: Vec::new() })),
        ("value_list_each", ValueRef::list(List { places: Some(2), parts: vec![each], source: Vec::new() })),
        ("value_list_errors", ValueRef::list(List { places: None, parts: vec![error], source })),
    ];
    golden.covers::<Form>(forms);
    golden.covers::<ValueRef>(samples.iter().map(|(_, sample)| tag(sample)));
    let manifest: Manifest =
        BTreeMap::from([("parameters.port".to_owned(), inline("443")), ("task.probe.result".to_owned(), large())]);
    golden.check("manifest", &manifest);
    for (name, sample) in samples {
        golden.check(name, &sample);
    }
    golden.check("item_set", &set(&[(0, 1_000), (2_000, 1)]));
    let keys: Vec<WorkKey> =
        ["r-1/-/prepare.1", "r-1/probe#2/items.1", "r-1/probe#2/act.14", "r-1/probe#2/settle.15", "r-1/-/output.2"]
            .into_iter()
            .map(parse)
            .collect();
    golden.check("work_keys", &keys);
}

#[test]
fn digests_are_blake3_of_canonical_bytes() {
    let json = Json::canonical(br#"{"b": 1, "a": "x"}"#).expect("valid");
    assert_eq!(json.as_str(), r#"{"a":"x","b":1}"#);
    let stored = Stored::of(json.as_bytes());
    assert_eq!(stored, Stored { digest: Digest::of(br#"{"a":"x","b":1}"#), bytes: 15 });
    // From the reference implementation: `printf '' | b3sum`.
    let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(Digest::of(b"").to_string(), empty);
}
