//! `-p` and `-f`: values for a workflow's parameters, or what a signal says.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

use engine::{parameters, spec::Workflow};
use proto::{job::Problem, json::Json};

use crate::{definition, ending::Error};

/// Values for parameters.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Parameters")]
pub struct Given {
    /// Value of a parameter, read by its declared type: a text as it stands, others as JSON; `NAME:=JSON` is literal
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pairs: Vec<Pair>,
    /// File with values of parameters, a map in JSON or YAML; `-p` goes before it
    #[arg(short = 'f', long = "parameters-file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// One `-p`.
#[derive(Clone, Debug, PartialEq)]
struct Pair {
    name: String,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// To be read by the declared type.
    Text(String),
    /// As it is.
    Json(Json),
}

/// Values for a workflow that only the scheduler knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Unchecked {
    /// The values.
    pub values: BTreeMap<String, Json>,
    /// Whether texts among them are to be read by the declared types.
    pub coerce: bool,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err("write NAME=VALUE, or NAME:=JSON".to_owned());
        };
        let (name, value) = match name.strip_suffix(':') {
            Some(name) => {
                let json = Json::canonical(value.as_bytes());
                (name, Value::Json(json.map_err(|error| format!("the value behind := is {error}"))?))
            }
            None => (name, Value::Text(value.to_owned())),
        };
        match name.trim() {
            "" => Err("the name is missing: write NAME=VALUE".to_owned()),
            name => Ok(Self { name: name.to_owned(), value }),
        }
    }
}

impl Given {
    /// The values for `workflow`, checked against what it declares. Defaults are left to whoever runs it.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn check(&self, workflow: &Workflow) -> Result<BTreeMap<String, Json>, Error> {
        self.check_over(workflow, BTreeMap::new())
    }

    /// The same, with `known` for what is not given.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn check_over(
        &self,
        workflow: &Workflow,
        known: BTreeMap<String, Json>,
    ) -> Result<BTreeMap<String, Json>, Error> {
        let mut given = known;
        given.retain(|name, _| workflow.parameters.iter().any(|parameter| parameter.name.as_str() == name));
        given.extend(self.of_file()?);
        let mut problems = Vec::new();
        for Pair { name, value } in &self.pairs {
            let declared = workflow.parameters.iter().find(|parameter| parameter.name.as_str() == name.as_str());
            let value = match (value, declared) {
                (Value::Json(json), _) => Ok(json.clone()),
                (Value::Text(text), Some(parameter)) => parameters::read_text(parameter, text),
                // What is not declared is told by the check of all.
                (Value::Text(text), None) => Ok(text_json(text)),
            };
            // A value that cannot be read must not be told to be missing, too.
            let value = value.unwrap_or_else(|problem| {
                problems.push((name.clone(), problem));
                Json::null()
            });
            given.insert(name.clone(), value);
        }
        let checked = parameters::check(workflow, given.clone(), parameters::Coerce::AsGiven);
        let unreadable: Vec<String> = problems.iter().map(|(name, _)| format!("`{name}`")).collect();
        let others = checked.err().unwrap_or_default().into_iter();
        let others = others.filter(|problem| !unreadable.iter().any(|name| problem.message.starts_with(name.as_str())));
        let all: Vec<Problem> = problems.into_iter().map(|(_, problem)| problem).chain(others).collect();
        match all.is_empty() {
            true => Ok(given),
            false => {
                Err(Error::usage(format!("the parameters for {} are not valid", workflow.name)).with_problems(all))
            }
        }
    }

    /// The values as they are, for a workflow that only the scheduler knows.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn unchecked(&self) -> Result<Unchecked, Error> {
        let mut values = self.of_file()?;
        values.extend(self.pairs.iter().map(Pair::as_it_stands));
        let coerce = self.pairs.iter().any(|pair| matches!(pair.value, Value::Text(_)));
        Ok(Unchecked { values, coerce })
    }

    fn of_file(&self) -> Result<BTreeMap<String, Json>, Error> {
        let Some(file) = &self.file else { return Ok(BTreeMap::new()) };
        map_of(file, "parameters")
    }
}

