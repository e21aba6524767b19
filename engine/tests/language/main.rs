//! The language: files that are read, files that are refused, and values for parameters.

mod agreement;
mod broken;
mod codes;
mod hostile;

mod lint;
mod parameters;
mod together;
mod valid;

use std::{fmt::Write, fs, path::PathBuf};

use leveret_engine::diagnostic::Diagnostics;

/// The files in a folder beside this one, by name.
fn files(folder: &str) -> Vec<(String, String)> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "language", folder].iter().collect();
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("readable"))
    };
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("there").map(|entry| read(entry.expect("readable").path())).collect();
    files.sort();
    files
}

/// Every problem as one line, with its help.
fn told(diagnostics: &Diagnostics) -> String {
    let mut text = String::new();
    for (line, diagnostic) in diagnostics.to_string().lines().zip(diagnostics.iter()) {
        writeln!(text, "{line}").expect("a string");
        if let Some(help) = &diagnostic.help {
            writeln!(text, "    {help}").expect("a string");
        }
    }
    text
}
