//! JSON objects read strictly: members in order, none twice, values as they stand in the text (RFC 8259, section 4).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object, each value as its exact text.
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads a JSON text that is one object. The error names a doubled member, or the place of a syntax error.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        // serde's error would have the whole string in it, which may be a URL with a key.
        if text.trim_start().starts_with('"') {
            return Err(serde_json::Error::custom("a string is no JSON object"));
        }
        serde_json::from_str(text)
    }

    /// The text of a member's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// A member that is a JSON string; `None` if it is absent or something else.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        string(self.value(name)?)
    }

    /// All members, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

/// The content of a JSON text that is a string; borrowed where it has no escapes.
#[must_use]
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(text).ok().map(|text| text.0)
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de str)> = Vec::new();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            if members.iter().any(|(member, _)| *member == name.0) {
                let name: String = name.0.chars().take(64).flat_map(char::escape_default).collect();
                return Err(A::Error::custom(format_args!("the member `{name}` stands there twice")));
            }
            // Work items and JOSE objects have a dozen members; more would only serve to make this search slow.
            if members.len() == MOST_MEMBERS {
                return Err(A::Error::custom(format_args!("there are more than {MOST_MEMBERS} members")));
            }
            members.push((name.0, map.next_value::<&RawValue>()?.get()));
        }
        Ok(Members(members))
    }
}

const MOST_MEMBERS: usize = 64;

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_exact_text() {
        let members = Members::parse(r#" { "a" : { "x":1.0,  "y": "\u00e9" } , "b":[ 1 ]}"#).expect("an object");
        assert_eq!(members.value("a"), Some(r#"{ "x":1.0,  "y": "\u00e9" }"#));
        assert_eq!(members.value("b"), Some("[ 1 ]"));
        assert_eq!(members.value("c"), None);
    }

    #[test]
    fn a_member_that_is_doubled_by_an_escape_is_doubled() {
        let error = Members::parse(r#"{"id":"a","\u0069d":"b"}"#).expect_err("doubled");
        assert!(error.to_string().contains("`id`"), "{error}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "null", "\"a\"", "{", "{} {}", "", "{\"a\":}", "{\"a\":1,}"] {
            assert!(Members::parse(text).is_err(), "{text}");
        }
        let error = Members::parse("[]").expect_err("a list").to_string();
        assert!(error.contains("a JSON object"), "{error}");
    }

    #[test]
    fn depth_is_no_matter_and_breadth_is_bounded() {
        let deep = format!("{{\"payload\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert!(Members::parse(&deep).is_ok());
        let broad: Vec<String> = (0..1000).map(|i| format!("\"m{i}\":1")).collect();
        assert!(Members::parse(&format!("{{{}}}", broad.join(","))).is_err());
    }
}
