//! `leveret config show`: what flags, environment and settings file amount to.

use std::collections::BTreeMap;

use clap::{Arg, parser::ValueSource};
use proto::SCHEMA;
use serde::Serialize;

use crate::{
    ending::{Error, Exit},
    layers::{self, Layers},
    options::masked,
    output::{self, Format},
};

/// The commands whose settings are shown, besides the common ones.
const SHOWN: [&str; 3] = ["scheduler", "worker", "dev"];
/// A command that has the settings of every client.
const CLIENT: &str = "list";

/// What to do with settings.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with settings.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the effective settings and where each came from, with secrets masked
    Show {
        /// How they are printed: as a settings file, or as a document
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Format,
    },
}

/// Settings by table and key; what is common is in the table `""`.
type Settings = BTreeMap<String, BTreeMap<String, Setting>>;

/// A setting as it is.
#[derive(Debug, Serialize)]
struct Setting {
    values: Vec<String>,
    from: String,
    #[serde(skip)]
    is_list: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    schema: u16,
    settings: Settings,
}

/// Prints the settings.
///
/// # Errors
/// When one of them is not valid.
pub fn run(options: &Options, layers: &Layers) -> Result<Exit, Error> {
    let Verb::Show { output } = &options.verb;
    let mut settings = Settings::new();
    settings.insert(String::new(), of_command(CLIENT, layers)?);
    for command in SHOWN {
        settings.insert(command.to_owned(), of_command(command, layers)?);
    }
    output::print(&match output {
        Format::Text => as_file(&settings),
        Format::Json => output::pretty_document(&Document { schema: SCHEMA, settings }),
    })?;
    Ok(Exit::Done)
}

/// The settings of `command`, as if it were started without flags.
fn of_command(command: &str, layers: &Layers) -> Result<BTreeMap<String, Setting>, Error> {
    let matches = layers.grammar.clone().try_get_matches_from(["leveret", command]);
    let matches = matches.map_err(|error| Error::usage(error.render().to_string()))?;
    let (_, matches) = matches.subcommand().expect("the command that was asked for");
    let owner = layers.grammar.find_subcommand(command).expect("one of ours");
    let mut settings = BTreeMap::new();
    for option in owner.get_arguments() {
        let Some(key) = layers::key(option) else { continue };
        let values: Vec<String> = matches
            .get_raw(option.get_id().as_str())
            .into_iter()
            .flatten()
            .map(|value| shown(option, &value.to_string_lossy()))
            .collect();
        let origin = layers.origins.get(&(command.to_owned(), key.clone()));
        let from = match (matches.value_source(option.get_id().as_str()), origin) {
            (Some(ValueSource::EnvVariable), _) => variable(option),
            (_, Some(file)) => file.display().to_string(),
            _ => "default".to_owned(),
        };
        let is_list = option.get_value_delimiter().is_some();
        settings.insert(key, Setting { values, from, is_list });
    }
    Ok(settings)
}

fn variable(option: &Arg) -> String {
    option.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A token is hidden, of an address only its password is.
fn shown(option: &Arg, value: &str) -> String {
    match ["token", "tokens"].iter().any(|id| option.get_id() == id) {
        true => "***".to_owned(),
        false => masked(value),
    }
}

/// Text that a settings file may hold.
fn as_file(settings: &Settings) -> String {
    let mut text = String::new();
    for (table, settings) in settings {
        if !table.is_empty() {
            text.push_str(&format!("\n[{table}]\n"));
        }
        for (key, Setting { values, from, is_list }) in settings {
            let texts: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            let line = match (texts.as_slice(), is_list) {
                ([], _) => format!("# {key} is not set"),
                ([value], false) => format!("{key} = {value}  # {from}"),
                (values, _) => format!("{key} = [{}]  # {from}", values.join(", ")),
            };
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// A JSON text is a TOML text, too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
