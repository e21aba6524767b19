//! Values for a workflow's parameters: checked against their schemas, with defaults filled in.

use std::collections::BTreeMap;

use jsonschema::{Draft, PatternOptions, Validator};
use proto::{
    id::KeyName,
    job::Problem,
    json::{self, Json},
};
use serde_json::Value;

use crate::{
    parse::suggest,
    spec::{Parameter, Workflow},
};

/// The most problems that are told of one value or schema.
const PROBLEMS_MAX: usize = 50;

/// The most memory, in bytes, that a `pattern` may compile to.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// The longest message of a validator that is passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Whether texts are read by the types that the parameters declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coerce {
    /// A text is a text.
    AsGiven,
    /// A text given for a parameter that is no text is read as JSON, as from a command line.
    ByType,
}

/// A compiled JSON Schema of draft 2020-12.
///
/// It fetches nothing, and its patterns are matched in linear time: no look-around and no back references.
#[derive(Debug)]
pub struct Schema(Validator);

/// Where in a value, or in a schema, something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Keys and positions that lead there.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with a path into the schema.
    pub fn compile(schema: &Json) -> Result<Self, Vec<Misfit>> {
        let schema: Value =
            schema.parse().map_err(|error| vec![Misfit { path: Vec::new(), message: error.to_string() }])?;
        let misfits = misfits(jsonschema::draft202012::meta::validator().iter_errors(&schema));
        if !misfits.is_empty() {
            return Err(misfits);
        }
        let options = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX));
        options.build(&schema).map(Self).map_err(|error| vec![misfit(&error)])
    }

    /// Everything in which `value` does not satisfy it.
    #[must_use]
    pub fn problems(&self, value: &Value) -> Vec<Misfit> {
        misfits(self.0.iter_errors(value))
    }
}

