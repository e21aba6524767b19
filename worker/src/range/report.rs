//! What is said of the items of a range: what they came to, and which are handed back.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use engine::value::Value;
use proto::{
    failure::Failure,
    id::ItemIndex,
    items::ItemSet,
    json::Json,
    limits::VALUE_BYTES_MAX,
    outcome::{ItemsReport, Report},
    value::ValueRef,
    work::{Range, Status, Work},
};
use serde_json::json;

use crate::{
    attempt::Attempted,
    blocking,
    hindrance::{Hindrance, until_answered},
    perform::millis,
    station::{Killed, Station},
    upload::Upload,
};

/// Bytes of JSON of the results in one report, unless it is one result: several large ones would not fit into a value.
const PART_BYTES_MAX: usize = VALUE_BYTES_MAX / 4;

/// One item that was tried.
#[derive(Debug)]
pub(super) struct Ended {
    pub item: Value,
    pub attempted: Attempted,
    /// After how long it is tried again.
    pub again: Option<Duration>,
}

/// Items that are done or handed back, and not yet reported.
#[derive(Debug, Default)]
pub(super) struct Done {
    ended: Vec<(ItemIndex, Ended)>,
    handed_back: Vec<ItemIndex>,
    bytes: usize,
}

/// A report whose values are not uploaded yet.
struct Draft {
    report: ItemsReport,
    results: Option<Json>,
    errors: Option<Json>,
}

impl Done {
    /// Adds what an item came to. One that was killed has come to nothing.
    pub(super) fn add(&mut self, index: ItemIndex, ended: Result<Ended, Killed>) {
        match ended {
            Ok(ended) => {
                self.bytes += ended.bytes();
                self.ended.push((index, ended));
            }
            Err(Killed) => self.hand_back(index),
        }
    }

    pub(super) fn hand_back(&mut self, index: ItemIndex) {
        self.handed_back.push(index);
    }

    /// Bytes of JSON of the results.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// In reports of a size that can be stored, in item order.
    fn split(mut self) -> Vec<Self> {
        self.ended.sort_by_key(|(index, _)| *index);
        self.handed_back.sort();
        let mut all = vec![Self { handed_back: self.handed_back, ..Self::default() }];
        for (index, ended) in self.ended {
            let last = all.last_mut().expect("there is one from the beginning");
            if last.bytes > 0 && last.bytes + ended.bytes() > PART_BYTES_MAX {
                all.push(Self::default());
            }
            all.last_mut().expect("as before").add(index, Ok(ended));
        }
        all.retain(|done| !done.ended.is_empty() || !done.handed_back.is_empty());
        all
    }

    fn draft(self) -> Draft {
        let mut report = ItemsReport { handed_back: self.handed_back.into_iter().collect(), ..ItemsReport::default() };
        let mut retry: BTreeMap<u64, ItemSet> = BTreeMap::new();
        let (mut results, mut errors) = (Array::default(), Array::default());
        for (index, Ended { item, attempted, again }) in self.ended {
            report.busy_us += u64::try_from(attempted.busy.as_micros()).unwrap_or(u64::MAX);
            match (again, attempted.status) {
                (Some(delay), _) => retry.entry(millis(delay)).or_default().push(index),
                (None, Status::Succeeded) => {
                    results.push(attempted.result.json.as_str());
                    report.succeeded.push(index);
                }
                (None, Status::Failed | Status::TimedOut | Status::Crashed | Status::Canceled) => {
                    errors.push(entry(index, item, &attempted).as_str());
                    report.failed.push(index);
                    report.failure = report.failure.or(attempted.failure);
                }
            }
        }
        report.retry = retry.into_iter().collect();
        Draft { report, results: results.close(), errors: errors.close() }
    }
}

impl Ended {
    fn bytes(&self) -> usize {
        self.attempted.result.json.as_bytes().len()
    }
}

/// What `item_errors` says of an item.
fn entry(index: ItemIndex, item: Value, attempted: &Attempted) -> Json {
    // An item or a result may lie so deep that one more level is too much for it.
    let whole = error_entry(index, item, attempted.error()).to_json();
    let bare = || error_entry(index, Value::null(), attempted.bare_error()).to_json();
    whole.or_else(|_| bare()).unwrap_or_else(|_| Json::null())
}

/// An entry of `item_errors`.
pub(crate) fn error_entry(index: ItemIndex, item: Value, error: Value) -> Value {
    let index = Value::from_u64(index.0.into());
    Value::from_map([("error".to_owned(), error), ("index".to_owned(), index), ("item".to_owned(), item)])
}

/// A JSON array in the making.
#[derive(Default)]
struct Array(String);

impl Array {
    fn push(&mut self, json: &str) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        self.0.push_str(json);
    }

    /// `None` when nothing is in it.
    fn close(self) -> Option<Json> {
        if self.0.is_empty() {
            return None;
        }
        Some(Json::from_canonical(self.0 + "]").expect("an array of JSON is JSON"))
    }
}

impl Draft {
    async fn upload(&self, station: &Station) -> Result<ItemsReport, Hindrance> {
        let mut upload = Upload::new(&station.snapshots);
        let mut report = self.report.clone();
        if let Some(results) = &self.results {
            report.results = Some(upload.json(results).await?);
        }
        if let Some(errors) = &self.errors {
            report.errors = Some(upload.json(errors).await?);
        }
        Ok(report)
    }

    /// What is reported when the values cannot be stored.
    fn untold(self, failure: &Failure) -> ItemsReport {
        let mut all: Vec<ItemIndex> = self.report.succeeded.iter().chain(self.report.failed.iter()).collect();
        all.sort();
        let failed = failed_items(&all.into_iter().collect(), failure);
        ItemsReport { handed_back: self.report.handed_back, retry: self.report.retry, ..failed }
    }
}

/// Tells what is done and what is handed back. `parts` counts what was told of the range.
pub(super) async fn send(station: &Station, work: &Work, parts: &AtomicU32, done: Done) -> Result<(), Killed> {
    for done in done.split() {
        let draft = blocking::sized(done.bytes, move || done.draft()).await;
        let told = until_answered(&station.kill, || draft.upload(station)).await?;
        let report = told.unwrap_or_else(|failure| draft.untold(&failure));
        station.send(work.shard, &work.key, parts.fetch_add(1, Relaxed), Report::Items(report)).await?;
    }
    Ok(())
}

/// Characters of a failure that is said of each item anew: a thousand of them must fit into a message.
const REPEATED_CHARS_MAX: usize = 300;

/// The report of a range none of whose items could be begun.
pub(crate) fn all_failed(range: &Range, failure: &Failure) -> Report {
    Report::Items(failed_items(&range.items, failure))
}

fn failed_items(items: &ItemSet, failure: &Failure) -> ItemsReport {
    let message: String = failure.message.chars().take(REPEATED_CHARS_MAX).collect();
    let error = json!({ "code": failure.code, "details": null, "message": message });
    let errors: Vec<_> = items.iter().map(|index| json!({ "error": error, "index": index, "item": null })).collect();
    let errors = Json::of(&errors).map(ValueRef::Inline).ok();
    ItemsReport { failed: items.clone(), errors, failure: Some(failure.clone()), ..ItemsReport::default() }
}
