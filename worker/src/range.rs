//! A range of items: as many at once as there are free slots, reported when they are done, and after a second at most.

mod report;

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use engine::value::Value;
use futures_util::{StreamExt, stream::FuturesUnordered};
use proto::{failure::Failure, id::ItemIndex, work::Range};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use self::report::{Done, Ended, send};
pub(crate) use self::report::{all_failed, error_entry};
use crate::{
    attempt::Try,
    blocking,
    perform::Assignment,
    revoked::Guard,
    station::{Killed, Station},
};

/// After so long a range hands back what is not begun, so that slow items end up travelling alone; and so often it
/// reports what is done, so that a crash redoes little.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Results, in bytes of JSON, above which a range reports before its time, and begins nothing until that is done.
const REPORT_ABOVE_BYTES: usize = 4 * 1024 * 1024;

/// One item's end. The permit goes with it.
struct Finished {
    index: ItemIndex,
    ended: Result<Ended, Killed>,
    permit: OwnedSemaphorePermit,
}

/// Runs the items of a range. `own` is the slot that the delivery has; further ones are borrowed while they are idle.
///
/// A kill does not lose what is done: that is reported, and what was killed is handed back like what was not begun.
pub(crate) async fn perform(
    station: &Arc<Station>,
    assignment: &Assignment<'_>,
    guard: &Guard,
    own: OwnedSemaphorePermit,
) -> Result<(), Killed> {
    let work = assignment.work;
    let Some(range) = &work.range else { return Ok(()) };
    let values = match read(range).await {
        Ok(values) => values,
        Err(failure) => return station.send(work.shard, &work.key, 0, all_failed(range, &failure)).await,
    };
    let parts = AtomicU32::new(0);
    let mut waiting = range.items.iter().zip(values).peekable();
    let mut running = FuturesUnordered::new();
    // At most one at a time, beside the items: an upload that takes long must not hold them up.
    let mut reporting = FuturesUnordered::new();
    let mut done = Done::default();
    let mut idle = Some(own);
    let mut next_report = Instant::now() + REPORT_EVERY;
    let mut is_intake_over = false;
    let mut is_due = false;
    loop {
        if !is_intake_over && (station.stop.is_cancelled() || station.revoked.contains(work)) {
            (is_intake_over, is_due) = (true, true);
        }
        if is_intake_over {
            waiting.by_ref().for_each(|(index, _)| done.hand_back(index));
        }
        while done.bytes() <= REPORT_ABOVE_BYTES && waiting.peek().is_some() {
            let Some(permit) = idle.take().or_else(|| station.slots.clone().try_acquire_owned().ok()) else { break };
            let (index, item) = waiting.next().expect("just peeked");
            running.push(run_item(station, assignment, guard, index, item, permit));
        }
        if waiting.peek().is_none() {
            // Its slot goes back while the rest of the range runs on.
            idle = None;
            if running.is_empty() && reporting.is_empty() {
                break;
            }
        }
        // What is left at the end is reported behind the loop.
        let is_end = running.is_empty() && waiting.peek().is_none();
        if (is_due || done.bytes() > REPORT_ABOVE_BYTES) && reporting.is_empty() && !is_end {
            reporting.push(send(station, work, &parts, std::mem::take(&mut done)));
            is_due = false;
        }
        // Everything here is cancel safe: items and reports stay in their sets.
        tokio::select! {
            Some(Finished { index, ended, permit }) = running.next() => {
                idle = Some(permit);
                done.add(index, ended);
            }
            Some(told) = reporting.next() => told?,
            () = sleep_until(next_report) => {
                (is_intake_over, is_due) = (true, true);
                next_report = Instant::now() + REPORT_EVERY;
            }
            () = station.stop.cancelled(), if !is_intake_over => {}
        }
    }
    send(station, work, &parts, done).await
}

pub(crate) async fn read(range: &Range) -> Result<Vec<Value>, Failure> {
    let json = range.values.clone();
    let items = range.items.len() as usize;
    let unreadable = |why: String| Failure::new("items_unreadable", why);
    let bytes = json.as_bytes().len();
    let values = blocking::sized(bytes, move || Value::from_json(json.as_bytes())).await;
    let values = values.map_err(|error| unreadable(error.to_string()))?;
    let values: Vec<Value> = values.as_list().ok_or_else(|| unreadable("the items are no list".into()))?.collect();
    match values.len() == items {
        true => Ok(values),
        false => Err(unreadable(format!("{} values for {items} items", values.len()))),
    }
}

async fn run_item(
    station: &Station,
    assignment: &Assignment<'_>,
    guard: &Guard,
    index: ItemIndex,
    item: Value,
    permit: OwnedSemaphorePermit,
) -> Finished {
    let Assignment { work, program, task, scope, secrets, .. } = assignment;
    station.metrics.context_clones.inc();
    let attempt = Try {
        program,
        task: task.expect("a range belongs to a task: work of phase `act` without one is refused"),
        scope: &scope.clone().with_item(item.clone(), index),
        secrets,
        key: &work.key,
        item: Some(index),
        attempt: work.attempt,
        retries: work.retries,
        limit: assignment.limit(station),
        cancel: &guard.cancel,
    };
    let ended = match station.attempt(&attempt).await {
        Ok(mut attempted) => {
            let again = attempted.retried(&attempt).await;
            Ok(Ended { item, attempted, again })
        }
        Err(Killed) => Err(Killed),
    };
    Finished { index, ended, permit }
}
