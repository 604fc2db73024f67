//! As much of Protocol Buffers as OTLP needs: <https://protobuf.dev/programming-guides/encoding/>.

/// A message under construction.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// `uint32`, `uint64`, `bool`, enumerations, and `int64` in two's complement. The default is left out.
    pub(super) fn varint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.raw_varint(value);
        }
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// `string` and `bytes`. The default is left out.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.present(field, value);
        }
    }

    /// A message within this one, also where nothing is in it.
    pub(super) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.present(field, &inner.0);
    }

    /// `string`, `bool` and so on as the chosen one of several: the default is said, too.
    pub(super) fn present(&mut self, field: u32, value: &[u8]) {
        self.tag(field, LENGTH);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A number as the chosen one of several.
    pub(super) fn present_varint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.raw_varint(value);
    }

    /// `repeated fixed64` or `repeated double`, packed.
    pub(super) fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let all: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
        self.bytes(field, &all);
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.raw_varint(u64::from(field) << 3 | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        loop {
            let [lowest, ..] = value.to_le_bytes();
            if value < 0x80 {
                return self.0.push(lowest);
            }
            self.0.push(lowest | 0x80);
            value >>= 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the encoding's description.
    #[test]
    fn it_is_the_documented_encoding() {
        let mut message = Message::default();
        message.varint(1, 150);
        message.bytes(2, b"testing");
        message.message(3, |inner| inner.varint(1, 150));
        message.varint(4, 0);
        assert_eq!(message.into_bytes(), b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01");
        let mut numbers = Message::default();
        numbers.double(1, 1.0);
        numbers.fixed32(2, 1);
        numbers.varint(3, u64::MAX);
        let expected = [&b"\x09\0\0\0\0\0\0\xf0\x3f\x15\x01\0\0\0\x18"[..], &[0xff; 9], &[1]].concat();
        assert_eq!(numbers.into_bytes(), expected);
    }
}
