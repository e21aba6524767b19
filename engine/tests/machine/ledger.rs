//! What comes from outside, entered into the book.

use proto::{
    id::Instance,
    outcome::{Report, RunPrepared, Settlement},
    work::{Phase, Status, WorkKey},
};
use serde_json::json;

use super::{
    book::{Book, End, Own, Stage},
    fan::Fan,
    flow::Kind,
    seen::value_of,
    worker::item_bytes,
};

/// Whether the book waits for an answer to `key`. Which of the same phase was the last to leave is the world's to know.
pub fn waits_for(book: &Book<'_>, key: &WorkKey) -> bool {
    let Some((_, Instance(id))) = key.task else { return book.phase(None) == Some(key.phase) };
    match book.live.get(&id).map(|branch| &branch.at) {
        Some(Stage::Items(fan)) => key.phase == Phase::Act && !fan.owed(key.serial).is_empty(),
        _ => book.phase(Some(id)) == Some(key.phase),
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
    let now = book.now;
    let Some((_, Instance(id))) = key.task else { return own(book, report) };
    let task = book.live[&id].task;
    match (&mut book.branch(id).at, report) {
        (Stage::Items(fan), Report::Items(report)) => {
            fan.report(key.serial, report, now);
            book.look_at_items(id);
        }
        (Stage::Items(fan), Report::Unable(failure)) => {
            for item in fan.owed(key.serial) {
                fan.fail(item, json!({ "error": { "code": failure.code }, "index": item, "item": null }));
            }
            book.look_at_items(id);
        }
        (Stage::Acting, Report::Acted(acted)) => book.acted(id, acted),
        (Stage::Preparing, Report::TaskPrepared(prepared)) => book.delay(id, prepared.delay_ms),
        (Stage::Listing, Report::Listed(_)) => {
            let Kind::Items { count, concurrency, tolerate } = book.flow.steps[task].kind else { panic!("no items") };
            book.listed(id, Fan::new(item_bytes(count), concurrency, tolerate));
        }
        (Stage::Settling(end, _), Report::Settled(settlement)) => {
            let end = end.clone();
            book.settled(id, end, settlement);
        }
        (Stage::Settling(end, _), Report::Unable(failure)) => {
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
    if book.is_closing() {
        let end = End::bare(Status::Canceled, Some("not_started"));
        book.settled(id, end, &Settlement::default());
    }
}

fn own(book: &mut Book<'_>, report: &Report) {
    match (book.own, report) {
        (Own::Preparing, Report::RunPrepared(RunPrepared { vars, .. })) => {
            book.begin(vars.iter().map(|(key, value)| (key.to_string(), value_of(value))).collect());
        }
        (Own::Preparing, Report::Unable(failure)) => book.fail(failure.code.clone()),
        (Own::Output, Report::Unable(failure)) => output_failed(book, &failure.code),
        (Own::Output, Report::Output(output)) => {
            book.output = value_of(&output.value);
            match output.left_out.first() {
                Some(failure) => output_failed(book, &failure.code),
                None => book.own = Own::Ended,
            }
        }
        (_, Report::HandedBack) => {}
        (own, report) => panic!("{report:?} for {own:?}"),
    }
}

/// A key that is left out fails a run that would have succeeded.
fn output_failed(book: &mut Book<'_>, code: &str) {
    book.own = Own::Ended;
    book.fail(code.to_owned());
}

/// The broker gave up a message that is waited for.
pub fn lost(book: &mut Book<'_>, key: &WorkKey) {
    let Some((_, Instance(id))) = key.task else {
        return match book.own {
            Own::Output => output_failed(book, "poison"),
            _ => book.fail("poison".into()),
        };
    };
    match &mut book.branch(id).at {
        Stage::Items(fan) => {
            fan.lose(key.serial);
            book.look_at_items(id);
        }
        Stage::Settling(end, _) => {
            let end = end.clone();
            book.unsettled(id, end, "poison");
        }
        _ => book.end_unasked(id, End::bare(Status::Crashed, Some("poison"))),
    }
}
