//! `leveret rerun`: a run that has ended, done again as a new run.

use proto::id::{RunId, TaskName};

use super::{submit::Then, watch};
use crate::{
    client::{Again, Client},
    ending::{Error, Exit},
    follow::Follow,
    options::Server,
};

/// Which run, and what of it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The run, which has ended
    #[arg(value_name = "ID")]
    id: RunId,
    /// Task to run again with all that came after it; without one, the tasks that failed
    #[arg(long, value_name = "TASK", conflicts_with = "failed_items")]
    from: Option<TaskName>,
    /// The tasks that failed, and of tasks with items only those that did not succeed
    #[arg(long)]
    failed_items: bool,
    /// Id of the new run; the same id and order again is the same run
    #[arg(long, value_name = "ID")]
    new_id: Option<RunId>,
    #[command(flatten)]
    then: Then,
    #[command(flatten)]
    server: Server,
}

/// Makes the new run, and waits for it if asked to. The old one stays as it is.
///
/// # Errors
/// When there is no such run, it has not ended, or nothing of it is to be done again.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let Options { id, from, failed_items, new_id, then, server } = options;
    let client = Client::new(&server)?;
    let answer = client.rerun(&id, &Again { from, failed_items, new_id }).await?;
    let Some(id) = then.accepted(&answer)? else { return Ok(Exit::Done) };
    let watched = watch::follow(Follow::new(client, id), then.progress()).await?;
    then.ended(watched)
}
