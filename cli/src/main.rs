//! The `leveret` binary: every command, and scheduler and worker in one process.
//!
//! Reading order: `arguments` lists the commands, each in a file of its own under `commands`; `layers` puts the
//! settings file under flags and environment, and `options` has the settings that several commands share. A command
//! of a client reads its files by `definition` and `parameters`, talks to a scheduler through `client`, follows a run
//! by `follow` and shows it by `progress`, `table`, `view`, `tree` and
//! `history`. A service is `embedded` or one of the two alone. What `lint` and `explain` find
//! they print by the modules of these names. Every
//! command ends as an `Exit` or an `Error` of `ending`, and says things by `output`.

mod arguments;
mod client;
mod commands;
mod definition;
mod embedded;
mod ending;
mod explain;
mod follow;
mod history;
mod interrupts;
mod layers;
mod lint;
mod logging;
mod options;
mod output;
mod parameters;
mod progress;
mod service;
mod sse;
mod table;
mod tree;
mod view;

use std::{process::ExitCode, time::Duration};

use ending::{Error, Exit};
use tikv_jemallocator::Jemalloc;

/// What one thread allocates, another one frees in nearly every step of a message. With the C library's allocator a
/// scheduler takes half as much CPU time again; `docs/benchmarks/notes.md` has the figures, and those of mimalloc.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How long threads that still do blocking work are waited for at the end.
const RUNTIME_GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = match arguments::read() {
        Ok(arguments) => arguments,
        Err(refused) => return refused.show(),
    };
    let ended = logging::start(&arguments.logging, arguments.command.kind()).and_then(|()| run(arguments));
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::note(&error.render());
            error.exit().into()
        }
    }
}

fn run(arguments: arguments::Arguments) -> Result<Exit, Error> {
    // Only an `Err` when another part of this process was first, which comes to the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::failed("cannot start threads").because(error))?;
    let ended = runtime.block_on(commands::run(arguments));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    ended
}
