//! Reading the lines of a file, with a bound on what is held of them.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use proto::limits::VALUE_BYTES_MAX;
use tokio_util::sync::CancellationToken;

use super::{Error, failed, not_regular};

/// What JSON adds to a line, at least: two quotes and a comma.
const QUOTES_BYTES: usize = 3;

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub lines_max: usize,
    pub skip_blank: bool,
}

/// The wanted lines, without their ends (`\n` or `\r\n`). What is not UTF-8 is replaced.
///
/// # Errors
/// `value_too_large` before more than [`VALUE_BYTES_MAX`] is held, so that neither a huge file nor an endless line
/// takes the worker's memory; otherwise what the file system says.
pub(super) fn read(path: &Path, wanted: Wanted, cancel: &CancellationToken) -> Result<Vec<String>, Error> {
    let file = open(path)?;
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut room = VALUE_BYTES_MAX;
    while lines.len() < wanted.lines_max && !cancel.is_cancelled() {
        line.clear();
        let longest = room as u64 + 1;
        let count = reader.by_ref().take(longest).read_until(b'\n', &mut line).map_err(|e| failed("read", path, &e))?;
        if count == 0 {
            break;
        }
        let text = without_end(&line);
        if wanted.skip_blank && text.trim_ascii().is_empty() {
            continue;
        }
        room = room.checked_sub(text.len() + QUOTES_BYTES).ok_or_else(|| too_large(path))?;
        lines.push(String::from_utf8_lossy(text).into_owned());
    }
    Ok(lines)
}

fn open(path: &Path) -> Result<File, Error> {
    // Asked before opening, because opening a pipe waits for its other end.
    let is_file = path.metadata().map_err(|error| failed("read", path, &error))?.is_file();
    match is_file {
        true => File::open(path).map_err(|error| failed("read", path, &error)),
        false => Err(not_regular(path)),
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn too_large(path: &Path) -> Error {
    let text = format!("the lines of {} exceed {VALUE_BYTES_MAX} bytes; give max_lines", path.display());
    Error::new("value_too_large", text)
}
