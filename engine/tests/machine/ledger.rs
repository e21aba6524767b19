//! What comes from outside, entered into the book.

use std::time::Duration;

use leveret_engine::machine::ChildEnd;
use proto::{
    id::{Instance, ItemIndex},
    limits::NESTING_MAX,
    outcome::{ItemsReport, OutputReport, Report, RunPrepared, Settlement},
    work::{Phase, RunStatus, Status, WorkKey},
};
use serde_json::{Value, json};

use super::{
    book::{Book, End, Own, Stage},
    fan::Fan,
    flow::{Delay, Kind},
    seen::value_of,
    whole::run_id,
    worker::item_bytes,
};

/// Whether the book waits for an answer to `key`. Which of the same phase was the last to leave is the world's to know.
pub fn waits_for(book: &Book<'_>, key: &WorkKey) -> bool {
    let Some((_, Instance(id))) = key.task else { return book.own_is_sent && book.phase(None) == Some(key.phase) };
    match book.live.get(&id).map(|branch| (&branch.at, branch.is_sent)) {
        Some((Stage::Items(fan), _)) => key.phase == Phase::Act && !fan.owed(key.serial).is_empty(),
        Some((_, is_sent)) => is_sent && book.phase(Some(id)) == Some(key.phase),
        None => false,
    }
}

/// Whether a report on work that is waited for says anything new.
pub fn is_news(book: &Book<'_>, key: &WorkKey, report: &Report) -> bool {
    let Some((_, Instance(id))) = key.task else { return true };
    match (&book.live[&id].at, report) {
        (Stage::Items(fan), Report::Items(report)) => fan.is_news(key.serial, report),
        _ => true,
    }
}

/// Enters a report that is news.
pub fn reported(book: &mut Book<'_>, key: &WorkKey, report: &Report) {
    let Some((_, Instance(id))) = key.task else { return own(book, report) };
    let task = book.live[&id].task;
    match (&mut book.branch(id).at, report) {
        (Stage::Items(_), Report::Items(report)) => items_reported(book, id, key.serial, report),
        (Stage::Items(fan), Report::Unable(failure)) => {
            fail_all(fan, key.serial, &failure.code);
            book.look_at_items(id);
        }
        (Stage::Acting, Report::Acted(acted)) => book.acted(id, acted),
        (Stage::Settling { asks_retry: true, end, .. }, Report::Acted(acted)) => {
            let known = end.clone();
            book.asked(id, known, acted);
        }
        (Stage::Acting, Report::Called(_)) => called(book, id, key.serial),
        (Stage::Preparing, Report::TaskPrepared(prepared)) => book.prepared(id, prepared),
        (Stage::Listing, Report::Listed(_)) => {
            let Kind::Items { count, concurrency, tolerate, stops } = book.flow.steps[task].kind else {
                panic!("no items")
            };
            book.listed(id, Fan::new(item_bytes(count), concurrency, tolerate, stops));
        }
        (Stage::Settling { end, .. }, Report::Settled(settlement)) => {
            let end = end.clone();
            book.settled(id, end, settlement);
        }
        (Stage::Settling { end, .. }, Report::Unable(failure)) => {
            let end = end.clone();
            book.unsettled(id, end, &failure.code);
        }
        (Stage::Preparing | Stage::Listing | Stage::Acting, Report::Unable(failure)) => {
            book.end_unasked(id, End::bare(Status::Failed, Some(&failure.code)));
        }
        (_, Report::HandedBack) => handed_back(book, id),
        (at, report) => panic!("{report:?} for {at:?}"),
    }
}

/// The work goes out again, unless the run closes.
fn handed_back(book: &mut Book<'_>, id: u32) {
    book.branch(id).is_sent = book.left.contains(&id);
    if book.is_closed(id) {
        let end = End::bare(Status::Canceled, Some("not_started"));
        book.settled(id, end, &Settlement::default());
    }
}

/// A child of a task without items is to be started.
fn called(book: &mut Book<'_>, id: u32, serial: u32) {
    if book.is_closed(id) {
        book.end_unasked(id, End::bare(Status::Canceled, Some("not_started")));
    } else if book.flow.depth() >= NESTING_MAX {
        book.end_unasked(id, End::bare(Status::Failed, Some("nested_too_deep")));
    } else {
        let child = run_id().child(Instance(id), serial, None);
        book.spawned.insert(child.clone());
        book.enter(id, Stage::Called(child));
    }
}

