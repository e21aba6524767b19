//! What is written behind `leveret`: the commands, and how flags, environment and settings file come together.

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    commands::{
        bench, cancel, completion, config, dev, explain, get, graph, lint, list, pause, register, rerun, resume, run,
        schedule, scheduler, signal, submit, test, watch, worker, workflows,
    },
    ending::Error,
    layers::{self, Layers},
    logging, output,
};

/// A durable workflow engine on RabbitMQ
#[derive(Debug, Parser)]
#[command(name = "leveret", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
Exit codes: 0 done; 1 the run failed or was cancelled; 2 wrong use or an invalid file; 3 not found or not reachable; \
130 interrupted.")]
struct Words {
    /// TOML file of settings, which flags and environment go before; `leveret config show` prints what it amounts to
    #[arg(long, global = true, env = "LEVERET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    logging: logging::Options,
    #[command(subcommand)]
    command: Command,
}

/// One for each file in `commands`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow file here, with scheduler and worker in this process, and print its output
    Run(run::Options),
    /// Serve an embedded scheduler and worker until told to stop
    Dev(dev::Options),
    /// The service that owns runs
    Scheduler(scheduler::Options),
    /// The service that does the work
    Worker(worker::Options),
    /// Store workflow definitions under their names
    Register(register::Options),
    /// List the registered workflows
    Workflows(workflows::Options),
    /// Hand in a job
    Submit(submit::Options),
    /// List runs, newest first
    List(list::Options),
    /// Show a run
    Get(get::Options),
    /// Show what a task was given, and from where
    Explain(explain::Options),
    /// Follow a run to its end
    Watch(watch::Options),
    /// Cancel a run
    Cancel(cancel::Options),
    /// Let a run rest: nothing more of it begins
    Pause(pause::Options),
    /// Let a run that rests go on
    Resume(resume::Options),
    /// Tell a run something that it waits for, or will
    Signal(signal::Options),
    /// Do a run again, from what failed
    Rerun(rerun::Options),
    /// Run a registered workflow by the clock
    Schedule(schedule::Options),
    /// Check workflow files
    Lint(lint::Options),
    /// Draw a workflow file: which task leads where
    Graph(graph::Options),
    /// Rehearse a workflow: actions end as scripts say
    Test(test::Options),
    /// Measure this machine: a fan-out beside a shared context
    Bench(bench::Options),
    /// Settings
    Config(config::Options),
    /// Print completions for a shell
    Completion(completion::Options),
}

/// Everything that was said on the command line, in the environment and in the settings file.
#[derive(Debug)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
    /// How to log.
    pub logging: logging::Options,
    /// Where each setting came from.
    pub layers: Layers,
}

/// Why there are no arguments.
#[derive(Debug)]
pub enum Refused {
    /// Help was asked for, or the words make no sense.
    Words(clap::Error),
    /// The settings file makes no sense.
    Settings(Error),
}

impl Command {
    /// Whether it is a service.
    pub fn kind(&self) -> logging::Kind {
        match self {
            Self::Dev(_) | Self::Scheduler(_) | Self::Worker(_) => logging::Kind::Service,
            Self::Run(_)
            | Self::Register(_)
            | Self::Workflows(_)
            | Self::Submit(_)
            | Self::List(_)
            | Self::Get(_)
            | Self::Explain(_)
            | Self::Watch(_)
            | Self::Cancel(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Signal(_)
            | Self::Rerun(_)
            | Self::Schedule(_)
            | Self::Lint(_)
            | Self::Graph(_)
            | Self::Test(_)
            | Self::Bench(_)
            | Self::Config(_)
            | Self::Completion(_) => logging::Kind::Tool,
        }
    }
}

/// The commands and options, as flags and environment alone would have them.
pub fn grammar() -> clap::Command {
    Words::command()
}

/// Reads the process's own.
///
/// The settings file is named by the words themselves, so they are read twice: the second time, what the file says
/// stands in place of the built-in defaults, and is thus parsed and checked like a flag.
///
/// # Errors
/// When words, environment or file make no sense, or help was asked for.
pub fn read() -> Result<Arguments, Refused> {
    let first = Words::try_parse().map_err(Refused::Words)?;
    let layers = layers::read(grammar(), first.config.as_deref()).map_err(Refused::Settings)?;
    let mut matches = layers.grammar.clone().try_get_matches().map_err(Refused::Words)?;
    let words = Words::from_arg_matches_mut(&mut matches).map_err(Refused::Words)?;
    Ok(Arguments { command: words.command, logging: words.logging, layers })
}

impl Refused {
    /// Says it, and with which code to end.
    pub fn show(self) -> ExitCode {
        match self {
            Self::Words(error) => {
                // Help goes to stdout, mistakes to stderr; clap knows which is which.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Settings(error) => {
                output::note(&error.render());
                error.exit().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        grammar().debug_assert();
    }
}
