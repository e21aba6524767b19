//! Schedules: a registered workflow that is run again and again, by the clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{RunId, ScheduleName, WorkflowName},
    json::Json,
    time::Timestamp,
    work::RunStatus,
};

/// What a schedule runs, and when: the body of `PUT /api/v1/schedules/{name}`, whose fields are [`Definition::FIELDS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// A registered workflow; each tick runs the definition that is registered then.
    pub workflow: WorkflowName,
    /// When: five fields of cron, six with a second before them, or a nickname such as `@daily`.
    pub cron: String,
    /// The IANA name of the zone whose clocks `cron` means.
    #[serde(default = "utc")]
    pub tz: String,
    /// What a tick does while the run of the one before still lives.
    #[serde(default)]
    pub overlap: Overlap,
    /// What becomes of ticks that passed while no scheduler ran.
    #[serde(default)]
    pub missed: Missed,
    /// Values of the workflow's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Json>,
    /// Labels of each run. `schedule`, unless it is among them, is the schedule's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether text parameters are read by their declared types.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub coerce: bool,
}

/// What a tick does while the run of the tick before it still lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing: it is skipped, and counted.
    #[default]
    Skip,
    /// It waits for that run to end, in order.
    Queue,
    /// It starts all the same.
    Allow,
}

/// What becomes of ticks that passed while no scheduler ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// The latest of them runs.
    #[default]
    Last,
    /// None of them runs.
    None,
    /// Each of them runs, in order.
    All,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its run was accepted.
    Started,
    /// The run of the tick before it still lived.
    Skipped,
    /// No scheduler took it in time.
    Missed,
    /// Its run was not accepted: no such workflow, or not with these parameters.
    Refused,
}

/// How many ticks came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// See [`Outcome::Started`].
    pub started: u64,
    /// See [`Outcome::Skipped`].
    pub skipped: u64,
    /// See [`Outcome::Missed`]; after a long time without a scheduler a lower bound.
    pub missed: u64,
    /// See [`Outcome::Refused`].
    pub refused: u64,
}

/// A schedule as HTTP and the command line show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// What it runs, and when, as it was put.
    pub definition: Definition,
    /// When it is due next.
    #[serde(default)]
    pub next_due: Option<Timestamp>,
    /// The latest tick.
    #[serde(default)]
    pub last_due: Option<Timestamp>,
    /// What became of it.
    #[serde(default)]
    pub last_outcome: Option<Outcome>,
    /// The latest run that a tick started.
    #[serde(default)]
    pub last_run: Option<RunId>,
    /// Where that run is.
    #[serde(default)]
    pub last_run_status: Option<RunStatus>,
    /// Why the latest tick that was to start a run started none, unless one did since.
    #[serde(default)]
    pub last_error: Option<String>,
    /// Ticks that wait for a run to end.
    #[serde(default)]
    pub waiting: u32,
    /// All ticks since the schedule was made.
    #[serde(default)]
    pub ticks: Counts,
}

/// The document of `GET /api/v1/schedules/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// The schedule.
    pub schedule: Schedule,
}

/// The document of `GET /api/v1/schedules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulesDocument {
    /// [`crate::SCHEMA`].
    pub schema: u16,
    /// By name.
    pub schedules: Vec<Schedule>,
}

impl Definition {
    /// Its fields. A body with another one holds a mistake; what is stored may have been written by a later version.
    pub const FIELDS: [&str; 8] = ["workflow", "cron", "tz", "overlap", "missed", "parameters", "labels", "coerce"];
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Started, Self::Skipped, Self::Missed, Self::Refused];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }
}

impl Counts {
    /// Counts `count` more ticks.
    pub fn add(&mut self, outcome: Outcome, count: u64) {
        let counter = match outcome {
            Outcome::Started => &mut self.started,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Missed => &mut self.missed,
            Outcome::Refused => &mut self.refused,
        };
        *counter = counter.saturating_add(count);
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let short: Definition = serde_json::from_str(r#"{"workflow":"w","cron":"@daily"}"#).expect("valid");
        assert_eq!((short.tz.as_str(), short.overlap, short.missed), ("UTC", Overlap::Skip, Missed::Last));
        assert!(serde_json::from_str::<Definition>(r#"{"workflow":"w","cron":"@daily","overlap":"maybe"}"#).is_err());
    }

    #[test]
    fn every_field_is_listed() {
        let full = Definition {
            workflow: "w".parse().expect("valid"),
            cron: "@daily".into(),
            tz: utc(),
            overlap: Overlap::Queue,
            missed: Missed::All,
            parameters: [("a".to_owned(), Json::null())].into(),
            labels: [("b".to_owned(), "c".to_owned())].into(),
            coerce: true,
        };
        let json = serde_json::to_value(&full).expect("JSON");
        let mut listed = Definition::FIELDS.to_vec();
        listed.sort_unstable();
        assert_eq!(json.as_object().expect("an object").keys().collect::<Vec<_>>(), listed);
        assert_eq!(serde_json::from_value::<Definition>(json).expect("reads back"), full);
    }
}
