//! What we write, verified by code that others wrote: `jose`, `@auth0/cose` and `@sigstore/core` from npm, and `openssl`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use futures::future::join_all;
use serde_json::{Value, json};
use signet::local::{npm::Package, vault::KeySpec};
use signet_core::{
    algorithm::{Algorithm, Hash},
    base64,
};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    json_texts::JsonTexts,
    world::{Setup, World, deployment},
};

const FOREIGN: Package = Package {
    name: "foreign-verifiers-2",
    manifest: include_str!("../foreign/package.json"),
    lock: include_str!("../foreign/package-lock.json"),
    entry: "node_modules/@sigstore/core/package.json",
};

const PAYLOAD: &str = "{ \"b\":1.0,\t\"a\" :[1e3 , \"\\u00e9\\/\"] }";

/// Every algorithm with a key that has it; the six of RSA share one.
async fn worlds() -> Vec<(Algorithm, World)> {
    let rsa = Arc::new(deployment().await);
    let key = rsa.create_key("signing", KeySpec::Rsa2048).await.expect("a key");
    let mut worlds = Vec::new();
    for algorithm in Algorithm::ALL {
        let world = match algorithm {
            Algorithm::Es256 => World::with(Setup { key: KeySpec::P256, ..Setup::default() }).await,
            Algorithm::Es384 => World::with(Setup { key: KeySpec::P384, ..Setup::default() }).await,
            Algorithm::Es512 => World::with(Setup { key: KeySpec::P521, ..Setup::default() }).await,
            Algorithm::Es256K => World::with(Setup { key: KeySpec::P256K, ..Setup::default() }).await,
            _ => {
                let setup = Setup::default().setting("SIGNET_ALGORITHM", algorithm.name());
                let world = World::around(Arc::clone(&rsa), key.clone(), setup).await;
                world.logged(" ready ").await;
                world
            }
        };
        worlds.push((algorithm, world));
    }
    worlds
}

