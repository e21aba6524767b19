//! A turn: what is ready is read, decided, written in one transaction, and only then acknowledged and acted on.
//!
//! The one place that writes runs. When anything fails before the commit is known to stand, the turn forgets every
//! run that it touched and leaves its inputs with the broker: they come again. Since a commit whose answer was lost may
//! stand all the same, what it would have written is noted as a [`Doubt`], and read from the store before the next turn.
//!
//! `read` understands inputs, `admit` jobs and orders, `post` writes letters, `tick` what schedules start, `stand` the commit and what it
//! allows.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use engine::machine::{
    self, Command, News, Now, Timer,
    fact::{Accepted, Fact},
};
use proto::{
    codec,
    control::Control,
    id::{Digest, RunId},
    job::Answer,
    outcome::Claim,
    time::Timestamp,
    work::WorkKey,
};
use queue::{Content, Delivery, Publication, Routing};
use tokio::sync::oneshot;

use crate::{
    call::Refusal,
    desk::{self, Desk},
    dispatch,
    intake::Rejection,
    intern,
    metrics::Count,
    outbox::{Envelope, Row},
    programs::Names,
    recover::Doubt,
    store::{self, Commit, RunWrite},
};

mod admit;
mod post;
mod read;
mod stand;
mod tick;

pub(crate) use read::{Input, Own};
use read::{Origin, Source, Todo};
pub(crate) use stand::ready_envelope;
pub(crate) use tick::{Change, Changed};

/// An answered call: whoever asks, and what it is told once the commit stands.
type Answered = (oneshot::Sender<Result<Answer, Refusal>>, Result<Answer, Refusal>);

/// Why a turn did not come to stand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store refused or did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A message could not be written.
    #[error(transparent)]
    Dispatch(#[from] dispatch::Error),
}

impl Error {
    /// Whether the same turn may stand later: the store did not answer, or had no room.
    pub(crate) fn is_passing(&self) -> bool {
        let store = match self {
            Self::Store(error) | Self::Dispatch(dispatch::Error::Store(error)) => error,
            Self::Dispatch(_) => return false,
        };
        matches!(store, store::Error::Unavailable(_) | store::Error::Full(_))
    }
}

/// What one run asks of another.
enum Other {
    /// A child run is to be accepted.
    Spawn(Box<Accepted>),
    /// Something happened to a run.
    Step(RunId, Box<machine::Input>),
}

/// One turn under way.
struct Turn<'d> {
    desk: &'d mut Desk,
    /// What may be in the store only, or in memory only, should the turn fail.
    doubt: &'d mut Doubt,
    now: Timestamp,
    heads: HashMap<RunId, store::Head>,
    /// What the names stand for that jobs of this turn give.
    names: Names,
    /// Values that messages of this turn name and the store does not have.
    absent: HashSet<Digest>,
    writes: HashMap<RunId, RunWrite>,
    /// Runs in the order in which they were first written.
    order: Vec<RunId>,
    commit: Commit,
    dispatches: Vec<(RunId, WorkKey)>,
    envelopes: Vec<Envelope>,
    /// Letters of each run.
    posts: BTreeMap<RunId, post::Post>,
    /// Rows for the outbox by key: the store takes each once.
    rows: HashMap<String, usize>,
    /// What becomes of each timer: armed for a time, or disarmed.
    timers: BTreeMap<(RunId, Timer), Option<Timestamp>>,
    /// What becomes of schedules.
    ticked: tick::Ticked,
    deliveries: Vec<Delivery>,
    answers: Vec<Answered>,
    /// What steps so far have asked of other runs: the same commit has it.
    others: VecDeque<Other>,
    /// What the loop is to take up next.
    next: Vec<Own>,
    counts: Vec<Count>,
}

impl Desk {
    /// Handles `inputs` as one turn.
    ///
    /// # Errors
    /// When the store does not take it: nothing of it stands then, as far as this process knows.
    pub(crate) async fn turn(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
        let sent = self.outbox.take_sent();
        let own: Vec<Own> = inputs.iter().filter_map(Input::own).collect();
        let mut doubt = Doubt::default();
        let turned = match self.settle_doubt().await {
            Ok(()) => self.try_turn(inputs, &sent, &mut doubt).await,
            Err(error) => Err(error),
        };
        if turned.is_err() {
            self.forget(doubt);
            self.outbox.put_back(sent);
            own.into_iter().for_each(|own| self.take_up(own));
        }
        turned
    }

