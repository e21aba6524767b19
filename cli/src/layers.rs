//! The settings file, and secrets that lie in files: what stands below flags and environment.
//!
//! A setting has one name in three spellings: the environment variable `LEVERET_AMQP_URL` is the key `amqp_url` of
//! the file. A key at the top holds for every command, one in a table named like a command for that command only.
//! What is found becomes the default of the option, so that it is parsed and checked exactly as a flag is.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
};

use clap::{Arg, Command};
use toml::{Table, Value};

use crate::ending::Error;

const PREFIX: &str = "LEVERET_";

/// The grammar with the lower layers in it, and where they came from.
#[derive(Debug)]
pub struct Layers {
    /// Commands and options, with what was found as their defaults.
    pub grammar: Command,
    /// Files that options got their defaults from, by command and key; the command is empty for what is common.
    pub origins: BTreeMap<(String, String), PathBuf>,
}

/// A value, and the file it was found in.
struct Found {
    texts: Vec<String>,
    file: PathBuf,
}

/// The key of an option, when it is a setting.
pub fn key(option: &Arg) -> Option<String> {
    let variable = option.get_env()?.to_str()?;
    Some(variable.strip_prefix(PREFIX)?.to_ascii_lowercase()).filter(|key| key != "config")
}

/// Reads the settings file and the files of secrets, and puts them under `grammar`.
///
/// # Errors
/// When a file cannot be read, is no TOML, or has a key that is no setting.
pub fn read(grammar: Command, file: Option<&Path>) -> Result<Layers, Error> {
    let table = match file {
        Some(file) => read_table(file)?,
        None => Table::new(),
    };
    let path = file.unwrap_or(Path::new("")).to_owned();
    check_keys(&grammar, &table, &path)?;
    let mut layers = Layers { grammar, origins: BTreeMap::new() };
    layers.apply("", &Table::new(), &table, &path)?;
    let commands: Vec<String> = layers.grammar.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for command in commands {
        let section = table.get(&command).and_then(Value::as_table).cloned().unwrap_or_default();
        layers.apply(&command, &section, &table, &path)?;
    }
    Ok(layers)
}

impl Layers {
    /// Gives the options of `command`, or with `""` the common ones, what was found for them.
    fn apply(&mut self, command: &str, section: &Table, common: &Table, file: &Path) -> Result<(), Error> {
        let owner = if command.is_empty() { Some(&self.grammar) } else { self.grammar.find_subcommand(command) };
        let mut found = Vec::new();
        for option in owner.into_iter().flat_map(Command::get_arguments) {
            let Some(key) = key(option) else { continue };
            let value = section.get(&key).or_else(|| common.get(&key));
            let in_settings = value.map(|value| texts(&key, value, file)).transpose()?;
            let in_settings = in_settings.map(|texts| Found { texts, file: file.to_owned() });
            if let Some(value) = secret(option)?.or(in_settings) {
                found.push((option.get_id().clone(), key, value));
            }
        }
        for (id, key, value) in found {
            let grammar = std::mem::take(&mut self.grammar);
            let set = |option: Arg| option.default_values(value.texts.clone());
            self.grammar = match command {
                "" => grammar.mut_arg(id, set),
                command => grammar.mut_subcommand(command, |owner| owner.mut_arg(id, set)),
            };
            self.origins.insert((command.to_owned(), key), value.file);
        }
        Ok(())
    }
}

fn read_table(file: &Path) -> Result<Table, Error> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::usage(format!("cannot read the settings file {}", file.display())).because(error))?;
    text.parse().map_err(|error: toml::de::Error| {
        // The message has the line, its text and a marker.
        Error::usage(format!("the settings file {} is not valid TOML\n{error}", file.display()))
    })
}

/// Every key must be a setting, and one of that command's in a command's table.
fn check_keys(grammar: &Command, table: &Table, file: &Path) -> Result<(), Error> {
    let of = |command: &Command| command.get_arguments().filter_map(key).collect::<BTreeSet<_>>();
    let everywhere: BTreeSet<String> = grammar.get_subcommands().flat_map(of).chain(of(grammar)).collect();
    for (name, value) in table {
        match (grammar.find_subcommand(name).map(of), value) {
            (Some(known), Value::Table(section)) if !known.is_empty() => {
                for name_in_section in section.keys() {
                    check_key(&known, &format!("{name}.{name_in_section}"), name_in_section, file)?;
                }
            }
            _ => check_key(&everywhere, name, name, file)?,
        }
    }
    Ok(())
}

fn check_key(known: &BTreeSet<String>, shown: &str, key: &str, file: &Path) -> Result<(), Error> {
    if known.contains(key) {
        return Ok(());
    }
    let names = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("the settings file {} has an unknown key `{shown}`", file.display());
    Err(Error::usage(message).with_help(format!("there are {names}")))
}

fn texts(key: &str, value: &Value, file: &Path) -> Result<Vec<String>, Error> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(value) => Some(value.to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    let texts = match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    };
    texts.ok_or_else(|| {
        let message = format!("`{key}` in the settings file {} is neither text nor number", file.display());
        Error::usage(message).with_help("write a text, a whole number, or a list of them")
    })
}

/// A secret may lie in a file named by its variable with `_FILE` behind.
fn secret(option: &Arg) -> Result<Option<Found>, Error> {
    let Some(variable) = option.get_env().and_then(|name| name.to_str()).filter(|_| option.is_hide_env_values_set())
    else {
        return Ok(None);
    };
    let named = format!("{variable}_FILE");
    let Some(file) = env::var_os(&named).filter(|file| !file.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if env::var_os(variable).is_some_and(|value| !value.is_empty()) {
        return Err(Error::usage(format!("both {variable} and {named} are set")).with_help("set one of them"));
    }
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::usage(format!("cannot read {}, which {named} names", file.display())).because(error))?;
    Ok(Some(Found { texts: vec![text.trim().to_owned()], file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Layers, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("leveret.toml");
        std::fs::write(&file, text).expect("written");
        read(crate::arguments::grammar(), Some(&file))
    }

    fn value(layers: &Layers, words: &[&str], id: &str) -> Vec<String> {
        let words = ["leveret"].iter().chain(words);
        let matches = layers.grammar.clone().try_get_matches_from(words).expect("valid words");
        let (_, matches) = matches.subcommand().expect("a command");
        let raw = matches.get_raw(id).expect("a value");
        raw.map(|text| text.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_table_goes_before_the_top_and_a_flag_before_both() {
        let layers =
            read_text("prefix = \"a\"\npools = [\"x\", \"y\"]\n[worker]\nprefix = \"b\"\nslots = 7\n").expect("valid");
        assert_eq!(value(&layers, &["scheduler"], "prefix"), ["a"]);
        assert_eq!(value(&layers, &["worker"], "prefix"), ["b"]);
        assert_eq!(value(&layers, &["worker"], "slots"), ["7"]);
        assert_eq!(value(&layers, &["worker"], "pools"), ["x", "y"]);
        assert_eq!(value(&layers, &["worker", "--slots", "9"], "slots"), ["9"]);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for (text, key) in
            [("slot = 1\n", "`slot`"), ("[scheduler]\nslots = 1\n", "`scheduler.slots`"), ("[list.a]\n", "`list.a`")]
        {
            let error = read_text(text).expect_err("unknown").to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
        assert!(read_text("slots = [[1]]\n").is_err(), "a list of lists is no value");
        assert!(read_text("slots = \n").is_err(), "no TOML");
    }
}
