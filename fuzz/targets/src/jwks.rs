//! Key sets, and the keys in them.

use rsa::{BigUint, RsaPublicKey, traits::PublicKeyParts};
use signet_core::{
    algorithm::Algorithm,
    draft::SigningKey,
    jwks::{Jwk, JwkSet, jwk, thumbprint},
    key::Curve,
};

use crate::{bounds::in_proportion, json::Scanner, keys::SIGNERS};

/// A set is the same once it is written and read again, and loses nothing when a key is added; a key that can be used is a
/// key to another library as well.
pub fn jwks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = in_proportion(data.len(), || Jwk::parse(text)) {
        check_key(&key);
    }
    let set = in_proportion(data.len(), || JwkSet::parse_set_or_key(text));
    assert!(set.is_ok() || JwkSet::parse(text).is_err());
    let Ok(mut set) = set else { return };
    let written = set.to_string();
    if JwkSet::parse(text).is_ok() {
        assert_eq!(contents(&written), contents(text));
    }
    let again = JwkSet::parse(&written).expect("a set");
    assert_eq!((again.to_string(), again.len(), again.is_empty()), (written, set.len(), set.is_empty()));
    for key in in_proportion(data.len(), || set.usable().collect::<Vec<_>>()) {
        check_key(&key);
        let kid = key.kid.as_deref();
        assert!(kid.is_none_or(|kid| set.contains(kid)));
        for algorithm in Algorithm::ALL {
            if let Ok(selected) = set.select(kid, algorithm) {
                assert!(kid.is_none() || selected.kid.as_deref() == kid);
            }
        }
    }

    let SigningKey { kid, public, .. } = &SIGNERS[0].key;
    let (before, had_it) = (set.len(), set.contains(kid));
    set.add(kid, public);
    set.add(kid, public);
    assert_eq!((set.len(), set.contains(kid)), (before + usize::from(!had_it), true));
    let merged = JwkSet::parse(&set.to_string()).expect("a set");
    assert_eq!(merged.len(), set.len());
    assert_eq!(merged.usable().count(), again.usable().count() + usize::from(!had_it));
}

/// The texts of the keys, and the other members with the texts of their values.
fn contents(set: &str) -> (Vec<&str>, Vec<(String, &str)>) {
    let members = Scanner::members_of(set).expect("an object");
    let (keys, others): (Vec<_>, Vec<_>) =
        members.into_iter().map(|(name, place)| (name, &set[place])).partition(|(name, _)| name == "keys");
    (Scanner::items_of(keys[0].1).expect("a list"), others)
}

fn check_key(key: &Jwk) {
    let kid = key.kid.as_deref().unwrap_or("a");
    let again = Jwk::parse(&jwk(kid, &key.key)).expect("a key");
    assert_eq!((again.kid.as_deref(), thumbprint(&again.key)), (Some(kid), thumbprint(&key.key)));
    assert!(Algorithm::ALL.into_iter().all(|algorithm| !key.allows(algorithm) || again.allows(algorithm)));
    if let Some((curve, x, y)) = key.key.ec_parts() {
        let point = [&[4], x.as_slice(), &y].concat();
        assert!(match curve {
            Curve::P256 => p256::PublicKey::from_sec1_bytes(&point).is_ok(),
            Curve::P384 => p384::PublicKey::from_sec1_bytes(&point).is_ok(),
            Curve::P521 => p521::PublicKey::from_sec1_bytes(&point).is_ok(),
            Curve::P256K => k256::PublicKey::from_sec1_bytes(&point).is_ok(),
        });
    }
    if let Some((n, e)) = key.key.rsa_parts() {
        let theirs = RsaPublicKey::new(BigUint::from_bytes_be(&n), BigUint::from_bytes_be(&e)).expect("an RSA key");
        assert!((2048..=4096).contains(&theirs.n().bits()));
    }
}
