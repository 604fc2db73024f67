//! What requests carry, and whether it is something that a vault can do.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{
    errors::VaultError,
    keys::{Algorithm, KeySpec},
    store::{Attributes, NewVersion, Version},
};

const OPERATIONS: [&str; 6] = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"];

#[derive(Deserialize)]
pub(super) struct CreateBody {
    kty: String,
    key_size: Option<usize>,
    crv: Option<String>,
    #[serde(alias = "public-exponent")]
    public_exponent: Option<u32>,
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    attributes: Attributes,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct UpdateBody {
    #[serde(default)]
    pub(super) attributes: Attributes,
    pub(super) key_ops: Option<Vec<String>>,
    pub(super) tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct SignBody {
    pub(super) alg: String,
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct VerifyBody {
    pub(super) alg: String,
    pub(super) digest: String,
    pub(super) value: String,
}

impl CreateBody {
    pub(super) fn into_new_version(self) -> Result<NewVersion, VaultError> {
        let base = self.kty.strip_suffix("-HSM").unwrap_or(&self.kty);
        let spec = match base {
            "RSA" => {
                let bits = self.key_size.unwrap_or(2048);
                KeySpec::ALL.into_iter().find(|spec| spec.modulus_bits() == Some(bits)).ok_or_else(|| {
                    VaultError::bad_parameter(format!(
                        "Unsupported key size ({bits}). Supported sizes are [2048, 3072, 4096]."
                    ))
                })?
            }
            "EC" => {
                let curve = self.crv.as_deref().unwrap_or("P-256");
                KeySpec::ALL.into_iter().find(|spec| spec.curve() == Some(curve)).ok_or_else(|| {
                    VaultError::bad_parameter(format!("Invalid crv value: {curve}; use P-256, P-384, P-521 or P-256K."))
                })?
            }
            _ => return Err(VaultError::bad_key_type(&self.kty)),
        };
        let mut made_of = NewVersion::of(spec);
        made_of.hsm = base != self.kty;
        if let Some(exponent) = self.public_exponent {
            if exponent != 3 && exponent != 65_537 {
                return Err(VaultError::bad_parameter(format!("Invalid public_exponent value: {exponent}")));
            }
            made_of.public_exponent = exponent;
        }
        if let Some(operations) = self.key_ops.filter(|operations| !operations.is_empty()) {
            known_operations(&operations)?;
            made_of.key_ops = operations;
        }
        made_of.attributes = self.attributes;
        made_of.tags = self.tags;
        Ok(made_of)
    }
}

pub(super) fn known_operations(operations: &[String]) -> Result<(), VaultError> {
    match operations.iter().find(|operation| !OPERATIONS.contains(&operation.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(VaultError::bad_parameter(format!("Invalid key_ops value: {unknown}"))),
    }
}

pub(super) fn fitting(name: &str, version: &Version, kid: &str) -> Result<Algorithm, VaultError> {
    let algorithm = Algorithm::from_name(name)
        .ok_or_else(|| VaultError::bad_parameter(format!("Invalid algorithm value: {name}")))?;
    let spec = version.made_of.spec;
    if algorithm.curve() == spec.curve() {
        return Ok(algorithm);
    }
    let (has, needs) = match (spec.curve(), algorithm.curve()) {
        (Some(has), Some(needs)) => (format!("has elliptic curve '{has}'"), format!("with elliptic curve '{needs}'")),
        (_, Some(_)) => (format!("is of type '{}'", spec.kty()), "of type 'EC' or 'EC-HSM'".to_owned()),
        (_, None) => (format!("is of type '{}'", spec.kty()), "of type 'RSA' or 'RSA-HSM'".to_owned()),
    };
    Err(VaultError::bad_parameter(format!(
        "Key and signing algorithm are incompatible. Key {kid} {has}, and algorithm '{name}' can only be used with a key {needs}."
    )))
}

pub(super) fn digest(algorithm: Algorithm, name: &str, text: &str, property: &str) -> Result<Vec<u8>, VaultError> {
    let digest = base64url(text, property)?;
    let (has, needs) = (digest.len(), algorithm.digest_length());
    if has == needs {
        return Ok(digest);
    }
    Err(VaultError::bad_parameter(format!(
        "Invalid length of '{property}': {has} bytes. {name} requires {needs} bytes, encoded with base64url."
    )))
}

pub(super) fn base64url(text: &str, property: &str) -> Result<Vec<u8>, VaultError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| {
        VaultError::bad_parameter(format!("Property '{property}' is not valid base64url without padding."))
    })
}
