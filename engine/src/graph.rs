//! A workflow as a picture of what leads where: for documentation (`mermaid`), for Graphviz (`dot`), for a terminal
//! (`text`).
//!
//! Reading order: [`render`] is all there is to call. A `Sketch` is what every form draws: names and short texts, read
//! off the workflow once, which `words` makes short. Each form then quotes all of them by its own rules, as any of
//! them may say anything.

mod dot;
mod mermaid;
mod text;
mod words;

use self::words::{condition, listed, short, time, value};
use crate::spec::{
    Backoff, Call, Items, Join, OnItemError, OutcomeTest, Pool, Retry, Target, Task, TaskIndex, Transition, WaitFor,
    When, Workflow,
};

/// What a picture is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A flowchart of Mermaid, which GitHub and many wikis draw.
    Mermaid,
    /// The language of Graphviz.
    Dot,
    /// Lines for a terminal.
    Text,
}

/// Draws `workflow`.
#[must_use]
pub fn render(workflow: &Workflow, format: Format) -> String {
    let sketch = Sketch::of(workflow);
    match format {
        Format::Mermaid => mermaid::render(&sketch),
        Format::Dot => dot::render(&sketch),
        Format::Text => text::render(&sketch),
    }
}

/// What is drawn of a workflow. Every text in it is one short line without control characters, and not quoted.
struct Sketch<'a> {
    name: &'a str,
    entries: Vec<Place>,
    tasks: Vec<Card<'a>>,
}

/// One task.
struct Card<'a> {
    name: &'a str,
    action: String,
    /// What is particular about it: `join all of left, right`, `retry 3 times`.
    marks: Vec<String>,
    exits: Vec<Exit>,
}

/// One transition.
struct Exit {
    /// The condition as written; absent: always.
    when: Option<String>,
    /// The keys that it publishes.
    publish: Option<String>,
    places: Vec<Place>,
}

/// Where a transition leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To a task, by its position.
    Task(usize),
    /// To the same task again, by its position.
    Again(usize),
    /// To the end of its branch, by the word that the file says, if it says any.
    End(Option<&'static str>),
    /// To the failure of the run.
    Fail,
}

impl<'a> Sketch<'a> {
    fn of(workflow: &'a Workflow) -> Self {
        Self {
            name: workflow.name.as_str(),
            entries: workflow.entries.iter().map(|&index| Place::of(index)).collect(),
            tasks: workflow.indexed().map(|(index, task)| Card::of(workflow, index, task)).collect(),
        }
    }

    /// The name of the task at `position`.
    fn task(&self, position: usize) -> &'a str {
        self.tasks[position].name
    }

    /// The ends that something leads to, each with the word in its box.
    fn ends(&self) -> Vec<(Place, &'static str)> {
        let places = || self.tasks.iter().flat_map(|task| &task.exits).flat_map(|exit| &exit.places);
        let done = places().find(|place| matches!(place, Place::End(_))).map(|&place| (place, "end"));
        let failed = places().find(|place| matches!(place, Place::Fail)).map(|&place| (place, "fail"));
        done.into_iter().chain(failed).collect()
    }
}

impl<'a> Card<'a> {
    fn of(workflow: &'a Workflow, index: TaskIndex, task: &'a Task) -> Self {
        let mut exits: Vec<Exit> = task.next.iter().map(|transition| Exit::of(index, transition)).collect();
        // Behind the task of `finally` there is nothing but the end of the run.
        if exits.is_empty() {
            exits.push(Exit { when: None, publish: None, places: vec![Place::End(None)] });
        }
        let action = match &task.call {
            Call::Action(action) => short(action),
            Call::Workflow(name) => short(&format!("workflow {name}")),
        };
        let mut marks = marks(workflow, task);
        if workflow.finally == Some(index) {
            marks.insert(0, "at the end of every run".to_owned());
        }
        Self { name: task.name.as_str(), action, marks, exits }
    }

    /// What stands in its box, line by line.
    fn lines(&self) -> Vec<&str> {
        [self.name, &self.action].into_iter().chain(self.marks.iter().map(String::as_str)).collect()
    }
}

