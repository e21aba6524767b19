//! Schedules: each tick is one run, whatever happens between.

use std::collections::BTreeSet;

use bytes::Bytes;
use leveret_scheduler::{
    service::{Scheduler, Settings},
    store::{
        Commit, ScheduleWrite,
        memory::Fault::{After, Before},
    },
};
use proto::{id::Shard, time::Timestamp, work::Phase};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    robot::{NONE, ONE, acted, decide},
    site::{Site, eventually, within},
};

const HOUR_MS: i64 = 3_600_000;

/// `NONE`, which needs nobody, every second.
fn every_second(overlap: &str) -> Value {
    json!({ "workflow": "none", "cron": "* * * * * *", "overlap": overlap })
}

async fn register(site: &Site, name: &str, source: &str) {
    let (status, answer) = site.call(Method::PUT, &format!("/api/v1/workflows/{name}"), source.to_owned()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

async fn put(site: &Site, name: &str, body: &Value) -> (StatusCode, Value) {
    site.call(Method::PUT, &format!("/api/v1/schedules/{name}"), body.to_string()).await
}

async fn show(site: &Site, name: &str) -> Value {
    site.get(&format!("/api/v1/schedules/{name}")).await.1["schedule"].clone()
}

/// The schedule, once it is as wanted.
async fn shown(site: &Site, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(async || Some(show(site, name).await).filter(|schedule| is_wanted(schedule))).await
}

/// Due times of all runs of a schedule, in seconds.
async fn runs_of(site: &Site, name: &str) -> Vec<i64> {
    let (_, list) = site.get(&format!("/api/v1/runs?label=schedule={name}&limit=1000")).await;
    let ids = list["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned());
    let due = |id: String| id.strip_prefix(&format!("{name}@")).unwrap().parse::<Timestamp>().unwrap();
    let mut dues: Vec<i64> = ids.map(|id| due(id).as_millis() / 1_000).collect();
    dues.sort_unstable();
    dues
}

/// No due time between the first and the last is left out, and none is there twice.
fn assert_whole(dues: &[i64]) {
    let wanted: Vec<i64> = (dues[0]..=*dues.last().unwrap()).collect();
    assert_eq!(dues, wanted);
}

/// Does the work of `ONE` until the run has ended.
async fn finish(site: &mut Site, run: &str) {
    loop {
        let (work, delivery) = site.work().await;
        site.report(&work, decide(&work)).await;
        delivery.ack();
        if work.key.run.as_str() == run && work.key.phase == Phase::Output {
            break;
        }
    }
    assert_eq!(site.ended(run).await["status"], "succeeded");
}

#[tokio::test]
async fn each_tick_is_a_run() {
    let site = Site::memory().await;
    register(&site, "none", NONE).await;
    let mut body = every_second("skip");
    body["labels"] = json!({ "team": "ops" });
    let (status, made) = put(&site, "s", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let made = &made["schedule"];
    assert_eq!((&made["definition"]["tz"], &made["definition"]["missed"]), (&json!("UTC"), &json!("last")));
    assert_eq!((&made["last_due"], &made["ticks"]["started"]), (&Value::Null, &json!(0)));
    assert!(made["next_due"].is_string(), "{made}");

    let schedule = shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(2)).await;
    assert_eq!(schedule["last_outcome"], "started");
    assert_eq!(schedule["last_run_status"], "succeeded");
    let run = site.show(schedule["last_run"].as_str().unwrap()).await;
    assert_eq!(run["labels"], json!({ "schedule": "s", "team": "ops" }));
    assert_whole(&runs_of(&site, "s").await);
    assert!(site.metric(r#"leveret_schedule_ticks_total{outcome="started"}"#).await >= 2.0);
    assert_eq!(site.get("/api/v1/schedules").await.1["schedules"][0]["name"], "s");

    assert_eq!(site.call(Method::DELETE, "/api/v1/schedules/s", "").await.0, StatusCode::NO_CONTENT);
    let (status, problem) = site.get("/api/v1/schedules/s").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("schedule_unknown")));
    assert_eq!(site.get("/api/v1/schedules").await.1["schedules"], json!([]));
    let (status, _) = site.call(Method::DELETE, "/api/v1/schedules/s", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ticks_are_skipped_while_a_run_lives() {
    let mut site = Site::memory().await;
    register(&site, "one", ONE).await;
    put(&site, "s", &json!({ "workflow": "one", "cron": "* * * * * *" })).await;
    let schedule = shown(&site, "s", |schedule| schedule["ticks"]["skipped"].as_u64() >= Some(2)).await;
    assert_eq!((&schedule["ticks"]["started"], &schedule["last_outcome"]), (&json!(1), &json!("skipped")));
    assert_eq!(schedule["last_run_status"], "running");
    let first = schedule["last_run"].as_str().unwrap().to_owned();
    finish(&mut site, &first).await;
    let next = shown(&site, "s", |schedule| schedule["ticks"]["started"] == 2).await;
    assert_ne!(next["last_run"], json!(first));
}

#[tokio::test]
async fn ticks_wait_in_line() {
    let mut site = Site::memory().await;
    register(&site, "one", ONE).await;
    put(&site, "s", &json!({ "workflow": "one", "cron": "* * * * * *", "overlap": "queue" })).await;
    shown(&site, "s", |schedule| schedule["waiting"].as_u64() >= Some(2)).await;
    for _ in 0..2 {
        let run = show(&site, "s").await["last_run"].as_str().unwrap().to_owned();
        finish(&mut site, &run).await;
        shown(&site, "s", |schedule| schedule["last_run"] != json!(run)).await;
    }
    let dues = runs_of(&site, "s").await;
    assert_eq!(dues.len(), 3);
    assert_whole(&dues);
    // Nobody waits for a run that another schedule's change has let go.
    let (status, _) = put(&site, "s", &json!({ "workflow": "one", "cron": "* * * * * *", "overlap": "allow" })).await;
    assert_eq!(status, StatusCode::OK);
    shown(&site, "s", |schedule| schedule["waiting"] == 0 && schedule["ticks"]["started"].as_u64() >= Some(5)).await;
    assert_whole(&runs_of(&site, "s").await);
}

#[tokio::test]
async fn a_tick_that_waits_outlives_the_scheduler_and_starts_when_its_turn_comes() {
    let mut site = Site::sqlite().await;
    register(&site, "one", ONE).await;
    // Due once an hour, so that nothing but the end of a run can start the next one.
    put(&site, "s", &json!({ "workflow": "one", "cron": "0 * * * *", "overlap": "queue", "missed": "all" })).await;
    site.kill().await;
    let wanted = last_hours(3);
    set_back(&site, Timestamp::from_millis(wanted[0] * 1_000 - 1_000)).await;
    site.start().await;
    let schedule = shown(&site, "s", |schedule| schedule["waiting"].as_u64() >= Some(2)).await;
    let first = schedule["last_run"].as_str().unwrap().to_owned();
    let (work, delivery) = site.work().await;
    site.kill().await;
    site.start().await;
    site.report(&work, acted(&[])).await;
    delivery.ack();
    finish(&mut site, &first).await;
    let second = shown(&site, "s", |schedule| schedule["last_run"] != json!(first)).await;
    finish(&mut site, second["last_run"].as_str().unwrap()).await;
    shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(3)).await;
    assert_eq!(runs_of(&site, "s").await[..3], wanted);
}

#[tokio::test]
async fn crashes_lose_no_tick_and_double_none() {
    let mut site = Site::sqlite().await;
    register(&site, "none", NONE).await;
    let mut body = every_second("allow");
    body["missed"] = json!("all");
    put(&site, "s", &body).await;
    for round in 1..=3 {
        shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(round)).await;
        site.kill().await;
        site.start().await;
    }
    let schedule = shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(4)).await;
    assert_eq!(schedule["ticks"]["missed"], 0);
    site.call(Method::DELETE, "/api/v1/schedules/s", "").await;
    assert_whole(&runs_of(&site, "s").await);
}

#[tokio::test]
async fn commits_that_fail_lose_no_tick_and_double_none() {
    let site = Site::memory().await;
    register(&site, "none", NONE).await;
    let mut body = every_second("allow");
    body["missed"] = json!("all");
    put(&site, "s", &body).await;
    for (round, fault) in [After, Before, After].into_iter().enumerate() {
        let goal = round as u64 + 1;
        shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(goal)).await;
        // Once nothing is left to be deleted, the next commit is the next tick's.
        eventually(async || site.store().outbox(Shard(0)).await.unwrap().is_empty().then_some(())).await;
        site.faults().fail_next_commit(fault);
    }
    shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(5)).await;
    let gone = async || match site.call(Method::DELETE, "/api/v1/schedules/s", "").await.0 {
        StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Some(()),
        _ => None,
    };
    let before = show(&site, "s").await["ticks"]["started"].as_u64().unwrap();
    eventually(gone).await;
    let dues = runs_of(&site, "s").await;
    assert_whole(&dues);
    // Between the two looks one more tick may have rung.
    let runs = dues.len() as u64;
    assert!((before..=before + 1).contains(&runs), "{before} ticks, {runs} runs");
}

