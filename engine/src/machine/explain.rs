//! What a start of a task was given, and which fact each of its values came from.
//!
//! For people who look back: it replays the history up to where that start ended, and steps nothing. Values stay
//! references, and no template is evaluated.

use std::collections::BTreeMap;

use proto::{
    explain::{Cause, Given, Origin, Outcome, Read, Retried, Source},
    failure::Failure,
    id::{Attempt, Instance, ItemIndex},
    manifest::Manifest,
    time::Timestamp,
    value::ValueRef,
    work::{Phase, RunInfo},
};

use super::{
    end::not_begun,
    fact::{Accepted, Fact, Start, What},
    live::{At, Live},
    run::Run,
};
use crate::{
    program::ReadPath,
    spec::{TaskIndex, Workflow},
};

mod item;

pub use item::Element;

/// Starts that are named at the most; a loop may have made many more.
const INSTANCES_NAMED_MAX: usize = 100;

/// Which start of which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The task.
    pub task: TaskIndex,
    /// Which start of it; the latest when absent.
    pub instance: Option<Instance>,
    /// One item of it.
    pub item: Option<ItemIndex>,
}

/// What a start of a task was given, with what is to be looked up for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// All that the facts say.
    pub given: Given,
    /// Where the item itself is, if one was asked for and there is one.
    pub item_value: Option<Element>,
    /// Where the error of that item is, if it has failed.
    pub item_error: Option<Element>,
}

/// Says what a start of a task was given. `reads` is what its work reads. `None` when there is no such start.
///
/// The context of a start changes by its signal alone, so that what stood there when it ended is what its work was
/// given.
#[must_use]
pub fn explain<'r>(
    spec: &Workflow,
    facts: &[Fact],
    asked: Asked,
    reads: impl IntoIterator<Item = &'r ReadPath>,
) -> Option<Explained> {
    let family = Family::of(spec, facts);
    let own = family.starts.iter().filter(|(_, born)| born.task == asked.task).map(|(instance, _)| *instance);
    let mut instances: Vec<Instance> = own.rev().take(INSTANCES_NAMED_MAX).collect();
    instances.reverse();
    let instance = asked.instance.or_else(|| instances.last().copied())?;
    let born = family.starts.get(&instance).filter(|born| born.task == asked.task)?;
    let past = Past::relive(spec, facts, &family, instance, asked.item)?;
    let live = past.run.live.get(&instance)?;
    let item = asked.item.map(|item| item::Story::of(facts, instance, item));
    let parts = live.fan_out().map(|fan| fan.parts());
    let named = || spec.task(asked.task).pool.named().cloned();
    let given = Given {
        instance,
        instances,
        after: born.after.clone(),
        started_at: born.at,
        sent_at: past.sent.as_ref().map(|sent| sent.at),
        attempt: past.sent.as_ref().map_or(Attempt(live.attempt.max(1)), |sent| sent.attempt),
        pool: live.prepared.as_ref().and_then(|prepared| prepared.pool.clone()).or_else(named),
        info: past.sent.as_ref().map_or_else(|| past.run.info(), |sent| sent.info.clone()),
        paths: reads.into_iter().flat_map(|read| past.read(spec, live, instance, read)).collect(),
        items: parts.map(|parts| parts.iter().map(|part| part.count).sum()),
        item: item.as_ref().map(item::Story::told),
        outcome: past.outcome(live, instance, facts),
    };
    Some(Explained {
        given,
        item_value: asked.item.and_then(|item| item::find(parts?, item)),
        item_error: item.and_then(|item| item.error),
    })
}

/// Every start of a run, by its number.
struct Family {
    starts: BTreeMap<Instance, Born>,
}

/// A start.
struct Born {
    task: TaskIndex,
    at: Timestamp,
    after: Option<Cause>,
}

impl Family {
    fn of(spec: &Workflow, facts: &[Fact]) -> Self {
        let mut family = Self { starts: BTreeMap::new() };
        for fact in facts {
            let after = match &fact.what {
                What::Ended(ended) => family.cause(spec, ended.instance),
                _other => None,
            };
            for start in starts(&fact.what) {
                let born = Born { task: start.task, at: fact.at, after: after.clone() };
                family.starts.insert(start.instance, born);
            }
        }
        family
    }

