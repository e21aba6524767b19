//! `parameters`: a JSON Schema for each, with `default` and a boolean `required` beside its keywords.

use serde_json::Value;

use super::{
    expression,
    field::json,
    keys::Place,
    reader::Reader,
    yaml::{Content, Entry, Yaml, quoted},
};
use crate::{
    diagnostic::Diagnostic,
    parameters,
    spec::{Parameter, Span},
};

/// Keywords whose value is a schema.
const HOLDS_SCHEMA: [&str; 12] = [
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
    "additionalItems",
];
/// Keywords whose value is a list of schemas.
const HOLDS_LIST: [&str; 4] = ["prefixItems", "allOf", "anyOf", "oneOf"];
/// Keywords whose value is a map of schemas.
const HOLDS_MAP: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];

/// The types of JSON Schema.
const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "null"];

/// What other languages call the types.
const FOREIGN_TYPES: [(&str, &str); 12] = [
    ("str", "string"),
    ("text", "string"),
    ("int", "integer"),
    ("long", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("bool", "boolean"),
    ("list", "array"),
    ("dict", "object"),
    ("map", "object"),
    ("hash", "object"),
    ("none", "null"),
];

/// Reads `parameters`.
pub(super) fn read(reader: &mut Reader<'_>, yaml: &Yaml) -> Vec<Parameter> {
    let mut read = Vec::new();
    for entry in reader.map("parameters", yaml) {
        let name = reader.name(&entry.key, entry.key_span);
        let path = format!("parameters.{}", entry.key);
        let (schema, default, required) = declaration(reader, &path, entry);
        if let Some(name) = name {
            read.push(Parameter { name, schema, default, required });
        }
    }
    read
}

fn declaration(
    reader: &mut Reader<'_>,
    path: &str,
    entry: &Entry,
) -> (proto::json::Json, Option<proto::json::Json>, bool) {
    let entries = reader.map(path, &entry.value);
    let is_ours = |entry: &&Entry| {
        let is_required = entry.key == "required" && !matches!(entry.value.content, Content::List(_));
        entry.key == "default" || is_required
    };
    let keywords: Vec<Entry> = entries.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    let schema = Yaml { span: entry.value.span, content: Content::Map(keywords) };
    let default = entries.iter().find(|entry| entry.key == "default").map(|entry| &entry.value);
    let required = entries.iter().find(|entry| entry.key == "required" && is_ours(entry));
    let required = required.and_then(|entry| reader.boolean(&format!("{path}.required"), &entry.value));
    let schema_json = json(&schema);

    let known = check_keywords(reader, path, entries);
    let compiled = known.then(|| compile(reader, path, entry.key_span, &schema, &schema_json)).flatten();
    if let Some(default) = default {
        check_default(reader, path, default, compiled.as_ref());
    }
    (schema_json, default.map(json), required.unwrap_or(false))
}

/// Whether every keyword of a schema, and of the schemas in it, is one that means something.
fn check_keywords(reader: &mut Reader<'_>, path: &str, entries: &[Entry]) -> bool {
    reader.check_keys(Place::Schema, path, entries);
    let mut known = entries.iter().all(|entry| Place::Schema.keys().contains(&entry.key.as_str()));
    for Entry { key, value, .. } in entries {
        let path = format!("{path}.{key}");
        let schemas: Vec<(String, &Yaml)> = match &value.content {
            Content::Map(_) if HOLDS_SCHEMA.contains(&key.as_str()) => vec![(path, value)],
            Content::Map(inner) if HOLDS_MAP.contains(&key.as_str()) => {
                inner.iter().map(|entry| (format!("{path}.{}", entry.key), &entry.value)).collect()
            }
            Content::List(values) if HOLDS_LIST.contains(&key.as_str()) => {
                values.iter().enumerate().map(|(at, value)| (format!("{path}[{at}]"), value)).collect()
            }
            Content::Text(_) if key == "type" => {
                known &= check_type(reader, &path, value);
                continue;
            }
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_)
            | Content::Map(_) => continue,
        };
        for (path, schema) in schemas {
            if let Content::Map(entries) = &schema.content {
                known &= check_keywords(reader, &path, entries);
            }
        }
    }
    known
}

/// The validator would only say that nothing of a list of alternatives fits.
fn check_type(reader: &mut Reader<'_>, path: &str, yaml: &Yaml) -> bool {
    let Some(word) = reader.text(path, yaml) else {
        return false;
    };
    if TYPES.contains(&word) {
        return true;
    }
    let foreign = FOREIGN_TYPES.iter().find(|(name, _)| *name == word).map(|(_, name)| format!("write `{name}`"));
    let help = foreign.or_else(|| reader.did_you_mean(word, &TYPES));
    let help = help.unwrap_or_else(|| format!("the types are {}", super::keys::listed(&TYPES)));
    reader.refuse("schema_invalid", yaml.span, format!("`{path}` cannot be {}", quoted(word)), help);
    false
}

fn compile(
    reader: &mut Reader<'_>,
    path: &str,
    span: Span,
    schema: &Yaml,
    text: &proto::json::Json,
) -> Option<parameters::Schema> {
    match parameters::Schema::compile(text) {
        Ok(compiled) => Some(compiled),
        Err(problems) => {
            for problem in problems {
                let at = match problem.path.is_empty() {
                    true => span,
                    false => schema.place(problem.path.iter().cloned()),
                };
                let message = format!("`{path}` is no JSON Schema: {}", problem.message);
                reader.refuse("schema_invalid", at, message, "schemas are JSON Schema, draft 2020-12");
            }
            None
        }
    }
}

fn check_default(reader: &mut Reader<'_>, path: &str, default: &Yaml, schema: Option<&parameters::Schema>) {
    if matches!(&default.content, Content::Text(text) if expression::is_template(text)) {
        let warning = Diagnostic::warning(
            "template_in_default",
            default.span,
            "a default is no template: it is used as it stands",
        );
        reader.push(warning.with_help("compute it in `vars`"));
    }
    let value: Value = json(default).parse().expect("it is JSON of our own making");
    for problem in schema.map(|schema| schema.problems(&value)).unwrap_or_default() {
        let at = default.place(problem.path.iter().cloned());
        let message = format!("`{path}.default` does not satisfy the schema: {}", problem.message);
        reader.refuse("default_invalid", at, message, "change the default or the schema");
    }
}
