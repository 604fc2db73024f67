//! Base64 and Base64url, padded or not (RFC 4648), decoded strictly: one alphabet, no stray bits, no white space.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const EITHER_STANDARD: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
const EITHER_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);
const STRICT_URL: GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Decodes either alphabet, padded or not; `None` for anything else.
#[must_use]
pub fn decode_any(text: &str) -> Option<Vec<u8>> {
    // The engines take padding that is there in part.
    if text.ends_with('=') && !text.len().is_multiple_of(4) {
        return None;
    }
    let engine = if text.contains(['-', '_']) { EITHER_URL } else { EITHER_STANDARD };
    engine.decode(text).ok()
}

/// Decodes Base64url without padding, the only form that JOSE knows (RFC 7515, section 2).
#[must_use]
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    STRICT_URL.decode(text).ok()
}

/// Encodes as Base64 with padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Encodes as Base64url without padding.
#[must_use]
pub fn encode_url(bytes: &[u8]) -> String {
    STRICT_URL.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_same_bytes_is_read() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(decode_any(text).as_deref(), Some(&[0xfb, 0xff][..]), "{text}");
        }
        assert_eq!(decode_any("").as_deref(), Some(&[][..]));
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in ["+_8=", "+/9=", "+/8==", "AA=", "-w=", "A", "AA A", "AAAA\n", "AA==AA", "é"] {
            assert_eq!(decode_any(text), None, "{text:?}");
        }
        assert_eq!(decode_url("-_8="), None, "JOSE has no padding");
        assert_eq!(decode_url("+/8"), None, "JOSE has one alphabet");
    }
}
