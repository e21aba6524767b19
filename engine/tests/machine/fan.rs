//! The book of one fan-out: every item and where it is, one by one.

use std::collections::{BTreeMap, BTreeSet};

use proto::{items::ItemSet, limits::RANGE_BYTES_MAX, outcome::ItemsReport, time::Timestamp, work::Status};
use serde_json::{Value, json};

use super::{book::End, seen::value_of};

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Waiting(Timestamp),
    Out(u32),
    /// It runs as a child, which this range has started.
    Child(u32),
    Done,
}

#[derive(Clone, Debug)]
pub struct Fan {
    places: Vec<Place>,
    used: Vec<u32>,
    /// The length of each item.
    bytes: Vec<u32>,
    alone: BTreeSet<u32>,
    results: Vec<Value>,
    errors: BTreeMap<u32, Value>,
    concurrency: Option<u32>,
    tolerate: u32,
    /// No item begins once too many have failed.
    stops: bool,
    pub is_closed: bool,
}

impl Fan {
    pub fn new(bytes: Vec<u32>, concurrency: Option<u32>, tolerate: u32, stops: bool) -> Self {
        let count = bytes.len();
        Self {
            places: vec![Place::Ready; count],
            used: vec![0; count],
            bytes,
            alone: BTreeSet::new(),
            results: vec![Value::Null; count],
            errors: BTreeMap::new(),
            concurrency,
            tolerate,
            stops,
            is_closed: false,
        }
    }

    /// A range leaves with `items`.
    pub fn give(&mut self, serial: u32, items: &[u32], retries: u32, flights_max: usize) {
        assert!(!self.is_closed, "range {serial} leaves though the run closes");
        assert!(!items.is_empty(), "range {serial} is empty");
        for &item in items {
            let place = &mut self.places[item as usize];
            assert_eq!(*place, Place::Ready, "item {item} leaves with range {serial}");
            *place = Place::Out(serial);
            assert_eq!(self.used[item as usize], retries, "retries of item {item} in range {serial}");
            let is_alone = items.len() == 1 || !self.alone.contains(&item);
            assert!(is_alone, "item {item}, which may kill workers, travels with others");
        }
        let bytes: usize = items.iter().map(|item| self.bytes[*item as usize] as usize).sum();
        assert!(items.len() == 1 || bytes <= RANGE_BYTES_MAX, "range {serial} has {bytes} bytes");
        let out = self.in_flight();
        assert!(self.concurrency.is_none_or(|bound| out <= bound as usize), "{out} items are out");
        let flights = self.flights().len();
        assert!(flights <= flights_max, "{flights} ranges are out");
    }

    /// Whether nothing could leave that has not left.
    pub fn check_busy(&self, flights_max: usize) {
        let flights = self.flights();
        let has_room = self.concurrency.is_none_or(|bound| self.in_flight() < bound as usize);
        let is_idle = !self.is_closed && self.places.contains(&Place::Ready) && has_room && flights.len() < flights_max;
        assert!(!is_idle, "items could leave and do not: {self:?}");
    }

    fn out(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().filter_map(|place| match place {
            Place::Out(serial) => Some(*serial),
            Place::Ready | Place::Waiting(_) | Place::Child(_) | Place::Done => None,
        })
    }

