//! `leveret completion`: what a shell needs to complete our words.

use clap_complete::Shell;

use crate::{
    arguments,
    ending::{Error, Exit},
    output,
};

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints a script for the shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut arguments::grammar(), "leveret", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
