//! The language: files that are read, files that are refused, and values for parameters.

mod broken;
mod hostile;
mod parameters;
mod valid;

use std::{fs, path::PathBuf};

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
