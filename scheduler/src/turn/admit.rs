//! Jobs and orders: accepted once, refused with every reason.

use std::sync::Arc;

use engine::machine::{
    self, ChildEnd, Now, Run, Step,
    again::{self, Again, Heir},
    fact::{Accepted, ReplyTo},
};
use proto::{
    codec,
    failure::Failure,
    id::{Digest, RunId},
    job::{Answer, Job, Problem},
    limits::SIGNALS_MAX,
    value::ValueRef,
    work::RunStatus,
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
        match intake::check(&self.desk.programs, &self.names, run.clone(), job, reply.clone()).await {
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
        let mut found = crate::intern::Found::default();
        accepted.parameters.iter_mut().for_each(|(_, value)| found.value(value));
        accepted.imported.values_mut().for_each(|value| found.value(value));
        self.commit.values.append(&mut found.fresh);
        let made = machine::accept(known.program.workflow(), accepted, self.as_of());
        self.found(known, content, made, reply.as_ref()).await?;
        self.settle(source, letters::accepted(&run, false));
        Ok(())
    }

    fn as_of(&self) -> Now {
        Now { at: self.now, flights_max: self.desk.workers.flights_max() }
    }

    /// Takes up a new run, whose first step was just made.
    async fn found(
        &mut self,
        known: Arc<Known>,
        content: Digest,
        (live, step): (Run, Step),
        reply: Option<&ReplyTo>,
    ) -> Result<(), Error> {
        self.keep_source(&known);
        let run = live.id().clone();
        self.doubt.runs.insert(run.clone());
        let created = NewRun {
            workflow: live.info().workflow,
            definition: known.stored.digest,
            content,
            labels: live.info().labels,
            started_at: self.now,
        };
        self.desk.live.insert(run.clone(), Live { run: live, known, content });
        self.counts.push(Count::Started);
        self.record(&run, &step.facts);
        if let Some(write) = self.writes.get_mut(&run) {
            write.created = Some(created);
        }
        if let Some(reply) = reply {
            let letter = letters::answer(reply, &letters::accepted(&run, false));
            self.post(&run, format!("{run}/accepted"), OutboxKind::Reply, letter);
        }
        self.carry_out(&run, step.commands).await?;
        self.hand_on_turn(&run);
        Ok(())
    }

    /// Accepts a child run. One whose workflow is not to be had has failed before it began.
    pub(super) async fn spawn(&mut self, accepted: Accepted) -> Result<(), Error> {
        let known = match self.desk.programs.by_digest(accepted.definition.digest).await {
            Ok(known) => known,
            Err(programs::Error::Store(error)) => return Err(error.into()),
            Err(programs::Error::Refused(problems)) => {
                self.stillborn(accepted, &problems);
                return Ok(());
            }
        };
        let content = Digest::of(&codec::encode(&(&accepted.run, &accepted.definition)));
        let made = machine::accept(known.program.workflow(), accepted, self.as_of());
        self.found(known, content, made, None).await
    }

    fn stillborn(&mut self, accepted: Accepted, problems: &[Problem]) {
        let Some(parent) = accepted.parent else { return };
        let message = problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
        let end = ChildEnd {
            run: accepted.run,
            status: RunStatus::Failed,
            output: ValueRef::null(),
            failure: Some(Failure::new("definition_missing", message)),
            parent,
        };
        self.tell(end.parent.run.clone(), machine::Input::ChildEnded(end));
    }

    /// Does a run again that has ended. The same order again is accepted again, and changes nothing.
    pub(super) async fn rerun(
        &mut self,
        run: RunId,
        of: &RunId,
        again: &Again,
        reply: Option<ReplyTo>,
        source: Source,
    ) -> Result<(), Error> {
        let content = Digest::of(format!("rerun {of} {again:?}").as_bytes());
        match self.content(&run).await? {
            Some(known) if known == content => return self.accept_again(&run, reply, source).await,
            Some(_) => {
                let message = format!("a run {run} exists, and is no such rerun of {of}");
                self.refuse(Rejection::new("id_conflict", message).of(&run), reply.as_ref(), source);
                return Ok(());
            }
            None => {}
        }
        let head = self.desk.store.heads(std::slice::from_ref(of)).await?.remove(of);
        let Some(head) = head else { return self.refuse_unknown(of, reply.as_ref(), source) };
        let (facts, known) = match desk::history(&self.desk.store, &self.desk.programs, of, &head).await {
            Ok(read) => read,
            Err(desk::Error::Store(error)) => return Err(error.into()),
            Err(error @ desk::Error::History { .. }) => {
                self.refuse(Rejection::new("history_unreadable", error.to_string()).of(of), reply.as_ref(), source);
                return Ok(());
            }
        };
        let heir = Heir { run: run.clone(), reply: reply.clone() };
        let made = again::rerun(known.program.workflow(), &facts, heir, again, self.as_of());
        let busy = |made: &(Run, Step)| made.0.exclusive().is_some_and(|key| self.desk.lines.is_busy(key));
        match made {
            Ok(made) if busy(&made) => {
                let message = "a run that excludes this one lives: wait for its end";
                self.refuse(Rejection::new("exclusive_busy", message).of(of), reply.as_ref(), source);
            }
            Ok(made) => {
                if let Some(key) = made.0.exclusive() {
                    self.desk.lines.join(key, &run);
                }
                self.found(known, content, made, reply.as_ref()).await?;
                self.settle(source, letters::accepted(&run, false));
            }
            Err(failure) => {
                let rejection = Rejection::new(&failure.code, failure.message).of(of);
                self.refuse(rejection, reply.as_ref(), source);
            }
        }
        Ok(())
    }

    fn refuse_unknown(&mut self, run: &RunId, reply: Option<&ReplyTo>, source: Source) -> Result<(), Error> {
        match source {
            Source::Call(asker) => self.answers.push((asker, Err(Refusal::NoRun(run.clone())))),
            Source::Delivery(..) | Source::Own => {
                let rejection = Rejection::new("run_unknown", format!("there is no run {run}")).of(run);
                self.refuse(rejection, reply, source);
            }
        }
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
            return self.refuse_unknown(run, reply, source);
        }
        if let Some(rejection) = self.objection(run, &input) {
            self.refuse(rejection.of(run), reply, source);
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

    /// Why an order means nothing to its run any more. A cancel never does: what it asks for has come.
    fn objection(&self, run: &RunId, input: &machine::Input) -> Option<Rejection> {
        let live = self.desk.live.get(run).map(|live| &live.run);
        match (input, live) {
            (machine::Input::Cancel { .. }, _) => None,
            (_, None) => Some(Rejection::new("run_ended", format!("the run {run} has ended"))),
            (machine::Input::Signal(_), Some(live)) if !live.takes_signals() => {
                let message = format!("the run {run} has got {SIGNALS_MAX} signals, as many as one may");
                Some(Rejection::new("too_many_signals", message))
            }
            (_, Some(_)) => None,
        }
    }
}
