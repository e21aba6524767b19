//! Who points to whom: inbound tasks, entries, joins and loops.

use std::collections::{BTreeSet, HashSet};

use super::reader::Reader;
use crate::spec::{Join, Span, Target, Task, TaskIndex};

/// Fills in who points to each task, and gives the tasks that start a run.
pub(super) fn link(tasks: &mut [Task]) -> Vec<TaskIndex> {
    let mut inbound = vec![BTreeSet::new(); tasks.len()];
    for (from, task) in (0..).map(TaskIndex).zip(tasks.iter()) {
        for to in targets(task) {
            inbound[usize::from(to.0)].insert(from);
        }
    }
    for (task, inbound) in tasks.iter_mut().zip(inbound) {
        task.inbound = inbound.into_iter().collect();
    }
    (0..).map(TaskIndex).zip(tasks.iter()).filter(|(_, task)| task.inbound.is_empty()).map(|(index, _)| index).collect()
}

/// Refuses tasks that can never start and joins that can never be reached.
pub(super) fn check(reader: &mut Reader<'_>, tasks: &[Task], entries: &[TaskIndex], tasks_span: Span) {
    for task in tasks {
        check_join(reader, task);
    }
    if entries.is_empty() {
        let message = "no task starts the run: each is pointed to by another or by itself";
        reader.refuse("no_entry", tasks_span, message, "add a task before the loop that points into it");
        return;
    }
    let reached = reached(tasks, entries);
    for (index, task) in (0..).map(TaskIndex).zip(tasks) {
        if !reached.contains(&index) {
            let message = format!("task `{}` never starts: only tasks of its own loop point to it", task.name);
            reader.refuse("unreachable", task.span, message, "point to the loop from a task outside it");
        }
    }
}

fn check_join(reader: &mut Reader<'_>, task: &Task) {
    let name = &task.name;
    let count = task.inbound.len();
    match task.join {
        None => {}
        Some(_) if count == 0 => {
            let message = format!("`tasks.{name}.join` waits for nothing: no task points to `{name}`");
            reader.refuse("join_without_inbound", task.span, message, "point to it with `do`, or leave `join` out");
        }
        Some(Join::Count(wanted)) if usize::try_from(wanted).is_ok_and(|wanted| wanted > count) => {
            let message = format!("`tasks.{name}.join` waits for {wanted} tasks, but only {count} point to `{name}`");
            reader.refuse("join_too_large", task.span, message, format!("write `join: all` or a number up to {count}"));
        }
        Some(Join::All | Join::Count(_)) => {}
    }
}

fn reached(tasks: &[Task], entries: &[TaskIndex]) -> HashSet<TaskIndex> {
    let mut reached: HashSet<TaskIndex> = entries.iter().copied().collect();
    let mut open = entries.to_vec();
    while let Some(index) = open.pop() {
        open.extend(targets(&tasks[usize::from(index.0)]).filter(|target| reached.insert(*target)));
    }
    reached
}

fn targets(task: &Task) -> impl Iterator<Item = TaskIndex> {
    task.next.iter().flat_map(|transition| &transition.targets).filter_map(|target| match target {
        Target::Task(index) => Some(*index),
        Target::Noop | Target::Continue | Target::Fail | Target::Retry => None,
    })
}
