//! The only way from bytes to messages: length and nesting are checked before anything is parsed.
//!
//! JSON grows 8 to 84 times when it is parsed into a tree, so the caps come first; and messages hold user data as
//! raw bytes, so that reading one builds no tree at all.

use serde::{Serialize, de::DeserializeOwned};

use crate::{json, limits::MESSAGE_BYTES_MAX};

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than the limit; nothing was parsed.
    #[error("message has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not JSON, or JSON that breaks a limit.
    #[error(transparent)]
    Json(#[from] json::Error),
}

impl Error {
    /// The stable code, as in `leveret_rejected_total{reason}`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "message_too_large",
            Self::Json(error) => error.code(),
        }
    }
}

/// Reads a message of at most [`MESSAGE_BYTES_MAX`] bytes.
///
/// # Errors
/// When it is too large, not JSON, nested too deep, or not a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    decode_within(bytes, MESSAGE_BYTES_MAX)
}

/// Reads a message of at most `bytes_max` bytes.
///
/// # Errors
/// As [`decode`].
pub fn decode_within<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, Error> {
    if bytes.len() > bytes_max {
        return Err(Error::TooLarge { bytes: bytes.len(), bytes_max });
    }
    json::check(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| Error::Json(error.into()))
}

/// Writes a message.
///
/// # Panics
/// Never for our own messages: their maps have text keys and their numbers are finite.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("our messages have text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_come_before_parsing() {
        assert_eq!(decode_within::<String>(b"\"aaaa\"", 5).expect_err("long").code(), "message_too_large");
        assert_eq!(decode::<String>("[".repeat(200).as_bytes()).expect_err("deep").code(), "json_too_deep");
        assert_eq!(decode::<String>(b"7").expect_err("no text").code(), "json_invalid");
        assert_eq!(decode::<String>(b"\"a\"").expect("valid"), "a");
    }
}
