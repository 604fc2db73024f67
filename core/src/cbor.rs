//! As much of CBOR (RFC 8949) as COSE needs: definite lengths, shortest heads, no floats.

/// Appends a data item's head: major type and argument, in the shortest form (RFC 8949, section 4.2.1).
fn push_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let first = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..=23 => out.push(first | bytes[7]),
        24..=0xff => out.extend_from_slice(&[first | 0x18, bytes[7]]),
        0x100..=0xffff => {
            out.push(first | 0x19);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(first | 0x1a);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(first | 0x1b);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, value: i64) {
    // -1 - n is the complement of n in two's complement, which is what the negative type holds.
    if value < 0 {
        push_head(out, NEGATIVE, (!value).cast_unsigned());
    } else {
        push_head(out, UNSIGNED, value.cast_unsigned());
    }
}

/// Appends the head of a byte string; its bytes follow.
pub fn push_bytes_head(out: &mut Vec<u8>, length: u64) {
    push_head(out, BYTES, length);
}

/// Appends a byte string.
pub fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_head(out, BYTES, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a text string.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    push_head(out, TEXT, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends the head of an array; its items follow.
pub fn push_array_head(out: &mut Vec<u8>, length: u64) {
    push_head(out, ARRAY, length);
}

/// Appends the head of a map; its pairs follow.
pub fn push_map_head(out: &mut Vec<u8>, length: u64) {
    push_head(out, MAP, length);
}

/// Appends a tag; the tagged item follows.
pub fn push_tag(out: &mut Vec<u8>, tag: u64) {
    push_head(out, TAG, tag);
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// A place in a CBOR text, read item by item.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

/// What a data item starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An integer that fits 64 bits with its sign.
    Integer(i64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A text string.
    Text(&'a str),
    /// An array of so many items, which follow.
    Array(usize),
    /// A map of so many pairs, which follow.
    Map(usize),
    /// A tag, whose item follows.
    Tag(u64),
    /// False, true, null or undefined.
    Simple(u8),
}

/// The simple value null.
pub const NULL: Item<'static> = Item::Simple(22);

const DEEPEST: usize = 16;

impl<'a> Reader<'a> {
    /// At the start of a text.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the next item, of an array, map or tag only the head. `None` if it is none, is not in the shortest form, has
    /// no definite length, or is a float.
    pub fn head_of_next(&mut self) -> Option<Item<'a>> {
        let (major, argument) = self.head()?;
        Some(match major {
            UNSIGNED => Item::Integer(i64::try_from(argument).ok()?),
            // -1 - n, as above.
            NEGATIVE => Item::Integer(!i64::try_from(argument).ok()?),
            BYTES => Item::Bytes(self.take(argument)?),
            TEXT => Item::Text(std::str::from_utf8(self.take(argument)?).ok()?),
            // Each item has at least one byte, so that a length beyond the text is a lie.
            ARRAY => Item::Array(usize::try_from(argument).ok().filter(|length| *length <= self.0.len())?),
            MAP => Item::Map(usize::try_from(argument).ok().filter(|length| *length <= self.0.len() / 2)?),
            TAG => Item::Tag(argument),
            _ => Item::Simple(u8::try_from(argument).ok().filter(|value| (20..=23).contains(value))?),
        })
    }

    /// The next whole item, still encoded.
    pub fn item(&mut self) -> Option<&'a [u8]> {
        let text = self.0;
        self.skip()?;
        text.get(..text.len().checked_sub(self.0.len())?)
    }

    /// Passes over one whole item.
    pub fn skip(&mut self) -> Option<()> {
        self.skip_at(DEEPEST)
    }

    fn skip_at(&mut self, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let children = match self.head_of_next()? {
            Item::Array(length) => length,
            Item::Map(length) => length.checked_mul(2)?,
            Item::Tag(_) => 1,
            _ => 0,
        };
        (0..children).try_for_each(|_| self.skip_at(depth))
    }

    fn head(&mut self) -> Option<(u8, u64)> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        let (major, short) = (first >> 5, first & 0x1f);
        let (length, smallest) = match short {
            0..=23 => return Some((major, u64::from(short))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return None,
        };
        let argument = self.take(length)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        (argument >= smallest && major != SIMPLE).then_some((major, argument))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{hex, unhex};

    /// RFC 8949, appendix A.
    #[test]
    fn integers_are_as_the_rfc_has_them() {
        for (value, text) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (-1, "20"),
            (-10, "29"),
            (-100, "3863"),
            (-1000, "3903e7"),
        ] {
            let mut out = Vec::new();
            push_integer(&mut out, value);
            assert_eq!(hex(&out), text, "{value}");
            assert_eq!(Reader::new(&out).head_of_next(), Some(Item::Integer(value)));
        }
    }

    #[test]
    fn what_is_not_deterministic_or_complete_is_refused() {
        for text in [
            "1817",
            "190017",
            "1a00000017",
            "f93c00",
            "fb3ff199999999999a",
            "5f",
            "9f",
            "bf",
            "f800",
            "42ff",
            "61ff",
            "9bffffffffffffffff",
            "bb7fffffffffffffff",
            // Of an array and a map with one byte less than they must have.
            "8200",
            "a2010203",
            "1c",
            "",
        ] {
            let bytes = unhex(text).expect("hexadecimal");
            assert_eq!(Reader::new(&bytes).head_of_next(), None, "{text}");
        }
    }

    #[test]
    fn a_whole_item_ends_where_the_next_begins() {
        for text in ["c100", "d9d9f7c1820102", "a20102038104", "8201a0", "80", "a0", "f6", "420102", "6161", "3863"] {
            let bytes = unhex(&format!("{text}07")).expect("hexadecimal");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.item().map(hex).as_deref(), Some(text));
            assert!(!reader.is_at_end(), "{text}");
            assert_eq!((reader.head_of_next(), reader.is_at_end()), (Some(Item::Integer(7)), true), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| [vec![0x81; depth], vec![0]].concat();
        assert_eq!(Reader::new(&nested(DEEPEST - 1)).skip(), Some(()));
        assert_eq!(Reader::new(&nested(DEEPEST)).skip(), None);
        let deep = [vec![0x81; 10_000], vec![0]].concat();
        assert_eq!(Reader::new(&deep).skip(), None);
        let flat = unhex("8301a2616101036263c11a514b67b0").expect("hexadecimal");
        assert_eq!(Reader::new(&flat).skip(), None, "the third item is missing");
    }
}
