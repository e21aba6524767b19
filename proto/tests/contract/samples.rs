//! Pieces that the samples are made of.

use leveret_proto::{
    failure::Failure,
    id::Digest,
    items::ItemSet,
    json::Json,
    time::Timestamp,
    value::{Stored, ValueRef},
};

pub fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid sample")
}

pub fn json(text: &str) -> Json {
    let json = Json::canonical(text.as_bytes()).expect("valid JSON");
    assert_eq!(json.as_str(), text, "samples are written in canonical form");
    json
}

pub fn inline(text: &str) -> ValueRef {
    ValueRef::Inline(json(text))
}

pub fn stored(of: &str, bytes: u64) -> Stored {
    Stored { digest: Digest::of(of.as_bytes()), bytes }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a valid time")
}

pub fn set(runs: &[(u32, u32)]) -> ItemSet {
    ItemSet::try_from(runs.to_vec()).expect("runs in order")
}

pub fn exit_code() -> Failure {
    Failure::new("exit_code", "the command ended with 7")
}
