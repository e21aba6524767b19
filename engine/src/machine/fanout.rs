//! A task with items: which are where, by counters and bitmaps, never a scan over the list.

use std::{collections::BTreeMap, time::Duration};

use proto::{
    failure::Failure,
    id::ItemIndex,
    items::ItemSet,
    limits::{CHILDREN_MAX, RANGE_BYTES_MAX, RANGE_ITEMS_MAX},
    outcome::{ItemsPart, ItemsReport},
    time::Timestamp,
    value::{Form, List, Part, ValueRef},
    view::ItemCounts,
};
use roaring::RoaringBitmap;

use super::{FLIGHTS_FREE, end::error_value, fact::ItemEnded};

/// How much work a range should be, by the durations seen so far.
const RANGE_TARGET: Duration = Duration::from_millis(50);

/// What an item is taken to last at the most, a day: a worker's clock may say anything.
const ITEM_US_MAX: u64 = 24 * 60 * 60 * 1_000_000;

/// Items of one range at the most that go on as children.
const CALLS_MAX: u32 = 64;

/// The state of a fan-out. An item is in exactly one place: not sent (`cursor ..`), `ready` again, `waiting` for its
/// retry, in a `flying` range, running as one of the `children`, or done.
#[derive(Clone, Debug, PartialEq)]
pub struct FanOut {
    parts: Vec<ItemsPart>,
    /// Of each part, the item behind its last.
    ends: Vec<u32>,
    total: u32,
    concurrency: Option<u32>,
    tolerate: u32,
    /// Items from here on were never sent.
    cursor: u32,
    /// Items to send again, by the retries that they have used.
    ready: BTreeMap<u32, RoaringBitmap>,
    /// Items whose retry is not due, by when it is and by the retries used then.
    waiting: BTreeMap<(Timestamp, u32), RoaringBitmap>,
    /// Items that travel alone: one of them may kill workers.
    alone: RoaringBitmap,
    flying: BTreeMap<u32, Flight>,
    /// Items that run as children.
    children: BTreeMap<u32, Child>,
    in_flight: u32,
    succeeded: u32,
    failed: u32,
    results: Vec<Part>,
    errors: Vec<Part>,
    first_failure: Option<Failure>,
    pace: Pace,
    /// Ranges are as large as the pace says: once one has come back, and always where items had better begin one by one.
    is_paced: bool,
    /// Nothing more is sent once too many items have failed.
    stops: bool,
    /// Nothing more is sent: the run fails or is cancelled, or too many items have failed.
    closed: bool,
}

/// An item that runs as a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The piece of work that started it.
    pub serial: u32,
    /// Retries that the item has used.
    pub retries: u32,
}

/// A range on its way or on a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    /// Items not yet reported.
    pub items: ItemSet,
    /// Retries that they have used.
    pub retries: u32,
    /// The claim that was granted, where they may be begun once only.
    pub claim: Option<String>,
}

/// What a range is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The items.
    pub items: ItemSet,
    /// Retries that they have used.
    pub retries: u32,
}

/// What a range may hold.
struct Bounds {
    /// Items, at most.
    size: u32,
    /// The item behind the last possible one.
    end: u32,
}

/// The size of the next range, in items.
#[derive(Clone, Debug, PartialEq)]
struct Pace {
    size: u32,
    /// Smoothed time per item; `None` until one was seen.
    item_us: Option<u64>,
}

impl FanOut {
    pub(super) fn new(parts: Vec<ItemsPart>, concurrency: Option<u32>, tolerate: u32, stops: bool) -> Self {
        let mut total = 0;
        let ends = parts.iter().map(|part| {
            total += part.count;
            total
        });
        Self {
            ends: ends.collect(),
            parts,
            total,
            concurrency,
            tolerate,
            cursor: 0,
            ready: BTreeMap::new(),
            waiting: BTreeMap::new(),
            alone: RoaringBitmap::new(),
            flying: BTreeMap::new(),
            children: BTreeMap::new(),
            in_flight: 0,
            succeeded: 0,
            failed: 0,
            results: Vec::new(),
            errors: Vec::new(),
            first_failure: None,
            pace: Pace { size: 1, item_us: None },
            is_paced: false,
            stops,
            closed: false,
        }
    }