#[tokio::test]
async fn jose_verifies_what_we_sign_by_the_published_keys() {
    let packages = FOREIGN.install(&|line| println!("{line}")).await.expect("Node.js and npm");
    for (algorithm, world) in worlds().await {
        // jose 6 has no secp256k1, as browsers do not; openssl verifies it below.
        if algorithm == Algorithm::Es256K {
            continue;
        }
        let id = algorithm.name();
        let message = format!(r#"{{"id":"{id}","payload":{PAYLOAD},"format":["jws","jws-compact"]}}"#);
        assert!(world.sign(&message).await.outcome.succeeded());
        let keys: Value = published(&world).await;
        let flattened = world.result(&format!("{id}.jws.json")).await.expect("a result");
        let flattened: Value = serde_json::from_str(flattened.text()).expect("JSON");
        let compact = world.result(&format!("{id}.jws")).await.expect("a result").text().to_owned();
        for jws in [flattened.clone(), compact.clone().into()] {
            let payload = node(&packages, &json!({ "jws": jws, "keys": keys })).await.expect(id);
            assert_eq!(base64::decode_any(&payload).as_deref(), Some(PAYLOAD.as_bytes()), "{algorithm}");
        }
        let mut forged = flattened;
        forged["payload"] = base64::encode_url(b"{}").into();
        node(&packages, &json!({ "jws": forged, "keys": keys })).await.expect_err("another payload");
    }
}

#[tokio::test]
async fn what_is_signed_by_reference_is_verified_beside_its_content() {
    let packages = FOREIGN.install(&|line| println!("{line}")).await.expect("Node.js and npm");
    let content: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(20);
    for (algorithm, world) in worlds().await {
        let id = algorithm.name();
        world.upload("x", &content).await;
        let source = json!({ "url": world.upload_url("x") });
        let message = json!({ "id": id, "source": source, "format": ["jws", "jws-compact", "cose"] });
        assert!(world.sign(&message.to_string()).await.outcome.succeeded());
        let keys = published(&world).await;
        let [right, wrong] = [&content[..], &content[1..]].map(base64::encode);

        // Neither knows all algorithms: see below.
        if algorithm != Algorithm::Es256K {
            let flattened = world.result(&format!("{id}.jws.json")).await.expect("a result");
            let flattened: Value = serde_json::from_str(flattened.text()).expect("JSON");
            let compact = world.result(&format!("{id}.jws")).await.expect("a result").text().to_owned();
            for jws in [flattened, compact.into()] {
                let payload = node(&packages, &json!({ "jws": jws, "keys": keys, "content": right })).await.expect(id);
                assert_eq!(payload, right);
                node(&packages, &json!({ "jws": jws, "keys": keys, "content": wrong }))
                    .await
                    .expect_err("other content");
            }
        }
        if !matches!(algorithm, Algorithm::Es256K | Algorithm::Rs384 | Algorithm::Rs512) {
            let message = world.result(&format!("{id}.cose")).await.expect("a result");
            let kid = &message.metadata["signet_kid"];
            let cose = base64::encode(&message.bytes);
            for (content, is_good) in [(&right, true), (&wrong, false)] {
                let request = json!({ "cose": cose, "kid": kid, "keys": keys, "content": content });
                assert_eq!(node(&packages, &request).await.is_ok(), is_good, "{algorithm}");
            }
        }
    }
}

/// The payload is never parsed and written again, whatever it is.
#[tokio::test]
async fn jose_sees_the_very_bytes_that_stood_in_the_message() {
    const TEXTS: usize = 300;
    let packages = FOREIGN.install(&|line| println!("{line}")).await.expect("Node.js and npm");
    let mut source = JsonTexts::new();
    let items: Vec<(String, String, String)> = (0..TEXTS)
        .map(|i| {
            let (id, text) = (format!("p/{i}"), source.text());
            let [before, after] = [source.space(), source.space()];
            let message = format!(r#"{{"id":"{id}","format":["jws","jws-compact"],"payload":{before}{text}{after}}}"#);
            (id, text, message)
        })
        .collect();
    let world = World::start().await;
    let mut documents = Vec::new();
    for batch in items.chunks(30) {
        let documents_of = async |(id, _, message): &(String, String, String)| {
            assert!(world.sign(message).await.outcome.succeeded(), "{message}");
            let flattened = world.result(&format!("{id}.jws.json")).await.expect("a result");
            let compact = world.result(&format!("{id}.jws")).await.expect("a result");
            let flattened: Value = serde_json::from_str(flattened.text()).expect("JSON");
            [flattened, compact.text().into()]
        };
        documents.extend(join_all(batch.iter().map(documents_of)).await.into_iter().flatten());
    }
    let request = json!({ "jws": documents, "keys": published(&world).await });
    let payloads = node(&packages, &request).await.expect("all of them");
    let payloads: Vec<&str> = payloads.lines().collect();
    assert_eq!(payloads.len(), 2 * TEXTS);
    for ((_, text, _), payloads) in items.iter().zip(payloads.chunks(2)) {
        for payload in payloads {
            let seen = base64::decode_any(payload).expect("Base64");
            assert_eq!(seen, text.as_bytes(), "{text} became {}", String::from_utf8_lossy(&seen));
        }
    }
}

#[tokio::test]
async fn openssl_verifies_raw_signatures_of_every_algorithm() {
    let packages = FOREIGN.install(&|line| println!("{line}")).await.expect("Node.js and npm");
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let content: Vec<u8> = (0..=255).collect();
    std::fs::write(at("content"), &content).expect("written");
    std::fs::write(at("other"), b"other content").expect("written");
    for (algorithm, world) in worlds().await {
        let encoded = base64::encode(&content);
        let id = algorithm.name();
        let message = format!(r#"{{"id":"{id}","payloadBase64":"{encoded}","format":"raw"}}"#);
        assert!(world.sign(&message).await.outcome.succeeded());
        let result = world.result(&format!("{id}.sig")).await.expect("a result");
        let request = json!({ "pem": result.metadata["signet_kid"], "keys": published(&world).await });
        let pem = node(&packages, &request).await.expect("a public key");
        std::fs::write(at("key.pem"), pem).expect("written");
        std::fs::write(at("signature"), base64::decode_any(result.text()).expect("Base64")).expect("written");
        assert!(openssl(algorithm, directory.path(), "content").await, "{algorithm}");
        assert!(!openssl(algorithm, directory.path(), "other").await, "{algorithm}: openssl takes anything");
    }
}

#[tokio::test]
async fn other_peoples_dsse_and_cose_verify_what_we_sign() {
    let packages = FOREIGN.install(&|line| println!("{line}")).await.expect("Node.js and npm");
    for (algorithm, world) in worlds().await {
        let id = algorithm.name();
        let message = format!(r#"{{"id":"{id}","payload":{PAYLOAD},"format":["dsse","cose"]}}"#);
        assert!(world.sign(&message).await.outcome.succeeded());
        let keys = published(&world).await;

        // @sigstore/core leaves the padding to Node's default, PKCS #1 v1.5.
        if !id.starts_with("PS") {
            let envelope = world.result(&format!("{id}.dsse.json")).await.expect("a result");
            let mut envelope: Value = serde_json::from_str(envelope.text()).expect("JSON");
            let hash = algorithm.hash().name();
            let payload = node(&packages, &json!({ "dsse": envelope, "keys": keys, "hash": hash })).await.expect(id);
            let statement = base64::decode_any(&payload).expect("Base64");
            let statement: Value = serde_json::from_slice(&statement).expect("a statement");
            assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
            let digest = signet_core::algorithm::sha256_hex(PAYLOAD.as_bytes());
            assert_eq!(statement["subject"], json!([{ "name": id, "digest": { "sha256": digest } }]));
            envelope["payload"] = base64::encode(b"{}").into();
            node(&packages, &json!({ "dsse": envelope, "keys": keys, "hash": hash }))
                .await
                .expect_err("another payload");
        }

        // It has the algorithms that browsers have: neither secp256k1 nor RSA in PKCS #1 v1.5 with SHA-384 and SHA-512.
        if matches!(algorithm, Algorithm::Es256K | Algorithm::Rs384 | Algorithm::Rs512) {
            continue;
        }
        let message = world.result(&format!("{id}.cose")).await.expect("a result");
        let kid = &message.metadata["signet_kid"];
        let request = |bytes: &[u8]| json!({ "cose": base64::encode(bytes), "kid": kid, "keys": keys });
        let payload = node(&packages, &request(&message.bytes)).await.expect(id);
        assert_eq!(base64::decode_any(&payload).as_deref(), Some(PAYLOAD.as_bytes()), "{algorithm}");
        let mut forged = message.bytes.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        node(&packages, &request(&forged)).await.expect_err("another signature");
    }
}

async fn published(world: &World) -> Value {
    let keys = world.result(".well-known/jwks.json").await.expect("published keys");
    assert_eq!(keys.content_type, "application/jwk-set+json");
    serde_json::from_str(keys.text()).expect("JSON")
}

/// Runs `verify.mjs`; its output, or what it complained of.
async fn node(packages: &Path, request: &Value) -> Result<String, String> {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "foreign", "verify.mjs"].iter().collect();
    let mut child = Command::new("node")
        .arg(script)
        .arg(packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Node.js: install it from https://nodejs.org");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(request.to_string().as_bytes()).await.expect("written");
    drop(stdin);
    let output = child.wait_with_output().await.expect("an exit");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// `openssl dgst -verify`, with the options that the README gives.
async fn openssl(algorithm: Algorithm, directory: &Path, content: &str) -> bool {
    let hash = match algorithm.hash() {
        Hash::Sha256 => "-sha256",
        Hash::Sha384 => "-sha384",
        Hash::Sha512 => "-sha512",
    };
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(["dgst", hash, "-verify", "key.pem", "-signature", "signature"]);
    if algorithm.name().starts_with("PS") {
        command.args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]);
    }
    let output = command.arg(content).output().await.expect("openssl: install it to run this test");
    output.status.success()
}
