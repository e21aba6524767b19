//! Golden files: each holds a sample as it goes over the wire, laid out for people.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes them anew. A change that this makes to a committed file is a change of the
//! contract: an older process must still read what a newer one writes.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Write as _},
    fs,
    path::PathBuf,
};

use serde::{Serialize, de::DeserializeOwned};

/// The folder `tests/golden` of the crate under test, and what was found out about it.
pub struct Golden {
    folder: PathBuf,
    seen: BTreeSet<String>,
    problems: String,
}

impl Golden {
    pub fn open(crate_folder: &str) -> Self {
        let folder = PathBuf::from(crate_folder).join("tests/golden");
        Self { folder, seen: BTreeSet::new(), problems: String::new() }
    }

    /// Compares `sample` with its file, both ways: what we write is the file, and what the file says is `sample`.
    pub fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, sample: &T) {
        let file = format!("{name}.json");
        let written = serde_json::to_string(sample).expect("a sample is JSON");
        let path = self.folder.join(&file);
        if is_update() {
            fs::write(&path, pretty(&written)).expect("the golden folder can be written");
        }
        match fs::read_to_string(&path) {
            Err(error) => self.problem(&file, &format!("{error}; run with UPDATE_GOLDEN=1")),
            Ok(text) if text != pretty(&written) => {
                self.problem(&file, &format!("the sample is now written as\n{}", pretty(&written)));
            }
            Ok(text) => match serde_json::from_str::<T>(&compact(&text)) {
                Err(error) => self.problem(&file, &format!("cannot be read back: {error}")),
                Ok(read) if read != *sample => self.problem(&file, &format!("is read back as {read:?}")),
                Ok(_) => {}
            },
        }
        assert!(self.seen.insert(file), "two samples are called {name}");
    }

    /// Complains of every variant of `T` that no sample shows. `shown` are the tags of the samples' JSON.
    pub fn covers<T: DeserializeOwned>(&mut self, shown: impl IntoIterator<Item = String>) {
        let shown: BTreeSet<String> = shown.into_iter().collect();
        for variant in variants::<T>() {
            if !shown.contains(&variant) {
                self.problem(std::any::type_name::<T>(), &format!("variant `{variant}` has no golden file"));
            }
        }
    }

    /// Fails with everything that was found, files without a sample too.
    pub fn finish(mut self) {
        for entry in fs::read_dir(&self.folder).expect("the golden folder exists") {
            let file = entry.expect("its entries can be read").file_name().to_string_lossy().into_owned();
            if !self.seen.contains(&file) {
                self.problem(&file, "has no sample any more");
            }
        }
        assert!(self.problems.is_empty(), "\n{}", self.problems);
    }

    fn problem(&mut self, of: &str, text: &str) {
        let _ = writeln!(self.problems, "{of}: {text}");
    }
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// The name of an enum's variant as it is written: the text itself, or the one key of the object.
pub fn tag<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value).expect("a sample is JSON") {
        serde_json::Value::String(tag) => tag,
        serde_json::Value::Object(fields) if fields.len() == 1 => fields.keys().next().expect("it has one").clone(),
        other => panic!("not an enum: {other}"),
    }
}

/// Every variant that `T` can be read from. The list is serde's own: it names them all when it meets an unknown one,
/// so that a new variant cannot be forgotten here.
pub fn variants<T: DeserializeOwned>() -> Vec<String> {
    let error = match serde_json::from_str::<T>(r#"{"?":null}"#) {
        Ok(_) => panic!("a variant is called `?`"),
        Err(error) => error.to_string(),
    };
    let named: Vec<String> = error.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(named.first().map(String::as_str), Some("?"), "serde words its message otherwise now: {error}");
    named[1..].to_vec()
}

/// The same JSON, laid out for people; keys keep their order.
pub fn pretty(text: &str) -> String {
    let mut out = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_transcode::transcode(&mut reader, &mut serde_json::Serializer::pretty(&mut out)).expect("it is JSON");
    out.push(b'\n');
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The same JSON without white space, as it goes over the wire.
pub fn compact(text: &str) -> String {
    let mut out = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_transcode::transcode(&mut reader, &mut serde_json::Serializer::new(&mut out)).expect("it is JSON");
    String::from_utf8(out).expect("JSON is UTF-8")
}
