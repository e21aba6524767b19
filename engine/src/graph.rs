//! A workflow as a picture of what leads where: for documentation (`mermaid`), for Graphviz (`dot`), for a terminal
//! (`text`).
//!
//! Reading order: [`render`] is all there is to call. A `Sketch` is what every form draws: names and short texts, read
//! off the workflow once. Each form then quotes all of them by its own rules, as any of them may say anything.

mod dot;
mod mermaid;
mod text;

use crate::{
    duration,
    spec::{
        Backoff, DurationField, Field, Items, Join, Node, OutcomeTest, Retry, Target, Task, TaskIndex, Transition,
        When, Workflow,
    },
};

/// The most characters of a condition or of any other field that are drawn.
const SHOWN_CHARS_MAX: usize = 60;

/// The most names in a row that are drawn; of the others only their number is.
const NAMES_MAX: usize = 6;

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
            tasks: workflow.tasks.iter().map(|task| Card::of(workflow, task)).collect(),
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
    fn of(workflow: &'a Workflow, task: &'a Task) -> Self {
        let mut exits: Vec<Exit> = task.next.iter().map(Exit::of).collect();
        if exits.is_empty() {
            exits.push(Exit { when: None, publish: None, places: vec![Place::End(None)] });
        }
        Self { name: task.name.as_str(), action: short(&task.action), marks: marks(workflow, task), exits }
    }

    /// What stands in its box, line by line.
    fn lines(&self) -> Vec<&str> {
        [self.name, &self.action].into_iter().chain(self.marks.iter().map(String::as_str)).collect()
    }
}

impl Exit {
    fn of(transition: &Transition) -> Self {
        let keys: Vec<&str> = transition.publish.iter().map(|(key, _)| key.as_str()).collect();
        Self {
            when: condition(&transition.when),
            publish: (!keys.is_empty()).then(|| format!("publish {}", listed(&keys))),
            places: transition.targets.iter().map(|&target| Place::at(target)).collect(),
        }
    }

    /// What stands at its line: the condition, what is published, and the word that ends the branch.
    fn labels(&self, place: Place) -> Vec<&str> {
        let word = match place {
            Place::End(word) => word,
            Place::Task(_) | Place::Fail => None,
        };
        [self.when.as_deref(), self.publish.as_deref(), word].into_iter().flatten().collect()
    }
}

impl Place {
    fn of(index: TaskIndex) -> Self {
        Self::Task(usize::from(index.0))
    }

    fn at(target: Target) -> Self {
        match target {
            Target::Task(index) => Self::of(index),
            Target::Noop => Self::End(Some("noop")),
            Target::Continue => Self::End(Some("continue")),
            Target::Fail => Self::Fail,
        }
    }

    /// What pictures call it. By number, as names of tasks may be words of the picture's language.
    fn id(self) -> String {
        match self {
            Self::Task(position) => format!("t{position}"),
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
    marks.extend(task.delay.as_ref().map(|delay| format!("delay {}", time(delay))));
    if let Some(Items { list, concurrency, tolerate }) = &task.items {
        marks.push(format!("for each of {}", value(list)));
        marks.extend(concurrency.as_ref().map(|most| format!("concurrency {}", value(most))));
        marks.extend(tolerate.as_ref().map(|most| format!("tolerate {}", value(most))));
    }
    marks.extend(task.retry.as_ref().map(retry));
    marks.extend(task.retry.as_ref().and_then(retry_when));
    marks.extend(task.timeout.as_ref().map(|timeout| format!("timeout {}", time(timeout))));
    if task.pool.as_str() != "default" {
        marks.push(format!("pool {}", task.pool.as_str()));
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

/// The condition as it is written; `None` when it always holds.
fn condition(when: &When) -> Option<String> {
    match when {
        When::Outcome(OutcomeTest::Constant(true)) => None,
        When::Outcome(test) => Some(short(&outcome(test))),
        When::Expression(field) => Some(value(field)),
    }
}

/// The test as users write it. Only what `and` binds more tightly than its own parts needs parentheses.
fn outcome(test: &OutcomeTest) -> String {
    let within = |inner: &OutcomeTest| match inner {
        OutcomeTest::And(..) | OutcomeTest::Or(..) => format!("({})", outcome(inner)),
        OutcomeTest::Constant(_)
        | OutcomeTest::Succeeded
        | OutcomeTest::Failed
        | OutcomeTest::TimedOut
        | OutcomeTest::Crashed
        | OutcomeTest::Canceled
        | OutcomeTest::Completed
        | OutcomeTest::Not(_) => outcome(inner),
    };
    match test {
        OutcomeTest::Constant(value) => value.to_string(),
        OutcomeTest::Succeeded => "succeeded()".to_owned(),
        OutcomeTest::Failed => "failed()".to_owned(),
        OutcomeTest::TimedOut => "timed_out()".to_owned(),
        OutcomeTest::Crashed => "crashed()".to_owned(),
        OutcomeTest::Canceled => "canceled()".to_owned(),
        OutcomeTest::Completed => "completed()".to_owned(),
        OutcomeTest::Not(inner) => format!("not {}", within(inner)),
        OutcomeTest::And(left, right) => format!("{} and {}", within(left), within(right)),
        OutcomeTest::Or(left, right) => format!("{} or {}", within(left), within(right)),
    }
}

fn time(field: &DurationField) -> String {
    match field {
        DurationField::Known(time) => duration::format(*time),
        DurationField::Evaluated(field) => value(field),
    }
}

/// What a field says, without the braces where it is one expression.
fn value(field: &Field) -> String {
    match &field.node {
        Node::Literal(json) => match json.parse::<String>() {
            Ok(text) => short(&text),
            Err(_) => short(json.as_str()),
        },
        Node::Template(text) => short(bare(&text.source)),
        Node::Expression(text) => short(&text.source),
        Node::List(nodes) => format!("a list of {}", nodes.len()),
        Node::Map(entries) => {
            let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            short(&listed(&keys))
        }
    }
}

/// The inside of a template that is one pair of braces. Should a brace stand in a text within it, both stay.
fn bare(template: &str) -> &str {
    let inside = template.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    match inside.filter(|inside| !inside.contains("{{") && !inside.contains("}}")) {
        Some(inside) => inside.trim_start_matches('-').trim_end_matches('-').trim(),
        None => template,
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// One line of at most [`SHOWN_CHARS_MAX`] characters, in which white space is one blank and nothing is left that a
/// terminal or a reader of the picture would obey: control characters, and marks that turn the direction of writing.
fn short(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line
        .chars()
        .map(|c| if obeyed(c) { char::REPLACEMENT_CHARACTER } else { c })
        .take(SHOWN_CHARS_MAX + 1)
        .collect();
    if shown.chars().count() > SHOWN_CHARS_MAX {
        shown.pop();
        shown.pop();
        shown.push('…');
    }
    shown
}
