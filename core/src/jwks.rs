//! The published keys: a JWK Set (RFC 7517, section 5), merged without losing what others have put into it.

use std::{borrow::Cow, fmt};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    algorithm::{Algorithm, Hash},
    base64,
    json::{self, Members},
    key::{Curve, KeyError, PublicKey},
};

/// Where the set stands in the results container.
pub const BLOB_NAME: &str = ".well-known/jwks.json";
/// Media type of the set (RFC 7517, section 8.5.2).
pub const CONTENT_TYPE: &str = "application/jwk-set+json";

/// A JWK Set. Keys that nobody here can use, and members beside `keys`, are kept as they stand.
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<String>,
    /// The other members: name and value, both as JSON.
    others: Vec<(String, String)>,
}

impl JwkSet {
    /// Reads a set; the error says what is wrong with its form.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Keys<'a>(#[serde(borrow)] Vec<&'a RawValue>);
        let members = Members::parse(text).map_err(|error| error.to_string())?;
        let keys = members.value("keys").ok_or("there is no member `keys`")?;
        let Keys(keys) = serde_json::from_str(keys).map_err(|_| "`keys` is no array of JSON objects")?;
        let keys = keys.into_iter().map(|key| key.get().to_owned()).collect();
        let others = members.iter().filter(|(name, _)| *name != "keys");
        let others = others.map(|(name, value)| (serde_json::Value::from(name).to_string(), value.to_owned()));
        Ok(Self { keys, others: others.collect() })
    }

    /// Reads a set, or one key, which is a set of its own. What has `keys` is a set, whatever else it has (RFC 7517, section 5).
    pub fn parse_set_or_key(text: &str) -> Result<Self, String> {
        let is_key = |members: Members<'_>| members.value("kty").is_some() && members.value("keys").is_none();
        let is_key = Members::parse(text).is_ok_and(is_key);
        if is_key { Ok(Self { keys: vec![text.trim().to_owned()], others: Vec::new() }) } else { Self::parse(text) }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key with this `kid` is in the set.
    #[must_use]
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| kid_of(key).as_deref() == Some(kid))
    }

    /// How a key stands in the set.
    #[must_use]
    pub fn publication(&self, kid: &str, key: &PublicKey) -> Publication {
        let ours = jwk(kid, key);
        let Ok(ours) = Members::parse(&ours) else { return Publication::Missing };
        // Keys of different types may share a name (RFC 7517, section 4.5).
        let is_of_its_type = |theirs: &Members<'_>| theirs.string("kty") == ours.string("kty");
        let has_same = |theirs: &Members<'_>, name: &str| theirs.string(name) == ours.string(name);
        let is_same = |theirs: &Members<'_>| ["crv", "x", "y", "n", "e"].iter().all(|name| has_same(theirs, name));
        let mut publication = Publication::Missing;
        for text in self.keys.iter().filter(|text| kid_of(text).as_deref() == Some(kid)) {
            match Members::parse(text) {
                Ok(theirs) if is_of_its_type(&theirs) && is_same(&theirs) => publication = Publication::Published,
                Ok(theirs) if is_of_its_type(&theirs) => return Publication::Contradicted,
                _ if publication == Publication::Missing => publication = Publication::Contradicted,
                _ => {}
            }
        }
        publication
    }

    /// Adds a key unless one with this `kid` is there.
    pub fn add(&mut self, kid: &str, key: &PublicKey) {
        if !self.contains(kid) {
            self.keys.push(jwk(kid, key));
        }
    }

    /// Takes every key with this `kid` out; whether there was one. All else stays as it stands.
    pub fn remove(&mut self, kid: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| kid_of(key).as_deref() != Some(kid));
        self.keys.len() < before
    }

    /// The key for a signature: the one with this `kid`, or the only one where the signature names none. Keys of different
    /// types may share a `kid` (RFC 7517, section 4.5): of several, the one that allows the algorithm is meant.
    pub fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Jwk, SelectError> {
        let matching: Vec<&String> = match kid {
            Some(kid) => self.keys.iter().filter(|key| kid_of(key).as_deref() == Some(kid)).collect(),
            None => self.keys.iter().collect(),
        };
        match (matching.as_slice(), kid) {
            ([key], _) => Jwk::parse(key).map_err(SelectError::Unusable),
            ([], Some(kid)) => Err(SelectError::NotInSet(kid.to_owned())),
            (several, Some(_)) => {
                let usable = several.iter().filter_map(|key| Jwk::parse(key).ok());
                let mut fitting = usable.filter(|jwk| jwk.allows(algorithm));
                match (fitting.next(), fitting.next()) {
                    (Some(jwk), None) => Ok(jwk),
                    _ => Err(SelectError::Ambiguous),
                }
            }
            (_, None) => Err(SelectError::Ambiguous),
        }
    }

    /// Every key of the set, whether or not it is of use here: its `kid`, and the key or why it is of none.
    pub fn entries(&self) -> impl Iterator<Item = (Option<String>, Result<Jwk, String>)> {
        self.keys.iter().map(|key| (kid_of(key), Jwk::parse(key)))
    }

    /// Every key of the set that can verify something here.
    pub fn usable(&self) -> impl Iterator<Item = Jwk> {
        self.keys.iter().filter_map(|key| Jwk::parse(key).ok())
    }
}

