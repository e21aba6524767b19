//! The loop: what is ready becomes one turn. Nothing but waiting happens inside its `select!`.

use std::time::Duration;

use proto::id::Shard;
use queue::{Consumer, Delivery};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::Call,
    desk::Desk,
    gauges,
    health::Health,
    store,
    turn::{self, Input},
};

/// Inputs of one turn at the most.
pub(crate) const TURN_INPUTS_MAX: usize = 512;
/// How long confirmed rows wait for a turn that deletes them on its way.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Pauses after a turn that the store did not take.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a stop waits for the broker to confirm what was committed.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// The longest sleep: an instant farther away than the clock can count must not be asked for.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Why the loop ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the shards now.
    #[error("another scheduler took over: {0}")]
    Fenced(store::Error),
    /// Everything that feeds the loop has ended.
    #[error("the queue's consumers ended")]
    Starved,
}

/// What feeds the loop.
pub(crate) struct Feed {
    pub inputs: mpsc::Receiver<Input>,
    pub calls: mpsc::Receiver<Call>,
    pub stop: CancellationToken,
}

/// What happened while the loop waited.
enum Woken {
    Stop,
    Starved,
    /// Inputs or calls are here, or something is due.
    Ready,
    /// Confirmed rows may be deleted.
    Flush,
    /// The outbox has moved on.
    Flow,
}

/// The loop's own state.
struct Loop {
    feed: Feed,
    inputs: Vec<Input>,
    calls: Vec<Call>,
    flush: tokio::time::Interval,
    pause: Duration,
    /// No turn before this: the store did not take the last one.
    paused_until: Option<Instant>,
    /// Inputs of the next turn at the most. One after a turn that no waiting would have helped: then the input that is to
    /// blame fails alone. It brings nobody nearer to the broker's delivery limit but itself and those that came in one
    /// message with it, which the run has taken in by then.
    inputs_max: usize,
}

/// Runs turns until `stop`, or until the shards belong to someone else.
pub(crate) async fn run(mut desk: Desk, feed: Feed, health: Health) -> Result<(), Error> {
    // Whatever ends the loop ends everything else, and is dropped before the desk is.
    let _stop = feed.stop.clone().drop_guard();
    let mut this = Loop::new(feed);
    loop {
        // With a full outbox or a store that fails, only that is dealt with; calls are answered from memory.
        let is_open = desk.outbox.has_room() && desk.doubt.is_none();
        let woken = match is_open {
            true => this.wait_open(&mut desk).await,
            false => this.wait_closed(&mut desk).await,
        };
        let wanted: Vec<Input> = this.calls.drain(..).filter_map(|call| answer(&mut desk, call)).collect();
        match is_open {
            true => this.inputs.extend(wanted),
            false => wanted.into_iter().for_each(Input::turn_away),
        }
        match woken {
            Woken::Stop => {
                // Whoever asks something now is told that nobody is here.
                drop(this);
                return finish(desk).await;
            }
            Woken::Starved => return Err(Error::Starved),
            Woken::Flow => continue,
            Woken::Ready | Woken::Flush => {}
        }
        if is_open {
            let room = this.inputs_max.saturating_sub(this.inputs.len());
            this.inputs.extend(desk.due(room).into_iter().map(Input::Own));
        }
        let has_rest = desk.doubt.is_some() || matches!(woken, Woken::Flush) && desk.outbox.has_sent();
        if this.paused_until.is_none() && (!this.inputs.is_empty() || has_rest) {
            let turned = desk.turn(std::mem::take(&mut this.inputs)).await;
            health.turned(&turned);
            this.after(&desk, turned)?;
        }
    }
}