#[tokio::test]
async fn a_change_is_never_half_made() {
    for fault in [Before, After] {
        let site = Site::memory().await;
        register(&site, "none", NONE).await;
        let is_known = fault == After;
        site.faults().fail_next_commit(fault);
        assert_eq!(put(&site, "s", &every_second("skip")).await.0, StatusCode::SERVICE_UNAVAILABLE);
        if is_known {
            shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(1)).await;
        }
        let again = async || match put(&site, "s", &every_second("skip")).await.0 {
            StatusCode::SERVICE_UNAVAILABLE => None,
            status => Some(status),
        };
        assert_eq!(eventually(again).await, if is_known { StatusCode::OK } else { StatusCode::CREATED });
        shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(1)).await;

        let removed = async || match site.call(Method::DELETE, "/api/v1/schedules/s", "").await.0 {
            StatusCode::SERVICE_UNAVAILABLE => None,
            status => Some(status),
        };
        site.faults().fail_next_commit(fault);
        assert!([StatusCode::NO_CONTENT, StatusCode::NOT_FOUND].contains(&eventually(removed).await));
        assert_eq!(site.get("/api/v1/schedules/s").await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn ticks_that_passed_without_a_scheduler_run_by_policy() {
    let mut site = Site::sqlite().await;
    register(&site, "none", NONE).await;
    for missed in ["last", "none", "all"] {
        let body = json!({ "workflow": "none", "cron": "0 * * * *", "overlap": "queue", "missed": missed });
        assert_eq!(put(&site, missed, &body).await.0, StatusCode::CREATED);
    }
    site.kill().await;
    let wanted = last_hours(3);
    set_back(&site, Timestamp::from_millis(wanted[0] * 1_000 - 1_000)).await;
    site.start().await;

    let all = shown(&site, "all", |schedule| schedule["ticks"]["started"].as_u64() >= Some(3)).await;
    assert_eq!(all["waiting"], 0);
    assert_eq!(runs_of(&site, "all").await[..3], wanted);
    let last = shown(&site, "last", |schedule| schedule["ticks"]["started"] == 1).await;
    assert_eq!(last["ticks"]["missed"], 2, "{last}");
    assert_eq!(runs_of(&site, "last").await, wanted[2..]);
    // Within a minute after the hour the latest is not late yet.
    if now_ms() % HOUR_MS > 70_000 {
        let none = shown(&site, "none", |schedule| schedule["ticks"]["missed"] == 3).await;
        assert_eq!((&none["last_outcome"], &none["last_run"]), (&json!("missed"), &Value::Null));
    }
}

/// The last full hours until now, in seconds.
fn last_hours(count: i64) -> Vec<i64> {
    (0..count).rev().map(|hours| (now_ms() / HOUR_MS - hours) * HOUR_MS / 1_000).collect()
}

fn now_ms() -> i64 {
    i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Lets every schedule have come no further than `time`.
async fn set_back(site: &Site, time: Timestamp) {
    let store = site.open().await;
    let lease = std::time::Duration::from_secs(1);
    let epoch = store.acquire(Shard(0), "owner", lease).await.unwrap().unwrap();
    let mut schedules = Vec::new();
    for (name, body) in store.schedules(Shard(0)).await.unwrap() {
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        body["state"]["taken_to"] = json!(time);
        schedules.push(ScheduleWrite { name, shard: Shard(0), body: Some(Bytes::from(body.to_string())) });
    }
    assert!(!schedules.is_empty());
    let commit = Commit { fences: vec![(Shard(0), epoch)], schedules, ..Commit::default() };
    store.commit(commit).await.unwrap();
    store.release("owner").await.unwrap();
}

#[tokio::test]
async fn a_tick_that_is_refused_is_seen_and_not_tried_again() {
    let site = Site::memory().await;
    register(&site, "none", NONE).await;
    put(&site, "s", &every_second("skip")).await;
    shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() >= Some(1)).await;
    let strict = format!("{NONE}parameters: {{ host: {{ type: string, required: true }} }}\n");
    register(&site, "none", &strict).await;
    let schedule = shown(&site, "s", |schedule| schedule["ticks"]["refused"].as_u64() >= Some(2)).await;
    assert_eq!(schedule["last_outcome"], "refused");
    let why = schedule["last_error"].as_str().unwrap();
    assert!(why.contains("`host` is required") && why.starts_with("s@"), "{why}");
    let refused = site.metric(r#"leveret_schedule_ticks_total{outcome="refused"}"#).await;
    assert!((2.0..10.0).contains(&refused), "each tick once: {refused}");
    register(&site, "none", NONE).await;
    let before = schedule["ticks"]["started"].as_u64();
    let healed = shown(&site, "s", |schedule| schedule["ticks"]["started"].as_u64() > before).await;
    assert_eq!(healed["last_error"], Value::Null);
}

#[tokio::test]
async fn a_run_that_somebody_else_named_so_is_not_taken_for_a_tick() {
    let site = Site::memory().await;
    register(&site, "none", NONE).await;
    put(&site, "s", &every_second("skip")).await;
    let schedule = shown(&site, "s", |schedule| schedule["next_due"].is_string()).await;
    let due: Timestamp = schedule["next_due"].as_str().unwrap().parse().unwrap();
    // Of the next seconds all are taken by jobs of another content.
    let taken: BTreeSet<String> = (1..=4)
        .map(|second| format!("s@{}", due.plus(std::time::Duration::from_secs(second)).to_whole_seconds()))
        .collect();
    for id in &taken {
        site.call(Method::POST, "/api/v1/runs", json!({ "workflow": "none", "id": id }).to_string()).await;
    }
    let schedule = shown(&site, "s", |schedule| schedule["ticks"]["refused"].as_u64() >= Some(1)).await;
    assert!(schedule["last_error"].as_str().is_some_and(|why| why.contains("another one")), "{schedule}");
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_said() {
    let site = Site::memory().await;
    register(&site, "none", NONE).await;
    let refused = async |name: &str, body: Value| {
        let (status, problem) = put(&site, name, &body).await;
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned(), detail)
    };
    let with = |field: &str, value: Value| {
        let mut body = every_second("skip");
        body[field] = value;
        body
    };
    for (body, status, code, detail) in [
        (with("cron", json!("0 25 * * *")), 422, "cron_invalid", r#"the hour is "25""#),
        (with("tz", json!("Berlin")), 422, "tz_invalid", "Europe/Berlin"),
        (with("overlap", json!("maybe")), 422, "schedule_invalid", "maybe"),
        (with("zone", json!("UTC")), 422, "schedule_invalid", "\"zone\""),
        (with("workflow", json!("other")), 404, "workflow_unknown", "other"),
        (with("parameters", json!({ "x": 1 })), 422, "parameter_unknown", "x"),
        (with("labels", json!({ "": "x" })), 422, "label_invalid", "label"),
        (json!([]), 422, "json_invalid", ""),
    ] {
        let (found, why, told) = refused("s", body).await;
        assert_eq!((found, why.as_str()), (status, code), "{told}");
        assert!(told.contains(detail), "{told}");
    }
    assert_eq!(refused("s@1", every_second("skip")).await.1, "name_invalid");
    assert_eq!(site.get("/api/v1/schedules").await.1["schedules"], json!([]));
}

#[tokio::test]
async fn who_may_look_may_not_change() {
    let site = Site::memory().await;
    let tokens = "read:reads-and-no-more,operate:operates-as-well,worker:works-and-no-more".parse().unwrap();
    let store = leveret_scheduler::store::open("memory:").await.unwrap();
    let settings = Settings { tokens, ..site.settings(store, site.connect(), "guarded") };
    let guarded = Scheduler::start(settings).await.unwrap();
    let url = format!("http://{}/api/v1/schedules/s", guarded.http_addr());
    let client = reqwest::Client::new();
    let status = async |method: Method, token: &str| {
        within(client.request(method, &url).bearer_auth(token).body("{}").send()).await.unwrap().status().as_u16()
    };
    for (token, get, put, delete) in [
        ("reads-and-no-more", 404, 403, 403),
        ("operates-as-well", 404, 422, 404),
        ("works-and-no-more", 403, 403, 403),
        ("nobody", 401, 401, 401),
    ] {
        assert_eq!(status(Method::GET, token).await, get, "{token}");
        assert_eq!(status(Method::PUT, token).await, put, "{token}");
        assert_eq!(status(Method::DELETE, token).await, delete, "{token}");
    }
    within(guarded.stop()).await.unwrap();
}

/// As many as there may be, but for one, written as another one was.
async fn fill(site: &Site) {
    let store = site.open().await;
    let epoch = store.acquire(Shard(0), "filler", std::time::Duration::from_secs(5)).await.unwrap().unwrap();
    let body = store.schedule(&"first".parse().unwrap()).await.unwrap().unwrap();
    let name = |at: usize| format!("filled-{at}").parse().unwrap();
    let write = |at| ScheduleWrite { name: name(at), shard: Shard(0), body: Some(body.clone()) };
    let schedules = (2..proto::limits::SCHEDULES_MAX).map(write).collect();
    store.commit(Commit { fences: vec![(Shard(0), epoch)], schedules, ..Commit::default() }).await.unwrap();
    store.release("filler").await.unwrap();
}

#[tokio::test]
async fn there_are_so_many_schedules_and_no_more() {
    let mut site = Site::sqlite().await;
    register(&site, "none", NONE).await;
    let yearly = json!({ "workflow": "none", "cron": "0 0 1 1 *" });
    assert_eq!(put(&site, "first", &yearly).await.0, StatusCode::CREATED);
    site.stop().await;
    fill(&site).await;
    site.start().await;
    assert_eq!(put(&site, "last", &yearly).await.0, StatusCode::CREATED);
    let (status, problem) = put(&site, "more", &yearly).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("too_many_schedules")));
    assert_eq!(put(&site, "last", &yearly).await.0, StatusCode::OK, "one that is there may be changed");
}
