//! One file per command: its options, and what it does.

pub mod bench;
pub mod cancel;
pub mod completion;
pub mod config;
pub mod dev;
pub mod explain;
pub mod get;
pub mod graph;
pub mod lint;
pub mod list;
pub mod pause;
pub mod register;
pub mod rerun;
pub mod resume;
pub mod run;
pub mod schedule;
pub mod scheduler;
pub mod signal;
pub mod submit;
pub mod test;
pub mod watch;
pub mod worker;
pub mod workflows;

use crate::{
    arguments::{Arguments, Command},
    ending::{Error, Exit},
};

/// Does what the arguments say.
///
/// # Errors
/// When it cannot be done.
pub async fn run(arguments: Arguments) -> Result<Exit, Error> {
    match arguments.command {
        Command::Run(options) => run::run(options).await,
        Command::Dev(options) => dev::run(options).await,
        Command::Scheduler(options) => scheduler::run(options).await,
        Command::Worker(options) => worker::run(options).await,
        Command::Register(options) => register::run(options).await,
        Command::Workflows(options) => workflows::run(options).await,
        Command::Submit(options) => submit::run(options).await,
        Command::List(options) => list::run(options).await,
        Command::Get(options) => get::run(options).await,
        Command::Explain(options) => explain::run(options).await,
        Command::Watch(options) => watch::run(options).await,
        Command::Cancel(options) => cancel::run(options).await,
        Command::Pause(options) => pause::run(options).await,
        Command::Resume(options) => resume::run(options).await,
        Command::Signal(options) => signal::run(options).await,
        Command::Rerun(options) => rerun::run(options).await,
        Command::Schedule(options) => schedule::run(options).await,
        Command::Lint(options) => lint::run(&options),
        Command::Graph(options) => graph::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(options).await,
        Command::Config(options) => config::run(&options, &arguments.layers),
        Command::Completion(options) => completion::run(&options),
    }
}
