//! `leveret explain`: what a task of a run was given, and from where.

use std::time::Duration;

use engine::{program::Program, snapshot::Stop};
use proto::{
    explain::ExplainDocument,
    id::{RunId, TaskName},
};

use crate::{
    client::Client,
    ending::{Error, Exit},
    explain::{self, Explanation, text},
    options::Server,
    output::{self, Colour, Format, Stream},
};

/// How long the templates of one task may take.
const RENDERED_WITHIN: Duration = Duration::from_secs(10);
/// How long templates that were told to stop may take to do so.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

/// Which task of which run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    /// The task
    #[arg(value_name = "TASK")]
    task: TaskName,
    /// One item of it, counted from 0
    #[arg(long, value_name = "N")]
    item: Option<u32>,
    /// An earlier start of it; the latest without
    #[arg(long, value_name = "K")]
    start: Option<u32>,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Prints the rendered input of the task, and where each value that it reads came from.
///
/// # Errors
/// When there is no such run, task, start or item, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let Options { id, task, item, start, output, server } = options;
    let mut query = vec![("task", task.to_string())];
    query.extend(item.map(|item| ("item", item.to_string())));
    query.extend(start.map(|start| ("instance", start.to_string())));
    let document = Client::new(&server)?.explain(&id, &query).await?;
    let (program, _warnings) = Program::compile(&document.definition, "definition").map_err(|diagnostics| {
        Error::failed("this version cannot read the definition of the run").with_problems(diagnostics.problems())
    })?;
    let told = rendered(program, document).await?;
    let told = told.ok_or_else(|| Error::failed(format!("the definition has no task {task}")))?;
    output::print(&match output {
        Format::Text => text::full(&told, Colour::of(Stream::Stdout)),
        Format::Json => output::pretty_document(&told),
    })?;
    Ok(Exit::Done)
}

/// Evaluates, with someone who keeps the time.
async fn rendered(program: Program, document: ExplainDocument) -> Result<Option<Explanation>, Error> {
    let stop = Stop::after(RENDERED_WITHIN);
    let told_to = stop.clone();
    let mut rendering = tokio::task::spawn_blocking(move || explain::explain(&program, document, told_to));
    let ended = match tokio::time::timeout(RENDERED_WITHIN, &mut rendering).await {
        Ok(ended) => ended,
        Err(_) => {
            stop.set();
            let late = |_| Error::failed("the templates of this task do not end");
            tokio::time::timeout(STOPPED_WITHIN, rendering).await.map_err(late)?
        }
    };
    ended.map_err(|error| Error::failed("the templates cannot be evaluated").because(error))
}
