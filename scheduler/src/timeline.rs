//! When each task of a run started and ended, by its facts.

use std::collections::BTreeMap;

use engine::{
    machine::fact::{Fact, Start, What},
    spec::Workflow,
};
use proto::{id::Instance, time::Timestamp, view::Stretch, work::Status};

/// Every start of a task, in order.
pub(crate) fn of(spec: &Workflow, facts: &[Fact]) -> Vec<Stretch> {
    let mut timeline = Timeline { spec, stretches: BTreeMap::new() };
    facts.iter().for_each(|fact| timeline.take(fact));
    timeline.stretches.into_values().collect()
}

struct Timeline<'a> {
    spec: &'a Workflow,
    stretches: BTreeMap<Instance, Stretch>,
}

impl Timeline<'_> {
    fn take(&mut self, fact: &Fact) {
        match &fact.what {
            What::Begun { starts, .. } => starts.iter().for_each(|start| self.start(start, fact.at)),
            What::Finalizing { start, .. } => self.start(start, fact.at),
            What::Ended(ended) => {
                self.end(ended.instance, ended.status, fact.at);
                let joined = ended.arrivals.iter().filter_map(|arrival| arrival.starts.as_ref());
                ended.starts.iter().chain(joined).for_each(|start| self.start(start, fact.at));
            }
            What::Failing { dropped, .. } | What::Canceling { dropped, .. } => {
                dropped.iter().for_each(|instance| self.end(*instance, Status::Canceled, fact.at));
            }
            What::Accepted(_)
            | What::Due
            | What::Admitted
            | What::Prepared { .. }
            | What::Entered { .. }
            | What::Released { .. }
            | What::Signaled { .. }
            | What::Received { .. }
            | What::Claimed { .. }
            | What::Called { .. }
            | What::ItemEnded(_)
            | What::Listed { .. }
            | What::Ranged { .. }
            | What::Reported { .. }
            | What::Woken { .. }
            | What::Retrying { .. }
            | What::Returned { .. }
            | What::Reopened { .. }
            | What::Settling(_)
            | What::Pausing { .. }
            | What::Resuming
            | What::Concluding
            | What::Finished { .. } => {}
        }
    }

    fn start(&mut self, start: &Start, at: Timestamp) {
        let task = self.spec.task(start.task).name.clone();
        let stretch = Stretch { task, instance: start.instance, started_at: at, ended_at: None, status: None };
        self.stretches.insert(start.instance, stretch);
    }

    fn end(&mut self, instance: Instance, status: Status, at: Timestamp) {
        if let Some(stretch) = self.stretches.get_mut(&instance) {
            stretch.ended_at = Some(at);
            stretch.status = Some(status);
        }
    }
}
