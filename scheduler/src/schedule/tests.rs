//! What becomes of ticks, with a clock that the tests set.

use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-12-01T{text}Z").parse().expect("a time")
}

fn due(text: &str) -> String {
    at(text).to_whole_seconds()
}

/// Every minute, made at 09:00.
fn minutely(overlap: Overlap, missed: Missed) -> Schedule {
    let definition = Definition {
        workflow: "w".parse().expect("valid"),
        cron: "* * * * *".into(),
        tz: "UTC".into(),
        overlap,
        missed,
        parameters: Default::default(),
        labels: Default::default(),
        coerce: false,
    };
    Schedule::new("s".parse().expect("valid"), definition).expect("valid").beginning(at("09:00:00"))
}

fn line(schedule: &Schedule) -> Vec<String> {
    schedule.waiting(usize::MAX).map(Timestamp::to_whole_seconds).collect()
}

#[test]
fn a_tick_is_taken_once() {
    let mut schedule = minutely(Overlap::Skip, Missed::Last);
    assert_eq!(schedule.alarm(Previous::Over, at("09:00:00")), Some(at("09:01:00")));
    assert_eq!(schedule.catch_up(at("09:00:59.999")), Dropped::default());
    assert_eq!(schedule.decide(Previous::Over), None);
    schedule.catch_up(at("09:01:00.004"));
    schedule.catch_up(at("09:01:00.005"));
    assert_eq!(schedule.alarm(Previous::Over, at("09:01:00.005")), Some(at("09:01:00.005")));
    assert_eq!(schedule.decide(Previous::Over), Some(Decision::Start(at("09:01:00"))));
    assert_eq!(schedule.started(Started::Accepted), Outcome::Started);
    assert_eq!(schedule.last_run().map(RunId::as_str), Some("s@2026-12-01T09:01:00Z"));
    assert_eq!(schedule.decide(Previous::Over), None);
    // A clock that was set back brings nothing twice.
    schedule.catch_up(at("08:00:00"));
    assert_eq!((line(&schedule).len(), schedule.alarm(Previous::Over, at("08:00:00"))), (0, Some(at("09:02:00"))));
}

#[test]
fn ticks_that_passed_are_missed_by_policy() {
    let caught = |missed: Missed, now: &str| {
        let mut schedule = minutely(Overlap::Queue, missed);
        let dropped = schedule.catch_up(at(now));
        assert_eq!(schedule.alarm(Previous::Lives, at(now)), Some(at("09:06:00")), "each is taken");
        (line(&schedule), dropped.missed, schedule.view(None).last_outcome)
    };
    assert_eq!(caught(Missed::Last, "09:05:59"), (vec![due("09:05:00")], 4, None));
    assert_eq!(caught(Missed::None, "09:05:59"), (vec![due("09:05:00")], 4, None), "the last of them is not late yet");
    let all = ["09:01:00", "09:02:00", "09:03:00", "09:04:00", "09:05:00"].map(due).to_vec();
    assert_eq!(caught(Missed::All, "09:05:59"), (all, 0, None));

    let mut hourly = minutely(Overlap::Skip, Missed::None);
    hourly.timetable = Timetable::read("@hourly", "UTC").expect("valid");
    assert_eq!(hourly.catch_up(at("12:01:00.001")), Dropped { missed: 3, skipped: 0 });
    let view = hourly.view(None);
    assert_eq!((view.last_due, view.last_outcome), (Some(at("12:00:00")), Some(Outcome::Missed)));
    assert_eq!((view.next_due, view.ticks.missed, view.waiting), (Some(at("13:00:00")), 3, 0));
    let mut hourly = minutely(Overlap::Skip, Missed::Last);
    hourly.timetable = Timetable::read("@hourly", "UTC").expect("valid");
    assert_eq!(hourly.catch_up(at("12:59:59")), Dropped { missed: 2, skipped: 0 });
    assert_eq!(line(&hourly), [due("12:00:00")], "however late it is");
}

#[test]
fn very_many_missed_ticks_are_bounded_and_told() {
    for (missed, kept) in [(Missed::All, TICKS_WAITING_MAX), (Missed::Last, 1), (Missed::None, 1)] {
        let mut schedule = minutely(Overlap::Queue, missed);
        let now = "2028-01-01T00:00:30Z".parse().expect("a time");
        let dropped = schedule.catch_up(now);
        assert_eq!(line(&schedule).len(), kept, "{missed:?}");
        assert_eq!(line(&schedule).last().map(String::as_str), Some("2028-01-01T00:00:00Z"));
        assert!(dropped.missed >= 1, "{dropped:?}");
        let told = schedule.view(None).last_error.is_some_and(|why| why.contains("more than 1000"));
        assert_eq!(told, missed == Missed::All, "the others are as they were meant to be");
    }
}

