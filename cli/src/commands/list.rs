//! `leveret list`: runs, newest first.

use proto::{id::WorkflowName, work::RunStatus};

use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Colour, Format, Stream},
    view,
};

/// Which runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only runs with this status
    #[arg(long, value_name = "STATUS")]
    status: Option<RunStatus>,
    /// Only runs of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<WorkflowName>,
    /// Only runs with this label; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Only runs that began at most so long ago, such as `1h30m`
    #[arg(long, value_name = "DURATION", value_parser = engine::duration::parse)]
    since: Option<std::time::Duration>,
    /// Only runs with a task that waits for a signal
    #[arg(long)]
    waiting: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// How they are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Prints the runs.
///
/// # Errors
/// When the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let document = Client::new(&options.server)?.list(&filter(&options)).await?;
    match options.output {
        Format::Json => output::print(&output::pretty_document(&document))?,
        Format::Text if document.runs.is_empty() => output::note("there are no such runs"),
        Format::Text => output::print(&view::list(&document.runs, view::now(), Colour::of(Stream::Stdout)))?,
    }
    Ok(Exit::Done)
}

fn filter(options: &Options) -> Vec<(&'static str, String)> {
    let mut filter = vec![("limit", options.limit.to_string())];
    filter.extend(options.status.map(|status| ("status", status.as_str().to_owned())));
    filter.extend(options.workflow.as_ref().map(|name| ("workflow", name.to_string())));
    filter.extend(options.labels.iter().map(|label| ("label", label.clone())));
    filter.extend(options.waiting.then(|| ("waiting", "true".to_owned())));
    filter.extend(options.since.map(|since| ("since", engine::duration::format(since))));
    filter
}