fn items_reported(book: &mut Book<'_>, id: u32, serial: u32, report: &ItemsReport) {
    let (now, is_closed, depth) = (book.now, book.is_closed(id), book.flow.depth());
    let Stage::Items(fan) = &mut book.branch(id).at else { panic!("{id} has no items") };
    let owed = fan.owed(serial);
    let called: Vec<u32> = report.called.iter().map(|(item, _)| item.0).filter(|item| owed.contains(item)).collect();
    if !called.is_empty() && is_closed {
        fan.come_back(serial);
    } else if !called.is_empty() && depth >= NESTING_MAX {
        fail_all(fan, serial, "nested_too_deep");
    } else {
        fan.call(serial, &called);
        fan.report(serial, report, now);
        let child = |item: u32| run_id().child(Instance(id), serial, Some(ItemIndex(item)));
        book.spawned.extend(called.into_iter().map(child));
    }
    book.look_at_items(id);
}

fn fail_all(fan: &mut Fan, serial: u32, code: &str) {
    for item in fan.owed(serial) {
        fan.fail(item, json!({ "error": { "code": code }, "index": item, "item": null }));
    }
}

/// A child that lives has ended.
pub fn child_ended(book: &mut Book<'_>, end: &ChildEnd) {
    let Instance(id) = end.parent.instance;
    let code = end.failure.as_ref().map(|failure| failure.code.as_str());
    let is_late = end.parent.timeout_ms.is_some() && code == Some("timed_out");
    let status = match end.status {
        RunStatus::Succeeded => Status::Succeeded,
        RunStatus::Canceled => Status::Canceled,
        _ if is_late => Status::TimedOut,
        _ => Status::Failed,
    };
    let output = value_of(&end.output);
    let details = json!({ "output": output, "run": end.run.as_str(), "status": end.status.as_str() });
    let error = code.map(|code| json!({ "code": code, "details": details }));
    match end.parent.item {
        None => {
            let result = error.is_none().then_some(output);
            only_child_ended(book, id, End { status, error, result });
        }
        Some(item) => child_of_item_ended(book, id, item.0, output, error),
    }
}

fn only_child_ended(book: &mut Book<'_>, id: u32, end: End) {
    let is_retried = book.flow.steps[book.live[&id].task].is_retried();
    match is_retried && !book.is_closed(id) {
        true => book.settle(id, end, true),
        false => book.end_unasked(id, end),
    }
}

fn child_of_item_ended(book: &mut Book<'_>, id: u32, item: u32, output: Value, error: Option<Value>) {
    let step = &book.flow.steps[book.live[&id].task];
    let due = book.now.plus(Duration::from_millis(step.item_delay_ms()));
    let is_closed = book.is_closed(id);
    let Stage::Items(fan) = &mut book.branch(id).at else { panic!("{id} has no items") };
    match error {
        None => fan.succeed(item, output),
        Some(_) if !is_closed && fan.retries(item) < step.retries => fan.try_again(item, due),
        // The machine does not have the item itself at hand.
        Some(error) => fan.fail(item, json!({ "error": error, "index": item, "item": item })),
    }
    book.look_at_items(id);
}

fn own(book: &mut Book<'_>, report: &Report) {
    match (book.own, report) {
        (Own::Preparing, Report::RunPrepared(RunPrepared { vars, timeout_ms, concurrency })) => {
            let vars = vars.iter().map(|(key, value)| (key.to_string(), value_of(value))).collect();
            let timeout_ms = timeout_ms.filter(|_| book.flow.timeout == Delay::Evaluated);
            book.begin(vars, timeout_ms, *concurrency);
        }
        (Own::Preparing, Report::Unable(failure)) => book.fail(failure.code.clone()),
        (Own::Output, Report::Unable(failure)) => book.finish(Value::Null, Some(failure.code.clone())),
        (Own::Output, Report::Output(OutputReport { value, left_out })) => {
            book.finish(value_of(value), left_out.first().map(|failure| failure.code.clone()));
        }
        (_, Report::HandedBack) => book.own_is_sent = false,
        (own, report) => panic!("{report:?} for {own:?}"),
    }
}

/// The broker gave up a message that is waited for.
pub fn lost(book: &mut Book<'_>, key: &WorkKey) {
    let Some((_, Instance(id))) = key.task else {
        return match book.own {
            Own::Output => book.finish(Value::Null, Some("poison".into())),
            _ => book.fail("poison".into()),
        };
    };
    match &mut book.branch(id).at {
        Stage::Items(fan) => {
            fan.lose(key.serial);
            book.look_at_items(id);
        }
        Stage::Settling { end, .. } => {
            let end = end.clone();
            book.unsettled(id, end, "poison");
        }
        _ => book.end_unasked(id, End::bare(Status::Crashed, Some("poison"))),
    }
}
