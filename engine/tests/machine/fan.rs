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
    pub is_closed: bool,
}

impl Fan {
    pub fn new(bytes: Vec<u32>, concurrency: Option<u32>, tolerate: u32) -> Self {
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
        let out = self.out().count();
        assert!(self.concurrency.is_none_or(|bound| out <= bound as usize), "{out} items are out");
        let flights = self.flights().len();
        assert!(flights <= flights_max, "{flights} ranges are out");
    }

    /// Whether nothing could leave that has not left.
    pub fn check_busy(&self, flights_max: usize) {
        let flights = self.flights();
        let has_room = self.concurrency.is_none_or(|bound| self.out().count() < bound as usize);
        let is_idle = !self.is_closed && self.places.contains(&Place::Ready) && has_room && flights.len() < flights_max;
        assert!(!is_idle, "items could leave and do not: {self:?}");
    }

    fn out(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().filter_map(|place| match place {
            Place::Out(serial) => Some(*serial),
            Place::Ready | Place::Waiting(_) | Place::Done => None,
        })
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
        sets.flat_map(ItemSet::iter).any(|item| self.places[item.0 as usize] == Place::Out(serial))
    }

    pub fn report(&mut self, serial: u32, report: &ItemsReport, now: Timestamp) {
        let values = |values: &Option<proto::value::ValueRef>| match values.as_ref().map(value_of) {
            Some(Value::Array(values)) => values,
            Some(other) => panic!("{other} is no array"),
            None => Vec::new(),
        };
        let mine = |fan: &Self, item: u32| fan.places[item as usize] == Place::Out(serial);
        for (item, value) in report.succeeded.iter().zip(values(&report.results)) {
            if mine(self, item.0) {
                self.places[item.0 as usize] = Place::Done;
                self.results[item.0 as usize] = value;
            }
        }
        for (item, value) in report.failed.iter().zip(values(&report.errors)) {
            if mine(self, item.0) {
                self.fail(item.0, value);
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
    }

    pub fn fail(&mut self, item: u32, error: Value) {
        self.places[item as usize] = Place::Done;
        self.errors.insert(item, error);
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
            Place::Ready | Place::Out(_) | Place::Done => None,
        });
        waiting.min().filter(|_| !self.is_closed)
    }

    pub fn is_over(&self) -> bool {
        match self.is_closed {
            true => self.out().next().is_none(),
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

    pub fn item_errors(&self) -> Value {
        self.errors.values().cloned().collect()
    }
}
