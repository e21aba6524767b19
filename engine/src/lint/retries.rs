//! Retries that never come, or that never help.

use std::time::Duration;

use super::{
    Lint,
    statuses::{self, Statuses},
    warn,
};
use crate::{
    diagnostic::Diagnostics,
    parse::places::Spot,
    spec::{Backoff, DurationField, Retry, Target, Task, TaskIndex, When},
};

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    for (index, task) in lint.workflow.indexed() {
        if let Some(retry) = &task.retry {
            check_retry(task, retry, lint.places.task(index).at("retry"), found);
        }
        check_targets(lint, index, task, found);
    }
}

/// Transitions that say `do: retry`.
fn check_targets(lint: &Lint<'_>, index: TaskIndex, task: &Task, found: &mut Diagnostics) {
    let again = task.next.iter().enumerate().filter(|(_, transition)| transition.targets.contains(&Target::Retry));
    for (at, transition) in again {
        let place = lint.transition(index, at).at("do").value();
        if is_never(task.retry.as_ref()) {
            let message = format!("`do: retry` of `{}` never tries again: `retry.count` is 0", task.name);
            warn(found, "retry_never", place, message, "raise `count`, or leave `retry` out: then it is 3");
        }
        let is_of_success = match &transition.when {
            When::Outcome(_) => statuses::must(&transition.when).includes(Statuses::SUCCEEDED),
            When::Expression(_) => false,
        };
        if is_of_success && transition.publish.is_empty() {
            let message = format!(
                "`{}` is started again after every success, whatever came out, until it may no more; then the run fails",
                task.name
            );
            let help = "ask the result: `when: succeeded() and result.state != 'ready'`";
            warn(found, "retry_of_success", place, message, help);
        }
    }
}

fn is_never(retry: Option<&Retry>) -> bool {
    retry.and_then(|retry| retry.count.literal()).is_some_and(|count| count.as_str() == "0")
}

fn check_retry(task: &Task, retry: &Retry, spot: Spot<'_>, found: &mut Diagnostics) {
    let name = format!("tasks.{}.retry", task.name);
    if is_never(Some(retry)) && !task.says_retry() {
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
