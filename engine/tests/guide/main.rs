//! The user guide in `docs` is so: its workflows compile and go as it says, its links lead somewhere, its tables lack nothing.
//!
//! `book` reads the pages, `examples` plays them, `links` follows them, `codes` looks up every code that a person may meet, `keywords`
//! shows keys that no example shows,
//! and `coverage` holds the table of what proves what against the words of the language and the promises in `promises`.

mod book;
mod codes;
mod coverage;
mod examples;
mod keywords;
mod links;
mod promises;