    fn cause(&self, spec: &Workflow, instance: Instance) -> Option<Cause> {
        let born = self.starts.get(&instance)?;
        Some(Cause { task: spec.task(born.task).name.clone(), instance })
    }
}

/// The tasks that start by a fact.
fn starts(what: &What) -> Vec<&Start> {
    if let What::Begun { starts, .. } = what {
        return starts.iter().collect();
    }
    if let What::Finalizing { start, .. } = what {
        return vec![start.as_ref()];
    }
    if let What::Ended(ended) = what {
        let joins = ended.arrivals.iter().filter_map(|arrival| arrival.starts.as_ref());
        return ended.starts.iter().chain(joins).collect();
    }
    Vec::new()
}

/// The run as it was when a start ended, or as it is now.
struct Past {
    run: Run,
    /// Where each write came from.
    writes: BTreeMap<u64, Origin>,
    sent: Option<Sent>,
    end: Option<End>,
}

/// Work that left for a worker.
struct Sent {
    at: Timestamp,
    attempt: Attempt,
    info: RunInfo,
}

/// How a start ended.
struct End {
    at: Timestamp,
    status: &'static str,
    failure: Option<Failure>,
    result: Option<ValueRef>,
}

impl Past {
    fn relive(
        spec: &Workflow,
        facts: &[Fact],
        family: &Family,
        instance: Instance,
        item: Option<ItemIndex>,
    ) -> Option<Self> {
        let (first, rest) = facts.split_first()?;
        let What::Accepted(accepted) = &first.what else { return None };
        let run = Run::accepted(spec, accepted, first.at);
        let mut past = Self { run, writes: BTreeMap::new(), sent: None, end: None };
        past.note(0, first.at, accepted_sources(spec, accepted));
        for fact in rest {
            past.end = End::of(fact, instance);
            if past.end.is_some() {
                break;
            }
            let before = past.run.writes;
            past.run.evolve(spec, fact);
            past.note(before, fact.at, sources(spec, family, &fact.what));
            if let Some(attempt) = past.leaves(fact, instance, item) {
                past.sent = Some(Sent { at: fact.at, attempt, info: past.run.info() });
            }
        }
        Some(past)
    }

    /// The writes after `before` came from `sources`, in order.
    fn note(&mut self, before: u64, at: Timestamp, sources: Vec<Source>) {
        self.writes.extend((before + 1..).zip(sources.into_iter().map(|from| Origin { at, from })));
    }

    /// The attempt that leaves for a worker by this fact, which has just been applied.
    fn leaves(&self, fact: &Fact, instance: Instance, item: Option<ItemIndex>) -> Option<Attempt> {
        let has = |items: &proto::items::ItemSet| item.is_none_or(|item| item::contains(items, item));
        match &fact.what {
            What::Ranged { instance: of, retries, items, .. } => {
                (*of == instance && has(items)).then_some(Attempt(retries + 1))
            }
            what => {
                let may_send = matches!(what, What::Entered { .. } | What::Released { .. } | What::Returned { .. });
                let is_own = may_send && what.instance() == Some(instance);
                let is_start = || starts(what).iter().any(|start| start.instance == instance);
                let live = self.run.live.get(&instance).filter(|_| is_own || is_start())?;
                let is_out = live.at == At::Acting && !self.run.is_held(instance);
                is_out.then_some(Attempt(live.attempt))
            }
        }
    }

    /// What a path of the read set gave: itself, or for a whole root all that stood below it.
    fn read(&self, spec: &Workflow, live: &Live, instance: Instance, read: &ReadPath) -> Vec<Read> {
        let key = self.run.key(&spec.task(live.task).name, instance, Phase::Act, live.serial);
        let mut found: Manifest = self.run.manifest(spec, &key, [read.path.as_str()]);
        // The status that goes along with every path of a task is a path of its own.
        let is_asked = |path: &str| path == read.path || path.strip_prefix(&read.path).is_some_and(is_below);
        found.retain(|path, _| is_asked(path));
        if found.is_empty() {
            let (path, required) = (read.path.clone(), read.required);
            return vec![Read { path, within: None, required, value: None, omitted: false, bytes: 0, source: None }];
        }
        let told = |(path, value): (String, ValueRef)| Read {
            within: (path != read.path).then(|| read.path.clone()),
            required: read.required,
            omitted: false,
            bytes: value.bytes(),
            source: self.origin(live, &path),
            value: Some(value),
            path,
        };
        found.into_iter().map(told).collect()
    }