impl fmt::Display for JwkSet {
    /// The JSON text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"keys\":[{}]", self.keys.join(","))?;
        for (name, value) in &self.others {
            write!(f, ",{name}:{value}")?;
        }
        f.write_str("}")
    }
}

/// How a key stands in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Under its name, as it is.
    Published,
    /// Not at all.
    Missing,
    /// Another key has its name, or something that verifies nothing here.
    Contradicted,
}

/// One key of a set, with what its publisher allows it to be used for.
#[derive(Clone, Debug)]
pub struct Jwk {
    /// The key's name.
    pub kid: Option<String>,
    /// The key.
    pub key: PublicKey,
    restricted_to: Option<String>,
}

impl Jwk {
    /// Reads a public JWK for signatures (RFC 7517, section 4; RFC 7518, section 6).
    pub fn parse(text: &str) -> Result<Self, String> {
        let members = Members::parse(text).map_err(|error| error.to_string())?;
        let optional = |name: &str| match members.value(name) {
            None => Ok(None),
            Some(text) => json::string(text).map(Some).ok_or_else(|| format!("its `{name}` is no string")),
        };
        if optional("use")?.is_some_and(|usage| usage != "sig") {
            return Err("its `use` is not `sig`".to_owned());
        }
        if let Some(operations) = members.value("key_ops") {
            let operations: Vec<Cow<'_, str>> =
                serde_json::from_str(operations).map_err(|_| "its `key_ops` is no array of strings")?;
            if !operations.iter().any(|operation| operation == "verify") {
                return Err("its `key_ops` does not have `verify`".to_owned());
            }
        }
        let integer = |name: &str| {
            let text = members.string(name).ok_or_else(|| format!("it has no `{name}`"))?;
            base64::decode_url(&text).ok_or_else(|| format!("its `{name}` is not Base64url"))
        };
        let key = match members.string("kty").as_deref() {
            Some("RSA") => PublicKey::rsa(&integer("n")?, &integer("e")?),
            Some("EC") => {
                let curve = members.string("crv").and_then(|name| Curve::from_name(&name));
                let curve = curve.ok_or_else(|| KeyError::Unsupported.to_string())?;
                PublicKey::ec(curve, &integer("x")?, &integer("y")?)
            }
            _ => Err(KeyError::Unsupported),
        };
        Ok(Self {
            kid: optional("kid")?.map(Cow::into_owned),
            key: key.map_err(|error| error.to_string())?,
            restricted_to: optional("alg")?.map(Cow::into_owned),
        })
    }

    /// Whether both the key and its publisher allow the algorithm.
    #[must_use]
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.key.can(algorithm) && self.restricted_to.as_deref().is_none_or(|name| name == algorithm.name())
    }
}

/// Why no key could be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// The signature names a key that is not in the set.
    NotInSet(String),
    /// More than one key, or none, could be meant.
    Ambiguous,
    /// The key cannot verify signatures here; why.
    Unusable(String),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInSet(kid) => write!(f, "the key {kid} is not in the set"),
            Self::Ambiguous => f.write_str("the signature does not say which key of the set is meant"),
            Self::Unusable(why) => write!(f, "the key cannot be used: {why}"),
        }
    }
}

impl std::error::Error for SelectError {}

