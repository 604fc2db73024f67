//! Keys of every type through a set and back, and keys that nobody should use.

use super::*;
use crate::testing::Signer;

/// RFC 7517, appendix A.1.
const A1: &str = r#"{"keys":
    [
      {"kty":"EC",
       "crv":"P-256",
       "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
       "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
       "use":"enc",
       "kid":"1"},

      {"kty":"RSA",
       "n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
       "e":"AQAB",
       "alg":"RS256",
       "kid":"2011-04-29"}
    ]
  }"#;

const KIDS: [&str; 3] = ["https://vault.example/keys/k/0123", "a \"quoted\\\" kid\n", "ключ"];

#[test]
fn every_key_type_round_trips() {
    for algorithm in Algorithm::ALL {
        let key = Signer::new(algorithm).key.public;
        for kid in KIDS {
            let text = jwk(kid, &key);
            let read = Jwk::parse(&text).expect("a JWK");
            assert_eq!(read.kid.as_deref(), Some(kid), "{text}");
            assert_eq!(read.key.rsa_parts(), key.rsa_parts(), "{text}");
            assert_eq!(read.key.ec_parts(), key.ec_parts(), "{text}");
            assert_eq!(read.key.kind(), key.kind());
            assert_eq!(jwk(kid, &read.key), text);
            for other in Algorithm::ALL {
                assert_eq!(read.allows(other), key.can(other), "{algorithm} for {other}");
            }
        }
    }
}

/// RFC 7518, section 6.2.1.2: a coordinate is as long as the field, zeros in front and all.
#[test]
fn coordinates_keep_their_leading_zeros() {
    for (algorithm, characters) in
        [(Algorithm::Es256, 43), (Algorithm::Es256K, 43), (Algorithm::Es384, 64), (Algorithm::Es512, 88)]
    {
        // Half of the keys on P-521 have such a coordinate.
        for _ in 0..8 {
            let text = jwk("k", &Signer::new(algorithm).key.public);
            let members = Members::parse(&text).expect("an object");
            for name in ["x", "y"] {
                assert_eq!(members.string(name).expect("a coordinate").len(), characters, "{text}");
            }
        }
    }
}

#[test]
fn the_published_set_of_the_rfc_is_read() {
    let set = JwkSet::parse(A1).expect("a set");
    assert_eq!(set.len(), 2);
    assert!(set.contains("1") && set.contains("2011-04-29") && !set.contains("3"));
    assert!(
        matches!(set.select(Some("1"), Algorithm::Es256), Err(SelectError::Unusable(why)) if why.contains("`use`"))
    );
    let rsa = set.select(Some("2011-04-29"), Algorithm::Rs256).expect("the RSA key");
    assert_eq!(rsa.key.kind(), "RSA 2048");
    for algorithm in Algorithm::ALL {
        assert_eq!(rsa.allows(algorithm), algorithm == Algorithm::Rs256, "{algorithm}");
    }
    assert_eq!(set.usable().count(), 1);
}

