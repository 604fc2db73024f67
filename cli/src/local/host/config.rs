//! What the host reads before it starts anything: `host.json`, each function's `function.json`, the app settings.
//!
//! Keys are found in any case, and `AzureFunctionsJobHost__{path}` among the app settings overrides `host.json`, as the
//! host's configuration has it.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::timespan;

/// App settings by name.
pub type Settings = BTreeMap<String, String>;

/// A function app, as far as a host of queue-triggered custom handlers needs to know it.
#[derive(Clone, Debug)]
pub struct App {
    /// The absolute path of the directory that holds `host.json`.
    pub root: PathBuf,
    /// How the handler is started.
    pub handler: HandlerConfig,
    /// How long an invocation may take; `None` is unbounded. Default: 30 minutes, as on Flex Consumption.
    pub function_timeout: Option<Duration>,
    /// How queues are read.
    pub queues: QueuesConfig,
    /// The enabled functions, by name.
    pub functions: Vec<Function>,
}

/// The section `customHandler` of `host.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerConfig {
    /// The executable: a path in the app where that file exists, else a name for the search path.
    pub executable: PathBuf,
    /// Its command line.
    pub arguments: Vec<String>,
    /// Its working directory.
    pub working_directory: PathBuf,
    /// How long it may take until it answers. Default: 30 s.
    pub initialization_timeout: Duration,
    /// A fixed port; by default the host picks a free one.
    pub port: Option<u16>,
}

/// The section `extensions.queues` of `host.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuesConfig {
    /// Messages per receive, 1 to 32. Default: 16.
    pub batch_size: usize,
    /// Invocations in flight at which the next batch is received. Default: half of `batch_size` per processor.
    pub new_batch_threshold: usize,
    /// The longest wait between two receives. Default: one minute.
    pub max_polling_interval: Duration,
    /// How long a message stays hidden after a failed invocation. Default: 0.
    pub visibility_timeout: Duration,
    /// Attempts before a message goes to the poison queue. Default: 5.
    pub max_dequeue_count: i64,
    /// What the text of a message holds. Default: Base64.
    pub message_encoding: MessageEncoding,
}

/// What the text of a queue message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEncoding {
    /// The message itself.
    None,
    /// Base64 of the message.
    Base64,
}

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

impl App {
    /// Reads the app below `root`. `environment` is what `%NAME%` in `host.json` is looked up in after the settings.
    pub fn read(
        root: &Path,
        settings: &Settings,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let root = std::path::absolute(root).map_err(|error| ConfigError::unreadable(root, &error))?;
        let mut host = read_json(&root.join("host.json"))?;
        override_host(&mut host, settings);
        let host = Section { file: "host.json", path: String::new(), value: Some(&host) };
        if host.string("version")?.as_deref() != Some("2.0") {
            return Err(ConfigError::new("host.json", "version must be \"2.0\""));
        }
        let lookup = |name: &str| settings.get(name).cloned().or_else(|| environment(name));
        let functions = functions(&root, settings)?;
        if !functions.is_empty() && host.section("extensionBundle").string("id")?.is_none() {
            let reason = "extensionBundle is missing, so that no host knows the type queueTrigger";
            return Err(ConfigError::new("host.json", reason));
        }
        Ok(Self {
            handler: handler(&host.section("customHandler"), &root, &lookup)?,
            function_timeout: function_timeout(&host)?,
            queues: queues(&host.section("extensions").section("queues"))?,
            functions,
            root,
        })
    }
}

/// What is wrong, and in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    reason: String,
}

impl ConfigError {
    fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), reason: reason.into() }
    }

    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new(path.display().to_string(), format!("cannot be read ({error}): is this the root of a function app?"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.reason)
    }
}

impl std::error::Error for ConfigError {}

