//! Following a run to its end, also over lost connections.

use std::time::Duration;

use proto::{id::RunId, view::Run};
use tokio::time::sleep;

use crate::{
    client::{Client, Views},
    ending::{Error, Exit},
};

/// How often a lost connection is made again before giving up: about half a minute in all.
const RECONNECTS_MAX: u32 = 15;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(3);

/// The views of a run until it has ended.
pub struct Follow {
    client: Client,
    id: RunId,
    views: Option<Views>,
    /// Whether scheduler and run are known to be there, or to come soon: if not, waiting for them is in vain.
    is_expected: bool,
    reconnects: u32,
}

impl Follow {
    /// Follows `id`. Nothing is asked yet.
    pub fn new(client: Client, id: RunId) -> Self {
        Self { client, id, views: None, is_expected: false, reconnects: 0 }
    }

    /// Follows a run that may not have begun: its job is still with the broker. Nothing is asked yet.
    pub fn soon(client: Client, id: RunId) -> Self {
        Self { is_expected: true, ..Self::new(client, id) }
    }

    /// The run.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The next view. The one of a run that has ended is complete and the last to ask for. Cancel safe.
    ///
    /// # Errors
    /// When there is no such run, or the scheduler is gone for good.
    pub async fn next(&mut self) -> Result<Run, Error> {
        loop {
            if self.views.is_none() {
                self.connect().await?;
            }
            if let Some(next) = async { self.views.as_mut()?.next().await }.await {
                let mut run = next?;
                if run.status.is_terminal() {
                    self.client.complete(&mut run).await?;
                }
                self.reconnects = 0;
                return Ok(run);
            }
            self.views = None;
            sleep(PAUSE_FIRST).await;
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        loop {
            match self.client.views(&self.id).await {
                Ok(views) => {
                    self.views = Some(views);
                    self.is_expected = true;
                    return Ok(());
                }
                Err(error) if !self.is_expected || error.exit() != Exit::Missing => return Err(error),
                Err(error) if self.reconnects >= RECONNECTS_MAX => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the connection is lost, trying again");
                    self.reconnects += 1;
                    sleep(PAUSE_FIRST.saturating_mul(1 << self.reconnects.min(8)).min(PAUSE_LAST)).await;
                }
            }
        }
    }
}
