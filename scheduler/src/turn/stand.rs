//! The end of a turn: what it decided becomes one commit, and once that stands, everything that it allows.

use std::{sync::Arc, time::Instant};

use engine::machine::Run;
use proto::{id::RunId, job::Answer, topology::Topology};
use queue::{Content, Publication, Routing};

use super::{Error, Own, Source, Turn};
use crate::{
    desk::Desk,
    dispatch,
    metrics::Count,
    outbox::{Envelope, Row},
    store::{OutboxKind, OutboxRow, TimerRow},
    timers::row_key,
};

impl Turn<'_> {
    /// Writes the messages of all work that is still wanted at the end of the turn.
    pub(super) async fn write_work(&mut self) -> Result<(), Error> {
        for (id, key) in std::mem::take(&mut self.dispatches) {
            let shard = self.desk.shard_of(&id);
            let Some(live) = self.desk.live.get(&id) else { continue };
            let dispatch = &mut self.desk.dispatch;
            let ready = dispatch.write(&live.known, &live.run, shard, &key, self.now, &mut self.commit.values).await;
            match ready {
                Ok(None) => continue,
                Ok(Some(ready)) => self.envelopes.push(ready_envelope(ready, &self.desk.topology)),
                // One run whose items are damaged must not keep all others from being written.
                Err(error @ dispatch::Error::Items { .. }) => {
                    tracing::error!(%error, "work cannot be written: it counts as lost");
                    self.next.push(Own::Lost(key.clone()));
                }
                Err(error @ dispatch::Error::Store(_)) => return Err(error.into()),
            }
            self.add_row(OutboxRow { key: key.to_string(), run: id, shard, kind: OutboxKind::Work, body: None });
        }
        Ok(())
    }

    /// Completes what the store is told of each run.
    pub(super) fn write_runs(&mut self) {
        for id in &self.order {
            let Some(mut write) = self.writes.remove(id) else { continue };
            let run = &self.desk.live[id].run;
            write.status = run.status();
            write.error = run.failure().cloned();
            write.finished_at = run.finished().map(|finished| finished.at);
            write.value_refs.sort_unstable();
            write.value_refs.dedup();
            self.commit.runs.push(write);
        }
    }

    pub(super) fn write_timers(&mut self) {
        for ((run, timer), due) in &self.timers {
            let key = row_key(run, *timer);
            match *due {
                Some(due) => {
                    let shard = self.desk.shard_of(run);
                    self.commit.timers_set.push(TimerRow { key, run: run.clone(), shard, due });
                }
                None => self.commit.timers_clear.push(key),
            }
        }
    }

    /// Commits. Whatever is in the commit is in doubt until its answer is here.
    pub(super) async fn store(&mut self) -> Result<(), Error> {
        let mut commit = std::mem::take(&mut self.commit);
        if commit.is_empty() {
            return Ok(());
        }
        commit.fences = self.desk.fences_of(&commit);
        self.doubt.rows.extend(commit.outbox_add.iter().map(|row| (row.key.clone(), row.shard)));
        let begun = Instant::now();
        let stored = self.desk.store.commit(commit).await;
        self.desk.metrics.turns.commit.observe(begun.elapsed().as_secs_f64());
        Ok(stored?)
    }

    /// What the commit allows: acknowledge, arm, publish, tell, count.
    pub(super) fn act(mut self) {
        queue::ack_all(std::mem::take(&mut self.deliveries));
        for ((id, timer), due) in std::mem::take(&mut self.timers) {
            match due {
                Some(due) => self.desk.timers.arm(&id, timer, due),
                None => self.desk.timers.disarm(&id, timer),
            }
        }
        self.keep_schedules();
        self.desk.outbox.push(std::mem::take(&mut self.envelopes));
        for (asker, answer) in std::mem::take(&mut self.answers) {
            // Whoever asked may have hung up.
            let _ = asker.send(answer);
        }
        for own in std::mem::take(&mut self.next) {
            self.desk.take_up(own);
        }
        for id in std::mem::take(&mut self.order) {
            self.desk.show(&id);
            self.counts.extend(self.desk.retire(&id));
        }
        self.counts.into_iter().for_each(|count| self.desk.metrics.count(count));
    }

    /// Acknowledges a message that wants no answer once the commit stands.
    pub(super) fn acknowledge(&mut self, source: Source) {
        match source {
            Source::Delivery(_, delivery) => self.deliveries.push(*delivery),
            Source::Call(_) | Source::Own => {}
        }
    }

    /// Acknowledges or answers `source` once the commit stands.
    pub(super) fn settle(&mut self, source: Source, answer: Answer) {
        match source {
            Source::Delivery(_, delivery) => self.deliveries.push(*delivery),
            Source::Call(asker) => self.answers.push((asker, Ok(answer))),
            Source::Own => {}
        }
    }
}

impl Desk {
    /// Tells those who follow the run.
    pub(crate) fn show(&mut self, id: &RunId) {
        let (Some(watcher), Some(live)) = (self.watchers.get(id), self.live.get(id)) else { return };
        watcher.send_replace(Arc::new(live.run.view(live.known.program.workflow())));
        if watcher.is_closed() || live.run.finished().is_some() {
            self.watchers.remove(id);
        }
    }

    /// Lets go of a run that has ended.
    fn retire(&mut self, id: &RunId) -> Option<Count> {
        let count = ended(&self.live.get(id)?.run)?;
        self.live.remove(id);
        self.ended.add(id.clone());
        self.schedules.run_ended(id, self.now());
        Some(count)
    }
}

fn ended(run: &Run) -> Option<Count> {
    let finished = run.finished()?;
    Some(Count::Finished {
        workflow: run.info().workflow.as_str().to_owned(),
        status: finished.status.as_str(),
        seconds: finished.at.since(run.started_at()).as_secs_f64(),
        context_bytes: run.context_bytes(),
    })
}

/// The envelope of a work message.
pub(crate) fn ready_envelope(ready: dispatch::Ready, topology: &Topology) -> Envelope {
    let key = ready.key.to_string();
    let publication = Publication {
        exchange: topology.work_exchange(),
        routing_key: ready.pool.to_string(),
        body: ready.body,
        content: Content::Json,
        message_id: Some(key.clone()),
        kind: Some(ready.key.phase.as_str().into()),
        correlation_id: None,
        reply_to: None,
        headers: Default::default(),
        routing: Routing::Mandatory,
    };
    Envelope::new(&Row::of(key), publication, Some(ready.pool))
}
