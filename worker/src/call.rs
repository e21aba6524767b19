//! A task that runs a workflow: what its child is to start with, rendered and checked against the child's parameters.

use std::{collections::BTreeMap, sync::Arc};

use engine::{
    evaluate,
    parameters::{self, Coerce},
    program::Program,
    snapshot::Scope,
    spec::TaskIndex,
    value::Value,
};
use proto::{
    failure::Failure,
    id::{ItemIndex, KeyName},
    json::Json,
    outcome::{Called, ItemsReport, Report},
    work::Range,
};

use crate::{
    attempt::error_of,
    blocking,
    hindrance::{Hindrance, until_answered},
    perform::{Assignment, millis},
    range,
    station::{Killed, Station},
    upload::Upload,
};

/// What a child starts with, before anything of it is uploaded.
struct Rendered {
    parameters: Vec<(KeyName, Json)>,
    timeout_ms: Option<u64>,
}

/// Items whose children can start, and those that cannot have one.
#[derive(Default)]
struct Rendereds {
    called: Vec<(ItemIndex, Rendered)>,
    failed: Vec<(ItemIndex, Value)>,
    failure: Option<Failure>,
}

/// Renders what the children of the task start with.
pub(crate) async fn perform(station: &Station, assignment: &Assignment<'_>, task: TaskIndex) -> Result<Report, Killed> {
    let Some(definition) = assignment.work.child else {
        return Ok(Report::Unable(Failure::new("work_unclear", "the work names no workflow for its child run")));
    };
    let child =
        match until_answered(&station.kill, || async { Ok(station.snapshots.program(definition).await?) }).await? {
            Ok(child) => child,
            Err(failure) => return Ok(Report::Unable(failure)),
        };
    match &assignment.work.range {
        Some(range) => items(station, assignment, task, child, range).await,
        None => plain(station, assignment, task, child).await,
    }
}

async fn plain(
    station: &Station,
    assignment: &Assignment<'_>,
    task: TaskIndex,
    child: Arc<Program>,
) -> Result<Report, Killed> {
    let (program, scope, limit) = (assignment.program.clone(), assignment.scope.clone(), assignment.limit(station));
    let render = move |scope: &Scope| render(&program, task, scope, &child);
    let rendered = blocking::evaluated(limit, assignment.weight, scope, render).await;
    let told = match &rendered {
        Ok(rendered) => until_answered(&station.kill, || tell(station, rendered)).await?,
        Err(failure) => Err(failure.clone()),
    };
    Ok(told.map_or_else(Report::Unable, Report::Called))
}

async fn items(
    station: &Station,
    assignment: &Assignment<'_>,
    task: TaskIndex,
    child: Arc<Program>,
    range: &Range,
) -> Result<Report, Killed> {
    let values = match range::read(range).await {
        Ok(values) => values,
        Err(failure) => return Ok(range::all_failed(range, &failure)),
    };
    let (program, scope, limit) = (assignment.program.clone(), assignment.scope.clone(), assignment.limit(station));
    let indices = range.items.clone();
    let render_all = move |scope: &Scope| {
        let mut all = Rendereds::default();
        for (index, item) in indices.iter().zip(values) {
            let scope = scope.clone().with_item(item.clone(), index);
            match render(&program, task, &scope, &child) {
                Ok(rendered) => all.called.push((index, rendered)),
                Err(failure) => all.fail(index, item, failure),
            }
        }
        Ok(all)
    };
    let bytes = assignment.weight.max(range.values.as_bytes().len());
    let all = match blocking::evaluated(limit, bytes, scope, render_all).await {
        Ok(all) => all,
        Err(failure) => return Ok(range::all_failed(range, &failure)),
    };
    let told = until_answered(&station.kill, || tell_all(station, &all)).await?;
    Ok(told.map_or_else(|failure| range::all_failed(range, &failure), Report::Items))
}

fn render(program: &Program, task: TaskIndex, scope: &Scope, child: &Program) -> Result<Rendered, Failure> {
    let name = &program.workflow().task(task).name;
    let input = evaluate::input(program, task, scope)?;
    let mut given = BTreeMap::new();
    for (key, value) in input.as_map().into_iter().flatten() {
        let json =
            value.to_json().map_err(|error| Failure::new(error.code(), format!("input.{key}: {error}")).at(name))?;
        given.insert(key, json);
    }
    let parameters = parameters::check(child.workflow(), given, Coerce::AsGiven).map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        Failure::new("parameters_invalid", messages.join("; ")).at(name)
    })?;
    Ok(Rendered { parameters, timeout_ms: evaluate::timeout(program, task, scope)?.map(millis) })
}

impl Rendereds {
    fn fail(&mut self, index: ItemIndex, item: Value, failure: Failure) {
        self.failed.push((index, range::error_entry(index, item, error_of(&failure, Value::null()))));
        self.failure.get_or_insert(failure);
    }
}

async fn tell(station: &Station, rendered: &Rendered) -> Result<Called, Hindrance> {
    upload(&mut Upload::new(&station.snapshots), rendered).await
}

async fn tell_all(station: &Station, all: &Rendereds) -> Result<ItemsReport, Hindrance> {
    let mut uploads = Upload::new(&station.snapshots);
    let mut report = ItemsReport { failure: all.failure.clone(), ..ItemsReport::default() };
    for (index, rendered) in &all.called {
        report.called.push((*index, upload(&mut uploads, rendered).await?));
    }
    report.failed = all.failed.iter().map(|(index, _)| *index).collect();
    if !all.failed.is_empty() {
        let entries = Value::from_list(all.failed.iter().map(|(_, entry)| entry.clone()).collect());
        let json = entries.to_json().map_err(|error| Failure::new(error.code(), error.to_string()))?;
        report.errors = Some(uploads.json(&json).await?);
    }
    Ok(report)
}

async fn upload(uploads: &mut Upload<'_>, rendered: &Rendered) -> Result<Called, Hindrance> {
    let mut called = Called { parameters: Vec::new(), timeout_ms: rendered.timeout_ms };
    for (name, json) in &rendered.parameters {
        called.parameters.push((name.clone(), uploads.json(json).await?));
    }
    Ok(called)
}
