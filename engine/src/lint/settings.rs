//! Settings that do nothing, or more than a broker allows.

use std::time::Duration;

use super::{Lint, warn};
use crate::{
    diagnostic::Diagnostics,
    parse::places::Spot,
    spec::{Call, DurationField, Items, OnItemError, Parameter, Task, Workflow},
};

/// 80 % of the 30 minutes after which RabbitMQ, as it comes, takes a delivery away from its consumer.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60);

/// The action that does nothing, of tasks that only wait.
const NOTHING: &str = "core.noop";

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    for (index, task) in lint.workflow.indexed() {
        let spot = lint.places.task(index);
        check_timeout(task, spot, found);
        if let Some(items) = &task.items {
            check_items(task, items, spot, found);
        }
    }
    check_exclusive(lint, found);
}

/// Of a parameter that was left out there is nothing to compare: all runs without it count as equal.
fn check_exclusive(lint: &Lint<'_>, found: &mut Diagnostics) {
    let Workflow { parameters, exclusive, .. } = lint.workflow;
    for (at, name) in exclusive.iter().enumerate() {
        let is_optional = |parameter: &&Parameter| !parameter.required && parameter.default.is_none();
        let Some(parameter) = parameters.iter().filter(is_optional).find(|parameter| parameter.name == *name) else {
            continue;
        };
        let message = format!("`exclusive` compares `{}`, which a job may leave out", parameter.name);
        let help = "make it `required`, or give it a `default`: runs that leave it out wait for each other";
        let place = lint.places.root().at("exclusive").at(&at.to_string()).value();
        warn(found, "exclusive_may_be_undefined", place, message, help);
    }
}

fn check_timeout(task: &Task, spot: Spot<'_>, found: &mut Diagnostics) {
    let Some(DurationField::Known(timeout)) = task.timeout else { return };
    // A child run is no delivery, and while a task waits there is none.
    let is_delivered = match &task.call {
        Call::Action(action) => task.wait_for.is_none() || action != NOTHING,
        Call::Workflow(_) => false,
    };
    if !is_delivered {
        return;
    }
    if timeout > TIMEOUT_MAX {
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
        if items.on_error == OnItemError::Stop {
            let message = format!("`tasks.{}.on_item_error: stop` never stops: every item may fail", task.name);
            let help = "lower `tolerate`: once more than that have failed, no further item begins";
            warn(found, "stop_never", spot.at("on_item_error").value(), message, help);
        }
    }
}
