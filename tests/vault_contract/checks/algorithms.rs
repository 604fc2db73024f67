//! Every kind of key, every algorithm: asked with the SDK's client, checked with another implementation than the one that
//! signed, by the public key that the vault gives.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use azure_core::{
    error::ErrorKind,
    http::{RequestContent, Response},
};
use azure_security_keyvault_keys::{
    KeyClient,
    models::{
        CreateKeyParameters, Key, KeyClientGetKeyOptions, KeyClientSignOptions, KeyOperation, SignParameters,
        SignatureAlgorithm, VerifyParameters,
    },
};
use serde_json::{Value, json};
use signet::local::vault::KeySpec;
use signet_core::{
    algorithm::{Algorithm, Hash},
    base64,
    jwks::Jwk,
};

use crate::{
    difference::Difference,
    local::VAULT,
    target::{Target, base64url, version_of},
};

const LONGEST_TO_MAKE: Duration = Duration::from_mins(2);

const RSA: [Algorithm; 6] =
    [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512];

pub(crate) async fn every_curve_signs_and_verifies(target: Arc<Target>) {
    for (spec, algorithm, length) in [
        (KeySpec::P256, Algorithm::Es256, 64),
        (KeySpec::P384, Algorithm::Es384, 96),
        (KeySpec::P521, Algorithm::Es512, 132),
        (KeySpec::P256K, Algorithm::Es256K, 64),
    ] {
        signs_and_verifies(&target, spec, &[algorithm], length).await;
    }
}

pub(crate) async fn rsa_2048_signs_and_verifies(target: Arc<Target>) {
    signs_and_verifies(&target, KeySpec::Rsa2048, &RSA, 256).await;
}

pub(crate) async fn rsa_3072_signs_and_verifies(target: Arc<Target>) {
    signs_and_verifies(&target, KeySpec::Rsa3072, &RSA, 384).await;
}

pub(crate) async fn rsa_4096_signs_and_verifies(target: Arc<Target>) {
    signs_and_verifies(&target, KeySpec::Rsa4096, &RSA, 512).await;
}

/// Signatures are of a fixed length: as long as the modulus, or `r` and `s` as long as the curve's field.
async fn signs_and_verifies(target: &Target, spec: KeySpec, algorithms: &[Algorithm], length: usize) {
    let client = target.client();
    let name = target.key_name();
    let kid = match &target.local {
        Some(vault) if spec.curve().is_none() => vault.create_key(VAULT, &name, spec).await.expect("a key"),
        _ => create(&client, &name, spec).await,
    };
    let (_, version) = kid.rsplit_once('/').expect("a version");
    let options = KeyClientGetKeyOptions { key_version: Some(version.to_owned()), ..KeyClientGetKeyOptions::default() };
    let bundle = client.get_key(&name, Some(options)).await.expect("a key").into_body();
    let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
    let public = Jwk::parse(&bundle["key"].to_string()).expect("a public key");
    for &algorithm in algorithms {
        let digest = algorithm.hash().digest(&[b"content"]);
        for version in [None, Some(version)] {
            if version.is_none() && target.differs(Difference::NoNewest) {
                continue;
            }
            let (signed_by, signature) = sign(&client, &name, version, algorithm, &digest).await;
            assert_eq!((signed_by.as_str(), signature.len()), (kid.as_str(), length), "{algorithm:?}");
            assert_eq!(public.key.verify(algorithm, &digest, &signature), Ok(()), "{algorithm:?}");
            assert!(verify(&client, &name, version.unwrap_or_default(), algorithm, &digest, &signature).await);
        }
    }
}

/// The identifier of a new key, with its version.
async fn create(client: &KeyClient, name: &str, spec: KeySpec) -> String {
    let parameters = CreateKeyParameters {
        kty: Some(spec.kty().parse().expect("a type of the SDK's")),
        curve: spec.curve().map(|curve| curve.parse().expect("a curve of the SDK's")),
        key_size: spec.modulus_bits().map(|bits| i32::try_from(bits).expect("some thousands")),
        key_ops: Some(vec![KeyOperation::Sign, KeyOperation::Verify]),
        ..CreateKeyParameters::default()
    };
    let made = match client.create_key(name, content(parameters), None).await {
        // An emulator may take longer to make a key than a request has; it goes on all the same.
        Err(error) if *error.kind() == ErrorKind::Io => made_at_last(client, name).await,
        made => made.expect("a key"),
    };
    made.into_model().expect("a bundle").key.expect("a key").kid.expect("an identifier")
}

async fn made_at_last(client: &KeyClient, name: &str) -> Response<Key> {
    let start = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match client.get_key(name, None).await {
            Err(error) => assert!(start.elapsed() < LONGEST_TO_MAKE, "{error}"),
            Ok(made) => return made,
        }
    }
}

pub(crate) async fn what_was_changed_does_not_verify(target: Arc<Target>) {
    for (body, algorithm) in [
        (json!({"kty": "EC", "crv": "P-256"}), Algorithm::Es256),
        (json!({"kty": "RSA", "key_size": 2048}), Algorithm::Ps256),
    ] {
        let (name, bundle) = target.create(body).await;
        let path = |operation: &str| format!("/keys/{name}/{}/{operation}", version_of(&bundle));
        let digest = Hash::Sha256.digest(&[b"content"]);
        let alg = algorithm.name();
        let signed = target.ask("POST", &path("sign"), json!({"alg": alg, "value": base64url(&digest)})).await;
        let signature = base64::decode_url(signed.body["value"].as_str().expect("a signature")).expect("Base64url");
        let changed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().expect("a byte") ^= 1;
            bytes
        };
        for (digest, signature, good) in [
            (digest.clone(), signature.clone(), true),
            (changed(&digest), signature.clone(), false),
            (digest.clone(), changed(&signature), false),
        ] {
            let body = json!({"alg": alg, "digest": base64url(&digest), "value": base64url(&signature)});
            let answer = target.ask("POST", &path("verify"), body).await;
            assert_eq!((answer.status, &answer.body), (200, &json!({"value": good})), "{alg}");
        }
    }
}

/// The identifier of the version that signed, and the signature.
async fn sign(
    client: &KeyClient,
    name: &str,
    version: Option<&str>,
    algorithm: Algorithm,
    digest: &[u8],
) -> (String, Vec<u8>) {
    let parameters = SignParameters { algorithm: Some(named(algorithm)), value: Some(digest.to_vec()) };
    let options = KeyClientSignOptions { key_version: version.map(str::to_owned), ..KeyClientSignOptions::default() };
    let signed = client.sign(name, content(parameters), Some(options)).await.expect("a signature");
    let signed = signed.into_model().expect("a result");
    (signed.kid.expect("an identifier"), signed.result.expect("a signature"))
}

async fn verify(
    client: &KeyClient,
    name: &str,
    version: &str,
    algorithm: Algorithm,
    digest: &[u8],
    signature: &[u8],
) -> bool {
    let parameters = VerifyParameters {
        algorithm: Some(named(algorithm)),
        digest: Some(digest.to_vec()),
        signature: Some(signature.to_vec()),
    };
    let answer = client.verify(name, version, content(parameters), None).await.expect("an answer");
    answer.into_model().expect("a result").value.expect("a value")
}

fn named(algorithm: Algorithm) -> SignatureAlgorithm {
    algorithm.name().parse().expect("an algorithm of the SDK's")
}

fn content<T: serde::Serialize>(model: T) -> RequestContent<T> {
    RequestContent::from(serde_json::to_vec(&model).expect("JSON"))
}