    /// The same, with ranges that begin at one item whatever there is room for.
    pub(super) fn paced(self) -> Self {
        Self { is_paced: true, ..self }
    }

    /// The item list.
    #[must_use]
    pub fn parts(&self) -> &[ItemsPart] {
        &self.parts
    }

    /// The range with this serial, while some of it is not reported.
    #[must_use]
    pub fn flight(&self, serial: u32) -> Option<&Flight> {
        self.flying.get(&serial)
    }

    /// Serials of ranges that are on their way or on workers, ascending.
    pub fn flights(&self) -> impl Iterator<Item = u32> + '_ {
        self.flying.keys().copied()
    }

    /// How far it is.
    #[must_use]
    pub fn counts(&self) -> ItemCounts {
        ItemCounts { total: self.total, succeeded: self.succeeded, failed: self.failed, running: self.in_flight }
    }

    /// Microseconds of work per item as last seen.
    #[must_use]
    pub fn item_us(&self) -> Option<u64> {
        self.pace.item_us
    }

    /// Items that are not done.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.total - self.succeeded - self.failed
    }

    /// Whether more items failed than may.
    pub(super) fn is_failure(&self) -> bool {
        self.failed > self.tolerate
    }

    /// Whether every item is done; once closed, whether none is on a worker.
    pub(super) fn is_over(&self) -> bool {
        if self.closed { self.flying.is_empty() && self.children.is_empty() } else { self.remaining() == 0 }
    }

    pub(super) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// Items that run as children, with the serial of the work that started each.
    pub(super) fn children(&self) -> impl Iterator<Item = (ItemIndex, u32)> + '_ {
        self.children.iter().map(|(item, child)| (ItemIndex(*item), child.serial))
    }

    /// The child that `item` runs as.
    pub(super) fn child(&self, item: ItemIndex) -> Option<Child> {
        self.children.get(&item.0).copied()
    }

    pub(super) fn is_flying(&self) -> bool {
        !self.flying.is_empty()
    }

    pub(super) fn is_success(&self) -> bool {
        self.remaining() == 0 && !self.is_failure()
    }

    pub(super) fn first_failure(&self) -> Option<&Failure> {
        self.first_failure.as_ref()
    }

    /// When the next retry is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// Whether one more range may be on its way.
    fn has_place(&self, flights_max: usize) -> bool {
        let flights = self.flying.len();
        flights < flights_max && (flights < FLIGHTS_FREE || (self.in_flight as usize) < flights_max)
    }

    /// The next range to send, if there is an item for it, a place in `flights_max` and room in `concurrency` and in
    /// what the run has left of its own, `room`.
    pub(super) fn draft(&self, flights_max: usize, room: u32) -> Option<Draft> {
        let room = room.min(self.concurrency.map_or(u32::MAX, |bound| bound.saturating_sub(self.in_flight)));
        let room = match self.children.is_empty() {
            true => room,
            false => room.min(CHILDREN_MAX.saturating_sub(self.in_flight)),
        };
        if self.closed || room == 0 || !self.has_place(flights_max.max(1)) {
            return None;
        }
        match self.ready.first_key_value() {
            Some((&retries, items)) => Some(self.draft_again(retries, items, room)),
            None if self.cursor < self.total => Some(Draft { items: self.draft_fresh(flights_max, room), retries: 0 }),
            None => None,
        }
    }

    /// How many items a fresh range should have.
    ///
    /// Once a range has come back, what the pace says. Until then one; or, where each place in `flights_max` could have
    /// several, so many that [`FLIGHTS_FREE`] ranges have one for each, so that quick items are not told of one by one. Slow
    /// ones that find no idle slot are handed back a second after their range began.
    fn fresh_size(&self, flights_max: usize, room: u32) -> u32 {
        if self.is_paced {
            return self.pace.size;
        }
        let places = flights_max.min(self.in_flight.saturating_add(room) as usize).max(1);
        let size = (places / FLIGHTS_FREE).min(self.total as usize / places).max(1);
        u32::try_from(size).expect("not more than there are items")
    }

    fn draft_again(&self, retries: u32, items: &RoaringBitmap, room: u32) -> Draft {
        let first = items.min().expect("an empty set of ready items is removed");
        let Bounds { size, end } = self.bounds(first, self.pace.size);
        let size = if self.alone.contains(first) { 1 } else { size.min(room) };
        let chosen = items.iter().take_while(|index| *index == first || !self.alone.contains(*index) && *index < end);
        Draft { items: chosen.take(size as usize).map(ItemIndex).collect(), retries }
    }

    fn draft_fresh(&self, flights_max: usize, room: u32) -> ItemSet {
        let Bounds { size, end } = self.bounds(self.cursor, self.fresh_size(flights_max, room));
        ItemSet::run(self.cursor, size.min(room).min(end - self.cursor))
    }

    /// What a range that begins at `index` and should have `size` items may hold. It ends with its part of the list at the
    /// latest: another part may hold far longer items, and a range must fit in a message.
    fn bounds(&self, index: u32, size: u32) -> Bounds {
        let part = self.ends.partition_point(|end| *end <= index);
        let item_bytes = self.parts[part].item_bytes_max.max(1) as usize;
        let by_bytes = u32::try_from(RANGE_BYTES_MAX / item_bytes).unwrap_or(u32::MAX);
        Bounds { size: size.min(by_bytes).max(1), end: self.ends[part] }
    }

    pub(super) fn send(&mut self, serial: u32, retries: u32, items: &ItemSet) {
        let is_fresh = items.iter().next().is_some_and(|first| first.0 >= self.cursor);
        if is_fresh {
            self.cursor += items.len();
        } else if let Some(ready) = self.ready.get_mut(&retries) {
            *ready -= to_bitmap(items);
            self.ready.retain(|_, items| !items.is_empty());
        }
        self.in_flight += items.len();
        self.flying.insert(serial, Flight { items: items.clone(), retries, claim: None });
    }

    /// Which items of `report` do not count, because they were reported before. `None` when none counts, or when the
    /// report contradicts itself.
    ///
    /// A worker may be lost after it reported a part of a range; the one that gets the range again reports all of it.
    pub(super) fn admit(&self, serial: u32, report: &ItemsReport) -> Option<ItemSet> {
        let flight = self.flying.get(&serial)?;
        if !report.called.is_sorted_by(|(one, _), (next, _)| one < next) {
            return None;
        }
        let called: ItemSet = report.called.iter().map(|(item, _)| *item).collect();
        let sets = [&report.succeeded, &report.failed, &report.handed_back, &called].into_iter();
        let mut named = RoaringBitmap::new();
        let mut count = 0;
        for set in sets.chain(report.retry.iter().map(|(_, set)| set)) {
            // Before a bitmap of it is made: items that are not in the list could be four thousand million.
            if set.last().is_some_and(|last| last.0 >= self.total) {
                return None;
            }
            count += u64::from(set.len());
            named |= to_bitmap(set);
        }
        let ignored = &named - to_bitmap(&flight.items);
        (named.len() == count && ignored.len() < count).then(|| ignored.into_iter().map(ItemIndex).collect())
    }

    pub(super) fn report(&mut self, serial: u32, report: &ItemsReport, ignored: &ItemSet, at: Timestamp) {
        let flight = self.flying.get_mut(&serial).expect("a report was admitted for a range in flight");
        self.is_paced = true;
        let is_all = report.succeeded == flight.items && ignored.is_empty();
        if is_all && report.failed.is_empty() && report.retry.is_empty() && report.handed_back.is_empty() {
            return self.all_succeeded(serial, report);
        }
        let ignored_items = to_bitmap(ignored);
        let counted = |set: &ItemSet| to_bitmap(set) - &ignored_items;
        let (succeeded, failed, returned) =
            (counted(&report.succeeded), counted(&report.failed), counted(&report.handed_back));
        let retries = flight.retries;
        let mut begun = &succeeded | &failed;
        for (delay_ms, items) in &report.retry {
            let items = counted(items);
            begun |= &items;
            let due = at.plus(Duration::from_millis(*delay_ms));
            // None of them may count: then there is nothing to wait for.
            if !items.is_empty() && !self.closed {
                *self.waiting.entry((due, retries + 1)).or_default() |= items;
            }
        }
        flight.items = to_set(&(to_bitmap(&flight.items) - &begun - &returned));
        if flight.items.is_empty() {
            self.flying.remove(&serial);
        }
        self.in_flight -= length(&begun) + length(&returned);
        self.pace.observe(report.busy_us, begun.len());
        self.alone -= begun;
        if !returned.is_empty() && !self.closed {
            *self.ready.entry(retries).or_default() |= returned;
        }
        self.succeeded += length(&succeeded);
        self.failed += length(&failed);
        self.keep(report, ignored);
        self.stop();
    }

    /// What most reports say. Nothing here depends on how many items there are, nor is any memory taken but for the part.
    fn all_succeeded(&mut self, serial: u32, report: &ItemsReport) {
        let count = report.succeeded.len();
        self.flying.remove(&serial);
        self.in_flight -= count;
        self.succeeded += count;
        self.pace.observe(report.busy_us, u64::from(count));
        if !self.alone.is_empty() {
            self.alone -= to_bitmap(&report.succeeded);
        }
        self.keep(report, &ItemSet::default());
    }

    /// Sends nothing more once too many items have failed, if the task says so.
    fn stop(&mut self) {
        if self.stops && self.is_failure() {
            self.close();
        }
    }

    /// A worker may begin a range.
    pub(super) fn claim(&mut self, serial: u32, nonce: &str) {
        if let Some(flight) = self.flying.get_mut(&serial) {
            flight.claim = Some(nonce.to_owned());
        }
    }

    /// Items of a range go on as children.
    pub(super) fn call(&mut self, serial: u32, items: &ItemSet) {
        let flight = self.flying.get_mut(&serial).expect("a report was admitted for a range in flight");
        let items = to_bitmap(items);
        flight.items = to_set(&(to_bitmap(&flight.items) - &items));
        let retries = flight.retries;
        if flight.items.is_empty() {
            self.flying.remove(&serial);
        }
        self.alone -= &items;
        // Nothing was seen of how long they take, and rendering what they start with is quick.
        self.pace.size = (self.pace.size * 2).min(CALLS_MAX);
        self.children.extend(items.iter().map(|item| (item, Child { serial, retries })));
    }

    /// The child of an item ended: with its output, or with an error, or to be tried again.
    pub(super) fn child_ended(&mut self, ended: &ItemEnded) {
        let ItemEnded { item, result, error, failure, until, .. } = ended;
        let child = self.children.remove(&item.0).expect("the end of a child is recorded once");
        self.in_flight -= 1;
        let part = |values: &ValueRef, form| Part {
            items: ItemSet::run(item.0, 1),
            values: values.clone(),
            form,
            ignored: ItemSet::default(),
        };
        match (until, result, error) {
            (Some(due), _, _) if !self.closed => {
                self.waiting.entry((*due, child.retries + 1)).or_default().insert(item.0);
            }
            (Some(_), _, _) => {}
            (None, Some(result), _) => {
                self.succeeded += 1;
                self.results.push(part(result, Form::Each));
            }
            (None, None, error) => {
                self.failed += 1;
                self.errors.extend(error.as_ref().map(|error| part(error, Form::Error)));
                if self.first_failure.is_none() {
                    self.first_failure.clone_from(failure);
                }
            }
        }
        self.stop();
    }

    fn keep(&mut self, report: &ItemsReport, ignored: &ItemSet) {
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&report.failure);
        }
        let part = |items: &ItemSet, values: &ValueRef| Part {
            items: items.clone(),
            values: values.clone(),
            form: Form::Array,
            ignored: ignored.clone(),
        };
        self.results.extend(report.results.iter().map(|values| part(&report.succeeded, values)));
        self.errors.extend(report.errors.iter().map(|values| part(&report.failed, values)));
    }

    /// A range was lost: what it had not reported goes out again, `alone` where one of its items may be to blame.
    pub(super) fn return_range(&mut self, serial: u32, alone: bool) {
        let Some(flight) = self.flying.remove(&serial) else {
            return;
        };
        self.is_paced = true;
        self.in_flight -= flight.items.len();
        let items = to_bitmap(&flight.items);
        if alone {
            self.alone |= &items;
        }
        if !self.closed {
            *self.ready.entry(flight.retries).or_default() |= items;
        }
    }

    /// Retries that are due become ready.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((_, retries), items) = entry.remove_entry();
            *self.ready.entry(retries).or_default() |= items;
        }
    }

    /// Sends nothing more; what was not begun is dropped.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.ready.clear();
        self.waiting.clear();
    }

    /// What templates read as `result`: a list in item order, `null` where an item did not succeed.
    #[must_use]
    pub fn result(&self) -> ValueRef {
        self.result_of(self.results.clone())
    }

    fn result_of(&self, parts: Vec<Part>) -> ValueRef {
        ValueRef::list(List { places: Some(self.total), parts, source: Vec::new() })
    }

    /// What is left of it when its task ends: [`Self::result`] and [`Self::item_errors`].
    pub(super) fn into_results(mut self) -> (ValueRef, ValueRef) {
        let errors = self.item_errors();
        let results = std::mem::take(&mut self.results);
        (self.result_of(results), errors)
    }

    /// What templates read as `item_errors`: `{index, item, error}` of each item that failed or was never begun, in item
    /// order.
    #[must_use]
    pub fn item_errors(&self) -> ValueRef {
        let mut parts = self.errors.clone();
        if self.closed && self.remaining() > 0 {
            let failure = Failure::new("not_started", "the others ended before this one began");
            let items = self.undone().into_iter().map(ItemIndex).collect();
            parts.push(Part { items, values: error_value(&failure), form: Form::Error, ignored: ItemSet::default() });
        }
        let needs_source = parts.iter().any(|part| part.form == Form::Error);
        let source = self.parts.iter().filter(|_| needs_source).map(|part| (part.count, part.values.clone()));
        ValueRef::list(List { places: None, source: source.collect(), parts })
    }

    /// Has everything done again that did not succeed, with all retries. Nothing is under way.
    pub(super) fn reopen(&mut self) {
        self.errors.clear();
        self.first_failure = None;
        self.failed = 0;
        self.closed = false;
        self.waiting.clear();
        let mut again = self.undone();
        again.remove_range(self.cursor..);
        self.ready = BTreeMap::from([(0, again)]);
        self.ready.retain(|_, items| !items.is_empty());
    }

    /// Items that have come to no end.
    fn undone(&self) -> RoaringBitmap {
        let mut undone = RoaringBitmap::new();
        undone.insert_range(0..self.total);
        for part in self.results.iter().chain(&self.errors) {
            undone -= to_bitmap(&part.items) - to_bitmap(&part.ignored);
        }
        undone
    }
}