    fn origin(&self, live: &Live, path: &str) -> Option<Origin> {
        self.writes.get(&live.context.write_of(path)?).cloned()
    }

    fn outcome(&self, live: &Live, instance: Instance, facts: &[Fact]) -> Outcome {
        let retried = facts.iter().filter_map(|fact| match &fact.what {
            What::Retrying { instance: of, status, failure, .. } if *of == instance => {
                Some(Retried { at: fact.at, status: *status, error: failure.clone() })
            }
            _other => None,
        });
        let end = self.end.as_ref();
        let of_items = || live.fan_out().map(|fan| fan.result().bytes());
        let result_bytes = end.and_then(|end| of_items().or_else(|| end.result.as_ref().map(ValueRef::bytes)));
        Outcome {
            status: end.map_or_else(|| self.run.status_of_live(instance), |end| end.status).to_owned(),
            error: end.map_or_else(|| last_failure(&live.at), |end| end.failure.clone()),
            ended_at: end.map(|end| end.at),
            result_bytes,
            retried: retried.collect(),
        }
    }
}

impl End {
    /// How `instance` ended, if it did so by this fact.
    fn of(fact: &Fact, instance: Instance) -> Option<Self> {
        let at = fact.at;
        let dropped = Self { at, status: "canceled", failure: Some(not_begun()), result: None };
        if let What::Ended(ended) = &fact.what
            && ended.instance == instance
        {
            let (failure, result) = (ended.failure.clone(), ended.result.clone());
            return Some(Self { at, status: ended.status.as_str(), failure, result });
        }
        if let What::Failing { dropped: all, .. } | What::Canceling { dropped: all, .. } = &fact.what
            && all.contains(&instance)
        {
            return Some(dropped);
        }
        None
    }
}

/// Why the last attempt of a task that has not ended failed.
fn last_failure(at: &At) -> Option<Failure> {
    match at {
        At::BackingOff(back_off) => back_off.failure.clone(),
        At::Settling(settling) => settling.failure.clone(),
        At::Preparing
        | At::Waiting(_)
        | At::Delayed(_)
        | At::Listing
        | At::Acting
        | At::Called(_)
        | At::Items(_)
        | At::Passing => None,
    }
}

fn is_below(rest: &str) -> bool {
    rest.starts_with('.')
}

/// Where the writes of an accepted job came from, in the order of [`Run::accepted`].
fn accepted_sources(spec: &Workflow, accepted: &Accepted) -> Vec<Source> {
    let imported = accepted.imported.keys().map(|_| Source::Imported { run: accepted.ancestor.clone() });
    let given = accepted.parameters.iter().map(|(name, value)| {
        let known = spec.parameters.iter().find(|parameter| parameter.name == *name);
        let default = known.and_then(|parameter| parameter.default.clone()).map(ValueRef::of);
        // The fact does not tell a default from the same value given.
        if default.as_ref() == Some(value) { Source::Default } else { Source::Parameter }
    });
    imported.chain(given).collect()
}

/// Where the writes of a later fact come from, in the order of `evolve`.
fn sources(spec: &Workflow, family: &Family, what: &What) -> Vec<Source> {
    match what {
        What::Begun { vars, .. } => vec![Source::Var; vars.len()],
        What::Received { .. } => vec![Source::Signal],
        What::Ended(ended) => {
            let Some(cause) = family.cause(spec, ended.instance) else { return Vec::new() };
            let published = vec![Source::Published(cause.clone()); ended.published.len()];
            [vec![Source::Ended(cause)], published].concat()
        }
        What::Accepted(_)
        | What::Due
        | What::Admitted
        | What::Prepared { .. }
        | What::Entered { .. }
        | What::Released { .. }
        | What::Signaled { .. }
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
        | What::Failing { .. }
        | What::Pausing { .. }
        | What::Resuming
        | What::Canceling { .. }
        | What::Concluding
        | What::Finalizing { .. }
        | What::Finished { .. } => Vec::new(),
    }
}
