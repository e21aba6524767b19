//! A connection and the thread that it lives on.

use std::{thread::JoinHandle, time::Duration};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::Error;

/// Jobs that may wait for a connection; one more waits with its caller.
const WAITING_MAX: usize = 64;
/// The longest that a job waits and runs before its caller is told that the disk does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Runs jobs one after the other. Dropping it waits for those that were taken.
#[derive(Debug)]
pub struct Thread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Gives `connection` to a new thread called `name`.
    pub fn start(name: &str, mut connection: Connection) -> Result<Self, Error> {
        let (sender, mut jobs) = mpsc::channel::<Job>(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    job(&mut connection);
                }
            })
            .map_err(|error| Error::Broken(error.into()))?;
        Ok(Self { jobs: Some(sender), thread: Some(thread) })
    }

    /// Runs `job` and returns its answer. A job that was taken is run even if the caller goes away.
    pub async fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    {
        let jobs = self.jobs.as_ref().expect("only a drop takes it");
        let (sender, answer) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            // The caller may have given up waiting; then nobody wants the answer.
            let _ = sender.send(job(connection));
        });
        let run = async {
            jobs.send(job).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        };
        timeout(ANSWER_WITHIN, run).await.map_err(|elapsed| Error::Unavailable(elapsed.into()))?
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("a thread of the store panicked");
        }
    }
}

fn stopped() -> Error {
    Error::Broken("the store's thread panicked".into())
}