impl Pace {
    /// Towards [`RANGE_TARGET`] by a moving average; the size at most doubles at once, so that the first slow item
    /// after many quick ones does not sit in a range of a thousand.
    fn observe(&mut self, busy_us: u64, items: u64) {
        if items == 0 {
            return;
        }
        let seen = (busy_us / items).min(ITEM_US_MAX);
        let smooth = self.item_us.map_or(seen, |old| (old * 3 + seen) / 4);
        self.item_us = Some(smooth);
        let ideal = RANGE_TARGET.as_micros() as u64 / smooth.max(1);
        let bound = u64::from(RANGE_ITEMS_MAX.min(self.size * 2));
        self.size = u32::try_from(ideal.clamp(1, bound)).expect("at most RANGE_ITEMS_MAX");
    }
}

fn length(items: &RoaringBitmap) -> u32 {
    u32::try_from(items.len()).expect("a fan-out has at most ITEMS_MAX items")
}

fn to_set(bitmap: &RoaringBitmap) -> ItemSet {
    bitmap.iter().map(ItemIndex).collect()
}

fn to_bitmap(set: &ItemSet) -> RoaringBitmap {
    let mut bitmap = RoaringBitmap::new();
    for &(first, length) in set.runs() {
        bitmap.insert_range(first..first + length);
    }
    bitmap
}
