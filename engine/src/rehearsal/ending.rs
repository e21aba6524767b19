//! What came of a rehearsal.

use std::collections::BTreeMap;

use proto::{
    id::WorkflowName,
    json::Json,
    work::{Phase, WorkKey},
};

use super::{
    Children, Outcome, Unused,
    player::{Player, Role},
    stage::Stage,
    values,
};

/// What is to be seen when nothing happens on `stage` any more.
pub(super) fn outcome(stage: &Stage<'_>) -> Outcome {
    let Player { program, run, record, facts, .. } = stage.main();
    let workflow = program.workflow();
    let own = WorkKey { run: run.id().clone(), task: None, phase: Phase::Output, serial: 0 };
    let published = run.manifest(workflow, &own, ["workflow"]).into_iter().filter_map(|(path, value)| {
        let key = path.strip_prefix("workflow.")?.parse().ok()?;
        Some((key, values::whole(&value)))
    });
    Outcome {
        status: run.status(),
        error: run.failure().cloned(),
        output: run.finished().map_or_else(Json::null, |finished| values::whole(&finished.output)),
        published: published.collect(),
        order: record.order().to_vec(),
        inputs: record.inputs(),
        tasks: run.view(workflow).tasks,
        children: children(stage),
        unused: unused(stage),
        rerun: None,
        facts: facts.clone(),
    }
}

fn children(stage: &Stage<'_>) -> BTreeMap<WorkflowName, Children> {
    let mut children: BTreeMap<WorkflowName, Children> = BTreeMap::new();
    for id in &stage.children {
        let Player { program, run, record, .. } = &stage.players[id];
        let of = children.entry(program.workflow().name.clone()).or_default();
        of.statuses.push(run.status());
        of.order.extend(record.order().iter().cloned());
    }
    children
}

fn unused(stage: &Stage<'_>) -> Vec<Unused> {
    let child = |role: &Role| match role {
        Role::Main => None,
        Role::Child(name) => Some(name.clone()),
    };
    let mut unused = Vec::new();
    for (role, cues) in &stage.cues {
        let left = cues.unused().map(|(task, count)| Unused::Outcomes { child: child(role), task, count });
        unused.extend(left);
    }
    for (role, part) in stage.parts() {
        let never = (0..part.events.len()).filter(|at| !stage.came.contains(&(role.clone(), *at)));
        unused.extend(never.map(|at| Unused::Event { child: child(&role), moment: part.events[at].at.clone() }));
    }
    unused
}
