//! `leveret test`: a workflow rehearsed, with actions that end as scripts say.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    parse,
    program::Program,
    rehearsal::{self, Outcome, Rerun, expect::Difference, script::Script},
};
use proto::{SCHEMA, failure::Failure};
use serde::Serialize;

use crate::{
    definition::{self, Definition},
    ending::{Error, Exit},
    output::{self, Colour, Format, Meaning, Stream},
};

/// Which files, and what they are held against.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Workflow file in YAML or JSON; further ones are workflows that the first one runs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Script in YAML or JSON: how actions end, and what is expected of the run
    #[arg(long, required = true, num_args = 1.., value_name = "SCRIPT")]
    script: Vec<PathBuf>,
    /// How results are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// A script that was played.
struct Played {
    script: String,
    outcome: Result<Outcome, rehearsal::Error>,
    differences: Vec<Difference>,
}

/// The document of `-o json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u16,
    passed: usize,
    failed: usize,
    scripts: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    script: &'a str,
    passed: bool,
    /// Where the run was at its end; absent when it came to none.
    status: Option<&'static str>,
    /// Why the run did not succeed, or why it came to no end.
    error: Option<Failure>,
    differences: &'a [Difference],
    warnings: Vec<String>,
}

/// Plays every script, and says which held.
///
/// # Errors
/// When a file cannot be read or is not valid: then nothing is played.
pub fn run(options: &Options) -> Result<Exit, Error> {
    let programs = options.files.iter().map(|file| Ok(Arc::new(Definition::load(file)?.into_program())));
    let programs: Vec<Arc<Program>> = programs.collect::<Result<_, Error>>()?;
    let (first, children) = programs.split_first().ok_or_else(|| Error::usage("there is no workflow file"))?;
    let scripts: Vec<_> = options.script.iter().map(|file| load(file, first, children)).collect();
    let scripts: Vec<(String, Script)> = scripts.into_iter().collect::<Result<_, Error>>()?;
    let played: Vec<Played> = scripts.into_iter().map(|(name, script)| play(&programs, name, &script)).collect();
    match options.output {
        Format::Text => output::print(&text(&played, Colour::of(Stream::Stdout)))?,
        Format::Json => output::print(&json(&played))?,
    }
    if played.iter().all(Played::has_passed) { Ok(Exit::Done) } else { Ok(Exit::Failed) }
}

fn load(file: &Path, program: &Program, children: &[Arc<Program>]) -> Result<(String, Script), Error> {
    let children: Vec<_> = children.iter().map(|child| child.workflow()).collect();
    let source = definition::read(file)?;
    let name = file.display().to_string();
    match parse::script(&source, &name, program.workflow(), &children) {
        Ok(script) => Ok((name, script)),
        Err(diagnostics) => {
            definition::show(&diagnostics);
            Err(Error::usage(format!("{name} is not a valid script for {}", program.workflow().name)))
        }
    }
}

fn play(programs: &[Arc<Program>], name: String, script: &Script) -> Played {
    let outcome = rehearsal::play(programs, script);
    let differences = outcome.as_ref().map(|outcome| rehearsal::check(outcome, &script.take));
    Played { script: name, differences: differences.unwrap_or_default(), outcome }
}

impl Played {
    fn has_passed(&self) -> bool {
        self.outcome.is_ok() && self.differences.is_empty()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let (mut place, mut next) = (String::new(), self.outcome.as_ref().ok());
        while let Some(outcome) = next {
            warnings.extend(outcome.unused.iter().map(|unused| format!("{place}{unused}")));
            place.push_str("rerun: ");
            next = match outcome.rerun.as_deref() {
                Some(Rerun::Played(again)) => Some(again),
                Some(Rerun::Refused(_)) | None => None,
            };
        }
        warnings
    }

    fn error(&self) -> Option<Failure> {
        match &self.outcome {
            Ok(outcome) => outcome.error.clone(),
            Err(error) => Some(Failure::new(error.code(), error.to_string())),
        }
    }

    /// Why the run did not succeed, for a person who expected something else.
    fn said(&self, failure: &Failure) -> String {
        let Ok(outcome) = &self.outcome else { return format!("[{}] {}", failure.code, failure.message) };
        let ended = outcome.status.as_str();
        let place = failure.task.as_ref().map(|task| format!(" in task {task}")).unwrap_or_default();
        format!("the run ended {ended}{place}: [{}] {}", failure.code, failure.message)
    }
}

fn count(played: &[Played]) -> (usize, usize) {
    let passed = played.iter().filter(|played| played.has_passed()).count();
    (passed, played.len() - passed)
}

fn text(played: &[Played], colour: Colour) -> String {
    let mut lines = Vec::new();
    for played in played {
        let verdict = match played.has_passed() {
            true => colour.paint(Meaning::Good, "passed"),
            false => colour.paint(Meaning::Bad, "FAILED"),
        };
        lines.push(format!("{verdict}  {}", played.script));
        let told = played.differences.iter().map(ToString::to_string);
        lines.extend(told.flat_map(|told| told.lines().map(|line| format!("    {line}")).collect::<Vec<_>>()));
        let error = played.error().filter(|_| !played.has_passed());
        lines.extend(error.map(|failure| format!("    {}", played.said(&failure))));
        lines.extend(played.warnings().into_iter().map(|warning| format!("    warning: {warning}")));
    }
    let (passed, failed) = count(played);
    lines.push(format!("{passed} passed, {failed} failed"));
    lines.join("\n")
}

fn json(played: &[Played]) -> String {
    let (passed, failed) = count(played);
    let scripts = played.iter().map(Entry::of).collect();
    output::pretty_document(&Document { schema: SCHEMA, passed, failed, scripts })
}

impl<'a> Entry<'a> {
    fn of(played: &'a Played) -> Self {
        Self {
            script: &played.script,
            passed: played.has_passed(),
            status: played.outcome.as_ref().ok().map(|outcome| outcome.status.as_str()),
            error: played.error(),
            differences: &played.differences,
            warnings: played.warnings(),
        }
    }
}
