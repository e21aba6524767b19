//! `leveret workflows`: what is registered.

use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Format},
    table::{Cell, Table},
    view,
};

/// How to show them.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How they are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

/// Prints every registered workflow.
///
/// # Errors
/// When the scheduler is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let document = Client::new(&options.server)?.workflows().await?;
    match options.output {
        Format::Json => output::print(&output::pretty_document(&document))?,
        Format::Text if document.workflows.is_empty() => {
            output::note("no workflows are registered; `leveret register FILE` does that");
        }
        Format::Text => {
            let now = view::now();
            let mut table = Table::new(["NAME", "REGISTERED", "DIGEST"]);
            for registered in &document.workflows {
                table.row([
                    Cell::plain(registered.name.to_string()),
                    Cell::plain(format!("{} ago", view::duration(now.since(registered.registered_at)))),
                    Cell::plain(registered.digest.to_string()),
                ]);
            }
            output::print(&table.render())?;
        }
    }
    Ok(Exit::Done)
}
