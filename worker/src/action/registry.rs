//! Which actions a worker has, and the check of an input before any of them sees it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value, json};

use super::{Action, Call, Error as Failed, basic, file, http, plugin, shell, template};

/// Problems of one input that are reported; further ones are counted.
const PROBLEMS_MAX: usize = 20;

/// The actions of a worker by name.
pub struct Actions(BTreeMap<String, Registered>);

struct Registered {
    action: Arc<dyn Action>,
    input: Validator,
    keys: Vec<String>,
}

/// Why an action cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its input schema is none.
    #[error("input schema of action {name} is not valid: {reason}")]
    Schema {
        /// The action.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Actions {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// All that are built in.
    #[must_use]
    pub fn builtin() -> Self {
        let actions: [Arc<dyn Action>; 11] = [
            Arc::new(basic::Noop),
            Arc::new(basic::Echo),
            Arc::new(basic::Fail),
            Arc::new(basic::Sleep),
            Arc::new(basic::Assert),
            Arc::new(template::Render),
            Arc::new(shell::Run::default()),
            Arc::new(plugin::Run::default()),
            Arc::new(http::Request::default()),
            Arc::new(file::ReadLines),
            Arc::new(file::Write),
        ];
        let with = |all: Self, action| all.with(action).expect("a test registers each of ours");
        actions.into_iter().fold(Self::none(), with)
    }

    /// These and one more. It takes the place of one with the same name, so that a worker can have its own `shell.run`.
    ///
    /// # Errors
    /// [`Error::Schema`].
    pub fn with(mut self, action: Arc<dyn Action>) -> Result<Self, Error> {
        let name = action.name().to_owned();
        let schema = action.input_schema();
        let input = jsonschema::draft202012::new(&schema)
            .map_err(|error| Error::Schema { name: name.clone(), reason: error.to_string() })?;
        let keys = schema["properties"].as_object().map(|keys| keys.keys().cloned().collect()).unwrap_or_default();
        self.0.insert(name, Registered { action, input, keys });
        Ok(self)
    }

    /// The action of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Action>> {
        self.0.get(name).map(|registered| &registered.action)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Checks an input, where null stands for none given.
    ///
    /// # Errors
    /// `action_unknown`, or `input_invalid` with all problems: in the message as sentences, in the result as
    /// `{problems: [{path, message}]}`. Neither shows a value, which may be secret or large.
    pub fn check(&self, name: &str, input: Value) -> Result<Value, Failed> {
        let registered = self.find(name)?;
        let input = if input.is_null() { Value::Object(Map::new()) } else { input };
        let mut problems = registered.input.iter_errors(&input).map(|error| registered.problem(&error));
        let shown: Vec<_> = problems.by_ref().take(PROBLEMS_MAX).collect();
        if shown.is_empty() {
            drop(problems);
            return Ok(input);
        }
        let mut text = shown.iter().map(|(path, message)| format!("{path}: {message}")).collect::<Vec<_>>().join("; ");
        match problems.count() {
            0 => {}
            more => text.push_str(&format!("; and {more} more")),
        }
        let listed: Vec<_> = shown.iter().map(|(path, message)| json!({ "path": path, "message": message })).collect();
        Err(Failed::input(text).with_result(json!({ "problems": listed })))
    }

    /// Checks the input and runs the action.
    ///
    /// # Errors
    /// Those of [`Actions::check`] and of the action; [`Failed::canceled`] without running it when the call is
    /// cancelled already.
    pub async fn run(&self, name: &str, input: Value, call: &Call) -> Result<Value, Failed> {
        let input = self.check(name, input)?;
        if call.cancel.is_cancelled() {
            return Err(Failed::canceled());
        }
        self.find(name)?.action.run(input, call).await
    }

    fn find(&self, name: &str) -> Result<&Registered, Failed> {
        self.0.get(name).ok_or_else(|| {
            let known = self.names().collect::<Vec<_>>().join(", ");
            Failed::new("action_unknown", format!("this worker has no action {name:?}; it has {known}"))
        })
    }
}

impl Registered {
    /// Where a problem is, and what it is.
    fn problem(&self, error: &ValidationError<'_>) -> (String, String) {
        let pointer = error.instance_path().as_str();
        let path = format!("input{}", pointer.replace('/', "."));
        let message = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } if pointer.is_empty() => {
                format!("unknown key {}; known are {}", unexpected.join(", "), self.known())
            }
            _ => error.masked().to_string(),
        };
        (path, message)
    }

    fn known(&self) -> String {
        match self.keys.is_empty() {
            true => "none".to_owned(),
            false => self.keys.join(", "),
        }
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
