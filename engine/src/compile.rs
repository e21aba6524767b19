//! From the source of a workflow to a program, with every error of every kind at once.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    lint, parse,
    program::{Program, TemplateProblem},
};

impl Program {
    /// Parses `source` and compiles its templates. `file` is what messages call it. Beside the program come warnings.
    ///
    /// # Errors
    /// With everything that is wrong with the file and with its templates.
    pub fn compile(source: &str, file: &str) -> Result<(Self, Diagnostics), Diagnostics> {
        let (workflow, mut diagnostics) = parse::draft(source, file);
        let Some(workflow) = workflow else { return Err(diagnostics) };
        // What could not be read may have defined a name, or be a task: then nobody can say that it is missing.
        let is_partial = diagnostics.has_errors();
        if !is_partial {
            diagnostics.extend(lint::names(&workflow, source, file));
        }
        let is_told = |problem: &TemplateProblem| !is_partial || problem.code != "unknown_task";
        match Self::from_workflow(workflow) {
            Ok(program) if !diagnostics.has_errors() => return Ok((program, diagnostics)),
            Ok(_) => {}
            Err(problems) => tell(problems.into_iter().filter(is_told), &mut diagnostics),
        }
        diagnostics.sort();
        Err(diagnostics)
    }
}

fn tell(problems: impl Iterator<Item = TemplateProblem>, diagnostics: &mut Diagnostics) {
    for problem in problems {
        let diagnostic = Diagnostic::error(problem.code, problem.span, problem.message);
        diagnostics.push(match problem.help {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_file_and_of_its_templates_come_together() {
        let source = "name: Bad Name\ntasks:\n  one:\n    acton: x\n    input: { a: '{{ parameters.x + }}', b: '{{ task.two.result }}' }\n  2nd: {}\n";
        let diagnostics = Program::compile(source, "f.yaml").expect_err("much is wrong");
        let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, ["name_invalid", "unknown_key", "template_syntax", "name_invalid"], "{diagnostics}");
    }
}
