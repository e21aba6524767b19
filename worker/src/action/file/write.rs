//! Writing files: as a whole by a rename, or at the end.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Error, failed, not_regular};

/// Permissions of a new file, less the umask.
const MODE_DEFAULT: u32 = 0o644;

/// The bytes that a file is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(Vec<u8>);

impl Content {
    /// A text as it is; any other JSON in its readable form, with a newline at its end.
    #[must_use]
    pub fn of(value: Value) -> Self {
        match value {
            Value::String(text) => Self(text.into_bytes()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Self(format!("{value:#}\n").into_bytes())
            }
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// Reads octal digits, such as `0640`.
    ///
    /// # Errors
    /// `input_invalid` when they are none.
    pub fn read(text: &str) -> Result<Self, Error> {
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
        bits.map(Self).ok_or_else(|| Error::input("input.mode: write octal digits, such as \"0640\""))
    }
}

/// Puts a new file in the place of the one at `path`: written beside it, brought to the disk, then renamed. A link is
/// followed. Without `mode` the permissions of the old file stay.
///
/// # Errors
/// `file_not_regular`, or what the file system says.
pub(super) fn replace(path: &Path, content: &Content, mode: Option<Mode>) -> Result<(), Error> {
    let (target, old) = resolve(path)?;
    let failed = |error: io::Error| failed("write", path, &error);
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let permissions = Permissions::from_mode(MODE_DEFAULT);
    let mut file =
        tempfile::Builder::new().prefix(".leveret-").permissions(permissions).tempfile_in(folder).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    if let Some(kept) = mode.map(|mode| Permissions::from_mode(mode.0)).or(old) {
        file.as_file().set_permissions(kept).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&target).map_err(|error| failed(error.error))?;
    // The rename itself is on the disk only once the folder is.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Writes at the end of the file at `path`, which is made if absent. An attempt that runs again writes again.
///
/// # Errors
/// As [`replace`].
pub(super) fn extend(path: &Path, content: &Content, mode: Option<Mode>) -> Result<(), Error> {
    let (target, _) = resolve(path)?;
    let failed = |error: io::Error| failed("append to", path, &error);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE_DEFAULT);
    let mut file = options.open(&target).map_err(failed)?;
    if let Some(Mode(bits)) = mode {
        file.set_permissions(Permissions::from_mode(bits)).map_err(failed)?;
    }
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// Where `path` leads, and the permissions of the regular file that is there.
fn resolve(path: &Path) -> Result<(PathBuf, Option<Permissions>), Error> {
    match fs::canonicalize(path).and_then(|target| fs::metadata(&target).map(|found| (target, found))) {
        Ok((target, found)) if found.is_file() => Ok((target, Some(found.permissions()))),
        Ok(_) => Err(not_regular(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), None)),
        Err(error) => Err(failed("write", path, &error)),
    }
}
