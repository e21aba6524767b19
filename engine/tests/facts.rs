//! Facts, frozen: a history that was stored once must replay for ever.

use std::collections::BTreeMap;

use leveret_engine::{
    machine::fact::{
        Accepted, Arrival, Ended, Entry, Fact, ItemEnded, Parent, ReplyTo, Start, Starts, Unsettled, What,
    },
    spec::TaskIndex,
};
use proto::{
    failure::Failure,
    id::{Digest, Instance, ItemIndex},
    items::ItemSet,
    json::Json,
    outcome::{ItemsPart, ItemsReport, TaskPrepared},
    time::Timestamp,
    value::{Stored, ValueRef},
    work::{RunStatus, Status},
};

#[path = "../../proto/tests/contract/golden.rs"]
mod golden;

use golden::{Golden, tag};

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid sample")
}

fn inline(text: &str) -> ValueRef {
    ValueRef::Inline(Json::canonical(text.as_bytes()).expect("valid JSON"))
}

fn stored(of: &str, bytes: u64) -> Stored {
    Stored { digest: Digest::of(of.as_bytes()), bytes }
}

fn set(runs: &[(u32, u32)]) -> ItemSet {
    ItemSet::try_from(runs.to_vec()).expect("runs in order")
}

fn at() -> Timestamp {
    parse("2026-12-01T09:00:01.250Z")
}

fn failure() -> Failure {
    Failure::new("exit_code", "the command ended with 7")
}

fn start(instance: u32, task: u16, stage: Entry) -> Start {
    Start { instance: Instance(instance), task: TaskIndex(task), stage, again: 0 }
}

fn accepted(reply: Option<ReplyTo>) -> What {
    let definition = stored("the source of check-fleet", 1_311);
    What::Accepted(Box::new(Accepted {
        parameters: vec![
            (parse("hosts"), ValueRef::Stored(stored("many hosts", 2_048))),
            (parse("port"), inline("443")),
        ],
        labels: BTreeMap::from([("team".to_owned(), "ops".to_owned())]),
        prepare: true,
        reply,
        ..Accepted::of(parse("nightly-2026-12-01"), parse("check-fleet"), definition)
    }))
}

/// With all that a job or a parent can say.
fn accepted_with_all() -> What {
    let What::Accepted(accepted) = accepted(None) else { unreachable!("it is one") };
    What::Accepted(Box::new(Accepted {
        start_at: Some(at()),
        exclusive: Some(Digest::of(b"check-fleet with these hosts")),
        parent: Some(Parent {
            run: parse("nightly"),
            task: parse("fleet"),
            instance: Instance(2),
            serial: 3,
            item: Some(ItemIndex(4)),
            depth: 1,
            timeout_ms: Some(60_000),
        }),
        children: BTreeMap::from([(parse("notify"), stored("the source of notify", 402))]),
        ancestor: Some(parse("nightly-2026-11-30")),
        imported: BTreeMap::from([("task.probe.result".to_owned(), ValueRef::Stored(stored("a result", 5_000)))]),
        ..*accepted
    }))
}