/// Checks what a job gives against what `workflow` declares.
///
/// Yields the values in the order of the declarations, canonical, with defaults for what was not given. A parameter
/// that was neither given nor has a default is left out.
///
/// # Errors
/// Every problem at once: `parameter_required`, `parameter_unknown`, `parameter_invalid`, or the code of
/// [`json::Error`] for a value that is no JSON for us.
pub fn check(
    workflow: &Workflow,
    mut given: BTreeMap<String, Json>,
    coerce: Coerce,
) -> Result<Vec<(KeyName, Json)>, Vec<Problem>> {
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for parameter in &workflow.parameters {
        let name = &parameter.name;
        let checked = match given.remove(name.as_str()) {
            Some(value) => checked(parameter, &value, coerce).map(Some),
            None if parameter.required && parameter.default.is_none() => Err(vec![required(parameter)]),
            None => Ok(parameter.default.clone()),
        };
        match checked {
            Ok(value) => values.extend(value.map(|value| (name.clone(), value))),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(given.keys().take(PROBLEMS_MAX).map(|name| unknown(workflow, name)));
    match problems.is_empty() {
        true => Ok(values),
        false => Err(problems),
    }
}

/// Reads `text` by the declared type of `parameter`: as it stands when that is a text or not declared, else as JSON.
///
/// # Errors
/// `parameter_invalid` when it is to be JSON and is not.
pub fn read_text(parameter: &Parameter, text: &str) -> Result<Json, Problem> {
    if takes_text(parameter) {
        return Ok(Json::of(text).expect("a text is JSON"));
    }
    Json::canonical(text.as_bytes()).map_err(|error| {
        let message = format!("`{}` is read as JSON, and {:?} is {error}", parameter.name, shortened(text, 40));
        problem("parameter_invalid", message, Some(example(parameter)))
    })
}

fn checked(parameter: &Parameter, value: &Json, coerce: Coerce) -> Result<Json, Vec<Problem>> {
    let name = &parameter.name;
    let value = Json::canonical(value.as_bytes()).map_err(|error: json::Error| {
        vec![problem(error.code(), format!("`{name}` is no acceptable JSON: {error}"), None)]
    })?;
    let parsed = |value: &Json| value.parse::<Value>().expect("canonical JSON is JSON");
    let (value, tree) = match (coerce, parsed(&value)) {
        (Coerce::ByType, Value::String(text)) => {
            let value = read_text(parameter, &text).map_err(|problem| vec![problem])?;
            let tree = parsed(&value);
            (value, tree)
        }
        (Coerce::ByType | Coerce::AsGiven, tree) => (value, tree),
    };
    let schema = Schema::compile(&parameter.schema).expect("the schema was compiled when the workflow was read");
    let found = schema.problems(&tree);
    if found.is_empty() {
        return Ok(value);
    }
    let told = |misfit: Misfit| {
        let message = format!("`{}`: {}", place(name, &misfit.path), misfit.message);
        problem("parameter_invalid", message, None)
    };
    Err(found.into_iter().map(told).collect())
}

fn required(parameter: &Parameter) -> Problem {
    let message = format!("parameter `{}` is required and was not given", parameter.name);
    problem("parameter_required", message, Some(example(parameter)))
}

fn unknown(workflow: &Workflow, name: &str) -> Problem {
    let names = || workflow.parameters.iter().map(|parameter| parameter.name.as_str());
    let help = match suggest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if workflow.parameters.is_empty() => format!("`{}` has no parameters", workflow.name),
        None => format!(
            "`{}` has {}",
            workflow.name,
            names().take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
    };
    problem("parameter_unknown", format!("there is no parameter {:?}", shortened(name, 64)), Some(help))
}

/// Whether a text is among what `parameter` declares; without a declared type it is.
fn takes_text(parameter: &Parameter) -> bool {
    match declared_type(parameter) {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        Some(_) | None => true,
    }
}

fn declared_type(parameter: &Parameter) -> Option<Value> {
    let mut schema: BTreeMap<String, Value> = parameter.schema.parse().ok()?;
    schema.remove("type")
}

/// How a value of the declared type looks.
fn example(parameter: &Parameter) -> String {
    let declared = declared_type(parameter);
    let example = match declared.as_ref().and_then(Value::as_str) {
        Some("integer") => "5",
        Some("number") => "1.5",
        Some("boolean") => "true",
        Some("array") => "[\"a\", \"b\"]",
        Some("object") => "{\"key\": \"value\"}",
        Some("null") => "null",
        Some(_) | None => return format!("give a value for `{}`", parameter.name),
    };
    format!("give JSON for `{}`, such as {example}", parameter.name)
}

/// Such as `hosts[0].port`.
fn place(name: &KeyName, path: &[String]) -> String {
    let mut place = name.to_string();
    for segment in path {
        match segment.bytes().all(|byte| byte.is_ascii_digit()) {
            true => place.push_str(&format!("[{segment}]")),
            false => place.push_str(&format!(".{segment}")),
        }
    }
    shortened(&place, 120)
}

fn problem(code: &str, message: String, help: Option<String>) -> Problem {
    Problem { code: code.to_owned(), message, location: None, help }
}

fn misfits<'a>(errors: impl Iterator<Item = jsonschema::ValidationError<'a>>) -> Vec<Misfit> {
    let mut misfits: Vec<Misfit> = Vec::new();
    for misfit in errors.take(PROBLEMS_MAX).map(|error| misfit(&error)) {
        // The meta-schema refers to itself from many sides and says the same thing from each.
        if !misfits.contains(&misfit) {
            misfits.push(misfit);
        }
    }
    misfits
}

fn misfit(error: &jsonschema::ValidationError<'_>) -> Misfit {
    // The validator repeats the value, however long.
    let is_short = match error.instance().as_ref() {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= 60,
        Value::Array(values) => values.is_empty(),
        Value::Object(_) => false,
    };
    let message = if is_short { error.to_string() } else { error.masked_with("this value").to_string() };
    let path = error.instance_path().as_str();
    let unescaped = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    Misfit { path: path.split('/').skip(1).map(unescaped).collect(), message: shortened(&message, MESSAGE_CHARS_MAX) }
}

fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
