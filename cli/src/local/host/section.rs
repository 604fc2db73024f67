//! The JSON files of an app, read by the path of their members, and what is wrong with them.

use std::{fmt, fs, io, path::Path, time::Duration};

use serde_json::Value;

use super::timespan;

/// What is wrong, and in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    reason: String,
}

impl ConfigError {
    pub(super) fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), reason: reason.into() }
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new(path.display().to_string(), format!("cannot be read ({error}): is this the root of a function app?"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.reason)
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn read_json(path: &Path) -> Result<Value, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| ConfigError::new(path.display().to_string(), format!("is no JSON: {error}")))
}

pub(super) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let (_, value) = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    (!value.is_null()).then_some(value)
}

/// A place in a JSON file, which may be absent, and the path that errors name.
pub(super) struct Section<'a> {
    pub(super) file: &'a str,
    pub(super) path: String,
    pub(super) value: Option<&'a Value>,
}

impl<'a> Section<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        member(self.value?, name)
    }

    pub(super) fn section(&self, name: &str) -> Self {
        Self { file: self.file, path: self.path_of(name), value: self.get(name) }
    }

    /// Text, or a number's or truth value's text: the host's configuration knows only strings.
    pub(super) fn string(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => Err(self.error(name, "must be a string")),
        }
    }

    pub(super) fn strings(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let values = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(self.error(name, "must be an array of strings")),
        };
        let strings = values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>();
        strings.ok_or_else(|| self.error(name, "must be an array of strings"))
    }

    pub(super) fn number(&self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>, ConfigError> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let reason = format!("is {text}; it must be a number from {} to {}", range.start(), range.end());
                Err(self.error(name, &reason))
            }
        }
    }

    pub(super) fn time_span(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        let invalid = || self.error(name, &format!("is {text}; it must be a time span such as 00:05:00"));
        timespan::parse(&text).map(Some).ok_or_else(invalid)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn error(&self, name: &str, reason: &str) -> ConfigError {
        ConfigError::new(self.file, format!("{} {reason}", self.path_of(name)))
    }
}