/// What a signal says.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Payload")]
pub struct Payload {
    /// Field of the payload: a text as it stands; `NAME:=JSON` is literal; may be given several times
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pairs: Vec<Pair>,
    /// File with the payload, any JSON or YAML; with `-p` beside it a map, which they are added to
    #[arg(short = 'f', long = "payload-file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Payload {
    /// The payload: `null` when nothing is given.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn json(&self) -> Result<Json, Error> {
        if self.pairs.is_empty() {
            return self.file.as_deref().map_or_else(|| Ok(Json::null()), read_data);
        }
        let mut fields = match &self.file {
            Some(file) => map_of(file, "fields")?,
            None => BTreeMap::new(),
        };
        fields.extend(self.pairs.iter().map(Pair::as_it_stands));
        Ok(Json::of(&fields).expect("texts and JSON are JSON"))
    }
}

impl Pair {
    fn as_it_stands(&self) -> (String, Json) {
        let value = match &self.value {
            Value::Json(json) => json.clone(),
            Value::Text(text) => text_json(text),
        };
        (self.name.clone(), value)
    }
}

/// A file of JSON or YAML that is no workflow.
///
/// # Errors
/// When it cannot be read, or is neither.
pub fn read_data(file: &Path) -> Result<Json, Error> {
    let name = file.display().to_string();
    let source = definition::read(file)?;
    engine::parse::data(&source, &name).map_err(|diagnostics| {
        definition::show(&diagnostics);
        Error::usage(format!("{name} is not valid JSON or YAML"))
    })
}

fn map_of(file: &Path, what: &str) -> Result<BTreeMap<String, Json>, Error> {
    read_data(file)?.parse().map_err(|_| {
        Error::usage(format!("{} is no map of {what}", file.display()))
            .with_help("write `name: value` lines, or a JSON object")
    })
}

fn text_json(text: &str) -> Json {
    Json::of(text).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKFLOW: &str = "\
name: w
parameters:
  text: { type: string }
  count: { type: integer, required: true }
  list: { type: array }
tasks:
  a: {}
";

    fn check(words: &[&str]) -> Result<BTreeMap<String, Json>, Error> {
        let (workflow, _) = engine::parse::parse(WORKFLOW, "w.yaml").expect("valid");
        let pairs = words.iter().map(|word| word.parse().expect("a pair")).collect();
        Given { pairs, file: None }.check(&workflow)
    }

    #[test]
    fn values_are_read_by_declared_type() {
        let values = check(&["text=5", "count=5", "list:=[1, 2]"]).expect("valid");
        let shown: Vec<_> = values.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect();
        assert_eq!(shown, ["count=5", "list=[1,2]", "text=\"5\""]);
    }

    #[test]
    fn every_problem_is_told_once() {
        insta::assert_snapshot!(check(&["count=five", "nope=1", "list:={}"]).expect_err("three"), @r#"
        error: the parameters for w are not valid
          [parameter_invalid] `count` is read as JSON, and "five" is not valid JSON: expected ident at line 1 column 2
            help: give JSON for `count`, such as 5
          [parameter_invalid] `list`: this value is not of type "array"
          [parameter_unknown] there is no parameter "nope"
            help: `w` has `text`, `count`, `list`
        "#);
        insta::assert_snapshot!(check(&[]).expect_err("count is required"), @r"
        error: the parameters for w are not valid
          [parameter_required] parameter `count` is required and was not given
            help: give JSON for `count`, such as 5
        ");
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for text in ["a", "=1", ":=1", "a:=", "a:=x"] {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
        assert_eq!("a=b=c".parse(), Ok(Pair { name: "a".into(), value: Value::Text("b=c".into()) }));
    }
}
