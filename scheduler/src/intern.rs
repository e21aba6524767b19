//! Values that come with a message: small ones stay in the facts, larger ones become values of the store.

use std::sync::Arc;

use bytes::Bytes;
use proto::{
    id::Digest,
    json::Json,
    outcome::{Acted, Called, Next, Report, Settlement},
    value::{Stored, ValueRef},
};

/// Values up to this length stay in facts as results of ranges; each range has its own, so they add up.
const PART_INLINE_BYTES_MAX: usize = 256;

/// What a message's values need of the store.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Values that came along and are to be stored.
    pub fresh: Vec<(Digest, Bytes)>,
    /// Values that the sender says are stored.
    pub named: Vec<Digest>,
}

/// Goes through every value of `report`.
pub(crate) fn report(report: &mut Report, found: &mut Found) {
    match report {
        Report::RunPrepared(prepared) => prepared.vars.iter_mut().for_each(|(_, value)| found.value(value)),
        Report::Called(called) => found.called(called),
        Report::Listed(listed) => {
            for part in &mut listed.parts {
                found.value(&mut part.values);
                found.value(&mut part.offsets);
            }
        }
        Report::Acted(acted) => found.acted(acted),
        Report::Items(items) => {
            for value in items.results.iter_mut().chain(&mut items.errors) {
                found.value_over(value, PART_INLINE_BYTES_MAX);
            }
            items.called.iter_mut().for_each(|(_, called)| found.called(called));
        }
        Report::Settled(settlement) => found.settlement(settlement),
        Report::Output(output) => found.value(&mut output.value),
        Report::TaskPrepared(_) | Report::Unable(_) | Report::HandedBack => {}
    }
}

impl Found {
    fn acted(&mut self, acted: &mut Acted) {
        self.value(&mut acted.result);
        if let Some(failed) = &mut acted.failure {
            self.value(&mut failed.error);
        }
        if let Next::Settled(settlement) = &mut acted.next {
            self.settlement(settlement);
        }
    }

    fn called(&mut self, called: &mut Called) {
        called.parameters.iter_mut().for_each(|(_, value)| self.value(value));
    }

    fn settlement(&mut self, settlement: &mut Settlement) {
        settlement.published.values_mut().for_each(|value| self.value(value));
    }

    pub(crate) fn value(&mut self, value: &mut ValueRef) {
        self.value_over(value, proto::limits::INLINE_BYTES_MAX);
    }

    fn value_over(&mut self, value: &mut ValueRef, inline_max: usize) {
        match value {
            ValueRef::Inline(json) if json.as_bytes().len() > inline_max => {
                let stored = self.store(json);
                *value = ValueRef::Stored(stored);
            }
            ValueRef::Inline(_) => {}
            ValueRef::Stored(stored) => self.named.push(stored.digest),
            ValueRef::List(list) => {
                let list = Arc::make_mut(list);
                let source = list.source.iter_mut().map(|(_, values)| values);
                let parts = list.parts.iter_mut().map(|part| &mut part.values);
                parts.chain(source).for_each(|value| self.value_over(value, inline_max));
            }
        }
    }

    fn store(&mut self, json: &Json) -> Stored {
        let stored = Stored::of(json.as_bytes());
        self.fresh.push((stored.digest, Bytes::copy_from_slice(json.as_bytes())));
        stored
    }
}
