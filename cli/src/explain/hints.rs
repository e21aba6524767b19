//! What is to be said of what a task was given: what costs, and what was not there and who could have put it there.

use engine::{
    program::Program,
    spec::{Task, Workflow},
};
use proto::explain::{Given, Read};

use super::{env_names, text::size};

/// A value beyond this many bytes is large.
const LARGE_BYTES: u64 = 1024 * 1024;

/// What is to be said.
pub fn of(program: &Program, task: &Task, given: &Given) -> Vec<String> {
    let mut hints = Vec::new();
    for read in &given.paths {
        hints.extend(large(read));
        if read.required && read.value.is_none() && !read.omitted {
            hints.push(missing(program.workflow(), read));
        }
    }
    let mut whole: Vec<&str> = given.paths.iter().filter_map(|read| read.within.as_deref()).collect();
    whole.dedup();
    hints.extend(whole.into_iter().map(|root| {
        format!(
            "it reads `{root}` as a whole, so all below it goes with its work: name what is needed, as `{root}.<name>`"
        )
    }));
    let env = env_names(program, task);
    if !env.is_empty() {
        let names = env.iter().map(|name| format!("`env.{name}`")).collect::<Vec<_>>().join(", ");
        hints.push(format!("{names}: known to workers alone; what is computed from it differs from what is shown"));
    }
    hints
}

fn large(read: &Read) -> Option<String> {
    let (path, bytes) = (&read.path, size(read.bytes));
    if read.omitted {
        return Some(format!("`{path}` has {bytes} and was not fetched: templates that read it are not shown"));
    }
    (read.bytes > LARGE_BYTES)
        .then(|| format!("`{path}` has {bytes}: each worker that takes this fetches and parses it"))
}

/// Why a path may have been empty.
fn missing(workflow: &Workflow, read: &Read) -> String {
    let path = &read.path;
    let mut parts = path.splitn(3, '.');
    let why = match (parts.next(), parts.next(), parts.next()) {
        (Some("parameters"), Some(_), _) => "the job did not give it, and it has no default".to_owned(),
        (Some("signal"), Some(name), _) => format!("no signal `{name}` was taken on this branch"),
        (Some("workflow"), Some(name), _) => match publishers(workflow, name).as_slice() {
            [] => "no task publishes it".to_owned(),
            tasks => format!("{} may publish it, and had not on this branch", tasks.join(", ")),
        },
        (Some("task"), Some(task), Some(field)) => format!("{task} had come to no {field} on this branch"),
        (_, _, _) => "nothing stood below it".to_owned(),
    };
    format!("`{path}` was not there: {why}")
}

/// The tasks with a transition that publishes `name`.
fn publishers<'w>(workflow: &'w Workflow, name: &str) -> Vec<&'w str> {
    let publishes = |task: &&Task| {
        let mut keys = task.next.iter().flat_map(|next| &next.publish);
        keys.any(|(key, _)| key.as_str() == name)
    };
    workflow.tasks.iter().filter(publishes).map(|task| task.name.as_str()).collect()
}
