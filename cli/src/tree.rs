//! A run with the runs that it has called, and those that they have called.

use proto::{id::RunId, view::Run};
use serde::Serialize;

use crate::{
    client::Client,
    ending::Error,
    output::{self, Colour},
    view,
};

/// Runs of one tree that are asked for; where there are more, that is said.
const RUNS_MAX: usize = 1_000;

/// A run and its children, in the order of its tasks' names.
#[derive(Debug, Serialize)]
pub struct Node {
    run: Run,
    children: Vec<Node>,
}

/// Asks for a run and everything below it.
///
/// # Errors
/// When there is no such run, or the scheduler is not reachable.
pub async fn grow(client: &Client, id: &RunId) -> Result<Node, Error> {
    let mut asked = 0;
    let root = node(client, id, &mut asked).await?;
    if asked >= RUNS_MAX {
        output::note(&format!("only the first {RUNS_MAX} runs are shown"));
    }
    Ok(root)
}

async fn node(client: &Client, id: &RunId, asked: &mut usize) -> Result<Node, Error> {
    *asked += 1;
    let run = client.run(id).await?.run;
    let mut children = Vec::new();
    for child in run.tasks.values().flat_map(|task| &task.children) {
        if *asked < RUNS_MAX {
            // Runs are nested 16 deep at the most.
            children.push(Box::pin(node(client, child, asked)).await?);
        }
    }
    Ok(Node { run, children })
}

/// As text.
pub fn render(root: &Node, colour: Colour) -> String {
    let mut lines = Vec::new();
    lines.push(line(root, colour));
    branches(root, "", colour, &mut lines);
    lines.join("\n")
}

fn line(node: &Node, colour: Colour) -> String {
    let Run { id, workflow, status, .. } = &node.run;
    format!("{id}  {workflow}  {}", view::painted(status.as_str(), colour))
}

fn branches(node: &Node, indent: &str, colour: Colour, lines: &mut Vec<String>) {
    let last = node.run.tasks.len().saturating_sub(1);
    for (position, (name, task)) in node.run.tasks.iter().enumerate() {
        let (fork, below) = forks(position == last);
        let items = view::items(task);
        let items = if items.is_empty() { items } else { format!("  {items}") };
        lines.push(format!("{indent}{fork}{name}  {}{items}", view::painted(&task.status, colour)));
        let children: Vec<&Node> = node.children.iter().filter(|child| task.children.contains(&child.run.id)).collect();
        for (position, child) in children.iter().enumerate() {
            let (fork, further) = forks(position + 1 == children.len());
            lines.push(format!("{indent}{below}{fork}{}", line(child, colour)));
            branches(child, &format!("{indent}{below}{further}"), colour, lines);
        }
    }
}

/// What stands before a line, and before the lines below it.
fn forks(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

#[cfg(test)]
mod tests {
    use proto::view::RunDocument;

    use super::*;

    fn run(id: &str, tasks: &str) -> Run {
        let text = format!(
            r#"{{"schema":1,"run":{{"id":"{id}","workflow":"w","status":"running","started_at":"2026-01-01T00:00:00Z",
            "definition":"{}","tasks":{tasks}}}}}"#,
            "0".repeat(64)
        );
        serde_json::from_str::<RunDocument>(&text).expect("a document").run
    }

    #[test]
    fn a_tree_is_drawn() {
        let leaf = |id: &str| Node {
            run: run(id, r#"{"a":{"status":"succeeded","attempts":1,"instances":1}}"#),
            children: vec![],
        };
        let tasks = r#"{
            "call":{"status":"running","attempts":1,"instances":1,"children":["r~1.1.0","r~1.1.1"],
                "items":{"total":2,"succeeded":1,"failed":0,"running":1}},
            "last":{"status":"not_run","attempts":0,"instances":0}}"#;
        let root = Node { run: run("r", tasks), children: vec![leaf("r~1.1.0"), leaf("r~1.1.1")] };
        insta::assert_snapshot!(render(&root, Colour::None), @r"
        r  w  running
        ├─ call  running  1/2, 1 running
        │  ├─ r~1.1.0  w  running
        │  │  └─ a  succeeded
        │  └─ r~1.1.1  w  running
        │     └─ a  succeeded
        └─ last  not_run
        ");
    }
}