#[test]
fn ticks_overlap_by_policy() {
    let mut skip = minutely(Overlap::Skip, Missed::Last);
    skip.catch_up(at("09:01:00"));
    assert_eq!(skip.decide(Previous::Lives), Some(Decision::Skip(at("09:01:00"))));
    skip.skip();
    let view = skip.view(None);
    assert_eq!((view.last_outcome, view.ticks.skipped, view.last_run), (Some(Outcome::Skipped), 1, None));
    let mut allow = minutely(Overlap::Allow, Missed::Last);
    allow.catch_up(at("09:01:00"));
    assert_eq!(allow.decide(Previous::Lives), Some(Decision::Start(at("09:01:00"))));

    let mut queue = minutely(Overlap::Queue, Missed::Last);
    queue.catch_up(at("09:01:00"));
    queue.catch_up(at("09:02:00"));
    assert_eq!(queue.decide(Previous::Lives), None);
    assert_eq!(
        queue.alarm(Previous::Lives, at("09:02:00")),
        Some(at("09:03:00")),
        "it waits for the run, not for time"
    );
    assert_eq!(queue.decide(Previous::Over), Some(Decision::Start(at("09:01:00"))));
    queue.started(Started::Accepted);
    assert_eq!((line(&queue), queue.view(None).waiting), (vec![due("09:02:00")], 1));
}

#[test]
fn no_more_than_so_many_wait() {
    let mut queue = minutely(Overlap::Queue, Missed::All);
    queue.catch_up(at("09:01:00"));
    let mut now = at("09:01:00");
    for _ in 0..TICKS_WAITING_MAX {
        now = now.plus(Duration::from_secs(60));
        queue.catch_up(now);
    }
    let view = queue.view(None);
    assert_eq!((view.waiting as usize, view.ticks.skipped), (TICKS_WAITING_MAX, 1));
    assert!(view.last_error.is_some_and(|why| why.contains("wait already")));
}

#[test]
fn a_refused_tick_is_taken_and_seen() {
    let mut schedule = minutely(Overlap::Skip, Missed::Last);
    schedule.catch_up(at("09:01:00"));
    assert_eq!(schedule.started(Started::Refused("no workflow w is registered".into())), Outcome::Refused);
    let view = schedule.view(None);
    assert_eq!(view.last_error.as_deref(), Some("no workflow w is registered"));
    assert_eq!((view.last_outcome, view.last_run, view.ticks.refused), (Some(Outcome::Refused), None, 1));
    assert_eq!(schedule.alarm(Previous::Over, at("09:01:00")), Some(at("09:02:00")), "it is not tried again");
    schedule.catch_up(at("09:02:00"));
    schedule.started(Started::Accepted);
    assert_eq!(schedule.view(None).last_error, None);
}

#[test]
fn what_is_written_reads_back() {
    let mut schedule = minutely(Overlap::Queue, Missed::All);
    schedule.catch_up(at("09:03:00"));
    schedule.started(Started::Accepted);
    let body = schedule.write();
    assert_eq!(Schedule::read(schedule.name.clone(), &body).expect("reads back"), schedule);
    assert!(Schedule::read(schedule.name.clone(), b"{}").is_err());
}

/// Stored by version 0.1; it must be readable for ever.
const STORED: &str = concat!(
    r#"{"schema":1,"definition":{"workflow":"report","cron":"30 2 * * *","tz":"Europe/Berlin","overlap":"queue","#,
    r#""missed":"all","parameters":{"n":1},"labels":{"team":"ops"},"coerce":true},"#,
    r#""state":{"taken_to":"2026-12-01T09:02:00.000Z","waiting":["2026-12-01T09:02:00.000Z"],"#,
    r#""last":{"due":"2026-12-01T09:01:00.000Z","outcome":"refused"},"last_run":"s@2026-12-01T09:00:00Z","#,
    r#""error":"why","ticks":{"started":1,"skipped":2,"missed":3,"refused":4}}}"#,
);

#[test]
fn what_was_stored_stays_readable() {
    let name: ScheduleName = "s".parse().expect("valid");
    let schedule = Schedule::read(name.clone(), STORED.as_bytes()).expect("readable");
    assert_eq!(std::str::from_utf8(&schedule.write()).expect("JSON"), STORED);
    let least = r#"{"schema":1,"definition":{"workflow":"w","cron":"@daily","later":1},"state":{"taken_to":"2026-12-01T09:02:00Z"}}"#;
    assert!(Schedule::read(name, least.as_bytes()).is_ok());
}

#[test]
fn a_schedule_that_is_changed_goes_on_where_it_was() {
    let mut old = minutely(Overlap::Queue, Missed::All);
    old.catch_up(at("09:02:00"));
    old.started(Started::Accepted);
    let change = |cron: &str| {
        let definition = Definition { cron: cron.into(), overlap: Overlap::Skip, ..old.definition.as_ref().clone() };
        Schedule::new(old.name.clone(), definition).expect("valid").replacing(&old, at("09:30:10"))
    };
    let same_times = change("* * * * *");
    assert_eq!(same_times.alarm(Previous::Over, at("09:30:10")), Some(at("09:30:10")), "one waits still");
    assert_eq!(same_times.view(None).next_due, Some(at("09:03:00")), "and some are to be caught up with");
    assert_eq!(same_times.view(None).ticks.started, 1);
    assert_eq!(change("*/2 * * * *").view(None).next_due, Some(at("09:32:00")), "no tick of the past is made up");
}

#[test]
fn a_run_says_whose_it_is() {
    let schedule = minutely(Overlap::Skip, Missed::Last);
    let job = schedule.job(at("09:01:00"));
    assert_eq!(job.id.expect("has one").as_str(), "s@2026-12-01T09:01:00Z");
    assert_eq!(job.labels["schedule"], "s");
}