/// The JWK of a public key for signatures.
#[must_use]
pub fn jwk(kid: &str, key: &PublicKey) -> String {
    let kid = serde_json::Value::from(kid);
    if let Some((curve, x, y)) = key.ec_parts() {
        let (crv, x, y) = (curve.jose_name(), base64::encode_url(&x), base64::encode_url(&y));
        return format!(r#"{{"kty":"EC","use":"sig","kid":{kid},"crv":"{crv}","x":"{x}","y":"{y}"}}"#);
    }
    let (n, e) = key.rsa_parts().unwrap_or_default();
    let (n, e) = (base64::encode_url(&n), base64::encode_url(&e));
    format!(r#"{{"kty":"RSA","use":"sig","kid":{kid},"n":"{n}","e":"{e}"}}"#)
}

/// The JWK thumbprint of a key (RFC 7638, section 3) with SHA-256, 32 bytes in Base64url. It depends on the key alone, on
/// neither its name nor its use, so that it can be compared over another channel.
#[must_use]
pub fn thumbprint(key: &PublicKey) -> String {
    let members = if let Some((curve, x, y)) = key.ec_parts() {
        let (crv, x, y) = (curve.jose_name(), base64::encode_url(&x), base64::encode_url(&y));
        format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
    } else {
        let (n, e) = key.rsa_parts().unwrap_or_default();
        let (n, e) = (base64::encode_url(&n), base64::encode_url(&e));
        format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
    };
    base64::encode_url(&Hash::Sha256.digest(&[members.as_bytes()]))
}

fn kid_of(key: &str) -> Option<String> {
    json::Members::parse(key).ok()?.string("kid").map(Cow::into_owned)
}

#[cfg(test)]
mod key_types;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7517, appendix A.1.
    const SET: &str = r#"{"keys":[
        {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"},
        {"kty":"oct","k":"AAAA","kid":"2","x-note":[1, 2]}]}"#;

    #[test]
    fn keys_of_others_survive_a_merge() {
        let mut set = JwkSet::parse(SET).expect("a set");
        let key = set.select(Some("1"), Algorithm::Es256).expect("an EC key").key;
        set.add("1", &key);
        assert_eq!((set.len(), set.is_empty()), (2, false), "it is there already");
        set.add("3", &key);
        let again = JwkSet::parse(&set.to_string()).expect("a set");
        assert_eq!(again.len(), 3);
        assert!(again.to_string().contains(r#""x-note":[1, 2]"#), "{again}");
        assert_eq!(again.usable().count(), 2);
    }

    #[test]
    fn a_key_is_taken_out_by_its_whole_name_and_leaves_the_others_as_they_stand() {
        let twice = SET.replace("\"keys\":[", r#""keys":[{"kid":"1","kty":"x"},{"kty":"y"},{"kid":"11","kty":"z"},"#);
        let mut set = JwkSet::parse(&twice).expect("a set");
        let kids: Vec<_> = set.entries().map(|(kid, jwk)| (kid.unwrap_or_default(), jwk.is_ok())).collect();
        assert_eq!(
            kids,
            [("1", false), ("", false), ("11", false), ("1", true), ("2", false)].map(|(k, u)| (k.into(), u))
        );
        assert!(!set.remove("3") && !set.remove("") && set.len() == 5);
        assert!(set.remove("1") && !set.contains("1") && !set.remove("1"));
        assert_eq!(
            set.to_string(),
            r#"{"keys":[{"kty":"y"},{"kid":"11","kty":"z"},{"kty":"oct","k":"AAAA","kid":"2","x-note":[1, 2]}]}"#
        );
    }

    #[test]
    fn members_of_others_survive_a_merge() {
        let text = r#"{"note":[1, 2],"keys":[],"a\u0022b":{ "x":1.0}}"#;
        let mut set = JwkSet::parse(text).expect("a set");
        set.add("1", &JwkSet::parse(SET).expect("a set").select(Some("1"), Algorithm::Es256).expect("a key").key);
        let again = JwkSet::parse(&set.to_string()).expect("a set");
        assert_eq!(again.len(), 1);
        assert!(again.to_string().ends_with(r#"],"note":[1, 2],"a\"b":{ "x":1.0}}"#), "{again}");
        assert_eq!(JwkSet::default().to_string(), r#"{"keys":[]}"#);
    }

    /// RFC 7520, section 3: an EC and an RSA key of one name.
    #[test]
    fn of_keys_with_one_name_the_algorithm_chooses() {
        let ec = r#"{"kty":"EC","kid":"b","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
        let rsa = format!(r#"{{"kty":"RSA","kid":"b","n":"{}","e":"AQAB"}}"#, crate::jws::published::RSA_N);
        let oct = r#"{"kty":"oct","kid":"b","k":"AAAA"}"#;
        let set = JwkSet::parse(&format!(r#"{{"keys":[{ec},{rsa},{oct}]}}"#)).expect("a set");
        for algorithm in [Algorithm::Es256, Algorithm::Ps256, Algorithm::Rs512] {
            let jwk = set.select(Some("b"), algorithm).expect("a key");
            assert_eq!(jwk.key.curve().is_some(), algorithm.is_ecdsa(), "{algorithm}");
        }
        assert!(matches!(set.select(Some("b"), Algorithm::Es384), Err(SelectError::Ambiguous)));
        let twice = JwkSet::parse(&format!(r#"{{"keys":[{ec},{ec}]}}"#)).expect("a set");
        assert!(matches!(twice.select(Some("b"), Algorithm::Es256), Err(SelectError::Ambiguous)));
    }

    #[test]
    fn a_key_is_a_set_of_its_own() {
        let set = JwkSet::parse(SET).expect("a set");
        let key = jwk("1", &set.select(Some("1"), Algorithm::Es256).expect("an EC key").key);
        let alone = JwkSet::parse_set_or_key(&key).expect("a key");
        assert_eq!((alone.len(), alone.contains("1")), (1, true));
        assert_eq!(JwkSet::parse_set_or_key(SET).expect("a set").len(), 2);
        let with_kty = SET.replacen('{', r#"{"kty":"set","#, 1);
        assert_eq!(JwkSet::parse_set_or_key(&with_kty).expect("a set").len(), 2);
        assert!(JwkSet::parse(&key).is_err() && JwkSet::parse_set_or_key("{}").is_err());
    }

    #[test]
    fn a_key_is_published_as_it_is_or_not() {
        // RFC 7517, appendix A.1, and RFC 7515, appendix A.3.1.
        let key = |x: &str, y: &str| {
            let part = |text| base64::decode_url(text).expect("Base64url");
            PublicKey::ec(Curve::P256, &part(x), &part(y)).expect("a key")
        };
        let one = key("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        let other = key("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let mut set = JwkSet::parse(r#"{"keys":[{"kid":"oct","kty":"oct","k":"AA"}]}"#).expect("a set");
        assert_eq!(set.publication("1", &one), Publication::Missing);
        set.add("1", &one);
        assert_eq!(set.publication("1", &one), Publication::Published);
        assert_eq!(set.publication("1", &other), Publication::Contradicted);
        assert_eq!(set.publication("oct", &one), Publication::Contradicted);
        // A name that keys of two types share, in either order.
        for others in [r#"{"kid":"1","kty":"oct","k":"AA"},"#, ""] {
            let both =
                format!(r#"{{"keys":[{others}{},{{"kid":"1","kty":"RSA","n":"AQ","e":"AQAB"}}]}}"#, jwk("1", &one));
            assert_eq!(JwkSet::parse(&both).expect("a set").publication("1", &one), Publication::Published);
        }
        let twice = format!(r#"{{"keys":[{},{}]}}"#, jwk("1", &one), jwk("1", &other));
        assert_eq!(JwkSet::parse(&twice).expect("a set").publication("1", &one), Publication::Contradicted);
        assert!(set.select(Some("1"), Algorithm::Es256).is_ok());
    }

    #[test]
    fn a_key_is_chosen_by_name_or_by_being_alone() {
        let set = JwkSet::parse(SET).expect("a set");
        assert!(matches!(set.select(Some("9"), Algorithm::Es256), Err(SelectError::NotInSet(kid)) if kid == "9"));
        assert!(matches!(set.select(Some("2"), Algorithm::Es256), Err(SelectError::Unusable(_))));
        assert!(matches!(set.select(None, Algorithm::Es256), Err(SelectError::Ambiguous)));
    }

    #[test]
    fn the_publishers_restrictions_hold() {
        let with = |extra: &str| {
            Jwk::parse(
                &SET[SET.find(r#"{"kty":"EC""#).expect("the key")..SET.find("},").expect("its end")]
                    .replace(r#""use":"sig""#, extra)
                    .add_brace(),
            )
        };
        assert!(with(r#""use":"enc""#).is_err());
        assert!(with(r#""key_ops":["sign"]"#).is_err());
        assert!(with(r#""key_ops":["verify"]"#).is_ok());
        assert!(!with(r#""alg":"ES384""#).expect("a key").allows(Algorithm::Es256));
        assert!(with(r#""alg":"ES256""#).expect("a key").allows(Algorithm::Es256));
    }

    trait AddBrace {
        fn add_brace(&self) -> String;
    }
    impl AddBrace for String {
        fn add_brace(&self) -> String {
            format!("{self}}}")
        }
    }
}
