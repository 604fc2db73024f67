//! What the host reads before it starts anything: `host.json`, each function's `function.json`, the app settings.
//!
//! Keys are found in any case, and `AzureFunctionsJobHost__{path}` among the app settings overrides `host.json`, as the
//! host's configuration has it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    function::functions,
    section::{Section, read_json},
};
pub use super::{
    function::{DataType, Function},
    section::ConfigError,
};

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
        None => Ok(Some(Duration::from_mins(30))),
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
    let max_polling_interval = queues.time_span("maxPollingInterval")?.unwrap_or(Duration::from_mins(1));
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
            (None, Unset::Kept) => expanded.extend(["%", name, "%"]),
        }
        rest = after_name;
    }
    expanded + rest
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

#[cfg(test)]
mod tests;