impl Loop {
    fn new(feed: Feed) -> Self {
        let mut flush = interval(FLUSH_EVERY);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            feed,
            inputs: Vec::new(),
            calls: Vec::new(),
            flush,
            pause: PAUSE_MIN,
            paused_until: None,
            inputs_max: TURN_INPUTS_MAX,
        }
    }

    async fn wait_open(&mut self, desk: &mut Desk) -> Woken {
        let due = desk.next_due().map(|due| desk.clock.instant(due).min(Instant::now() + SLEEP_MAX));
        let goes_on = !desk.continuing.is_empty() || !desk.lost.is_empty() || !desk.admitted.is_empty();
        // Cancel safe: `recv_many`, `tick`, `cancelled`, sleeps, and the outbox's `flow` (it reserves first).
        tokio::select! {
            () = self.feed.stop.cancelled() => Woken::Stop,
            count = self.feed.inputs.recv_many(&mut self.inputs, self.inputs_max) => self.fed(count),
            count = self.feed.calls.recv_many(&mut self.calls, TURN_INPUTS_MAX) => self.fed(count),
            () = until(due) => Woken::Ready,
            () = std::future::ready(()), if goes_on => Woken::Ready,
            () = desk.outbox.flow() => Woken::Flow,
            _ = self.flush.tick() => Woken::Flush,
        }
    }

    async fn wait_closed(&mut self, desk: &mut Desk) -> Woken {
        // Cancel safe, as above.
        tokio::select! {
            () = self.feed.stop.cancelled() => Woken::Stop,
            count = self.feed.calls.recv_many(&mut self.calls, TURN_INPUTS_MAX) => self.fed(count),
            () = until(self.paused_until) => {
                self.paused_until = None;
                Woken::Ready
            }
            () = desk.outbox.flow() => Woken::Flow,
            _ = self.flush.tick() => Woken::Flush,
        }
    }

    fn fed(&self, count: usize) -> Woken {
        match count {
            // At a stop what feeds us may end before we are told.
            0 if self.feed.stop.is_cancelled() => Woken::Stop,
            0 => Woken::Starved,
            _ => Woken::Ready,
        }
    }

    fn after(&mut self, desk: &Desk, turned: Result<(), turn::Error>) -> Result<(), Error> {
        match turned {
            Ok(()) => {
                self.pause = PAUSE_MIN;
                self.inputs_max = (self.inputs_max * 2).min(TURN_INPUTS_MAX);
            }
            Err(turn::Error::Store(error @ store::Error::Fenced { .. })) => {
                desk.metrics.turns.fenced.inc();
                return Err(Error::Fenced(error));
            }
            Err(error) => {
                tracing::error!(%error, "turn not stored; its inputs come again");
                if !error.is_passing() {
                    self.inputs_max = 1;
                }
                self.paused_until = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
        }
        Ok(())
    }
}

/// Lets what was committed reach the broker, and deletes its rows, so that the next start need not send it again.
async fn finish(mut desk: Desk) -> Result<(), Error> {
    desk.outbox.finish(FINISH_WITHIN).await;
    match desk.turn(Vec::new()).await {
        Ok(()) => Ok(()),
        Err(turn::Error::Store(error @ store::Error::Fenced { .. })) => Err(Error::Fenced(error)),
        Err(error) => {
            tracing::warn!(%error, "what was sent is sent again at the next start");
            Ok(())
        }
    }
}

/// Answers what needs no turn, and makes an input of what does.
fn answer(desk: &mut Desk, call: Call) -> Option<Input> {
    match call {
        Call::Submit { body, answer } => return Some(Input::Submit(body, answer)),
        Call::Command { command, answer } => return Some(Input::Command(command, answer)),
        Call::Schedule { change, answer } => return Some(Input::Schedule(change, answer)),
        Call::View { run, answer } => {
            let view = desk.live.get(&run).map(|live| live.run.view(live.known.program.workflow()));
            let _ = answer.send(view);
        }
        Call::Context { run, answer } => {
            let _ = answer.send(desk.live.get(&run).map(|live| live.run.context()));
        }
        Call::Failed { run, task, answer } => {
            let live = desk.live.get(&run);
            let _ = answer.send(live.map(|live| live.run.item_errors(live.known.program.workflow(), task.as_ref())));
        }
        Call::Waiting { filter, answer } => {
            let _ = answer.send(desk.waiting_for_signals(&filter));
        }
        Call::Watch { run, answer } => desk.answer_watch(run, answer),
        Call::Gauges { answer } => {
            gauges::set(desk);
            let _ = answer.send(());
        }
    }
    None
}

/// Hands what `consumer` receives to the loop, until `stop`; then lets go of what is not taken up.
pub(crate) async fn pump(
    mut consumer: Consumer,
    wrap: fn(Delivery) -> Input,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    loop {
        // `recv` and `cancelled` are cancel safe. A delivery that finds the loop gone goes back when it is dropped.
        tokio::select! {
            () = stop.cancelled() => break,
            delivery = consumer.recv() => match delivery {
                Some(delivery) => if inputs.send(wrap(delivery)).await.is_err() { break },
                None => break,
            }
        }
    }
    consumer.stop().await;
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// How each queue's deliveries become inputs.
pub(crate) fn jobs(delivery: Delivery) -> Input {
    Input::Job(delivery)
}

/// See [`jobs`].
pub(crate) fn outcomes(delivery: Delivery) -> Input {
    Input::Outcome(delivery)
}

/// See [`jobs`].
pub(crate) fn dead(delivery: Delivery) -> Input {
    Input::Dead(delivery)
}

/// Every shard of a store.
pub(crate) fn all_shards(count: u16) -> impl Iterator<Item = Shard> {
    (0..count).map(Shard)
}
