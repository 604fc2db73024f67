//! Log lines for the Functions host: it makes every line of stdout an information, every line of stderr an error or,
//! where the word stands in it, a warning. So each event is one line, on the stream that its level asks for.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    str::FromStr,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// Which events are written: `RUST_LOG`'s `level` and `target=level`, separated by commas.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    default: LevelFilter,
    /// Longest target first.
    targets: Vec<(String, LevelFilter)>,
}

/// Writes events that pass the filter from now on.
pub(crate) fn install(filter: Filter) {
    // It can fail only if it was done before, and then the first one stays.
    let _ = tracing::subscriber::set_global_default(Lines { filter });
}

impl Default for Filter {
    fn default() -> Self {
        Self { default: LevelFilter::INFO, targets: Vec::new() }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |name: &str| {
            name.trim().parse().map_err(|_| format!("has `{name}` where off, error, warn, info, debug or trace is due"))
        };
        let mut filter = Self::default();
        for directive in text.split(',').filter(|directive| !directive.trim().is_empty()) {
            match directive.split_once('=') {
                Some((target, name)) => filter.targets.push((target.trim().to_owned(), level(name)?)),
                None => filter.default = level(directive)?,
            }
        }
        filter.targets.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        Ok(filter)
    }
}

impl Filter {
    fn level_for(&self, target: &str) -> LevelFilter {
        let named = self.targets.iter().find(|(prefix, _)| {
            target.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        named.map_or(self.default, |(_, level)| *level)
    }

    fn most_verbose(&self) -> LevelFilter {
        self.targets.iter().map(|(_, level)| *level).fold(self.default, LevelFilter::max)
    }
}

struct Lines {
    filter: Filter,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.filter.level_for(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter.most_verbose())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line::new("");
        // Writing to a string cannot fail.
        let _ = write!(line.0, "{:<5} {}", metadata.level(), metadata.target());
        event.record(&mut line);
        line.0.push('\n');
        // Nothing can be done about a stream that is gone; the host is gone with it.
        let _ = if *metadata.level() <= Level::WARN {
            std::io::stderr().write_all(line.0.as_bytes())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(line.0.as_bytes()).and_then(|()| stdout.flush())
        };
    }

    // Spans are not written: every event names its invocation itself.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// `LEVEL target message key=value …`, whatever the values hold: control characters are escaped.
pub(crate) struct Line(String);

impl Line {
    /// A line that begins with these words.
    pub(crate) fn new(begin: &str) -> Self {
        let mut text = String::with_capacity(USUAL);
        text.push_str(begin);
        Self(text)
    }

    /// Adds ` name=value`.
    pub(crate) fn field(mut self, name: impl fmt::Display, value: impl fmt::Display) -> Self {
        self.push(name, value);
        self
    }

    /// The same, where there is a value.
    pub(crate) fn maybe(self, name: impl fmt::Display, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    fn push(&mut self, name: impl fmt::Display, value: impl fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, " {name}=");
        let start = self.0.len();
        let _ = write!(self.0, "{value}");
        let value = self.0.get(start..).unwrap_or_default();
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        self.escape(start, quoted);
    }

    fn push_words(&mut self, words: impl fmt::Display) {
        self.0.push(' ');
        let start = self.0.len();
        let _ = write!(self.0, "{words}");
        self.escape(start, false);
    }

    /// What stands behind `start` was just written as it is, which is right for most of what there is.
    fn escape(&mut self, start: usize, quoted: bool) {
        let is_escaped = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if !quoted && !self.0.get(start..).unwrap_or_default().contains(is_escaped) {
            return;
        }
        let value = self.0.split_off(start);
        if quoted {
            self.0.push('"');
        }
        for c in value.chars() {
            match c {
                '"' if quoted => self.0.push_str("\\\""),
                c if is_escaped(c) => self.0.extend(c.escape_default()),
                c => self.0.push(c),
            }
        }
        if quoted {
            self.0.push('"');
        }
    }
}

/// Bytes of most lines.
const USUAL: usize = 512;

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.push_words(value);
        } else {
            self.push(field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.push_words(format_args!("{value:?}"));
        } else {
            self.push(field.name(), format_args!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_target_decides() {
        let filter: Filter = "warn, handler=debug,handler::vault=off".parse().expect("a filter");
        assert_eq!(filter.level_for("azure_core::http"), LevelFilter::WARN);
        assert_eq!(filter.level_for("handler::host"), LevelFilter::DEBUG);
        assert_eq!(filter.level_for("handler::vault"), LevelFilter::OFF);
        assert_eq!(filter.level_for("handlers"), LevelFilter::WARN);
        assert_eq!(filter.most_verbose(), LevelFilter::DEBUG);
        assert!("handler=loud".parse::<Filter>().is_err());
    }
}
