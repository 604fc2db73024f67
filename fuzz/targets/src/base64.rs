//! Base64 in all its forms, beside another library's reading.

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};
use signet_core::base64::{decode_any, decode_url, encode, encode_url};

use crate::bounds::in_proportion;

/// Another library's reading of any of the four forms.
pub(crate) fn foreign(text: &str) -> Option<Vec<u8>> {
    let readings =
        [Base64::decode_vec, Base64Unpadded::decode_vec, Base64Url::decode_vec, Base64UrlUnpadded::decode_vec];
    readings.into_iter().find_map(|decode| decode(text).ok())
}

/// What is decoded is what another library decodes, and nothing that it refuses; bytes come through unchanged.
pub fn base64(data: &[u8]) {
    let (padded, unpadded) = (encode(data), encode_url(data));
    assert_eq!(decode_any(&padded).as_deref(), Some(data));
    assert_eq!(decode_any(&unpadded).as_deref(), Some(data));
    assert_eq!(decode_url(&unpadded).as_deref(), Some(data));
    assert_eq!((padded, unpadded), (Base64::encode_string(data), Base64UrlUnpadded::encode_string(data)));

    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = in_proportion(data.len(), || decode_any(text));
    assert_eq!(read, foreign(text));
    let read = in_proportion(data.len(), || decode_url(text));
    assert_eq!(read, Base64UrlUnpadded::decode_vec(text).ok());
}