    /// Items that run as children, with the range that started each.
    pub fn children(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..).zip(&self.places).filter_map(|(item, place)| match place {
            Place::Child(serial) => Some((item, *serial)),
            Place::Ready | Place::Waiting(_) | Place::Out(_) | Place::Done => None,
        })
    }

    /// Items with the broker, on workers, or running as children.
    pub fn in_flight(&self) -> usize {
        self.out().count() + self.children().count()
    }

    /// Serials of the ranges that are out.
    pub fn flights(&self) -> BTreeSet<u32> {
        self.out().collect()
    }

    /// The items that range `serial` still owes.
    pub fn owed(&self, serial: u32) -> Vec<u32> {
        (0..).zip(&self.places).filter(|(_, place)| **place == Place::Out(serial)).map(|(item, _)| item).collect()
    }

    /// Whether `report` says something new of range `serial`.
    pub fn is_news(&self, serial: u32, report: &ItemsReport) -> bool {
        let retried = report.retry.iter().map(|(_, items)| items);
        let sets = [&report.succeeded, &report.failed, &report.handed_back].into_iter().chain(retried);
        let called = report.called.iter().map(|(item, _)| *item);
        sets.flat_map(ItemSet::iter).chain(called).any(|item| self.places[item.0 as usize] == Place::Out(serial))
    }

    /// Items of range `serial` go on as children.
    pub fn call(&mut self, serial: u32, items: &[u32]) {
        for &item in items {
            self.places[item as usize] = Place::Child(serial);
            self.alone.remove(&item);
        }
    }

    /// Retries that `item` has used.
    pub fn retries(&self, item: u32) -> u32 {
        self.used[item as usize]
    }

    /// The child of `item` succeeded.
    pub fn succeed(&mut self, item: u32, value: Value) {
        self.places[item as usize] = Place::Done;
        self.results[item as usize] = value;
    }

    /// The child of `item` failed, and the item is tried again at `due`.
    pub fn try_again(&mut self, item: u32, due: Timestamp) {
        self.used[item as usize] += 1;
        self.places[item as usize] = Place::Waiting(due);
    }

    pub fn report(&mut self, serial: u32, report: &ItemsReport, now: Timestamp) {
        let values = |values: &Option<proto::value::ValueRef>| match values.as_ref().map(value_of) {
            Some(Value::Array(values)) => values,
            Some(other) => panic!("{other} is no array"),
            None => Vec::new(),
        };
        let mine = |fan: &Self, item: u32| fan.places[item as usize] == Place::Out(serial);
        // All at once: an item that fails may close the task for those behind it, and changes nothing of the report.
        let failed: Vec<_> =
            report.failed.iter().zip(values(&report.errors)).filter(|(i, _)| mine(self, i.0)).collect();
        for (item, value) in report.succeeded.iter().zip(values(&report.results)) {
            if mine(self, item.0) {
                self.succeed(item.0, value);
            }
        }
        for (delay_ms, items) in &report.retry {
            for item in items.iter().filter(|item| mine(self, item.0)).collect::<Vec<_>>() {
                self.used[item.0 as usize] += 1;
                self.alone.remove(&item.0);
                let due = now.plus(std::time::Duration::from_millis(*delay_ms));
                self.places[item.0 as usize] = Place::Waiting(due);
            }
        }
        for item in report.handed_back.iter().filter(|item| mine(self, item.0)).collect::<Vec<_>>() {
            self.places[item.0 as usize] = Place::Ready;
        }
        failed.into_iter().for_each(|(item, value)| self.fail(item.0, value));
    }

    pub fn fail(&mut self, item: u32, error: Value) {
        self.places[item as usize] = Place::Done;
        self.errors.insert(item, error);
        self.is_closed |= self.stops && self.errors.len() > self.tolerate as usize;
    }

    /// A whole range comes back undone.
    pub fn come_back(&mut self, serial: u32) -> Vec<u32> {
        let owed = self.owed(serial);
        owed.iter().for_each(|item| self.places[*item as usize] = Place::Ready);
        owed
    }

    /// The broker gave a range up.
    pub fn lose(&mut self, serial: u32) {
        match self.owed(serial)[..] {
            [item] => self.fail(item, json!({ "error": { "code": "poison" }, "index": item, "item": null })),
            _ => {
                let owed = self.come_back(serial);
                self.alone.extend(owed);
            }
        }
    }

    pub fn wake(&mut self, now: Timestamp) {
        for place in &mut self.places {
            if matches!(place, Place::Waiting(due) if *due <= now) {
                *place = Place::Ready;
            }
        }
    }

    pub fn due(&self) -> Option<Timestamp> {
        let waiting = self.places.iter().filter_map(|place| match place {
            Place::Waiting(due) => Some(*due),
            Place::Ready | Place::Out(_) | Place::Child(_) | Place::Done => None,
        });
        waiting.min().filter(|_| !self.is_closed)
    }

    pub fn is_over(&self) -> bool {
        match self.is_closed {
            true => self.in_flight() == 0,
            false => self.is_done(),
        }
    }

    fn is_done(&self) -> bool {
        self.places.iter().all(|place| *place == Place::Done)
    }

    pub fn end(&self, is_canceled: bool) -> End {
        let is_failed = self.errors.len() > self.tolerate as usize;
        let (status, code) = match (self.is_done() && !is_failed, is_canceled, is_failed) {
            (true, _, _) => (Status::Succeeded, None),
            (false, true, _) => (Status::Canceled, Some("canceled")),
            (false, false, true) => (Status::Failed, Some("items_failed")),
            (false, false, false) => (Status::Canceled, Some("not_started")),
        };
        End { status, error: code.map(|code| json!({ "code": code })), result: None }
    }

    pub fn results(&self) -> Value {
        self.results.clone().into()
    }

    /// An entry for each item that failed, and for each that came to no end where the others did.
    pub fn item_errors(&self) -> Value {
        let never = |item: u32| json!({ "error": { "code": "not_started" }, "index": item, "item": item });
        let entry = |(item, place): (u32, &Place)| match self.errors.get(&item) {
            Some(error) => Some(error.clone()),
            None => (self.is_closed && *place != Place::Done).then(|| never(item)),
        };
        (0..).zip(&self.places).filter_map(entry).collect()
    }
}
