//! Where work for the processor is done: in place while it is small, on the blocking pool when it would hold up the
//! runtime.

use serde_json::Value;

/// Bytes of JSON up to which reading, writing and masking happen in place. An optimised build reads 1.03 MB into values
/// in 5.0 ms, which makes 0.3 ms of these; writing takes less than half of that.
pub(crate) const IN_PLACE_BYTES_MAX: usize = 64 * 1024;

/// Does `work`, which costs about as much as reading `bytes` of JSON.
pub(crate) async fn sized<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= IN_PLACE_BYTES_MAX {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The pool takes nothing more when the runtime ends, and then this task ends with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// About how many bytes of JSON `value` makes; counting stops soon after [`IN_PLACE_BYTES_MAX`].
pub(crate) fn weight(value: &Value) -> usize {
    let mut bytes = 0;
    count(value, &mut bytes);
    bytes
}

fn count(value: &Value, bytes: &mut usize) {
    if *bytes > IN_PLACE_BYTES_MAX {
        return;
    }
    *bytes += 4;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => *bytes += 4,
        Value::String(text) => *bytes += text.len(),
        Value::Array(values) => values.iter().for_each(|value| count(value, bytes)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| {
            *bytes += key.len();
            count(value, bytes);
        }),
    }
}
