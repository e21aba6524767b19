//! When things happened in a run, by the scheduler's clock: read from its facts.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{fleet::Fleet, http};

/// Times of a run's only task with items, in seconds.
pub struct Times {
    /// From its start to its end.
    pub task: f64,
    /// From its list being known to its last item being done.
    pub items: f64,
}

impl Times {
    /// Reads them.
    pub fn of(fleet: &Fleet, run: &str) -> Result<Self> {
        let facts = http::get(fleet.scheduler.http, &format!("/api/v1/runs/{run}/facts"))?;
        let facts: Vec<Value> = serde_json::from_str(&facts).context("reading facts")?;
        let what = |fact: &Value, wanted: &[&str]| wanted.iter().any(|name| fact["what"].get(name).is_some());
        let listed = facts.iter().position(|fact| what(fact, &["listed"])).context("no list of items")?;
        // A task starts when the run begins, or when the one before it ends.
        let started = facts[..listed].iter().rev().find(|fact| what(fact, &["begun", "ended"]));
        let ended = facts.iter().rev().find(|fact| what(fact, &["ended"])).context("the task did not end")?;
        let (listed, ended) = (millis(&facts[listed])?, millis(ended)?);
        let started = millis(started.context("the task did not start")?)?;
        let seconds = |from: i64| (ended - from).max(1) as f64 / 1000.0;
        Ok(Self { task: seconds(started), items: seconds(listed) })
    }
}

/// Milliseconds into the day of `2026-12-01T09:00:00.012Z`. No measurement lasts over midnight twice.
fn millis(fact: &Value) -> Result<i64> {
    let read = || {
        let clock = fact["at"].as_str()?.split_once('T')?.1.strip_suffix('Z')?;
        let (hours, rest) = clock.split_once(':')?;
        let (minutes, seconds) = rest.split_once(':')?;
        let seconds: f64 = seconds.parse().ok()?;
        let whole: i64 = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
        Some(whole * 1000 + (seconds * 1000.0).round() as i64)
    };
    read().with_context(|| format!("no time in {fact}"))
}
