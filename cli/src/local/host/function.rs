//! A function's binding, as its `function.json` declares it.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    config::Settings,
    section::{ConfigError, Section, member, read_json},
};

/// A function and its one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name of its directory.
    pub name: String,
    /// The binding's name: the member of `Data` that holds the message.
    pub binding: String,
    /// The queue, with every `%NAME%` resolved.
    pub queue: String,
    /// The prefix of the app settings that say where the queue is.
    pub connection: String,
    /// What `Data` holds.
    pub data_type: DataType,
}

/// A binding's `dataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// Text, JSON-encoded twice; a JSON object's members are copied to `Metadata`.
    String,
    /// Base64 of the message's bytes.
    Binary,
}

/// The enabled functions below `root`, by name.
pub(super) fn functions(root: &Path, settings: &Settings) -> Result<Vec<Function>, ConfigError> {
    let entries = fs::read_dir(root).map_err(|error| ConfigError::unreadable(root, &error))?;
    let mut directories: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    directories.sort();
    let mut functions = Vec::new();
    for directory in directories {
        let (path, name) = (directory.join("function.json"), directory.file_name().and_then(|name| name.to_str()));
        if let (true, Some(name)) = (path.is_file(), name)
            && let Some(function) = function(name, &read_json(&path)?, settings)?
        {
            functions.push(function);
        }
    }
    Ok(functions)
}

/// `None` where the function is disabled.
fn function(name: &str, json: &Value, settings: &Settings) -> Result<Option<Function>, ConfigError> {
    let file = format!("{name}/function.json");
    let fail = |reason: String| Err(ConfigError::new(file.clone(), reason));
    let truth = |text: &String| text == "1" || text.eq_ignore_ascii_case("true");
    let disabled = settings.get(&format!("AzureWebJobs.{name}.Disabled")).is_some_and(truth);
    if disabled || member(json, "disabled").and_then(Value::as_bool) == Some(true) {
        return Ok(None);
    }
    let bindings = member(json, "bindings").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let [binding] = bindings else {
        return fail(format!("has {} bindings; a queue trigger alone is what this host runs", bindings.len()));
    };
    let section = Section { file: &file, path: "bindings[0]".into(), value: Some(binding) };
    let required = |key| match section.string(key)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(section.error(key, "is missing")),
    };
    if !required("type")?.eq_ignore_ascii_case("queueTrigger") {
        return fail(format!("the binding type {} is not known; queueTrigger is", required("type")?));
    }
    if section.string("direction")?.is_some_and(|direction| !direction.eq_ignore_ascii_case("in")) {
        return Err(section.error("direction", "must be \"in\" for a trigger"));
    }
    let queue = resolve(&required("queueName")?, settings).map_err(|unset| {
        let reason = format!("'%{unset}%' does not resolve to a value: set the app setting {unset}");
        section.error("queueName", &reason)
    })?;
    let queue = queue.to_ascii_lowercase();
    if !is_queue_name(&queue) {
        let reason = format!("{queue} is no queue name: 3 to 63 letters, digits and single hyphens between them");
        return Err(section.error("queueName", &reason));
    }
    let connection = section.string("connection")?.filter(|name| !name.is_empty());
    let connection = connection.unwrap_or_else(|| "AzureWebJobsStorage".into());
    if !is_connected(&connection, settings) {
        let reason = format!("names no storage account: set the app setting {connection}__queueServiceUri");
        return Err(section.error("connection", &reason));
    }
    let data_type = match section.string("dataType")?.map(|name| name.to_ascii_lowercase()).as_deref() {
        None | Some("string") => DataType::String,
        Some("binary") => DataType::Binary,
        Some(_) => return Err(section.error("dataType", "must be \"string\" or \"binary\" for a queue trigger")),
    };
    Ok(Some(Function { name: name.to_owned(), binding: required("name")?, queue, connection, data_type }))
}

fn is_connected(connection: &str, settings: &Settings) -> bool {
    ["", "__queueServiceUri", ":queueServiceUri", "__accountName", ":accountName"]
        .iter()
        .any(|suffix| settings.get(&format!("{connection}{suffix}")).is_some_and(|value| !value.is_empty()))
}

/// "Naming Queues and Metadata", Azure Storage's REST reference.
fn is_queue_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len()) && name.split('-').all(|part| !part.is_empty() && part.chars().all(letter))
}

/// Resolves each `%NAME%` in a binding; the error is the name that no app setting has.
fn resolve(text: &str, settings: &Settings) -> Result<String, String> {
    let mut resolved = String::new();
    for (i, part) in text.split('%').enumerate() {
        match i % 2 {
            0 => resolved.push_str(part),
            _ => resolved.push_str(settings.get(part).ok_or(part)?),
        }
    }
    Ok(resolved)
}
