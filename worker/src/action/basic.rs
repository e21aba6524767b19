//! The actions that touch nothing outside: `core.noop`, `core.echo`, `core.fail`, `core.sleep`, `core.assert`.

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Action, Call, Error, duration, nothing, object, read};

/// `core.noop`: does nothing; its result is null.
#[derive(Debug)]
pub struct Noop;

impl Action for Noop {
    fn name(&self) -> &str {
        "core.noop"
    }

    fn input_schema(&self) -> Value {
        object(json!({}), &[])
    }

    fn output_schema(&self) -> Value {
        nothing()
    }

    fn run<'a>(&'a self, _: Value, _: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async { Ok(Value::Null) })
    }
}

/// `core.echo`: its result is `message`, of any type.
#[derive(Debug)]
pub struct Echo;

#[derive(Deserialize)]
struct EchoInput {
    message: Value,
}

impl Action for Echo {
    fn name(&self) -> &str {
        "core.echo"
    }

    fn input_schema(&self) -> Value {
        object(json!({ "message": true }), &["message"])
    }

    fn output_schema(&self) -> Value {
        json!(true)
    }

    fn run<'a>(&'a self, input: Value, _: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async { Ok(read::<EchoInput>(input)?.message) })
    }
}

/// `core.fail`: fails with the code `failed` and `message`.
#[derive(Debug)]
pub struct Fail;

#[derive(Deserialize)]
struct FailInput {
    message: Option<String>,
}

impl Action for Fail {
    fn name(&self) -> &str {
        "core.fail"
    }

    fn input_schema(&self) -> Value {
        object(json!({ "message": { "type": "string" } }), &[])
    }

    fn output_schema(&self) -> Value {
        json!(false)
    }

    fn run<'a>(&'a self, input: Value, _: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let message = read::<FailInput>(input)?.message;
            Err(Error::new("failed", message.unwrap_or_else(|| "core.fail was run".to_owned())))
        })
    }
}

/// `core.sleep`: waits for `seconds` or for a `duration`.
#[derive(Debug)]
pub struct Sleep;

#[derive(Deserialize)]
struct SleepInput {
    seconds: Option<Value>,
    duration: Option<Value>,
}

impl Action for Sleep {
    fn name(&self) -> &str {
        "core.sleep"
    }

    fn input_schema(&self) -> Value {
        object(json!({ "seconds": duration::schema(), "duration": duration::schema() }), &[])
    }

    fn output_schema(&self) -> Value {
        nothing()
    }

    fn run<'a>(&'a self, input: Value, call: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let input: SleepInput = read(input)?;
            let time = match (&input.seconds, &input.duration) {
                (Some(seconds), None) => duration::of("seconds", seconds)?,
                (None, Some(text)) => duration::of("duration", text)?,
                (None, None) | (Some(_), Some(_)) => {
                    return Err(Error::input("input: give either seconds or duration"));
                }
            };
            let sleep = async {
                tokio::time::sleep(time).await;
                Ok(Value::Null)
            };
            call.or_canceled(sleep).await
        })
    }
}

/// `core.assert`: fails with the code `assertion_failed` and `message` unless `that` is true.
#[derive(Debug)]
pub struct Assert;

#[derive(Deserialize)]
struct AssertInput {
    that: bool,
    message: Option<String>,
}

impl Action for Assert {
    fn name(&self) -> &str {
        "core.assert"
    }

    fn input_schema(&self) -> Value {
        object(json!({ "that": { "type": "boolean" }, "message": { "type": "string" } }), &["that"])
    }

    fn output_schema(&self) -> Value {
        nothing()
    }

    fn run<'a>(&'a self, input: Value, _: &'a Call) -> BoxFuture<'a, Result<Value, Error>> {
        Box::pin(async {
            let AssertInput { that, message } = read(input)?;
            match that {
                true => Ok(Value::Null),
                false => {
                    let message = message.unwrap_or_else(|| "what was asserted is false".to_owned());
                    Err(Error::new("assertion_failed", message))
                }
            }
        })
    }
}
