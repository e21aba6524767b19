//! Saying things: data to stdout, everything else to stderr, colour only on a terminal.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use clap::ValueEnum;

use crate::{ending::Error, progress};

/// Whether data is for people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document with a `schema` field.
    Json,
}

/// Where coloured text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Everything else.
    Stderr,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    Ansi,
    /// Plain.
    None,
}

/// What a coloured word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Going on.
    Active,
    /// Of less interest.
    Faint,
}

impl Colour {
    /// Colour for a terminal, unless `NO_COLOR` is set to something.
    pub fn of(stream: Stream) -> Self {
        let is_terminal = match stream {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        };
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_terminal && !refused { Self::Ansi } else { Self::None }
    }

    /// `text` in the colour of its meaning.
    pub fn paint(self, meaning: Meaning, text: impl fmt::Display) -> String {
        let code = match meaning {
            Meaning::Good => 32,
            Meaning::Bad => 31,
            Meaning::Active => 36,
            Meaning::Faint => 2,
        };
        match self {
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::None => text.to_string(),
        }
    }
}

impl From<Colour> for engine::diagnostic::Colour {
    fn from(colour: Colour) -> Self {
        match colour {
            Colour::Ansi => Self::Ansi,
            Colour::None => Self::None,
        }
    }
}

/// Writes `text` and a newline to stdout. A reader that has gone away, such as `head`, has seen enough.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot write to stdout").because(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes `text` and a newline to stderr, above any progress lines. There is nobody to tell when that fails.
pub fn note(text: &str) {
    progress::above(|| {
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    });
}

/// JSON with line breaks, its keys in the order in which they stand.
pub fn pretty(json: &str) -> String {
    let mut text = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut writer = serde_json::Serializer::pretty(&mut text);
    match serde_transcode::transcode(&mut reader, &mut writer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => json.to_owned(),
    }
}

/// A document of ours, with line breaks.
pub fn pretty_document<T: serde::Serialize>(document: &T) -> String {
    pretty(&String::from_utf8_lossy(&proto::codec::encode(document)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_keeps_order_and_numbers() {
        let json = r#"{"b":[1,2.5,18446744073709551615],"a":{},"c":"é\n"}"#;
        let text =
            "{\n  \"b\": [\n    1,\n    2.5,\n    18446744073709551615\n  ],\n  \"a\": {},\n  \"c\": \"é\\n\"\n}";
        assert_eq!(pretty(json), text);
        assert_eq!(pretty("not json"), "not json");
    }

    #[test]
    fn colour_is_only_added_where_asked() {
        assert_eq!(Colour::None.paint(Meaning::Bad, "x"), "x");
        assert_eq!(Colour::Ansi.paint(Meaning::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