impl Exit {
    fn of(from: TaskIndex, transition: &Transition) -> Self {
        let keys: Vec<&str> = transition.publish.iter().map(|(key, _)| key.as_str()).collect();
        Self {
            when: condition(&transition.when),
            publish: (!keys.is_empty()).then(|| format!("publish {}", listed(&keys))),
            places: transition.targets.iter().map(|&target| Place::at(from, target)).collect(),
        }
    }

    /// What stands at its line: the condition, what is published, and the word that ends the branch.
    fn labels(&self, place: Place) -> Vec<&str> {
        let word = match place {
            Place::End(word) => word,
            Place::Again(_) => Some("retry"),
            Place::Task(_) | Place::Fail => None,
        };
        [self.when.as_deref(), self.publish.as_deref(), word].into_iter().flatten().collect()
    }
}

impl Place {
    fn of(index: TaskIndex) -> Self {
        Self::Task(usize::from(index.0))
    }

    fn at(from: TaskIndex, target: Target) -> Self {
        match target {
            Target::Task(index) => Self::of(index),
            Target::Noop => Self::End(Some("noop")),
            Target::Continue => Self::End(Some("continue")),
            Target::Fail => Self::Fail,
            Target::Retry => Self::Again(usize::from(from.0)),
        }
    }

    /// What pictures call it. By number, as names of tasks may be words of the picture's language.
    fn id(self) -> String {
        match self {
            Self::Task(position) | Self::Again(position) => format!("t{position}"),
            Self::End(_) => "done".to_owned(),
            Self::Fail => "failed".to_owned(),
        }
    }
}

fn marks(workflow: &Workflow, task: &Task) -> Vec<String> {
    let mut marks = Vec::new();
    if let Some(join) = task.join {
        let inbound: Vec<&str> = task.inbound.iter().map(|&index| workflow.task(index).name.as_str()).collect();
        let count = match join {
            Join::All => "all".to_owned(),
            Join::Count(count) => count.to_string(),
        };
        marks.push(format!("join {count} of {}", listed(&inbound)));
    }
    if let Some(WaitFor { signal, timeout }) = &task.wait_for {
        let limit = timeout.as_ref().map_or_else(String::new, |timeout| format!(", at most {}", time(timeout)));
        marks.push(format!("wait for {signal}{limit}"));
    }
    marks.extend(task.delay.as_ref().map(|delay| format!("delay {}", time(delay))));
    if let Some(Items { list, concurrency, tolerate, on_error }) = &task.items {
        marks.push(format!("for each of {}", value(list)));
        marks.extend(concurrency.as_ref().map(|most| format!("concurrency {}", value(most))));
        marks.extend(tolerate.as_ref().map(|most| format!("tolerate {}", value(most))));
        if *on_error == OnItemError::Stop {
            marks.push("stop when too many fail".to_owned());
        }
    }
    marks.extend(task.retry.as_ref().map(retry));
    marks.extend(task.retry.as_ref().and_then(retry_when));
    marks.extend(task.timeout.as_ref().map(|timeout| format!("timeout {}", time(timeout))));
    match &task.pool {
        Pool::Named(pool) if pool.as_str() == "default" => {}
        Pool::Named(pool) => marks.push(format!("pool {pool}")),
        Pool::Evaluated(field) => marks.push(format!("pool {}", value(field))),
    }
    marks
}

/// Such as `retry 3, delay 500ms exponential to 10s`.
fn retry(retry: &Retry) -> String {
    let mut text = format!("retry {}", value(&retry.count));
    if let Some(delay) = &retry.delay {
        text.push_str(&format!(", delay {}", time(delay)));
        text.push_str(match retry.backoff {
            Backoff::Constant => "",
            Backoff::Linear => " linear",
            Backoff::Exponential => " exponential",
        });
        if let Some(most) = &retry.max_delay {
            text.push_str(&format!(" to {}", time(most)));
        }
    }
    text
}

/// When it is retried, unless that is after every failure.
fn retry_when(retry: &Retry) -> Option<String> {
    match &retry.when {
        When::Outcome(OutcomeTest::Failed) => None,
        when @ (When::Outcome(_) | When::Expression(_)) => {
            Some(format!("retry when {}", condition(when).as_deref().unwrap_or("true")))
        }
    }
}
