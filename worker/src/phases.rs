//! The phases that only evaluate: pure first, then told.

use std::time::Instant;

use engine::{
    evaluate::{self, PreparedRun, PreparedTask},
    program::Program,
    snapshot::Scope,
    value::Value,
};
use proto::{
    failure::Failure,
    id::KeyName,
    outcome::{Listed, OutputReport, Report, RunPrepared, TaskPrepared},
    work::{Phase, Status, Work},
};

use crate::{
    blocking,
    follow::{self, Asked, Settled},
    hindrance::{Hindrance, until_answered},
    parts::{self, Part},
    perform::{Assignment, millis},
    station::{Killed, Station},
    upload::{Made, Upload},
};

/// Bytes that an item of a list makes at the least, its place in the list included.
const ITEM_BYTES_LEAST: usize = 8;

/// What a phase came to, before anything of it is uploaded.
enum Evaluated {
    Run {
        vars: Vec<(KeyName, Made)>,
        timeout_ms: Option<u64>,
        concurrency: Option<u32>,
    },
    Task(PreparedTask),
    Items {
        parts: Vec<Part>,
        concurrency: Option<u32>,
        tolerate: u32,
    },
    Settled(Settled),
    /// Of a task whose end was an attempt, to be tried again perhaps.
    Asked(Asked),
    Output {
        value: Made,
        left_out: Vec<Failure>,
    },
}

/// Evaluates and says what came of it.
pub(crate) async fn perform(station: &Station, assignment: &Assignment<'_>) -> Result<Report, Killed> {
    let begun = Instant::now();
    let evaluated = match assignment.work.key.phase {
        Phase::Items => listed(station, assignment).await,
        Phase::Prepare | Phase::Act | Phase::Settle | Phase::Output => evaluated(station, assignment).await,
    };
    station.metrics.render.observe(begun.elapsed().as_secs_f64());
    let told = match &evaluated {
        Ok(evaluated) => until_answered(&station.kill, || tell(station, evaluated)).await?,
        Err(failure) => Err(failure.clone()),
    };
    Ok(told.unwrap_or_else(Report::Unable))
}

async fn listed(station: &Station, assignment: &Assignment<'_>) -> Result<Evaluated, Failure> {
    let Assignment { work, program, task, scope, weight, .. } = assignment;
    let task = task.ok_or_else(|| unclear(work))?;
    let (program, scope, limit) = (program.clone(), scope.clone(), assignment.limit(station));
    let list = move |scope: &Scope| evaluate::items(&program, task, scope);
    let list = blocking::evaluated(limit, *weight, scope, list).await?;
    let evaluate::ItemList { items, concurrency, tolerate } = list;
    // A short template makes a long list.
    let bytes = (*weight).max(items.len() * ITEM_BYTES_LEAST);
    let parts = blocking::sized(bytes, move || parts::cut(&items)).await?;
    Ok(Evaluated::Items { parts, concurrency, tolerate })
}

async fn evaluated(station: &Station, assignment: &Assignment<'_>) -> Result<Evaluated, Failure> {
    let Assignment { work, program, task, scope, weight, .. } = assignment;
    let (program, scope, limit) = (program.clone(), scope.clone(), assignment.limit(station));
    let status = work.ended.as_ref().map_or(Status::Succeeded, |ended| ended.status);
    match (work.key.phase, *task) {
        (Phase::Prepare, None) => blocking::evaluated(limit, *weight, scope, move |scope| run(&program, scope)).await,
        (Phase::Prepare, Some(task)) => {
            let prepared = move |scope: &Scope| evaluate::prepare_task(&program, task, scope);
            Ok(Evaluated::Task(blocking::evaluated(limit, 0, scope, prepared).await?))
        }
        (Phase::Settle, Some(task)) if work.ended.as_ref().is_some_and(|ended| ended.asks_retry) => {
            let retries = work.retries;
            let asked = move |scope: &Scope| Ok(follow::ask(&program, task, scope, status, retries));
            Ok(Evaluated::Asked(blocking::evaluated(limit, *weight, scope.with_status(status), asked).await?))
        }
        (Phase::Settle, Some(task)) => {
            let settled = move |scope: &Scope| follow::settle(&program, task, scope, status);
            Ok(Evaluated::Settled(blocking::evaluated(limit, *weight, scope.with_status(status), settled).await?))
        }
        (Phase::Output, None) => blocking::evaluated(limit, *weight, scope, move |scope| output(&program, scope)).await,
        (Phase::Act | Phase::Items, _) | (Phase::Settle, None) | (Phase::Output, Some(_)) => Err(unclear(work)),
    }
}

fn unclear(work: &Work) -> Failure {
    Failure::new("work_unclear", format!("{} makes no sense", work.key))
}

fn run(program: &Program, scope: &Scope) -> Result<Evaluated, Failure> {
    let made = |(name, value): (KeyName, Value)| {
        let made = Made::of(&format!("vars.{name}"), value)?;
        Ok((name, made))
    };
    let PreparedRun { vars, timeout, concurrency } = evaluate::prepare_run(program, scope)?;
    let vars = vars.into_iter().map(made).collect::<Result<_, Failure>>()?;
    Ok(Evaluated::Run { vars, timeout_ms: timeout.map(millis), concurrency })
}

fn output(program: &Program, scope: &Scope) -> Result<Evaluated, Failure> {
    let evaluate::Output { entries, left_out } = evaluate::output(program, scope);
    Ok(Evaluated::Output { value: Made::of("output", Value::from_map(entries))?, left_out })
}

async fn tell(station: &Station, evaluated: &Evaluated) -> Result<Report, Hindrance> {
    let mut upload = Upload::new(&station.snapshots);
    match evaluated {
        Evaluated::Run { vars, timeout_ms, concurrency } => {
            let mut told = Vec::with_capacity(vars.len());
            for (name, made) in vars {
                told.push((name.clone(), upload.value(made).await?));
            }
            let prepared = RunPrepared { vars: told, timeout_ms: *timeout_ms, concurrency: *concurrency };
            Ok(Report::RunPrepared(prepared))
        }
        Evaluated::Task(PreparedTask { delay, wait, pool }) => Ok(Report::TaskPrepared(TaskPrepared {
            delay_ms: millis(*delay),
            wait_ms: wait.map(millis),
            pool: pool.clone(),
        })),
        Evaluated::Items { parts, concurrency, tolerate } => {
            let mut told = Vec::with_capacity(parts.len());
            for part in parts {
                told.push(part.upload(&mut upload).await?);
            }
            Ok(Report::Listed(Listed { parts: told, concurrency: *concurrency, tolerate: *tolerate }))
        }
        Evaluated::Asked(asked) => Ok(Report::Acted(asked.upload(&mut upload).await?)),
        Evaluated::Settled(settled) => Ok(Report::Settled(settled.upload(&mut upload).await?)),
        Evaluated::Output { value, left_out } => {
            Ok(Report::Output(OutputReport { value: upload.value(value).await?, left_out: left_out.clone() }))
        }
    }
}
