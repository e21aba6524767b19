//! Logs on stderr, as lines for people or JSON for collectors.

use std::io::{self, Write};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

use crate::{ending::Error, progress};

/// What is logged, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct Options {
    /// What is logged on stderr: a level, or such as `warn,leveret_scheduler=debug`; `RUST_LOG` is asked too
    /// [default: info for services, else warn]
    #[arg(long, global = true, env = "LEVERET_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How logs are written
    #[arg(long, global = true, env = "LEVERET_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for people.
    Text,
    /// A JSON object on a line, for collectors.
    Json,
}

/// Whether a command is a service, which logs what it does, or a tool, which logs only what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs until it is told to stop.
    Service,
    /// Does one thing.
    Tool,
}

/// Begins to log.
///
/// # Errors
/// When the filter is not valid.
pub fn start(options: &Options, kind: Kind) -> Result<(), Error> {
    let fallback = match kind {
        Kind::Service => "info",
        Kind::Tool => "warn",
    };
    let text = options.log.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| fallback.to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        let message = format!("{text:?} is not a log filter");
        Error::usage(message).because(error).with_help("write a level, such as `debug`, or `TARGET=LEVEL,…`")
    })?;
    let unwanted = queue::LOG_DIRECTIVE.parse().expect("a constant of ours");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.add_directive(unwanted))
        .with_span_events(FmtSpan::NONE)
        .with_ansi(crate::output::Colour::of(crate::output::Stream::Stderr) == crate::output::Colour::Ansi)
        .with_writer(|| AboveProgress);
    match options.log_format {
        Format::Text => builder.init(),
        Format::Json => builder.json().init(),
    }
    Ok(())
}

/// Stderr, with progress lines kept below.
struct AboveProgress;

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::above(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
