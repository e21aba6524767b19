//! Workflow files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use engine::{
    diagnostic::Diagnostics,
    lint::{self, Actions},
    program::Program,
    spec::Workflow,
};
use proto::{id::WorkflowName, limits::SUBMISSION_BYTES_MAX};
use worker::action::registry;

use crate::{
    ending::Error,
    output::{self, Colour, Stream},
};

/// A workflow file that is valid.
#[derive(Debug)]
pub struct Definition {
    /// What it says, as it stands.
    pub source: String,
    program: Program,
}

/// What a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file of one's own.
    File(PathBuf),
    /// A workflow that the scheduler knows.
    Name(WorkflowName),
}

impl Definition {
    /// Reads and checks a file. Warnings, and what is wrong with one that is not valid, go to stderr.
    ///
    /// # Errors
    /// When it cannot be read, or is not valid.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let source = read(file)?;
        let name = file.display().to_string();
        let (program, warnings) = Program::compile(&source, &name).map_err(|diagnostics| {
            show(&diagnostics);
            Error::usage(format!("{name} is not a valid workflow"))
        })?;
        show(&warnings);
        Ok(Self { source, program })
    }

    /// The workflow, compiled.
    pub fn into_program(self) -> Program {
        self.program
    }

    /// Shows on stderr what the file says and hardly means, where `workflows` are all that are looked at together. Such
    /// a file is run all the same.
    pub fn show_doubts(&self, file: &Path, workflows: &[&Workflow]) {
        let name = file.display().to_string();
        show(&lint::check_among(&self.program, &self.source, &name, &builtin_actions(), workflows));
    }

    /// The workflow.
    pub fn workflow(&self) -> &Workflow {
        self.program.workflow()
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    /// With a `/`, or an ending of YAML or JSON, it is a file.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_file = text.contains('/') || [".yaml", ".yml", ".json"].iter().any(|ending| text.ends_with(ending));
        match is_file {
            true => Ok(Self::File(text.into())),
            false => text.parse().map(Self::Name).map_err(|error: proto::id::Error| {
                format!("{error}; a file has a `/` in it, or ends in .yaml, .yml or .json")
            }),
        }
    }
}

/// A file that was read, and what compiling it came to.
struct Checked {
    name: String,
    source: String,
    program: Option<Program>,
    found: Diagnostics,
}

impl Checked {
    fn of(file: &Path) -> Result<Self, Error> {
        let source = read(file)?;
        let name = file.display().to_string();
        let (program, found) = match Program::compile(&source, &name) {
            Ok((program, warnings)) => (Some(program), warnings),
            Err(diagnostics) => (None, diagnostics),
        };
        Ok(Self { name, source, program, found })
    }
}

/// Everything that is to be said of each of `files`, which are looked at together. `actions` are all that there are.
///
/// # Errors
/// When one cannot be read.
pub fn check(files: &[PathBuf], actions: &Actions) -> Result<Vec<Diagnostics>, Error> {
    let checked = files.iter().map(|file| Checked::of(file)).collect::<Result<Vec<_>, _>>()?;
    let workflows: Vec<&Workflow> =
        checked.iter().filter_map(|checked| checked.program.as_ref()).map(Program::workflow).collect();
    let diagnostics = |Checked { name, source, program, found }: &Checked| {
        let mut found = found.clone();
        if let Some(program) = program {
            found.extend(lint::check_among(program, source, name, actions, &workflows));
        }
        found
    };
    Ok(checked.iter().map(diagnostics).collect())
}

/// The inputs of the actions that are built in.
pub fn builtin_actions() -> Actions {
    let builtin = registry::Actions::builtin();
    let schema = |name: &str| Some((name.to_owned(), builtin.get(name)?.input_schema()));
    builtin.names().filter_map(schema).collect()
}

/// Reads a file of at most the size that a scheduler takes.
///
/// # Errors
/// When it cannot be read, is too large, or is not UTF-8.
pub fn read(file: &Path) -> Result<String, Error> {
    let unreadable = || Error::usage(format!("cannot read {}", file.display()));
    let length = fs::metadata(file).map_err(|error| unreadable().because(error))?.len();
    if length > SUBMISSION_BYTES_MAX as u64 {
        let message = format!("{} has {length} bytes, more than the limit of {SUBMISSION_BYTES_MAX}", file.display());
        return Err(
            Error::usage(message).with_help("hand large data to an action as a file, not as a definition or parameter")
        );
    }
    fs::read_to_string(file).map_err(|error| unreadable().because(error))
}

/// Shows what is wrong with a file, if anything, with excerpts.
pub fn show(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        output::note(&diagnostics.render(Colour::of(Stream::Stderr).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_names_are_told_apart() {
        for text in ["./fleet", "a.yaml", "a.yml", "a.json", "dir/a"] {
            assert_eq!(text.parse(), Ok(Target::File(text.into())));
        }
        assert_eq!("fleet".parse(), Ok(Target::Name("fleet".parse().expect("valid"))));
        assert!("No Such Name".parse::<Target>().is_err());
    }
}
