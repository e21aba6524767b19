//! One item of a task: where it lies, and what became of it.

use proto::{
    explain::Item,
    id::{Instance, ItemIndex},
    items::ItemSet,
    outcome::{ItemsPart, ItemsReport},
    value::ValueRef,
};

use crate::machine::fact::{Fact, What};

/// A value inside a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The array.
    pub list: ValueRef,
    /// Its position in there; `None` for the whole.
    pub at: Option<u32>,
}

/// What became of an item.
pub(super) struct Story {
    index: ItemIndex,
    status: &'static str,
    /// Its entry in `item_errors`.
    pub error: Option<Element>,
}

impl Story {
    pub(super) fn of(facts: &[Fact], instance: Instance, index: ItemIndex) -> Self {
        let mut story = Self { index, status: "waiting", error: None };
        let own = facts.iter().filter(|fact| fact.what.instance() == Some(instance));
        own.for_each(|fact| story.goes_on(&fact.what));
        story
    }

    pub(super) fn told(&self) -> Item {
        Item { index: self.index, value: None, status: self.status.to_owned(), error: None }
    }

    fn goes_on(&mut self, what: &What) {
        if let What::Reopened { .. } = what {
            if self.status == "failed" {
                (self.status, self.error) = ("waiting", None);
            }
            return;
        }
        // The first report of an item counts.
        if matches!(self.status, "succeeded" | "failed") {
            return;
        }
        if let What::Ranged { items, .. } | What::Called { items, .. } = what
            && contains(items, self.index)
        {
            self.status = "running";
        }
        if let What::Reported { report, ignored, .. } = what
            && !contains(ignored, self.index)
        {
            self.reported(report);
        }
        if let What::ItemEnded(ended) = what
            && ended.item == self.index
        {
            self.error = ended.error.clone().map(|list| Element { list, at: None });
            self.status = match (ended.until, &ended.error) {
                (Some(_), _) => "waiting",
                (None, Some(_)) => "failed",
                (None, None) => "succeeded",
            };
        }
    }

    fn reported(&mut self, report: &ItemsReport) {
        let is_again = report.retry.iter().any(|(_, items)| contains(items, self.index));
        if contains(&report.succeeded, self.index) {
            self.status = "succeeded";
        } else if contains(&report.failed, self.index) {
            self.status = "failed";
            let before = report.failed.between(0, self.index.0).count();
            let at = Some(u32::try_from(before).expect("a set of items has fewer than 2^32"));
            self.error = report.errors.clone().map(|list| Element { list, at });
        } else if is_again || contains(&report.handed_back, self.index) {
            self.status = "waiting";
        }
    }
}

/// Where the item at `index` lies in the parts of its list.
pub(super) fn find(parts: &[ItemsPart], index: ItemIndex) -> Option<Element> {
    let mut first = 0;
    for part in parts {
        if index.0 < first + part.count {
            return Some(Element { list: part.values.clone(), at: Some(index.0 - first) });
        }
        first += part.count;
    }
    None
}

pub(super) fn contains(items: &ItemSet, index: ItemIndex) -> bool {
    items.between(index.0, index.0 + 1).next().is_some()
}