fn handler(
    custom: &Section<'_>,
    root: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<HandlerConfig, ConfigError> {
    let description = custom.section("description");
    if description.value.is_none() {
        return Err(custom.error("description", "is missing: it says which executable is the custom handler"));
    }
    let executable = expand(&description.string("defaultExecutablePath")?.unwrap_or_default(), lookup, Unset::Kept);
    if executable.is_empty() {
        return Err(description.error("defaultExecutablePath", "is empty: it names the custom handler"));
    }
    let working_directory = match description.string("workingDirectory")? {
        Some(directory) if !directory.is_empty() => root.join(expand(&directory, lookup, Unset::Kept)),
        _ => root.to_path_buf(),
    };
    let in_app = root.join(&executable);
    Ok(HandlerConfig {
        executable: if in_app.is_file() { in_app } else { PathBuf::from(executable) },
        arguments: description
            .strings("arguments")?
            .iter()
            .map(|argument| expand(argument, lookup, Unset::Removed))
            .collect(),
        working_directory,
        initialization_timeout: custom.time_span("initializationTimeout")?.unwrap_or(Duration::from_secs(30)),
        port: custom.number("port", 1..=65_535)?.map(|port| u16::try_from(port).expect("checked to be in range")),
    })
}

fn function_timeout(host: &Section<'_>) -> Result<Option<Duration>, ConfigError> {
    match host.string("functionTimeout")?.as_deref() {
        None => Ok(Some(Duration::from_secs(30 * 60))),
        Some("-1") => Ok(None),
        Some(_) => host.time_span("functionTimeout"),
    }
}

fn queues(queues: &Section<'_>) -> Result<QueuesConfig, ConfigError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let count = |name, default: usize, range| {
        let number = queues.number(name, range)?;
        Ok(number.map_or(default, |number| usize::try_from(number).expect("checked to be in range")))
    };
    let batch_size = count("batchSize", 16, 1..=32)?;
    let max_polling_interval = queues.time_span("maxPollingInterval")?.unwrap_or(Duration::from_secs(60));
    if max_polling_interval < Duration::from_millis(100) {
        return Err(queues.error("maxPollingInterval", "must be at least 00:00:00.1"));
    }
    Ok(QueuesConfig {
        batch_size,
        new_batch_threshold: count("newBatchThreshold", batch_size / 2 * processors, 0..=i64::from(i32::MAX))?,
        max_polling_interval,
        visibility_timeout: queues.time_span("visibilityTimeout")?.unwrap_or_default(),
        max_dequeue_count: queues.number("maxDequeueCount", 1..=i64::from(i32::MAX))?.unwrap_or(5),
        message_encoding: match queues.string("messageEncoding")?.map(|name| name.to_ascii_lowercase()).as_deref() {
            None | Some("base64") => MessageEncoding::Base64,
            Some("none") => MessageEncoding::None,
            Some(_) => return Err(queues.error("messageEncoding", "must be \"none\" or \"base64\"")),
        },
    })
}

fn functions(root: &Path, settings: &Settings) -> Result<Vec<Function>, ConfigError> {
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
    let queue = resolve(&required("queueName")?, settings).or_else(|unset| {
        let reason = format!("'%{unset}%' does not resolve to a value: set the app setting {unset}");
        Err(section.error("queueName", &reason))
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

#[derive(Clone, Copy)]
enum Unset {
    Kept,
    Removed,
}

/// Replaces each `%NAME%` in `host.json` by the environment variable.
fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>, unset: Unset) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        expanded.push_str(before);
        let Some((name, after_name)) = after.split_once('%') else {
            expanded.push('%');
            rest = after;
            continue;
        };
        match (lookup(name), unset) {
            (Some(value), _) => expanded.push_str(&value),
            (None, Unset::Removed) => {}
            (None, Unset::Kept) => expanded.push_str(&format!("%{name}%")),
        }
        rest = after_name;
    }
    expanded + rest
}

fn read_json(path: &Path) -> Result<Value, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| ConfigError::new(path.display().to_string(), format!("is no JSON: {error}")))
}

fn override_host(host: &mut Value, settings: &Settings) {
    for (name, text) in settings {
        let Some(path) = name.strip_prefix("AzureFunctionsJobHost__") else { continue };
        let mut place = &mut *host;
        for key in path.split("__") {
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            let object = place.as_object_mut().expect("made an object just now");
            let present = object.keys().find(|present| present.eq_ignore_ascii_case(key)).cloned();
            place = object.entry(present.unwrap_or_else(|| key.to_owned())).or_insert(Value::Null);
        }
        *place = Value::String(text.clone());
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let (_, value) = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    (!value.is_null()).then_some(value)
}

/// A place in a JSON file, which may be absent, and the path that errors name.
struct Section<'a> {
    file: &'a str,
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Section<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        member(self.value?, name)
    }

    fn section(&self, name: &str) -> Self {
        Self { file: self.file, path: self.path_of(name), value: self.get(name) }
    }

    /// Text, or a number's or truth value's text: the host's configuration knows only strings.
    fn string(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => Err(self.error(name, "must be a string")),
        }
    }

    fn strings(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let values = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(self.error(name, "must be an array of strings")),
        };
        let strings = values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>();
        strings.ok_or_else(|| self.error(name, "must be an array of strings"))
    }

    fn number(&self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>, ConfigError> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let reason = format!("is {text}; it must be a number from {} to {}", range.start(), range.end());
                Err(self.error(name, &reason))
            }
        }
    }

    fn time_span(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        let invalid = || self.error(name, &format!("is {text}; it must be a time span such as 00:05:00"));
        timespan::parse(&text).map(Some).ok_or_else(invalid)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn error(&self, name: &str, reason: &str) -> ConfigError {
        ConfigError::new(self.file, format!("{} {reason}", self.path_of(name)))
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