/// RFC 7638, section 3.1: the RSA key of RFC 7517, appendix A.1.
#[test]
fn thumbprints_are_as_the_rfc_has_them() {
    let set = JwkSet::parse(A1).expect("a set");
    let rsa = set.select(Some("2011-04-29"), Algorithm::Rs256).expect("the RSA key").key;
    assert_eq!(thumbprint(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");

    // RFC 9449: the EC key of section 4.2, and its thumbprint in section 6.1.
    let ec = r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#;
    let ec = Jwk::parse(ec).expect("the EC key").key;
    assert_eq!(thumbprint(&ec), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn a_thumbprint_depends_on_the_key_alone() {
    for algorithm in Algorithm::ALL {
        let key = Signer::new(algorithm).key.public;
        let text = jwk("k", &key);
        let renamed = text.replace(r#""use":"sig","kid":"k""#, r#""kid":"another","alg":"x","x5t":"y""#);
        assert_ne!(text, renamed);
        assert_eq!(thumbprint(&Jwk::parse(&renamed).expect("a JWK").key), thumbprint(&key));
        assert_ne!(thumbprint(&crate::testing::stranger(&key)), thumbprint(&key), "{algorithm}");
        assert_eq!(thumbprint(&key).len(), 43);
    }
}

#[test]
fn a_merge_changes_no_key_that_is_there() {
    let others = [
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}"#,
        r#"{ "kty" : "AKP", "kid":"pq", "x-\u006eote": [1, 2.50, null] }"#,
        r#"{"no":"kid"}"#,
        r#""not even an object""#,
    ];
    let mut set = JwkSet::parse(&format!("{{\"x-issuer\":1,\"keys\":[{}]}}", others.join(" , "))).expect("a set");
    let signers = [Algorithm::Es256, Algorithm::Es256K, Algorithm::Ps256].map(Signer::new);
    for signer in &signers {
        set.add(&signer.key.kid, &signer.key.public);
    }
    let once = set.to_string();
    // A key whose name is taken is not replaced, whatever it is.
    set.add("ed", &signers[0].key.public);
    for signer in &signers {
        set.add(&signer.key.kid, &signers[0].key.public);
    }
    assert_eq!(set.to_string(), once);
    let ours = signers.each_ref().map(|signer| jwk(&signer.key.kid, &signer.key.public));
    assert_eq!(once, format!("{{\"keys\":[{},{}],\"x-issuer\":1}}", others.join(","), ours.join(",")));
    assert_eq!(JwkSet::parse(&once).expect("a set").to_string(), once);
    assert_eq!(set.usable().count(), signers.len());
}

#[test]
fn what_is_no_set_is_refused() {
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[}"#] {
        assert!(JwkSet::parse(text).is_err(), "{text}");
    }
    assert!(JwkSet::parse(r#"{"keys":[]}"#).expect("an empty set").is_empty());
}

#[test]
fn unsound_keys_are_refused() {
    let rsa = |n: &[u8], e: &[u8]| {
        let (n, e) = (base64::encode_url(n), base64::encode_url(e));
        Jwk::parse(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#)).map(|_| ())
    };
    let odd = |bytes: usize| [&[0x80][..], &vec![0; bytes - 2], &[1]].concat();
    let f4 = [1, 0, 1];
    assert_eq!(rsa(&odd(256), &f4), Ok(()));
    assert_eq!(rsa(&[&[0, 0], &odd(256)[..]].concat(), &f4), Ok(()), "zeros in front");
    assert_eq!(rsa(&odd(512), &f4), Ok(()));
    let refused = Err(KeyError::Rsa.to_string());
    let mut even = odd(256);
    even[255] = 2;
    let short = [&[0x7f][..], &[0xff; 255]].concat();
    for n in [&odd(128)[..], &short, &odd(513), &even, &[0; 256], &[]] {
        assert_eq!(rsa(n, &f4), refused, "{} bytes", n.len());
    }
    for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0xff; 9]] {
        assert_eq!(rsa(&odd(256), e), refused, "{e:?}");
    }

    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::Es256K] {
        let (curve, x, y) = Signer::new(algorithm).key.public.ec_parts().expect("an EC key");
        let zero = vec![0; x.len()];
        let mut off = y.clone();
        off[10] ^= 1;
        let long = [&[0], &x[..]].concat();
        for (x, y) in [(&x, &off), (&zero, &zero), (&y, &x), (&long, &y), (&x, &vec![0xff; y.len()])] {
            assert_eq!(PublicKey::ec(curve, x, y).map(|_| ()), Err(KeyError::Point), "{algorithm}");
        }
    }
}

#[test]
fn a_key_lacks_nothing_and_is_of_a_known_type() {
    let key = Signer::new(Algorithm::Es256).key.public;
    let good = jwk("k", &key);
    for (from, to) in [
        (r#""kty":"EC""#, r#""kty":"ec""#),
        (r#""kty":"EC""#, r#""kty":"RSA""#),
        (r#""kty":"EC","#, ""),
        (r#""crv":"P-256""#, r#""crv":"secp256k1""#),
        (r#""crv":"P-256""#, r#""crv":"P-192""#),
        (r#""crv":"P-256","#, ""),
        (r#""x":"#, r#""x":1,"X":"#),
        (r#""y":"#, r#""Y":"#),
        (r#""x":""#, r#""x":"="#),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        assert!(Jwk::parse(&text).is_err(), "{text}");
    }
}
