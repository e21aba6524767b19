//! rusty-celery (the crate `celery`): its tasks, the worker that runs them and the driver that sends them.
//!
//! `worker`, or `noop COUNT`, `sequence COUNT`, `items COUNT`. The address of the broker, the folder of the marks and the
//! file of the context come in `PEER_AMQP`, `PEER_MARKS` and `PEER_CONTEXT`; `marks.py` says what marks are.

// What the macro `celery::task` writes.
#![allow(non_upper_case_globals, non_local_definitions)]

use std::{
    env,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use celery::{Celery, prelude::*};
use serde_json::Value;

/// The worker's application, for the task that sends the next one.
static APP: OnceLock<Arc<Celery>> = OnceLock::new();
static DONE: OnceLock<File> = OnceLock::new();

const PLACE_BYTES: u64 = 8;

#[celery::task]
fn noop(place: u64) -> TaskResult<()> {
    write_done(place)
}

/// The crate has no chains: each task sends the next at its own end.
#[celery::task]
async fn step(place: u64, last: u64) -> TaskResult<()> {
    write_done(place)?;
    if place < last {
        let app = APP.get().expect("the worker sets it before it consumes");
        app.send_task(step::new(place + 1, last)).await.with_unexpected_err(|| "the next task was not sent")?;
    }
    Ok(())
}

/// Reads one line of the context and its own number, as the items of Leveret's measurement do.
#[celery::task]
fn item(place: u64, context: Arc<Value>) -> TaskResult<u64> {
    let line = context[place as usize % 10].as_str().unwrap_or_default();
    write_done(place)?;
    Ok(line.len() as u64 + place)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = open_marks("done")?;
    DONE.get_or_init(|| done);
    let app = celery::app!(
        broker = AMQPBroker { env::var("PEER_AMQP").unwrap_or_default() },
        tasks = [noop, step, item],
        task_routes = ["*" => "work"],
        prefetch_count = 256,
        acks_late = true,
    )
    .await
    .context("the broker does not answer")?;
    let app = APP.get_or_init(|| app);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => app.consume_from(&["work"]).await?,
        ["noop", count] => send_noops(app, count.parse()?).await?,
        ["sequence", count] => send_sequence(app, count.parse()?).await?,
        ["items", count] => send_items(app, count.parse()?).await?,
        _ => anyhow::bail!("worker | noop COUNT | sequence COUNT | items COUNT"),
    }
    app.close().await?;
    Ok(())
}

async fn send_noops(app: &Celery, count: u64) -> anyhow::Result<()> {
    let sent = open_marks("sent")?;
    warm(app).await?;
    for place in 1..=count {
        write_mark(&sent, place)?;
        app.send_task(noop::new(place)).await?;
    }
    Ok(())
}

async fn send_sequence(app: &Celery, count: u64) -> anyhow::Result<()> {
    let sent = open_marks("sent")?;
    warm(app).await?;
    write_mark(&sent, 1)?;
    app.send_task(step::new(1, count)).await?;
    Ok(())
}

async fn send_items(app: &Celery, count: u64) -> anyhow::Result<()> {
    let sent = open_marks("sent")?;
    let path = env::var("PEER_CONTEXT").context("PEER_CONTEXT is not set")?;
    let context: Arc<Value> = Arc::new(serde_json::from_slice(&fs::read(path)?)?);
    warm(app).await?;
    for place in 1..=count {
        write_mark(&sent, place)?;
        app.send_task(item::new(place, Arc::clone(&context))).await?;
    }
    Ok(())
}

/// The first message declares and opens what is needed, here and in the worker.
async fn warm(app: &Celery) -> anyhow::Result<()> {
    app.send_task(noop::new(0)).await?;
    let done = DONE.get().context("the marks are open")?;
    let since = Instant::now();
    let mut mark = [0; PLACE_BYTES as usize];
    while mark.iter().all(|byte| *byte == 0) {
        ensure!(since.elapsed() < Duration::from_secs(30), "the first task is not done after 30 s");
        tokio::time::sleep(Duration::from_micros(500)).await;
        done.read_exact_at(&mut mark, 0)?;
    }
    Ok(())
}

fn open_marks(name: &str) -> anyhow::Result<File> {
    let folder = env::var("PEER_MARKS").context("PEER_MARKS is not set")?;
    let path = Path::new(&folder).join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))
}

fn write_done(place: u64) -> TaskResult<()> {
    let done = DONE.get().expect("opened before anything else");
    write_mark(done, place).with_unexpected_err(|| "the mark was not written")
}

fn write_mark(marks: &File, place: u64) -> std::io::Result<()> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanoseconds = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    marks.write_all_at(&nanoseconds.to_le_bytes(), place * PLACE_BYTES)
}
