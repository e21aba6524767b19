//! Jobs and orders: accepted once, refused with every reason.

use engine::machine::{self, Now, fact::ReplyTo};
use proto::{
    id::{Digest, RunId},
    job::{Answer, Job},
};

use super::{
    Error, Source, Turn,
    post::{mark_of, name_of},
};
use crate::{
    call::Refusal,
    desk::{self, Live},
    intake::{self, Order, Rejection},
    letters,
    metrics::Count,
    programs::{self, Known},
    store::{NewRun, OutboxKind},
};

impl Turn<'_> {
    /// Accepts a job, or says why not. The same job again is accepted again, and changes nothing.
    pub(super) async fn accept(
        &mut self,
        run: RunId,
        job: Job,
        reply: Option<ReplyTo>,
        source: Source,
    ) -> Result<(), Error> {
        if let Some(content) = self.content(&run).await? {
            if content == intake::content_of(&job) {
                return self.accept_again(&run, reply, source).await;
            }
            let message = format!("a run {run} exists, and its job was another one");
            self.refuse(Rejection::new("id_conflict", message).of(&run), reply.as_ref(), source);
            return Ok(());
        }
        match intake::check(&self.desk.programs, run.clone(), job, reply.clone()).await {
            Ok(order) => self.start(run, order, reply, source).await,
            Err(programs::Error::Refused(problems)) => {
                self.refuse(Rejection { id: Some(run), problems }, reply.as_ref(), source);
                Ok(())
            }
            Err(programs::Error::Store(error)) => Err(error.into()),
        }
    }

    pub(super) async fn content(&self, run: &RunId) -> Result<Option<Digest>, Error> {
        if let Some(live) = self.desk.live.get(run) {
            return Ok(Some(live.content));
        }
        if let Some(head) = self.heads.get(run) {
            return Ok(Some(head.content));
        }
        if self.desk.ended.contains(run) {
            let heads = self.desk.store.heads(std::slice::from_ref(run)).await?;
            return Ok(heads.get(run).map(|head| head.content));
        }
        Ok(None)
    }

    pub(super) async fn start(
        &mut self,
        run: RunId,
        order: Order,
        reply: Option<ReplyTo>,
        source: Source,
    ) -> Result<(), Error> {
        let Order { known, mut accepted, content } = order;
        self.keep_source(&known);
        let mut found = crate::intern::Found::default();
        accepted.parameters.iter_mut().for_each(|(_, value)| found.value(value));
        self.commit.values.append(&mut found.fresh);
        let created = NewRun {
            workflow: accepted.workflow.clone(),
            definition: known.stored.digest,
            content,
            labels: accepted.labels.clone(),
            started_at: self.now,
        };
        let now = Now { at: self.now, flights_max: self.desk.workers.flights_max() };
        let (live, step) = machine::accept(known.program.workflow(), accepted, now);
        self.desk.live.insert(run.clone(), Live { run: live, known, content });
        self.counts.push(Count::Started);
        self.record(&run, &step.facts);
        if let Some(write) = self.writes.get_mut(&run) {
            write.created = Some(created);
        }
        if let Some(reply) = &reply {
            let letter = letters::answer(reply, &letters::accepted(&run, false));
            self.post(&run, format!("{run}/accepted"), OutboxKind::Reply, letter);
        }
        self.carry_out(&run, step.commands).await?;
        self.settle(source, letters::accepted(&run, false));
        Ok(())
    }

    /// Stores the workflow's source where workers fetch it.
    fn keep_source(&mut self, known: &Known) {
        let digest = known.stored.digest;
        if self.desk.dispatch.is_new(digest) {
            self.commit.values.push((digest, known.source.clone()));
        }
    }

    async fn accept_again(&mut self, run: &RunId, reply: Option<ReplyTo>, source: Source) -> Result<(), Error> {
        self.counts.push(Count::Duplicate);
        if let Some(reply) = &reply {
            // Not the key of the first answer, which another client may be waiting for.
            let mark = mark_of(reply);
            let letter = letters::answer(reply, &letters::accepted(run, true));
            self.post(run, format!("{run}/accepted.{mark}"), OutboxKind::Reply, letter);
            if let Some(end) = self.late_end(run).await? {
                self.post(run, format!("{run}/finished.{mark}"), OutboxKind::Reply, letters::answer(reply, &end));
            }
        }
        self.settle(source, letters::accepted(run, true));
        Ok(())
    }

    /// How a run ended that ended before its job was sent again.
    async fn late_end(&mut self, id: &RunId) -> Result<Option<Answer>, Error> {
        if !self.desk.ended.contains(id) {
            return Ok(None);
        }
        let heads = self.desk.store.heads(std::slice::from_ref(id)).await?;
        let Some(head) = heads.get(id) else { return Ok(None) };
        match desk::restore(&self.desk.store, &self.desk.programs, id, head).await {
            Ok((run, _)) => Ok(Some(self.end_of(&run).await?)),
            Err(desk::Error::Store(error)) => Err(error.into()),
            Err(error @ desk::Error::History { .. }) => {
                tracing::error!(run = %id, %error, "a client is not told how its run ended");
                Ok(None)
            }
        }
    }

    /// Carries out an order, unless there is no such run. One that has ended already stays as it is.
    pub(super) async fn order_run(
        &mut self,
        run: &RunId,
        input: machine::Input,
        reply: Option<&ReplyTo>,
        source: Source,
    ) -> Result<(), Error> {
        if self.content(run).await?.is_none() {
            match source {
                Source::Call(asker) => self.answers.push((asker, Err(Refusal::NoRun(run.clone())))),
                Source::Delivery(..) | Source::Own => {
                    let rejection = Rejection::new("run_unknown", format!("there is no run {run}")).of(run);
                    self.refuse(rejection, reply, source);
                }
            }
            return Ok(());
        }
        self.step(run, input, &[]).await?;
        if let (Some(reply), Source::Delivery(_, delivery)) = (reply, &source) {
            let letter = letters::answer(reply, &letters::accepted(run, false));
            self.post(run, format!("{}/accepted", name_of(delivery)), OutboxKind::Reply, letter);
        }
        self.settle(source, letters::accepted(run, false));
        Ok(())
    }
}
