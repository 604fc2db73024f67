//! The CBOR reader, beside another library's.

use ciborium::Value;
use signet_core::cbor::{self, Item, Reader};

use crate::bounds::in_proportion;

/// What is read is what another library reads, and is written again as it stood; what is passed over was there.
pub fn cbor(data: &[u8]) {
    let mut reader = Reader::new(data);
    let item = in_proportion(data.len(), || reader.item());
    let mut again = Reader::new(data);
    let tree = tree(&mut again, 0);
    let Some(item) = item else { return };
    assert!(data.starts_with(item));
    let tree = tree.expect("what is passed over can be read");
    assert_eq!(again.is_at_end(), item.len() == data.len());

    let mut written = Vec::new();
    write(&tree, &mut written);
    assert_eq!(written, item, "deterministic encoding");
    // The other library has no `undefined`, and takes tags 2 and 3 for numbers, of which it refuses those above 128 bits.
    if !is_peculiar(&tree) {
        assert_eq!(ciborium::from_reader::<Value, _>(item).expect("CBOR"), tree);
    }
}

/// Everything of an item. Deeper than the shipping reader goes, since that is no matter here.
fn tree(reader: &mut Reader<'_>, depth: usize) -> Option<Value> {
    if depth > 32 {
        return None;
    }
    Some(match reader.head_of_next()? {
        Item::Integer(value) => Value::from(value),
        Item::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Item::Text(text) => Value::Text(text.to_owned()),
        Item::Array(length) => Value::Array((0..length).map(|_| tree(reader, depth + 1)).collect::<Option<_>>()?),
        Item::Map(length) => {
            let pair = |_| Some((tree(reader, depth + 1)?, tree(reader, depth + 1)?));
            Value::Map((0..length).map(pair).collect::<Option<_>>()?)
        }
        Item::Tag(tag) => Value::Tag(tag, Box::new(tree(reader, depth + 1)?)),
        Item::Simple(20) => Value::Bool(false),
        Item::Simple(21) => Value::Bool(true),
        Item::Simple(22) => Value::Null,
        Item::Simple(23) => UNDEFINED,
        Item::Simple(other) => panic!("simple value {other}"),
    })
}

/// For what the other library has no value for: a number of a kind that is never read.
const UNDEFINED: Value = Value::Float(0.0);

fn is_peculiar(value: &Value) -> bool {
    match value {
        Value::Tag(2 | 3, _) | Value::Float(_) => true,
        Value::Tag(_, inner) => is_peculiar(inner),
        Value::Array(items) => items.iter().any(is_peculiar),
        Value::Map(pairs) => pairs.iter().any(|(key, value)| is_peculiar(key) || is_peculiar(value)),
        _ => false,
    }
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(value) => cbor::push_integer(out, i64::try_from(*value).expect("64 bits")),
        Value::Bytes(bytes) => cbor::push_bytes(out, bytes),
        Value::Text(text) => cbor::push_text(out, text),
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Null => out.push(0xf6),
        Value::Float(_) => out.push(0xf7),
        Value::Tag(tag, inner) => {
            cbor::push_tag(out, *tag);
            write(inner, out);
        }
        Value::Array(items) => {
            cbor::push_array_head(out, items.len() as u64);
            for item in items {
                write(item, out);
            }
        }
        Value::Map(pairs) => {
            cbor::push_map_head(out, pairs.len() as u64);
            for (key, value) in pairs {
                write(key, out);
                write(value, out);
            }
        }
        other => panic!("{other:?} is not read"),
    }
}
