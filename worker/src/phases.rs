//! The phases that only evaluate: pure first, then told.

use std::time::{Duration, Instant};

use engine::{evaluate, program::Program, snapshot::Scope, spec::TaskIndex, value::Value};
use proto::{
    failure::Failure,
    id::KeyName,
    outcome::{Listed, OutputReport, Report, Settlement},
    work::{Phase, Status, Work},
};

use crate::{
    blocking,
    hindrance::{Hindrance, until_answered},
    parts::{self, Part},
    perform::{Assignment, millis},
    station::{Killed, Station},
    upload::{Made, Upload},
    values,
};

/// Bytes that an item of a list makes at the least, its place in the list included.
const ITEM_BYTES_LEAST: usize = 8;

/// Transitions that were asked, and what they publish.
#[derive(Debug)]
pub(crate) struct Settled {
    fired: Vec<u16>,
    published: Vec<(KeyName, Made)>,
}

/// What a phase came to, before anything of it is uploaded.
enum Evaluated {
    Vars(Vec<(KeyName, Made)>),
    Delay(Duration),
    Items { parts: Vec<Part>, concurrency: Option<u32>, tolerate: u32 },
    Settled(Settled),
    Output { value: Made, left_out: Vec<Failure> },
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
        (Phase::Prepare, None) => blocking::evaluated(limit, *weight, scope, move |scope| vars(&program, scope)).await,
        (Phase::Prepare, Some(task)) => {
            let delay = move |scope: &Scope| evaluate::delay(&program, task, scope);
            Ok(Evaluated::Delay(blocking::evaluated(limit, 0, scope, delay).await?))
        }
        (Phase::Settle, Some(task)) => {
            let settled = move |scope: &Scope| settle(&program, task, scope, status);
            Ok(Evaluated::Settled(blocking::evaluated(limit, *weight, scope.with_status(status), settled).await?))
        }
        (Phase::Output, None) => blocking::evaluated(limit, *weight, scope, move |scope| output(&program, scope)).await,
        (Phase::Act | Phase::Items, _) | (Phase::Settle, None) | (Phase::Output, Some(_)) => Err(unclear(work)),
    }
}

fn unclear(work: &Work) -> Failure {
    Failure::new("work_unclear", format!("{} makes no sense", work.key))
}

fn vars(program: &Program, scope: &Scope) -> Result<Evaluated, Failure> {
    let made = |(name, value): (KeyName, Value)| {
        let made = Made::of(&format!("vars.{name}"), value)?;
        Ok((name, made))
    };
    let vars = evaluate::vars(program, scope)?.into_iter().map(made).collect::<Result<_, Failure>>()?;
    Ok(Evaluated::Vars(vars))
}

fn output(program: &Program, scope: &Scope) -> Result<Evaluated, Failure> {
    let evaluate::Output { entries, left_out } = evaluate::output(program, scope);
    Ok(Evaluated::Output { value: Made::of("output", Value::from_map(entries))?, left_out })
}

/// Asks the transitions of `task`, which ended with `status`.
pub(crate) fn settle(program: &Program, task: TaskIndex, scope: &Scope, status: Status) -> Result<Settled, Failure> {
    let evaluate::Settled { fired, published } = evaluate::settle(program, task, scope, status)?;
    let made = |(name, value): (KeyName, Value)| {
        let made = Made::of(&format!("workflow.{name}"), value)?;
        Ok((name, made))
    };
    Ok(Settled { fired, published: published.into_iter().map(made).collect::<Result<_, Failure>>()? })
}

impl Settled {
    /// What the outcome says of it.
    pub(crate) async fn upload(&self, upload: &mut Upload<'_>) -> Result<Settlement, values::Error> {
        let mut settlement = Settlement { fired: self.fired.clone(), ..Settlement::default() };
        for (name, made) in &self.published {
            settlement.published.insert(name.clone(), upload.value(made).await?);
        }
        Ok(settlement)
    }
}

async fn tell(station: &Station, evaluated: &Evaluated) -> Result<Report, Hindrance> {
    let mut upload = Upload::new(&station.snapshots);
    match evaluated {
        Evaluated::Vars(vars) => {
            let mut told = Vec::with_capacity(vars.len());
            for (name, made) in vars {
                told.push((name.clone(), upload.value(made).await?));
            }
            Ok(Report::Vars(told))
        }
        Evaluated::Delay(delay) => Ok(Report::Delay { delay_ms: millis(*delay) }),
        Evaluated::Items { parts, concurrency, tolerate } => {
            let mut told = Vec::with_capacity(parts.len());
            for part in parts {
                told.push(part.upload(&mut upload).await?);
            }
            Ok(Report::Listed(Listed { parts: told, concurrency: *concurrency, tolerate: *tolerate }))
        }
        Evaluated::Settled(settled) => Ok(Report::Settled(settled.upload(&mut upload).await?)),
        Evaluated::Output { value, left_out } => {
            Ok(Report::Output(OutputReport { value: upload.value(value).await?, left_out: left_out.clone() }))
        }
    }
}
