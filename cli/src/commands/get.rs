//! `leveret get`: a run as it is, or one side of it.

use clap::ValueEnum;
use proto::{SCHEMA, id::RunId};
use serde::Serialize;

use crate::{
    client::{Client, Happened},
    ending::{Error, Exit},
    history,
    options::Server,
    output::{self, Colour, Format, Stream},
    tree::{self, Node},
    view,
};

/// Which run, and what of it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run
    #[arg(value_name = "ID")]
    id: RunId,
    #[command(flatten)]
    side: Side,
    /// Which page of items, 100 to a page
    #[arg(long, value_name = "N", default_value = "1", requires = "items")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    /// How it is printed; a context is JSON in any case
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// What of the run is shown: without any, the run itself.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Side {
    /// The run, its tasks, the runs that they have called, and so on
    #[arg(long)]
    tree: bool,
    /// When each task started, and how long it took
    #[arg(long)]
    timeline: bool,
    /// Everything that happened to it, in order
    #[arg(long)]
    facts: bool,
    /// Everything that it has come to know, as `leveret run --context` reads it
    #[arg(long)]
    context: bool,
    /// Its items that failed
    #[arg(long, value_name = "STATUS")]
    items: Option<Items>,
}

/// Items that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Items {
    /// That failed, or were never begun.
    Failed,
}

/// The document of `--tree`.
#[derive(Serialize)]
struct TreeDocument {
    schema: u16,
    tree: Node,
}

/// The document of `--facts`.
#[derive(Serialize)]
struct FactsDocument {
    schema: u16,
    id: RunId,
    facts: Vec<Happened>,
}

/// Prints the run.
///
/// # Errors
/// When there is no such run, or the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let client = Client::new(&options.server)?;
    let text = shown(&options, &client).await?;
    output::print(&text)?;
    Ok(Exit::Done)
}

async fn shown(options: &Options, client: &Client) -> Result<String, Error> {
    let Options { id, side, output, .. } = options;
    let colour = Colour::of(Stream::Stdout);
    if side.context {
        return Ok(output::pretty_document(&client.context(id).await?));
    }
    if side.tree {
        let tree = tree::grow(client, id).await?;
        return Ok(match output {
            Format::Text => tree::render(&tree, colour),
            Format::Json => output::pretty_document(&TreeDocument { schema: SCHEMA, tree }),
        });
    }
    if side.timeline {
        let timeline = client.timeline(id).await?;
        return Ok(match output {
            Format::Text => history::timeline(&timeline, view::now(), colour),
            Format::Json => output::pretty_document(&timeline),
        });
    }
    if side.facts {
        let facts = client.facts(id).await?;
        return Ok(match output {
            Format::Text => history::facts(&facts),
            Format::Json => output::pretty_document(&FactsDocument { schema: SCHEMA, id: id.clone(), facts }),
        });
    }
    if let Some(Items::Failed) = side.items {
        let items = client.failed_items(id, options.page).await?;
        return Ok(match output {
            Format::Text => history::items(&items),
            Format::Json => output::pretty_document(&items),
        });
    }
    let document = client.run(id).await?;
    Ok(match output {
        Format::Text => view::full(&document.run, view::now(), colour),
        Format::Json => output::pretty_document(&document),
    })
}