    async fn try_turn(&mut self, inputs: Vec<Input>, sent: &[String], doubt: &mut Doubt) -> Result<(), Error> {
        self.metrics.turns.inputs.observe(inputs.len() as f64);
        let now = self.now();
        let mut found = intern::Found::default();
        let todos: Vec<Todo> = inputs.into_iter().map(|input| read::read(input, &self.topology, &mut found)).collect();
        doubt.runs.extend(todos.iter().flat_map(Todo::runs).cloned());
        doubt.runs.extend(todos.iter().filter_map(Todo::schedule).flat_map(|name| self.runs_of_ticks(name, now)));
        let heads = self.load(doubt.runs.iter().cloned().collect()).await?;
        let names = self.programs.registered(todos.iter().filter_map(Todo::workflow).collect()).await?;
        let absent = self.absent(&found).await?;
        let commit = Commit { outbox_remove: sent.to_vec(), values: found.fresh, ..Commit::default() };
        let mut turn = Turn {
            desk: self,
            doubt,
            now,
            heads,
            names,
            absent,
            writes: HashMap::new(),
            order: Vec::new(),
            commit,
            dispatches: Vec::new(),
            envelopes: Vec::new(),
            posts: BTreeMap::new(),
            rows: HashMap::new(),
            timers: BTreeMap::new(),
            ticked: tick::Ticked::default(),
            deliveries: Vec::new(),
            answers: Vec::new(),
            others: VecDeque::new(),
            next: Vec::new(),
            counts: Vec::new(),
        };
        for todo in todos {
            turn.take(todo).await?;
            turn.tell_others().await?;
        }
        turn.write_letters();
        turn.write_work().await?;
        turn.write_runs();
        turn.write_timers();
        turn.write_schedules();
        turn.store().await?;
        turn.act();
        Ok(())
    }

    /// Values that messages name and that neither the store has nor this turn brings.
    async fn absent(&self, found: &intern::Found) -> Result<HashSet<Digest>, store::Error> {
        if found.named.is_empty() {
            return Ok(HashSet::new());
        }
        let mut absent: HashSet<Digest> = self.store.absent_values(&found.named).await?.into_iter().collect();
        absent.retain(|digest| found.fresh.iter().all(|(fresh, _)| fresh != digest));
        Ok(absent)
    }

    /// Lets go of what a failed turn may have changed in memory only, or in the store only.
    fn forget(&mut self, doubt: Doubt) {
        doubt.runs.iter().for_each(|run| drop(self.live.remove(run)));
        self.dispatch.forget();
        self.lines.clear();
        self.doubt.get_or_insert_default().absorb(doubt);
    }
}

