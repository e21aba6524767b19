//! How a command ends: an exit code, and when something is wrong, what, why and what to do.

use std::{fmt, process::ExitCode};

use proto::job::Problem;

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it was done.
    Done,
    /// 1: the run failed or was cancelled, or this process cannot go on.
    Failed,
    /// 2: wrong use, or an invalid file.
    Usage,
    /// 3: not found, or not reachable.
    Missing,
    /// 130: a person interrupted it.
    Interrupted,
}

/// Why a command was not done.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    message: String,
    reason: Option<String>,
    problems: Vec<Problem>,
    help: Option<String>,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Missing => 3,
            Exit::Interrupted => 130,
        })
    }
}

impl Error {
    /// This process cannot go on.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// What was asked makes no sense, or a file is not valid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What was asked for is not there, or nobody answers.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(Exit::Missing, message)
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reason: None, problems: Vec::new(), help: None }
    }

    /// The same, and why: `source` with its own sources, each said once.
    #[must_use]
    pub fn because(self, source: impl std::error::Error) -> Self {
        let mut reason = source.to_string();
        let mut next = source.source();
        while let Some(source) = next {
            let text = source.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            next = source.source();
        }
        Self { reason: Some(reason), ..self }
    }

    /// The same, with everything that is wrong in particular.
    #[must_use]
    pub fn with_problems(self, problems: Vec<Problem>) -> Self {
        Self { problems, ..self }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// For a terminal.
    pub fn render(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        for problem in &self.problems {
            write!(f, "\n  ")?;
            if let Some(location) = &problem.location {
                write!(f, "{location}: ")?;
            }
            write!(f, "[{}] {}", problem.code, problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, "\n    help: {help}")?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let source = std::io::Error::other("connection refused");
        let problem = |help: Option<&str>| Problem {
            code: "parameter_unknown".into(),
            message: "there is no parameter \"x\"".into(),
            location: None,
            help: help.map(str::to_owned),
        };
        let error = Error::missing("cannot reach it")
            .because(source)
            .with_problems(vec![problem(Some("did you mean `y`?")), problem(None)])
            .with_help("start it");
        insta::assert_snapshot!(error.to_string(), @r#"
        error: cannot reach it: connection refused
          [parameter_unknown] there is no parameter "x"
            help: did you mean `y`?
          [parameter_unknown] there is no parameter "x"
          help: start it
        "#);
        assert_eq!(error.exit(), Exit::Missing);
    }
}
