//! JSON as Json.NET reads and prints it: members in order, dates recognised in strings, its own escapes and numbers.

use std::fmt::{self, Write as _};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// Json.NET's default `MaxDepth`.
const MAX_DEPTH: usize = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// Its digits, of any length.
    Integer(String),
    Float(f64),
    Text(String),
    Date(NetDate),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a whole text; `None` where it is no JSON, or nested too deeply.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::from_raw(serde_json::from_str::<&RawValue>(text).ok()?, 0)
    }

    fn from_raw(raw: &RawValue, depth: usize) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'n' => Some(Self::Null),
            b't' | b'f' => Some(Self::Bool(text == "true")),
            b'"' => {
                let text: String = serde_json::from_str(text).ok()?;
                Some(NetDate::parse(&text).map_or(Self::Text(text), Self::Date))
            }
            b'[' | b'{' if depth == MAX_DEPTH => None,
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                items.into_iter().map(|item| Self::from_raw(item, depth + 1)).collect::<Option<_>>().map(Self::Array)
            }
            b'{' => {
                let mut members: Vec<(String, Self)> = Vec::new();
                for (name, value) in serde_json::from_str::<Members<'_>>(text).ok()?.0 {
                    let value = Self::from_raw(value, depth + 1)?;
                    match members.iter_mut().find(|(present, _)| *present == name) {
                        Some((_, present)) => *present = value,
                        None => members.push((name, value)),
                    }
                }
                Some(Self::Object(members))
            }
            _ if text.contains(['.', 'e', 'E']) => text.parse().ok().map(Self::Float),
            _ => Some(Self::Integer(text.to_owned())),
        }
    }

    /// The compact text.
    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(digits) => out.push_str(digits),
            Self::Float(number) => {
                let text = float(*number);
                out.push_str(&text);
                if !text.contains(['.', 'E']) {
                    out.push_str(".0");
                }
            }
            Self::Text(text) => quote_into(out, text),
            Self::Date(date) => quote_into(out, &date.iso()),
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    quote_into(out, name);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// What .NET's `ToString` makes of a scalar in the invariant culture; `None` for anything else.
    pub(super) fn invariant(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(if *value { "True" } else { "False" }.to_owned()),
            Self::Integer(digits) => Some(digits.clone()),
            Self::Float(number) => Some(float(*number)),
            Self::Text(text) => Some(text.clone()),
            Self::Date(date) => Some(date.invariant()),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

/// A JSON string with Json.NET's escapes: the non-ASCII ones are U+0085, U+2028 and U+2029, and `/` stays.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::new();
    quote_into(&mut out, text);
    out
}

