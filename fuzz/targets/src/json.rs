//! JSON objects, beside a reader of our own that shares no code with the one that ships.

use std::ops::Range;

use signet_core::json::Members;

use crate::bounds::in_proportion;

/// An object is read if and only if the grammar says so, no member is doubled and there are not too many; names and
/// places of values are the same.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ours = in_proportion(data.len(), || Members::parse(text));
    let theirs = Scanner::members_of(text).filter(|members| {
        let is_doubled = |(i, (name, _)): (usize, &(String, _))| members[..i].iter().any(|(other, _)| other == name);
        members.len() <= 64 && !members.iter().enumerate().any(is_doubled)
    });
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) => {
            let ours: Vec<(&str, &str)> = ours.iter().collect();
            let theirs: Vec<(&str, &str)> =
                theirs.iter().map(|(name, value)| (name.as_str(), &text[value.clone()])).collect();
            assert_eq!(ours, theirs);
        }
        (Err(_), None) => {}
        (ours, theirs) => panic!("{ours:?} {theirs:?}"),
    }
    let string = signet_core::json::string(text).map(std::borrow::Cow::into_owned);
    assert_eq!(string, Scanner::string_of(text));
}

/// A place in a JSON text (RFC 8259). It knows no recursion, so that depth is no matter.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Whether the whole text is one value.
    pub(crate) fn is_json(text: &'a str) -> bool {
        Self::whole(text, Self::value).is_some()
    }

    /// The members of a text that is one object: names, decoded, and where the values stand.
    pub(crate) fn members_of(text: &'a str) -> Option<Vec<(String, Range<usize>)>> {
        Self::whole(text, |scanner| {
            scanner.expect(b'{')?;
            scanner.skip_space();
            let mut members = Vec::new();
            if scanner.take_if(b'}') {
                return Some(members);
            }
            loop {
                let name = unescape(&text[scanner.name()?])?;
                let from = scanner.at;
                scanner.value()?;
                members.push((name, from..scanner.at));
                scanner.skip_space();
                match scanner.take()? {
                    b',' => scanner.skip_space(),
                    b'}' => return Some(members),
                    _ => return None,
                }
            }
        })
    }

    /// The items of a text that is one array.
    pub(crate) fn items_of(text: &'a str) -> Option<Vec<&'a str>> {
        Self::whole(text, |scanner| {
            scanner.expect(b'[')?;
            scanner.skip_space();
            let mut items = Vec::new();
            if scanner.take_if(b']') {
                return Some(items);
            }
            loop {
                scanner.skip_space();
                let from = scanner.at;
                scanner.value()?;
                items.push(&text[from..scanner.at]);
                scanner.skip_space();
                match scanner.take()? {
                    b',' => {}
                    b']' => return Some(items),
                    _ => return None,
                }
            }
        })
    }

    /// The content of a text that is one string of Unicode characters.
    pub(crate) fn string_of(text: &'a str) -> Option<String> {
        unescape(Self::whole(text, |scanner| {
            let from = scanner.at;
            scanner.string()?;
            text.get(from..scanner.at)
        })?)
    }

    fn whole<T>(text: &'a str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut scanner = Self { text, at: 0 };
        scanner.skip_space();
        let outcome = read(&mut scanner)?;
        scanner.skip_space();
        (scanner.at == text.len()).then_some(outcome)
    }

    fn value(&mut self) -> Option<()> {
        // What closes the arrays and objects that are open.
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    let close = self.take()? + 2;
                    self.skip_space();
                    if !self.take_if(close) {
                        open.push(close);
                        if close == b'}' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            loop {
                let Some(close) = open.last().copied() else { return Some(()) };
                self.skip_space();
                let next = self.take()?;
                if next == b',' {
                    self.skip_space();
                    if close == b'}' {
                        self.name()?;
                    }
                    break;
                }
                if next != close {
                    return None;
                }
                open.pop();
            }
        }
    }

    /// A member's name and all that stands before its value; the place of the name.
    fn name(&mut self) -> Option<Range<usize>> {
        let from = self.at;
        self.string()?;
        let name = from..self.at;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Some(name)
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            match self.take()? {
                b'"' => return Some(()),
                b'\\' => match self.take()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => (0..4).try_for_each(|_| self.take()?.is_ascii_hexdigit().then_some(()))?,
                    _ => return None,
                },
                0..=0x1f => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.take_if(b'-');
        if !self.take_if(b'0') {
            self.digits()?;
        }
        if self.take_if(b'.') {
            self.digits()?;
        }
        if self.take_if(b'e') || self.take_if(b'E') {
            let _sign = self.take_if(b'+') || self.take_if(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        literal.bytes().try_for_each(|byte| self.expect(byte))
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take_if(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.take()? == wanted).then_some(())
    }
}

/// The characters of a string that is known to be one by its form; `None` where a surrogate stands alone.
fn unescape(string: &str) -> Option<String> {
    let mut units = Vec::new();
    let mut rest = string.get(1..string.len() - 1)?.chars();
    while let Some(c) = rest.next() {
        let mut buffer = [0; 2];
        let unit = match c {
            '\\' => match rest.next()? {
                'b' => 8,
                'f' => 12,
                'n' => 10,
                'r' => 13,
                't' => 9,
                'u' => {
                    let unit = u16::from_str_radix(rest.as_str().get(..4)?, 16).ok()?;
                    rest.nth(3);
                    unit
                }
                other => u16::try_from(u32::from(other)).ok()?,
            },
            c => {
                units.extend_from_slice(c.encode_utf16(&mut buffer));
                continue;
            }
        };
        units.push(unit);
    }
    String::from_utf16(&units).ok()
}
