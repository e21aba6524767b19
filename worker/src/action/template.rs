//! `template.render`: a rendered text or structure as a result, or as a file.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Action, Call, Error,
    file::{self, Content},
    object, read,
};

/// `template.render`: hands back `template`, which was rendered like any input, or writes it to `path` as
/// `file.write` does.
#[derive(Debug)]
pub struct Render;

#[derive(Deserialize)]
struct Input {
    template: Value,
    path: Option<PathBuf>,
}

impl Action for Render {
    fn name(&self) -> &str {
        "template.render"
    }

    fn input_schema(&self) -> Value {
        object(json!({ "template": true, "path": { "type": "string", "minLength": 1 } }), &["template"])
    }

    fn output_schema(&self) -> Value {
        json!(true)
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let Input { template, path } = read(input)?;
            match path {
                None => Ok(template),
                Some(path) => call.or_canceled(file::replace(path, Content::of(template), None)).await,
            }
        })
    }
}