impl Turn<'_> {
    async fn take(&mut self, todo: Todo) -> Result<(), Error> {
        match todo {
            Todo::Accept { run, job, reply, source } => self.accept(run, *job, reply, source).await?,
            Todo::Step { run, source, .. } | Todo::Order { run, source, .. } | Todo::Rerun { of: run, source, .. }
                if self.desk.unreadable.contains(&run) =>
            {
                let message = format!("the history of {run} cannot be read; the log says why");
                self.refuse(Rejection::new("history_unreadable", message).of(&run), None, source);
            }
            Todo::Step { run, input, named, source } => {
                self.step(&run, input, &named).await?;
                self.acknowledge(source);
            }
            Todo::Rerun { run, of, again, reply, source } => self.rerun(run, &of, &again, reply, source).await?,
            Todo::Order { run, input, reply, source } => self.order_run(&run, input, reply.as_ref(), source).await?,
            Todo::Refuse { rejection, reply, source } => self.refuse(rejection, reply.as_ref(), source),
            Todo::Lost { key } => {
                self.commit.outbox_remove.push(key.to_string());
                self.step(&key.run.clone(), machine::Input::Undeliverable(key), &[]).await?;
            }
            Todo::Tick { schedule } => self.tick(&schedule).await?,
            Todo::Change { change, asker } => self.change(change, asker),
            Todo::Beat { heartbeat, source } => {
                self.desk.workers.heard(heartbeat, self.now);
                self.acknowledge(source);
            }
        }
        Ok(())
    }

    /// Steps the run, if it lives. A report that names values which are not there counts as work handed back.
    async fn step(&mut self, id: &RunId, mut input: machine::Input, named: &[Digest]) -> Result<(), Error> {
        if named.iter().any(|digest| self.absent.contains(digest))
            && let machine::Input::Report(key, report) = input
        {
            tracing::warn!(%key, "the report names a value that the store does not have: the work is sent again");
            drop(report);
            input = machine::Input::Report(key, proto::outcome::Report::HandedBack);
        }
        if let machine::Input::Timer(timer) = &input {
            self.timers.insert((id.clone(), *timer), None);
        }
        let now = Now { at: self.now, flights_max: self.desk.workers.flights_max() };
        let Some(live) = self.desk.live.get_mut(id) else {
            if let machine::Input::Claim(Claim { key, .. }) = input {
                self.broadcast(&Control::Claimed { key, nonce: String::new() });
            }
            self.counts.push(Count::Duplicate);
            return Ok(());
        };
        self.doubt.runs.insert(id.clone());
        let step = machine::step(live.known.program.workflow(), &mut live.run, input, now);
        self.apply(id, step).await
    }

    /// Takes over what a step decided.
    async fn apply(&mut self, id: &RunId, step: machine::Step) -> Result<(), Error> {
        if step.facts.is_empty() && step.commands.is_empty() {
            self.counts.push(Count::Duplicate);
            return Ok(());
        }
        self.record(id, &step.facts);
        self.carry_out(id, step.commands).await?;
        self.hand_on_turn(id);
        Ok(())
    }

    /// Something happened to another run, in the same commit.
    fn tell(&mut self, run: RunId, input: machine::Input) {
        self.others.push_back(Other::Step(run, Box::new(input)));
    }

    /// Carries out what runs have asked of each other, until nothing is left to ask.
    async fn tell_others(&mut self) -> Result<(), Error> {
        while let Some(other) = self.others.pop_front() {
            match other {
                Other::Spawn(accepted) => self.spawn(*accepted).await?,
                Other::Step(run, input) => self.step(&run, *input, &[]).await?,
            }
        }
        Ok(())
    }

    /// A run that has ended lets the next one begin that it excluded.
    fn hand_on_turn(&mut self, id: &RunId) {
        let Some(run) = self.desk.live.get(id).map(|live| &live.run) else { return };
        if let (Some(key), Some(_)) = (run.exclusive(), run.finished())
            && let Some(next) = self.desk.lines.leave(key, id)
        {
            self.tell(next, machine::Input::Admit);
        }
    }

    async fn carry_out(&mut self, id: &RunId, commands: Vec<Command>) -> Result<(), Error> {
        // A run that passes through several statuses in one step is seen in the last of them only: so is its event.
        let is_status = |command: &Command| matches!(command, Command::Announce(News::Run));
        let last_status = commands.iter().rposition(is_status);
        for (position, command) in commands.into_iter().enumerate() {
            if !is_status(&command) || Some(position) == last_status {
                self.command(id, position, command).await?;
            }
        }
        Ok(())
    }

    fn record(&mut self, id: &RunId, facts: &[Fact]) {
        let live = &self.desk.live[id];
        let shard = self.desk.shard_of(id);
        let new = u32::try_from(facts.len()).expect("a step has few facts");
        let write = self.writes.entry(id.clone()).or_insert_with(|| {
            self.order.push(id.clone());
            RunWrite {
                id: id.clone(),
                shard,
                created: None,
                first_seq: live.run.facts() - new,
                facts: Vec::new(),
                status: live.run.status(),
                error: None,
                finished_at: None,
                value_refs: Vec::new(),
            }
        });
        for fact in facts {
            write.facts.push(Bytes::from(codec::encode(fact)));
            fact.each_stored(&mut |stored| write.value_refs.push(stored.digest));
        }
    }

    async fn command(&mut self, id: &RunId, position: usize, command: Command) -> Result<(), Error> {
        match command {
            Command::Dispatch(key) => self.dispatches.push((id.clone(), key)),
            Command::Arm(timer, due) => {
                self.timers.insert((id.clone(), timer), Some(due));
            }
            Command::Disarm(timer) => {
                self.timers.insert((id.clone(), timer), None);
            }
            Command::Broadcast(control) => self.broadcast(&control),
            Command::Continue => self.next.push(Own::Continue(id.clone())),
            Command::Announce(news) => self.announce(id, position, &news).await?,
            Command::Spawn(accepted) => self.others.push_back(Other::Spawn(accepted)),
            Command::Child(child, order) => self.tell(child, ordered(id, order)),
            Command::Parent(end) => {
                self.tell(end.parent.run.clone(), machine::Input::ChildEnded(*end));
            }
            Command::Enqueue(key) => {
                if self.desk.lines.join(key, id) {
                    self.tell(id.clone(), machine::Input::Admit);
                }
            }
        }
        Ok(())
    }

    /// Best effort: a message that is lost here costs work that nobody wants, never state.
    fn broadcast(&mut self, control: &Control) {
        let publication = Publication {
            exchange: self.desk.topology.control_exchange(),
            routing_key: String::new(),
            body: codec::encode(control).into(),
            content: Content::Json,
            message_id: None,
            kind: Some("control".into()),
            correlation_id: None,
            reply_to: None,
            headers: Default::default(),
            routing: Routing::BestEffort,
        };
        self.envelopes.push(Envelope::new(&Row::default(), publication, None));
    }
}

/// What a parent's order is to its child.
fn ordered(parent: &RunId, order: machine::Order) -> machine::Input {
    match order {
        machine::Order::Cancel => machine::Input::Cancel { reason: Some(format!("its parent {parent} ends")) },
        machine::Order::Pause => machine::Input::Pause { reason: Some(format!("its parent {parent} rests")) },
        machine::Order::Resume => machine::Input::Resume,
    }
}

impl From<desk::Error> for Error {
    fn from(error: desk::Error) -> Self {
        match error {
            desk::Error::Store(error) => Self::Store(error),
            desk::Error::History { run, why } => {
                Self::Store(store::Error::Broken(format!("history of {run}: {why}").into()))
            }
        }
    }
}
