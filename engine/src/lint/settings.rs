//! Settings of a task that do nothing, or more than a broker allows.

use std::time::Duration;

use super::{
    Lint,
    statuses::{self, Statuses},
    warn,
};
use crate::{
    diagnostic::Diagnostics,
    parse::places::Spot,
    spec::{Backoff, DurationField, Items, Retry, Task},
};

/// 80 % of the 30 minutes after which RabbitMQ, as it comes, takes a delivery away from its consumer.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60);

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    for (index, task) in lint.workflow.indexed() {
        let spot = lint.places.task(index);
        check_timeout(task, spot, found);
        if let Some(items) = &task.items {
            check_items(task, items, spot, found);
        }
        if let Some(retry) = &task.retry {
            check_retry(task, retry, spot.at("retry"), found);
        }
    }
}

fn check_timeout(task: &Task, spot: Spot<'_>, found: &mut Diagnostics) {
    let Some(DurationField::Known(timeout)) = task.timeout else { return };
    // No delivery waits for a child run.
    if timeout > TIMEOUT_MAX && task.action().is_some() {
        let message = format!(
            "`tasks.{}.timeout` is longer than RabbitMQ lets a delivery be worked on: 30 minutes, unless it is told otherwise",
            task.name
        );
        let help = "set `consumer_timeout` of the broker well above it, in milliseconds, or split the task";
        warn(found, "timeout_over_broker", spot.at("timeout").value(), message, help);
    }
}

fn check_items(task: &Task, items: &Items, spot: Spot<'_>, found: &mut Diagnostics) {
    let tolerate = items.tolerate.as_ref().and_then(|field| field.literal()).map(|json| json.as_str());
    if tolerate == Some("\"100%\"") {
        let message =
            format!("`tasks.{}.tolerate` is 100%: the task succeeds even when every item has failed", task.name);
        let help = "give the share that may fail, or ask `item_errors` in `next`";
        warn(found, "tolerates_all", spot.at("tolerate").value(), message, help);
    }
}

fn check_retry(task: &Task, retry: &Retry, spot: Spot<'_>, found: &mut Diagnostics) {
    let name = format!("tasks.{}.retry", task.name);
    if retry.count.literal().is_some_and(|count| count.as_str() == "0") {
        let help = "`count` is how many attempts follow the first: leave `retry` out, or raise it";
        warn(found, "retry_never", spot.at("count").value(), format!("`{name}` never retries: its `count` is 0"), help);
    }
    let when = spot.at("when").value();
    if statuses::may(&retry.when).is_empty() {
        let message = format!("`{name}` never retries: no outcome fits its condition");
        warn(found, "retry_never", when, message, "leave `when` out to retry what failed");
    } else if statuses::must(&retry.when).includes(Statuses::SUCCEEDED) {
        let message = format!(
            "`{name}.when` holds after a success too: the task is tried until `count` is used up, and then fails"
        );
        let help = "write `failed()`, or ask the result: `failed() or result.json.state != 'ready'`";
        warn(found, "retry_always", when, message, help);
    }
    let delay = match &retry.delay {
        None => Some(Duration::ZERO),
        Some(DurationField::Known(delay)) => Some(*delay),
        Some(DurationField::Evaluated(_)) => None,
    };
    let grows = match retry.backoff {
        Backoff::Constant => false,
        Backoff::Linear | Backoff::Exponential => true,
    };
    if delay == Some(Duration::ZERO) && grows {
        let message = format!("`{name}.backoff` does nothing: there is no delay that could grow");
        warn(found, "backoff_without_delay", spot.at("backoff").value(), message, "add `delay: 1s`");
    }
    if let (Some(delay), Some(DurationField::Known(most))) = (delay, &retry.max_delay)
        && *most < delay
    {
        let message = format!("`{name}.max_delay` is shorter than `delay`, which so has no effect");
        warn(
            found,
            "max_delay_below_delay",
            spot.at("max_delay").value(),
            message,
            "raise `max_delay`, or lower `delay`",
        );
    }
}