/// Of a run that does not begin at once, rests, or takes too long.
fn of_times() -> Vec<(&'static str, What)> {
    let waiting = vec![start(6, 5, Entry::Wait(Some(at()))), Start { again: 2, ..start(7, 5, Entry::Wait(None)) }];
    let begun = What::Begun { deadline: Some(at()), concurrency: Some(20), vars: Vec::new(), starts: waiting };
    let finalizing = What::Finalizing {
        status: RunStatus::Failed,
        output: inline(r#"{"summary":null}"#),
        failure: Some(failure()),
        start: Box::new(start(8, 6, Entry::Wait(None))),
    };
    vec![
        ("accepted_with_all", accepted_with_all()),
        ("due", What::Due),
        ("admitted", What::Admitted),
        ("begun_bounded", begun),
        ("failing_stopped", What::Failing { failure: failure(), dropped: Vec::new(), stops: true }),
        ("pausing", What::Pausing { reason: Some("maintenance".into()) }),
        ("resuming", What::Resuming),
        (
            "signaled",
            What::Signaled { name: parse("approved"), id: Some("7".into()), payload: inline(r#"{"by":"me"}"#) },
        ),
        ("signaled_bare", What::Signaled { name: parse("go"), id: None, payload: inline("null") }),
        ("finalizing", finalizing),
    ]
}

/// Of a run as a whole.
fn of_runs() -> Vec<(&'static str, What)> {
    let reply = ReplyTo { queue: "leveret.reply.me".into(), correlation_id: Some("7".into()) };
    let begun = What::Begun {
        deadline: None,
        concurrency: None,
        vars: vec![(parse("started_with"), inline("3"))],
        starts: vec![
            start(1, 0, Entry::Prepare),
            start(2, 1, Entry::Delay(at())),
            start(3, 2, Entry::List),
            start(4, 3, Entry::Act),
            start(5, 4, Entry::Pass),
        ],
    };
    let finished =
        What::Finished { status: RunStatus::Failed, output: inline(r#"{"summary":null}"#), failure: Some(failure()) };
    vec![
        ("accepted", accepted(None)),
        ("accepted_with_reply", accepted(Some(reply))),
        ("begun", begun),
        (
            "failing",
            What::Failing {
                failure: failure().at(&parse("probe")),
                dropped: vec![Instance(2), Instance(5)],
                stops: false,
            },
        ),
        ("canceling", What::Canceling { reason: Some("not needed".into()), dropped: vec![Instance(2)] }),
        ("concluding", What::Concluding),
        ("finished", finished),
    ]
}

/// Of one task.
fn of_tasks() -> Vec<(&'static str, What)> {
    let instance = Instance(2);
    let ended = Ended {
        instance,
        status: Status::Failed,
        failure: Some(failure()),
        result: Some(inline(r#"{"exit_code":7}"#)),
        error: Some(inline(r#"{"code":"exit_code","message":"the command ended with 7"}"#)),
        published: BTreeMap::from([(parse("unhealthy"), inline("2"))]),
        starts: [start(6, 1, Entry::Act)].into_iter().collect(),
        arrivals: vec![
            Arrival { join: TaskIndex(4), pass: 1, starts: Some(start(7, 4, Entry::Pass)) },
            Arrival { join: TaskIndex(5), pass: 2, starts: None },
        ],
    };
    let bare = Ended {
        failure: None,
        result: None,
        error: None,
        published: BTreeMap::new(),
        starts: Starts::new(),
        arrivals: Vec::new(),
        status: Status::Succeeded,
        ..ended.clone()
    };
    let prepared = TaskPrepared { delay_ms: 500, wait_ms: Some(60_000), pool: Some(parse("gpu")) };
    vec![
        ("prepared", What::Prepared { instance, prepared }),
        ("prepared_bare", What::Prepared { instance, prepared: TaskPrepared::default() }),
        ("released", What::Released { instance }),
        ("received", What::Received { instance }),
        ("claimed", What::Claimed { instance, serial: 2, nonce: "worker-7@host.41".into() }),
        ("reopened", What::Reopened { instance }),
        ("called", What::Called { instance, serial: 4, items: ItemSet::default() }),
        ("entered", What::Entered { instance, stage: Entry::Delay(at()) }),
        ("retrying", What::Retrying { instance, status: Status::TimedOut, failure: Some(failure()), until: at() }),
        ("returned", What::Returned { instance: Some(instance), serial: 3, alone: true }),
        ("returned_run", What::Returned { instance: None, serial: 1, alone: false }),
        (
            "settling",
            What::Settling(Box::new(Unsettled {
                instance,
                status: Status::Crashed,
                failure: Some(failure()),
                result: None,
                error: None,
            })),
        ),
        ("ended", What::Ended(Box::new(ended))),
        ("ended_bare", What::Ended(Box::new(bare))),
    ]
}

/// Of a task's items.
fn of_items() -> Vec<(&'static str, What)> {
    let instance = Instance(3);
    let part = ItemsPart {
        count: 1_000,
        values: ValueRef::Stored(stored("a part", 14_001)),
        offsets: ValueRef::Stored(stored("its offsets", 5_003)),
        item_bytes_max: 20,
    };
    let report = ItemsReport {
        called: Vec::new(),
        succeeded: set(&[(0, 40), (50, 2)]),
        failed: set(&[(41, 1)]),
        retry: vec![(500, set(&[(42, 2)]))],
        handed_back: set(&[(44, 6)]),
        results: Some(ValueRef::Stored(stored("results", 80_123))),
        errors: Some(inline(r#"[{"error":{"code":"exit_code","message":"7"},"index":41,"item":"b"}]"#)),
        failure: Some(failure()),
        busy_us: 51_234,
    };
    let ended = |result, error, failure, until| {
        What::ItemEnded(Box::new(ItemEnded { instance, item: ItemIndex(41), result, error, failure, until }))
    };
    let error = inline(r#"{"code":"exit_code","details":{"run":"r~3.2.41"},"message":"7"}"#);
    vec![
        ("called_items", What::Called { instance, serial: 2, items: set(&[(0, 52)]) }),
        ("item_ended", ended(Some(ValueRef::Stored(stored("an output", 4_000))), None, None, None)),
        ("item_ended_failed", ended(None, Some(error), Some(failure()), None)),
        ("item_ended_again", ended(None, None, Some(failure()), Some(at()))),
        ("listed", What::Listed { instance, parts: vec![part], concurrency: Some(50), tolerate: 1 }),
        ("ranged", What::Ranged { instance, serial: 2, retries: 1, items: set(&[(0, 52)]) }),
        ("reported", What::Reported { instance, serial: 2, report: Box::new(report), ignored: set(&[(7, 1)]) }),
        ("woken", What::Woken { instance }),
    ]
}

#[test]
fn every_fact_is_frozen() {
    let samples: Vec<(&str, What)> = [of_runs(), of_times(), of_tasks(), of_items()].into_iter().flatten().collect();
    let mut golden = Golden::open(env!("CARGO_MANIFEST_DIR"));
    golden.covers::<What>(samples.iter().map(|(_, what)| tag(what)));
    let starts = samples.iter().filter_map(|(_, what)| match what {
        What::Begun { starts, .. } => Some(starts),
        _ => None,
    });
    golden.covers::<Entry>(starts.flatten().map(|start| tag(&start.stage)));
    for (name, what) in samples {
        golden.check(&format!("fact_{name}"), &Fact { at: at(), what });
    }
    golden.finish();
}

/// What every stored value of a fact is kept for: retention must not delete it.
#[test]
fn each_stored_value_is_visited() {
    for (name, what) in [of_runs(), of_times(), of_tasks(), of_items()].into_iter().flatten() {
        let fact = Fact { at: at(), what };
        let written = serde_json::to_string(&fact).expect("a fact is JSON");
        let mut visited = 0;
        fact.each_stored(&mut |stored| {
            visited += 1;
            assert!(written.contains(&stored.digest.to_string()), "{name}");
        });
        assert_eq!(visited, written.matches("\"digest\"").count(), "{name}");
    }
}
