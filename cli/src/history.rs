//! What happened to a run, as text for people.

use proto::{
    time::Timestamp,
    view::{FailedItem, ItemsDocument, Stretch, TimelineDocument},
};

use crate::{
    client::Happened,
    output::Colour,
    table::{Cell, Table},
    view,
};

/// The table of `leveret get --timeline`: `START` counts from the run's acceptance.
pub fn timeline(timeline: &TimelineDocument, now: Timestamp, colour: Colour) -> String {
    let mut table = Table::new(["START", "DURATION", "TASK", "STATUS", "AT"]);
    for Stretch { task, instance, started_at, ended_at, status } in &timeline.tasks {
        let status = status.map_or("running", |status| status.as_str());
        table.row([
            Cell::plain(format!("+{}", view::duration(started_at.since(timeline.started_at)))),
            Cell::plain(view::duration(ended_at.unwrap_or(now).since(*started_at))),
            Cell::plain(format!("{task}#{instance}")),
            view::status_cell(status, colour),
            Cell::plain(started_at.to_string()),
        ]);
    }
    table.render()
}

/// A line for each fact, with its JSON.
pub fn facts(facts: &[Happened]) -> String {
    facts.iter().map(|fact| format!("{}  {}", fact.at, fact.what.as_str())).collect::<Vec<_>>().join("\n")
}

/// A page of failed items.
pub fn items(document: &ItemsDocument) -> String {
    let mut table = Table::new(["TASK", "INDEX", "ITEM", "ERROR"]);
    for FailedItem { task, index, item, error } in &document.items {
        let cell = |json: &str| Cell::plain(view::cut(json));
        table.row([
            Cell::plain(task.to_string()),
            Cell::plain(index.to_string()),
            cell(item.as_str()),
            cell(error.as_str()),
        ]);
    }
    let ItemsDocument { page, total, items, .. } = document;
    format!("{}\n\n{} of {total} items that failed, page {page}", table.render(), items.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_and_items_are_shown() {
        let document: TimelineDocument = serde_json::from_str(
            r#"{"schema":1,"id":"r","started_at":"2026-01-01T00:00:00Z","tasks":[
            {"task":"a","instance":1,"started_at":"2026-01-01T00:00:00.500Z","ended_at":"2026-01-01T00:01:00Z","status":"failed"},
            {"task":"b","instance":2,"started_at":"2026-01-01T00:01:00Z"}]}"#,
        )
        .expect("a document");
        let now: Timestamp = "2026-01-01T00:01:02Z".parse().expect("a time");
        insta::assert_snapshot!(timeline(&document, now, Colour::None), @r"
        START   DURATION  TASK  STATUS   AT
        +500ms  59.5s     a#1   failed   2026-01-01T00:00:00.500Z
        +1m0s   2.0s      b#2   running  2026-01-01T00:01:00.000Z
        ");
        let document: ItemsDocument = serde_json::from_str(
            r#"{"schema":1,"page":1,"total":1,"items":[{"task":"a","index":7,"item":"x","error":{"code":"no"}}]}"#,
        )
        .expect("a document");
        insta::assert_snapshot!(items(&document), @r#"
        TASK  INDEX  ITEM  ERROR
        a     7      "x"   {"code":"no"}

        1 of 1 items that failed, page 1
        "#);
    }
}
