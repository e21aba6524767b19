//! Every message and document, as golden files.

use std::collections::BTreeMap;

use leveret_proto::{
    SCHEMA,
    control::Control,
    event::Event,
    failure::Failure,
    id::{Attempt, Instance, ItemIndex, Shard},
    job::{Answer, CommandName, Message, Problem, Submission},
    json::Json,
    manifest::ManifestRef,
    outcome::{
        Acted, Called, Claim, Failed, FromWorker, Heartbeat, ItemsPart, ItemsReport, Listed, Next, Outcome,
        OutputReport, Report, RunPrepared, Settlement, TaskPrepared,
    },
    view::{
        ContextDocument, FailedItem, ItemCounts, ItemsDocument, ListDocument, Run, RunDocument, Stretch, Summary, Task,
        TimelineDocument,
    },
    work::{Ended, Phase, Range, RunInfo, RunStatus, Status, Work, WorkKey},
};

use crate::{
    golden::{Golden, tag},
    samples::{at, exit_code, inline, json, parse, set, stored},
};

#[test]
fn every_message_is_frozen() {
    let mut golden = Golden::open(env!("CARGO_MANIFEST_DIR"));
    jobs(&mut golden);
    commands(&mut golden);
    answers(&mut golden);
    works(&mut golden);
    outcomes(&mut golden);
    notices(&mut golden);
    documents(&mut golden);
    words(&mut golden);
    crate::values::check(&mut golden);
    golden.finish();
}