fn quote_into(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes all that is written");
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// The shortest text that reads back the same, in .NET's form: an exponent from 1E+15 on and below 1E-05.
fn float(number: f64) -> String {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').expect("LowerExp prints an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp prints a decimal exponent");
    if (-4..15).contains(&exponent) {
        return format!("{number}");
    }
    format!("{digits}E{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A string that Json.NET takes for a date: `yyyy-MM-ddTHH:mm:ss[.fffffff][Z|±hh:mm]`.
///
/// A time with an offset becomes local time, and the host's zone is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetDate {
    at: PrimitiveDateTime,
    zone: &'static str,
}

impl NetDate {
    fn parse(text: &str) -> Option<Self> {
        if !(19..=40).contains(&text.len()) || !text.is_ascii() {
            return None;
        }
        let (stem, rest) = text.split_at(19);
        let field = |from: usize, length: usize| -> Option<u8> {
            let digits = &stem[from..from + length];
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators.iter().any(|&(i, separator)| stem.as_bytes()[i] != separator) {
            return None;
        }
        let year = i32::from(field(0, 2)?) * 100 + i32::from(field(2, 2)?);
        let date = Date::from_calendar_date(year, Month::try_from(field(5, 2)?).ok()?, field(8, 2)?).ok()?;
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("0", rest),
        };
        if fraction.is_empty() {
            return None;
        }
        let ticks: u32 = format!("{fraction:0<7}")[..7].parse().ok()?;
        let time = Time::from_hms_nano(field(11, 2)?, field(14, 2)?, field(17, 2)?, ticks * 100).ok()?;
        let at = PrimitiveDateTime::new(date, time);
        match rest.as_bytes() {
            [] => Some(Self { at, zone: "" }),
            b"Z" => Some(Self { at, zone: "Z" }),
            [sign @ (b'+' | b'-'), ..] => {
                let digits = rest[1..].replace(':', "");
                let plain = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
                let (hours, minutes) = plain.then(|| digits.split_at(2))?;
                let sign = if *sign == b'-' { -1 } else { 1 };
                let offset =
                    UtcOffset::from_hms(sign * hours.parse::<i8>().ok()?, sign * minutes.parse::<i8>().ok()?, 0);
                let utc = at.assume_offset(offset.ok()?).checked_to_offset(UtcOffset::UTC)?;
                Some(Self { at: PrimitiveDateTime::new(utc.date(), utc.time()), zone: "+00:00" })
            }
            _ => None,
        }
    }

    fn iso(&self) -> String {
        let ticks = self.at.nanosecond() / 100;
        let fraction = if ticks == 0 { String::new() } else { format!(".{ticks:07}") };
        let stem = format!("{:04}-{:02}-{:02}", self.at.year(), u8::from(self.at.month()), self.at.day());
        format!("{stem}T{}{}{}", clock(self.at), fraction.trim_end_matches('0'), self.zone)
    }

    fn invariant(&self) -> String {
        let (year, month, day) = (self.at.year(), u8::from(self.at.month()), self.at.day());
        format!("{month:02}/{day:02}/{year:04} {}", clock(self.at))
    }
}

fn clock(at: PrimitiveDateTime) -> String {
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

/// An object's members as they stand.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_was_read() {
        let same = [
            r#"{"b":1,"a":[true,null,"x"],"n":{"z":1.5,"y":-12345678901234567890123}}"#,
            r#""tab\t \u0001\u0085\u2028\u2029 é / < \" \\""#,
            r#"["2026-08-21T09:30:15Z","2026-08-21T09:30:15.25","2026-08-21","2026-13-21T09:30:15Z"]"#,
        ];
        for text in same {
            assert_eq!(Json::parse(text).unwrap().print(), text);
        }
    }

    #[test]
    fn what_is_printed_in_another_form() {
        let cases = [
            (r#"{ "a" : 1 , "b" : 2, "a" : 3 }"#, r#"{"a":3,"b":2}"#),
            ("[1.0, 1e2, 1e15, 0.00001, 1e-7, 2.50]", "[1.0,100.0,1E+15,1E-05,1E-07,2.5]"),
            (r#""\u00e9\/""#, "\"é/\""),
            (r#""2026-08-21T09:30:15.1200000+02:00""#, r#""2026-08-21T07:30:15.12+00:00""#),
        ];
        for (text, printed) in cases {
            assert_eq!(Json::parse(text).unwrap().print(), printed);
        }
    }

    #[test]
    fn scalars_in_the_invariant_culture() {
        let cases = [
            ("true", "True"),
            ("3", "3"),
            ("1.0", "1"),
            ("1e20", "1E+20"),
            (r#""x""#, "x"),
            (r#""2026-08-21T23:30:15.9-01:00""#, "08/22/2026 00:30:15"),
        ];
        for (text, expected) in cases {
            assert_eq!(Json::parse(text).unwrap().invariant().as_deref(), Some(expected));
        }
        assert_eq!(Json::parse("null").unwrap().invariant(), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(&nested(64)).is_some());
        assert!(Json::parse(&nested(65)).is_none());
        assert!(Json::parse("{not json}").is_none());
    }
}