fn jobs(golden: &mut Golden) {
    let labels = BTreeMap::from([("team".to_owned(), "ops".to_owned())]);
    let by_name = Message {
        workflow: Some(parse("check-fleet")),
        parameters: Some(BTreeMap::from([("hosts".to_owned(), json(r#"["a","b"]"#))])),
        id: Some(parse("nightly-2026-12-01")),
        labels: Some(labels),
        at: Some(at("2026-12-01T09:00:00Z")),
        coerce: Some(true),
        ..Message::default()
    };
    let text = Message {
        definition: Some(json(r#""name: hello\ntasks:\n  greet: { action: core.echo, input: { message: hi } }\n""#)),
        ..Message::default()
    };
    let object = Message {
        definition: Some(json(r#"{"name":"hello","tasks":{"greet":{"action":"core.noop"}}}"#)),
        id: Some(parse("hello-1")),
        ..Message::default()
    };
    let context = json(r#"{"task":{"probe":{"result":[200,null]}},"workflow":{"unhealthy":1}}"#);
    let seeded = Message { workflow: Some(parse("check-fleet")), context: Some(context), ..Message::default() };
    golden.check("job_by_name", &by_name);
    golden.check("job_with_text", &text);
    golden.check("job_with_object", &object);
    golden.check("job_with_context", &seeded);
}

fn commands(golden: &mut Golden) {
    let command =
        |command| Message { command: Some(command), id: Some(parse("nightly-2026-12-01")), ..Message::default() };
    let reason = Some("the fleet is being rebuilt".to_owned());
    let signal = Message {
        name: Some(parse("approved")),
        payload: Some(json(r#"{"by":"ada"}"#)),
        signal_id: Some("ticket-17".into()),
        ..command(CommandName::Signal)
    };
    let rerun = |scope: Message| Message { new_id: Some(parse("nightly-2026-12-01-again")), ..scope };
    let from = Message { from: Some(parse("report")), ..command(CommandName::Rerun) };
    let items = Message { failed_items: Some(true), ..command(CommandName::Rerun) };
    let samples = [
        ("command_cancel", Message { reason: reason.clone(), ..command(CommandName::Cancel) }),
        ("command_pause", Message { reason, ..command(CommandName::Pause) }),
        ("command_resume", command(CommandName::Resume)),
        ("command_signal", signal),
        ("command_rerun", command(CommandName::Rerun)),
        ("command_rerun_from", rerun(from)),
        ("command_rerun_failed_items", items),
    ];
    golden.covers::<CommandName>(samples.iter().filter_map(|(_, sample)| sample.command.as_ref().map(tag)));
    for (name, sample) in samples {
        assert!(matches!(Submission::try_from(sample.clone()), Ok(Submission::Command(_))), "{name}");
        golden.check(name, &sample);
    }
}

fn answers(golden: &mut Golden) {
    let answer = |status: &str| Answer {
        schema: SCHEMA,
        id: Some(parse("nightly-2026-12-01")),
        status: status.to_owned(),
        output: None,
        output_digest: None,
        error: None,
        errors: Vec::new(),
        duplicate: false,
    };
    let problem = Problem {
        code: "parameter_unknown".into(),
        message: "no parameter is called `host`".into(),
        location: Some("check-fleet.yaml:4:3".into()),
        help: Some("did you mean `hosts`?".into()),
    };
    let rejected = Answer { id: None, errors: vec![problem], ..answer("rejected") };
    let succeeded = Answer { output: Some(json(r#"{"summary":"1 of 3 hosts failed"}"#)), ..answer("succeeded") };
    let failed = Answer { output: Some(json("{}")), error: Some(exit_code().at(&parse("probe"))), ..answer("failed") };
    let large = Answer { output_digest: Some(stored("a large output", 5_242_880)), ..answer("succeeded") };
    let samples = [
        ("answer_accepted", "accepted", answer("accepted")),
        ("answer_duplicate", "accepted", Answer { duplicate: true, ..answer("accepted") }),
        ("answer_rejected", "rejected", rejected),
        ("answer_succeeded", "finished", succeeded),
        ("answer_failed", "finished", failed),
        ("answer_canceled", "finished", Answer { output: Some(json("{}")), ..answer("canceled") }),
        ("answer_large_output", "finished", large),
    ];
    for (name, kind, sample) in samples {
        assert_eq!(sample.kind(), kind, "{name}");
        golden.check(name, &sample);
    }
}

fn work(phase: Phase, task: Option<&str>) -> Work {
    Work {
        schema: SCHEMA,
        key: WorkKey {
            run: parse("nightly-2026-12-01"),
            task: task.map(|task| (parse(task), Instance(1))),
            phase,
            serial: 1,
        },
        shard: Shard(3),
        definition: stored("the source of check-fleet", 1_311),
        run: RunInfo {
            workflow: parse("check-fleet"),
            started_at: at("2026-12-01T09:00:00.012Z"),
            labels: BTreeMap::from([("team".to_owned(), "ops".to_owned())]),
            status: RunStatus::Running,
            error: None,
        },
        attempt: Attempt(1),
        retries: 0,
        manifest: ManifestRef::Inline(BTreeMap::new()),
        range: None,
        ended: None,
        child: None,
        dispatched_at: at("2026-12-01T09:00:00.015Z"),
    }
}

fn works(golden: &mut Golden) {
    let hosts = || ManifestRef::Inline(BTreeMap::from([("parameters.hosts".to_owned(), inline(r#"["a","b"]"#))]));
    let prepare_run = Work { manifest: hosts(), ..work(Phase::Prepare, None) };
    let mut second = work(Phase::Act, Some("report"));
    second.key.serial = 2;
    let act = Work {
        attempt: Attempt(2),
        retries: 1,
        manifest: ManifestRef::Inline(BTreeMap::from([
            (
                "task.probe.result".to_owned(),
                leveret_proto::value::ValueRef::Stored(stored("results of probe", 70_000)),
            ),
            ("task.probe.status".to_owned(), inline(r#""succeeded""#)),
            ("workflow.unhealthy".to_owned(), inline("2")),
        ])),
        ..second
    };
    let range = Work {
        manifest: ManifestRef::Stored(stored("a large manifest", 9_216)),
        range: Some(Range { items: set(&[(100, 2), (205, 1)]), values: json(r#"["a",{"host":"b"},7]"#) }),
        ..work(Phase::Act, Some("probe"))
    };
    let mut settle = work(Phase::Settle, Some("probe"));
    settle.run.status = RunStatus::Canceling;
    settle.run.error = Some(exit_code().at(&parse("probe")));
    let lost = Failure::new("worker_lost", "its worker died");
    settle.ended = Some(Ended { status: Status::Crashed, failure: Some(lost), asks_retry: false });
    let mut child_ended = work(Phase::Settle, Some("deploy"));
    child_ended.ended = Some(Ended { status: Status::Succeeded, failure: None, asks_retry: true });
    let child = Some(stored("the source of deploy-host", 733));
    let samples = [
        ("work_prepare_run", prepare_run),
        ("work_prepare_task", work(Phase::Prepare, Some("report"))),
        ("work_items", Work { manifest: hosts(), ..work(Phase::Items, Some("probe")) }),
        ("work_act", act),
        ("work_act_range", range),
        ("work_act_child", Work { child, ..work(Phase::Act, Some("deploy")) }),
        ("work_settle", settle),
        ("work_settle_child", child_ended),
        ("work_output", work(Phase::Output, None)),
    ];
    golden.covers::<Phase>(samples.iter().map(|(_, sample)| tag(&sample.key.phase)));
    golden.covers::<ManifestRef>(samples.iter().map(|(_, sample)| tag(&sample.manifest)));
    for (name, sample) in samples {
        golden.check(name, &sample);
    }
}

fn settlement() -> Settlement {
    Settlement { fired: vec![0, 2], published: BTreeMap::from([(parse("unhealthy"), inline("2"))]), retries: None }
}

fn acted(status: Status, next: Next) -> Acted {
    let error = inline(r#"{"code":"exit_code","details":{"exit_code":7},"message":"the command ended with 7"}"#);
    let (failure, result) = match status {
        Status::Succeeded => (None, inline(r#"{"exit_code":0,"stdout":"ok\n"}"#)),
        _ => (Some(Failed { failure: exit_code(), error }), inline(r#"{"exit_code":7,"stdout":""}"#)),
    };
    Acted { status, result, failure, next, busy_ms: 12 }
}

fn outcomes(golden: &mut Golden) {
    let undefined = || Failure::new("template_error", "`task.probe.reslut` is not defined");
    let part = ItemsPart {
        count: 3,
        values: inline(r#"["a","b",{"host":"c"}]"#),
        offsets: inline("[1,5,9,22]"),
        item_bytes_max: 12,
    };
    let called = Called { parameters: vec![(parse("host"), inline(r#""a""#))], timeout_ms: Some(60_000) };
    let items = ItemsReport {
        called: Vec::new(),
        succeeded: set(&[(100, 40), (150, 2)]),
        failed: set(&[(141, 1)]),
        retry: vec![(500, set(&[(142, 2)]))],
        handed_back: set(&[(144, 6)]),
        results: Some(leveret_proto::value::ValueRef::Stored(stored("results of 42 items", 80_123))),
        errors: Some(inline(r#"[{"error":{"code":"exit_code","message":"…"},"index":141,"item":"b"}]"#)),
        failure: Some(exit_code()),
        busy_us: 51_234,
    };
    let output = OutputReport { value: inline(r#"{"summary":"2 hosts failed"}"#), left_out: vec![undefined()] };
    let retry = Report::Acted(acted(Status::TimedOut, Next::Retry { delay_ms: 750 }));
    let unable = Report::Acted(acted(Status::Failed, Next::Unable(undefined())));
    let children = ItemsReport { called: vec![(ItemIndex(7), called.clone())], ..ItemsReport::default() };
    let vars = vec![(parse("started_with"), inline("3"))];
    let prepared = RunPrepared { vars, timeout_ms: Some(600_000), concurrency: Some(1_000) };
    let wait = TaskPrepared { delay_ms: 30_000, wait_ms: Some(86_400_000), pool: Some(parse("gpu")) };
    let again = Settlement { fired: vec![1], published: BTreeMap::new(), retries: Some(3) };
    let samples = [
        ("run_prepared", Phase::Prepare, Report::RunPrepared(prepared)),
        ("task_prepared", Phase::Prepare, Report::TaskPrepared(wait)),
        ("listed", Phase::Items, Report::Listed(Listed { parts: vec![part], concurrency: Some(50), tolerate: 1 })),
        ("acted", Phase::Act, Report::Acted(acted(Status::Succeeded, Next::Settled(settlement())))),
        ("acted_retry", Phase::Act, retry),
        ("acted_unable", Phase::Act, unable),
        ("items", Phase::Act, Report::Items(items)),
        ("called", Phase::Act, Report::Called(called)),
        ("items_called", Phase::Act, Report::Items(children)),
        ("settled", Phase::Settle, Report::Settled(settlement())),
        ("settled_retry", Phase::Settle, Report::Settled(again)),
        ("output", Phase::Output, Report::Output(output)),
        ("unable", Phase::Items, Report::Unable(undefined())),
        ("handed_back", Phase::Act, Report::HandedBack),
    ];
    golden.covers::<Report>(samples.iter().map(|(_, _, report)| tag(report)));
    golden.covers::<Next>(samples.iter().filter_map(|(_, _, report)| match report {
        Report::Acted(acted) => Some(tag(&acted.next)),
        _ => None,
    }));
    let mut kinds = Vec::new();
    for (name, phase, report) in samples {
        let task = if matches!(name, "run_prepared" | "output") { None } else { Some("probe") };
        let key = work(phase, task).key;
        let outcome = Outcome { schema: SCHEMA, key, worker: parse("worker-7@host"), report };
        let message = FromWorker::Outcome(Box::new(outcome));
        kinds.push(tag(&message));
        golden.check(&format!("outcome_{name}"), &message);
    }
    kinds.extend(signs_of_workers(golden));
    golden.covers::<FromWorker>(kinds);
}

/// What workers say beside outcomes.
fn signs_of_workers(golden: &mut Golden) -> [String; 2] {
    let heartbeat = FromWorker::Heartbeat(Heartbeat {
        schema: SCHEMA,
        worker: parse("worker-7@host"),
        pools: vec![parse("default"), parse("gpu")],
        slots: 32,
        running: vec![work(Phase::Act, Some("probe")).key],
    });
    golden.check("heartbeat", &heartbeat);
    let claim = FromWorker::Claim(Claim {
        schema: SCHEMA,
        key: work(Phase::Act, Some("deploy")).key,
        nonce: "worker-7@host/81".into(),
        redelivered: true,
    });
    golden.check("claim", &claim);
    [tag(&heartbeat), tag(&claim)]
}

fn notices(golden: &mut Golden) {
    let claimed = Control::Claimed { key: work(Phase::Act, Some("deploy")).key, nonce: "worker-7@host/80".into() };
    let controls = [
        ("control_claimed", claimed),
        ("control_cancel", Control::Cancel { run: parse("nightly-2026-12-01"), through: Instance(17) }),
        ("control_skip", Control::Skip { run: parse("nightly-2026-12-01"), through: Instance(17) }),
        ("control_pause", Control::Pause { run: parse("nightly-2026-12-01"), at: at("2026-12-01T09:00:02.500Z") }),
    ];
    golden.covers::<Control>(controls.iter().map(|(_, control)| tag(control)));
    for (name, control) in controls {
        golden.check(name, &control);
    }
    let run = Event {
        schema: SCHEMA,
        sequence: 7,
        run: parse("nightly-2026-12-01"),
        workflow: parse("check-fleet"),
        task: None,
        status: "succeeded".into(),
        error: None,
        at: at("2026-12-01T09:00:04.001Z"),
    };
    let task = Event {
        sequence: 5,
        task: Some(parse("probe")),
        status: "failed".into(),
        error: Some(exit_code()),
        ..run.clone()
    };
    assert_eq!(run.routing_key(), "run.check-fleet.succeeded");
    assert_eq!(task.routing_key(), "task.check-fleet.probe.failed");
    golden.check("event_run", &run);
    golden.check("event_task", &task);
}

fn documents(golden: &mut Golden) {
    let summary = Summary {
        id: parse("nightly-2026-12-01"),
        workflow: parse("check-fleet"),
        status: RunStatus::Failed,
        labels: BTreeMap::from([("team".to_owned(), "ops".to_owned())]),
        error: Some(exit_code().at(&parse("probe"))),
        started_at: at("2026-12-01T09:00:00.012Z"),
        finished_at: Some(at("2026-12-01T09:00:04.001Z")),
    };
    let probe = Task {
        status: "failed".into(),
        attempts: 2,
        instances: 1,
        items: Some(ItemCounts { total: 300, succeeded: 298, failed: 2, running: 0 }),
        error: Some(exit_code()),
        ..Task::default()
    };
    let report = Task { status: "not_run".into(), ..Task::default() };
    let run = Run {
        id: summary.id.clone(),
        workflow: summary.workflow.clone(),
        status: summary.status,
        labels: summary.labels.clone(),
        error: summary.error.clone(),
        started_at: summary.started_at,
        finished_at: summary.finished_at,
        parent: None,
        ancestor: None,
        definition: stored("the source of check-fleet", 1_311).digest,
        output: Some(json(r#"{"summary":"2 hosts failed"}"#)),
        output_stored: None,
        tasks: BTreeMap::from([(parse("probe"), probe), (parse("report"), report)]),
    };
    let large = Run { output: None, output_stored: Some(stored("a large output", 5_242_880)), ..run.clone() };
    golden.check("document_run_child", &RunDocument { schema: SCHEMA, run: child(&run) });
    golden.check("document_run", &RunDocument { schema: SCHEMA, run });
    golden.check("document_run_large_output", &RunDocument { schema: SCHEMA, run: large });
    let fields = |text: &str| -> BTreeMap<String, Json> { json(text).parse().expect("an object") };
    let context = ContextDocument {
        schema: Some(SCHEMA),
        parameters: fields(r#"{"hosts":["a","b"]}"#),
        workflow: fields(r#"{"unhealthy":1}"#),
        signal: fields(r#"{"approved":{"by":"ada"}}"#),
        task: BTreeMap::from([(
            "probe".to_owned(),
            fields(r#"{"attempts":1,"result":[200,null],"status":"succeeded"}"#),
        )]),
    };
    golden.check("document_context", &context);
    let failed = FailedItem {
        task: parse("probe"),
        index: ItemIndex(141),
        item: json(r#""b""#),
        error: json(r#"{"code":"exit_code","message":"the command ended with 7"}"#),
    };
    golden.check("document_items", &ItemsDocument { schema: SCHEMA, page: 1, total: 1, items: vec![failed] });
    golden.check("document_timeline", &timeline(&summary));
    golden.check("document_list", &ListDocument { schema: SCHEMA, runs: vec![summary] });
}

/// A child of a rerun that waits, as it is while it lives.
fn child(of: &Run) -> Run {
    let waiting =
        Task { status: "waiting".into(), instances: 1, waiting_for: Some(parse("approved")), ..Task::default() };
    let called = Task {
        status: "running".into(),
        attempts: 1,
        instances: 1,
        children: vec![parse("nightly-2026-12-01~3.1~2.1")],
        ..Task::default()
    };
    Run {
        id: parse("nightly-2026-12-01~3.1"),
        status: RunStatus::Running,
        error: None,
        finished_at: None,
        parent: Some(parse("nightly-2026-12-01")),
        ancestor: Some(parse("nightly-2026-11-30")),
        output: None,
        tasks: BTreeMap::from([(parse("approve"), waiting), (parse("deploy"), called)]),
        ..of.clone()
    }
}

fn timeline(of: &Summary) -> TimelineDocument {
    let ended = Stretch {
        task: parse("probe"),
        instance: Instance(1),
        started_at: of.started_at,
        ended_at: of.finished_at,
        status: Some(Status::Failed),
    };
    let lives = Stretch { task: parse("page"), instance: Instance(2), ended_at: None, status: None, ..ended.clone() };
    TimelineDocument {
        schema: SCHEMA,
        id: of.id.clone(),
        started_at: of.started_at,
        finished_at: of.finished_at,
        tasks: vec![ended, lives],
    }
}

fn words(golden: &mut Golden) {
    let statuses = [Status::Succeeded, Status::Failed, Status::TimedOut, Status::Crashed, Status::Canceled];
    golden.covers::<Status>(statuses.iter().map(tag));
    golden.covers::<RunStatus>(RunStatus::ALL.iter().map(tag));
    for status in statuses {
        assert_eq!(tag(&status), status.as_str());
    }
    for status in RunStatus::ALL {
        assert_eq!(tag(&status), status.as_str());
    }
    golden.check("word_status", &statuses.to_vec());
    golden.check("word_run_status", &RunStatus::ALL.to_vec());
}
