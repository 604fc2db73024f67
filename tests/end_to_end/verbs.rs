//! `signet verify` on results without their content, `signet send` for every kind of input, and `signet keys`.

use std::{collections::HashMap, fs, time::Duration};

use azure_core::{Bytes, http::RequestContent};
use azure_storage_blob::models::{BlobClientUploadOptions, BlockLookupList};
use serde_json::{Value, json};
use signet::local::{
    stack::{Deployment, VAULT},
    tap::{Action, Exchange, Fault},
    vault::{Attributes, KeySpec},
};
use signet_core::{
    algorithm::{Hash, hex, sha256_hex},
    format::Format,
    jwks::{self, JwkSet},
};

use crate::{
    tool::{Desk, received, url},
    world::{Setup, World, deployment},
};

const MIB: usize = 1024 * 1024;
const UNUSED_KEY: &str = "https://unused.vault.localhost/keys/unused";

/// Bytes that differ from range to range.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 4096 % 251).to_le_bytes()[0] ^ (at % 253).to_le_bytes()[0]).collect()
}

/// A world with a source of 9 MiB that is signed in every format, and a desk with its content.
async fn signed_source() -> (World, Desk, Vec<u8>) {
    let world = World::with(Setup { queues: true, ..Setup::default() }).await;
    let content = content(9 * MIB + 5);
    let etag = world.upload("in/x.bin", &content).await;
    let desk = Desk::of(&world);
    desk.write("content", &content).write("keys.json", world.keys().await.to_string());
    let source = world.upload_url("in/x.bin");
    let formats = Format::ALL.map(Format::name).join(",");
    let options = ["--id", "doc", "--format", &formats, "--content-type", "application/x-test", "--etag", &etag];
    desk.run(&[&["send", "--source", &source], &options[..]].concat()).await.exits(0, &source);
    for format in Format::ALL {
        let name = format!("doc{}", format.suffix());
        let result = world.awaited(&name).await;
        assert!(result.bytes.len() < 4096, "the content is not in it");
        desk.write(&name, result.bytes);
    }
    (world, desk, content)
}

fn reads_of_uploads(world: &World) -> Vec<Exchange> {
    let mut exchanges = world.deployment.taps.blob.exchanges();
    exchanges.retain(|exchange| exchange.method == "GET" && exchange.path.contains("-uploads/"));
    exchanges
}

#[tokio::test]
async fn what_is_signed_by_reference_is_verified_with_its_source() {
    let (world, desk, content) = signed_source().await;
    let source = world.upload_url("in/x.bin");
    for format in Format::ALL {
        let result = url(&world, &format!("doc{}", format.suffix()));
        let alone = desk.run(&["verify", &result]).await;
        if format == Format::Dsse {
            alone.exits(0, &format!("{} (as the statement says", sha256_hex(&content)));
            let ran = desk.run(&["verify", &result, "--json"]).await.exits(0, "");
            assert_eq!((&ran.json()["contentSeen"], &ran.json()["bytes"]), (&json!(false), &Value::Null));
        } else {
            alone.exits(2, &format!("--content {source}"));
            let ran = desk.run(&["verify", &result, "--json"]).await.exits(2, "");
            assert_eq!((&ran.json()["valid"], &ran.json()["source"]), (&Value::Null, &json!(source)));
        }

        world.clear_taps();
        let ran = desk.run(&["verify", &result, "--content", &source, "--json"]).await.exits(0, "");
        let verdict = ran.json();
        assert_eq!((&verdict["bytes"], &verdict["sha256"]), (&json!(content.len()), &json!(sha256_hex(&content))));
        assert_eq!((&verdict["source"], &verdict["warnings"]), (&json!(source), &json!([])), "{format}");
        assert_eq!(verdict["contentSeen"], json!(true), "{format}");
        let kid = verdict["kid"].as_str().expect("a signer");
        assert_eq!(verdict["keyVersion"].as_str(), kid.rsplit('/').next());
        assert!(verdict["keySet"].as_str().expect("a URL").ends_with(jwks::BLOB_NAME), "{verdict}");
        assert_eq!(verdict["signedAt"].is_null(), format == Format::Raw, "{verdict}");
        assert!(verdict["storedAt"].is_string(), "{verdict}");
        let expected = if format == Format::Raw { Value::Null } else { json!("application/x-test") };
        assert_eq!(verdict["contentType"], expected);
        let reads = reads_of_uploads(&world);
        let ranges: Vec<&str> = reads.iter().filter_map(|r| r.header("x-ms-range").or(r.header("range"))).collect();
        assert_eq!(ranges.len(), 3, "{reads:?}");
        for range in ["bytes=0-4194303", "bytes=4194304-8388607", "bytes=8388608-9437188"] {
            assert!(ranges.contains(&range), "{ranges:?}");
        }
        assert!(reads.iter().all(|read| read.header("if-match").is_some()), "all of one state: {reads:?}");
    }
}

#[tokio::test]
async fn content_comes_from_files_and_pipes_too() {
    let (_world, desk, content) = signed_source().await;
    desk.write("other", &content[1..]);
    for format in Format::ALL {
        let name = format!("doc{}", format.suffix());
        let verify = ["verify", &name, "--jwks", "keys.json", "--content"];
        desk.run(&[&verify[..], &["content"]].concat()).await.exits(0, "VALID").exits(0, "9437189");
        desk.pipe(&[&verify[..], &["-"]].concat(), &content).await.exits(0, &sha256_hex(&content));
        desk.run(&[&verify[..], &["other"]].concat()).await.exits(1, "NOT VALID");
        desk.pipe(&[&verify[..], &["-"]].concat(), b"").await.exits(1, "NOT VALID");
        desk.run(&[&verify[..], &["missing"]].concat()).await.exits(2, "missing cannot be read");
    }
    let keys = fs::read(desk.path("keys.json")).expect("keys");
    for arguments in [
        &["-", "--content", "-", "--jwks", "keys.json"][..],
        &["doc.jws", "--content", "-", "--jwks", "-"],
        &["-", "--content", "content", "--jwks", "-"],
    ] {
        let ran = desk.pipe(&[&["verify"], arguments].concat(), &keys).await;
        ran.exits(2, "standard input cannot be both");
    }
    desk.pipe(&["verify", "doc.jws", "--content", "content", "--jwks", "-"], &keys).await.exits(0, "VALID");
}

#[tokio::test]
async fn a_source_that_has_changed_since_is_said_to_have() {
    let (world, desk, _) = signed_source().await;
    let source = world.upload_url("in/x.bin");
    world.upload("in/x.bin", b"something else").await;
    for format in Format::ALL {
        let result = url(&world, &format!("doc{}", format.suffix()));
        desk.run(&["verify", &result, "--content", &source]).await.exits(1, "the blob was signed as");
    }
    let gone = world.upload_url("in/gone.bin");
    desk.run(&["verify", &url(&world, "doc.jws"), "--content", &gone]).await.exits(2, &gone);
}

#[tokio::test]
async fn ranges_are_tried_again_and_are_all_of_one_state() {
    let (world, desk, _) = signed_source().await;
    let (result, source) = (url(&world, "doc.sig"), world.upload_url("in/x.bin"));
    let tap = &world.deployment.taps.blob;
    for fault in [Fault::status(503), Fault::new(Action::ResetAfter)] {
        tap.fail(fault.method("GET").path("-uploads/").skip(1).times(1));
        desk.run(&["verify", &result, "--content", &source]).await.exits(0, "VALID");
    }
    tap.fail(Fault::status(412).method("GET").path("-uploads/").skip(2).times(1));
    desk.run(&["verify", &result, "--content", &source]).await.exits(2, "was written while it was read");
}

/// On Linux, where a process can be kept from taking more.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn content_of_any_size_is_verified_in_little_memory() {
    const BLOCKS: usize = 64;
    const LIMIT_KIB: u64 = 160 * 1024;
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "240")).await;
    // One block, listed over and over: the service reads it as often as it is listed.
    let block = content(4 * MIB);
    let client = world.deployment.uploads().expect("the container").blob_client("large").block_blob_client();
    let staged = client.stage_block(b"block", block.len() as u64, Bytes::from(block.clone()).into(), None);
    staged.await.expect("a block");
    let list = BlockLookupList { latest: Some(vec![b"block".to_vec(); BLOCKS]), ..BlockLookupList::default() };
    client.commit_block_list(list.try_into().expect("XML"), None).await.expect("a blob");
    let source = world.upload_url("large");
    let item = json!({ "id": "large", "source": { "url": source }, "format": ["jws", "cose"] }).to_string();
    assert!(world.sign(&item).await.outcome.succeeded());

    let desk = Desk::of(&world);
    desk.write("file", block.repeat(BLOCKS)).write("keys.json", world.keys().await.to_string());
    for name in ["large.jws.json", "large.cose"] {
        desk.write(name, world.result(name).await.expect("a result").bytes);
        for content in [source.as_str(), "file"] {
            let arguments = ["verify", name, "--content", content, "--jwks", "keys.json"];
            desk.run_within(LIMIT_KIB, &arguments).await.exits(0, &(BLOCKS * block.len()).to_string());
        }
    }
    desk.run(&["verify", "file", "--jwks", "keys.json"]).await.exits(2, "too large for a result");
}

#[tokio::test]
async fn metadata_that_contradict_are_a_warning() {
    let (world, desk, content) = signed_source().await;
    let result = world.result("doc.jws").await.expect("a result");
    let mut metadata: HashMap<String, String> = result.metadata;
    metadata.insert("signet_sha256".to_owned(), sha256_hex(b"other"));
    let options = BlobClientUploadOptions { metadata: Some(metadata), ..BlobClientUploadOptions::default() };
    let client = world.deployment.results().expect("the container").blob_client("copy.jws");
    client.upload(RequestContent::from(result.bytes), Some(options)).await.expect("an upload");
    let copy = url(&world, "copy.jws");
    let ran = desk.run(&["verify", &copy, "--content", "content"]).await.exits(0, "VALID").exits(0, "warning");
    assert!(ran.stdout.contains(&sha256_hex(&content)), "{ran:?}");
}

#[tokio::test]
async fn any_web_server_may_have_the_content_if_it_is_small() {
    let (world, desk, content) = signed_source().await;
    // The vault's listener stands for any server on the internet whose certificate is good.
    let tap = &world.deployment.taps.vault;
    let base = format!("https://dev.vault.localhost:{}", world.deployment.vault_port());
    let web = |path: &str, status, headers: &[(&str, &str)], body: &[u8]| {
        tap.fail(Fault::new(Action::respond(status, headers, body)).method("GET").path(path));
    };
    let length = content.len().to_string();
    web("/whole", 200, &[], &content);
    web("/ranged", 206, &[("content-range", &format!("bytes 0-{}/{length}", content.len() - 1))], &content);
    web("/part", 206, &[("content-range", "bytes 0-3/70000000")], b"part");
    let huge = Fault::new(Action::respond(200, &[("content-length", "70000000")], b""));
    tap.fail(huge.method("HEAD").path("/huge"));
    for (path, code, says) in [
        ("/huge", 2, "has 70000000 bytes or more"),
        ("/whole", 0, "VALID"),
        ("/ranged", 0, "VALID"),
        ("/part", 2, "has 70000000 bytes or more"),
        ("/absent", 2, "/absent answered 4"),
    ] {
        world.clear_taps();
        let url = format!("{base}{path}");
        desk.run(&["verify", "doc.cose", "--jwks", "keys.json", "--content", &url]).await.exits(code, says);
        // The handler's own look at its key's versions is not meant.
        let is_ours = |path: &str| !path.starts_with("/keys/");
        assert_eq!(tap.count(|seen| is_ours(&seen.path) && seen.header("authorization").is_some()), 0);
        assert_eq!(world.deployment.taps.identity.count(|_| true), 0, "no token was even asked for");
    }
}

#[tokio::test]
async fn every_kind_of_input_is_sent() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings(UNUSED_KEY));
    let large = content(3 * MIB);
    desk.write("a.bin", b"\xff\0").write("large.bin", &large).write("p.json", "{ \"a\": 1.0 }\n");
    let sha384 = hex(&Hash::Sha384.digest(&[&large]));
    let source = "https://a.blob.core.windows.net/in/x";
    let etag = "\"0x8D\"";
    let ran = desk.run(&["send", "--file", "a.bin", "--format", "raw,cose"]).await;
    ran.exits(0, "a.bin → ");
    let ran = desk.run(&["send", "--json", "--source", source, "--etag", etag, "--version-id", "1"]).await.exits(0, "");
    assert_eq!(ran.json()["source"], source);
    let attest = ["--predicate-type", "https://slsa.dev/provenance/v1", "--predicate", "p.json"];
    desk.run(&[&["send", "--digest", "large.bin", "--format", "dsse"], &attest[..]].concat()).await.exits(0, "large");
    let named = ["--digest", &format!("sha384:{sha384}"), "--id", "x", "--format", "raw"].map(str::to_owned);
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    desk.run(&[&["send"], &named[..]].concat()).await.exits(0, "sha384:");
    desk.run(&["send", "--digest", "sha384:large.bin", "--format", "raw"]).await.exits(0, "sha384:large.bin");
    desk.run(&["send", "--digest", "a.bin", "--digest", "large.bin", "--format", "raw"]).await.exits(0, "a.bin");

    let messages = received(&deployment).await;
    assert!(messages[2].contains("\"predicate\":{ \"a\": 1.0 },"), "as it stands: {}", messages[2]);
    let items: Vec<Value> = messages.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    let digest = json!({ "sha256": sha256_hex(&large) });
    let expected = [
        json!({ "id": "a.bin", "format": ["raw", "cose"], "payloadBase64": "/wA=" }),
        json!({ "source": { "url": source, "etag": etag, "versionId": "1" } }),
        json!({ "id": "large.bin", "format": ["dsse"], "predicateType": attest[1], "predicate": { "a": 1.0 }, "digest": digest }),
        json!({ "id": "x", "format": ["raw"], "digest": { "sha384": sha384 } }),
        json!({ "id": "large.bin", "format": ["raw"], "digest": { "sha384": sha384 } }),
        json!({ "id": "a.bin", "format": ["raw"], "digest": { "sha256": sha256_hex(b"\xff\0") } }),
        json!({ "id": "large.bin", "format": ["raw"], "digest": digest }),
    ];
    assert_eq!(items, expected);
}

#[tokio::test]
async fn items_that_would_be_rejected_are_not_sent() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings(UNUSED_KEY));
    desk.write("large", content(60_000)).write("item.json", r#"{"payload":1}"#).write("bad.json", "{");
    for (arguments, why) in [
        (&["send", "--file", "large"][..], "send --source URL, or send --digest FILE"),
        (&["send", "--source", "https://a.blob.core.windows.net/in/x?sig=s"], "source-forbidden"),
        (&["send", "--source", "x"], "`url`"),
        (&["send", "--source", "https://a/b", "--etag", "a b"], "`etag`"),
        (&["send", "--digest", "large"], "choose with --format raw,dsse"),
        (&["send", "--digest", "sha384:00", "--format", "raw"], "96 hexadecimal digits"),
        (&["send", "--digest", &format!("sha512:{}", "00".repeat(64)), "--format", "raw"], "`id`"),
        (&["send", "--file", "item.json", "--format", "pdf"], "unsupported-format"),
        (&["send", "--file", "item.json", "--format", "dsse", "--predicate-type", "no uri"], "URI"),
        (
            &[
                "send",
                "--file",
                "item.json",
                "--format",
                "dsse",
                "--predicate-type",
                "urn:a:b",
                "--predicate",
                "bad.json",
            ],
            "bad.json is no JSON",
        ),
        (&["send", "--file", "item.json", "--predicate", "item.json"], "--predicate-type"),
        (&["send", "--etag", "x"], "--source"),
        (&["send", "--format", "raw", "item.json"], "--format is for an item that is made here"),
        (&["send", "--id", "x", "--file", "item.json", "--digest", "large"], "--id names one item"),
    ] {
        desk.run(arguments).await.exits(2, why);
    }
    assert_eq!(deployment.taps.queue.count(|_| true), 0);
    desk.run(&["send", "--unchecked", "--digest", "large"]).await.exits(0, "large");
    assert_eq!(received(&deployment).await.len(), 1);
}

#[tokio::test]
async fn what_no_queue_can_carry_keeps_all_from_being_sent() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings(UNUSED_KEY));
    desk.write("good.json", r#"{"payload":1}"#).write("bad.json", "{\"payload\":\"\u{ffff}\"}");
    desk.write("control.json", "{\"payload\":\u{1b}}");
    desk.run(&["send", "good.json", "bad.json"]).await.exits(2, "bad.json cannot be sent: it holds \\u{ffff}");
    desk.run(&["send", "--unchecked", "good.json", "control.json"]).await.exits(2, "it holds \\u{1b}");
    assert_eq!(deployment.taps.queue.count(|_| true), 0, "not even the good one");
    desk.run(&["send", "good.json"]).await.exits(0, "good.json");
    assert_eq!(received(&deployment).await, [r#"{"payload":1}"#]);
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_said_to_be_unsent() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings(UNUSED_KEY));
    desk.write("item.json", r#"{"payload":1}"#);
    for (arguments, what) in [(&["send", "item.json"][..], "item.json"), (&["smoke"], "the item smoke/")] {
        // The message is taken, and the answer lost.
        deployment.taps.queue.fail(Fault::new(Action::ResetAfter).method("POST").times(1));
        let ran = desk.run(arguments).await.exits(2, what).exits(2, "may have been sent to ");
        assert!(!ran.stderr.contains("was not sent") && !ran.stderr.contains("nothing was sent"), "{ran:?}");
        assert_eq!(received(&deployment).await.len(), 1);
        deployment.taps.queue.fail(Fault::status(403).method("POST").times(1));
        desk.run(arguments).await.exits(2, " sent to ").exits(2, "HTTP 403");
        assert!(received(&deployment).await.is_empty());
    }
}

/// Puts a text where the keys are published.
pub(crate) async fn publish(deployment: &Deployment, text: &str) {
    let client = deployment.results().expect("the container").blob_client(jwks::BLOB_NAME);
    client.upload(RequestContent::from(text.as_bytes().to_vec()), None).await.expect("an upload");
}

pub(crate) async fn published(deployment: &Deployment) -> String {
    let client = deployment.results().expect("the container").blob_client(jwks::BLOB_NAME);
    let body = client.download(None).await.expect("a key set").body;
    body.collect_string().await.expect("a key set")
}

#[tokio::test]
async fn keys_are_shown_with_their_history_and_published() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let second = deployment.create_key_in("second", "other", KeySpec::Rsa2048.hsm()).await.expect("a key");
    let vault = &deployment.vault;
    let mut kids = vec![vault.key(VAULT, "signing", None).expect("a key")["key"]["kid"].as_str().unwrap().to_owned()];
    for attributes in [
        Attributes::default(),
        Attributes { enabled: Some(false), ..Attributes::default() },
        Attributes { exp: Some(1_700_000_000), ..Attributes::default() },
        Attributes { nbf: Some(4_000_000_000), ..Attributes::default() },
    ] {
        // Creation times have a resolution of one second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let kid = vault.rotate(VAULT, "signing").await.expect("a version");
        vault.update_attributes(VAULT, "signing", kid.rsplit('/').next(), attributes).expect("changed");
        kids.push(kid);
    }
    let mut desk = Desk::new(deployment.settings(&format!("{key}, {second}")));

    let ran = desk.run(&["keys"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let row = |kid: &str| {
        let version = kid.rsplit('/').next().unwrap();
        ran.stdout.lines().find(|line| line.contains(version)).unwrap_or_else(|| panic!("{kid}: {ran:?}"))
    };
    for (kid, state) in kids.iter().zip(["enabled", "signing", "disabled", "expired", "not yet valid"]) {
        assert!(row(kid).contains(state) && row(kid).contains("EC P-256, software"), "{state}: {}", row(kid));
    }
    assert!(row(&kids[3]).contains("2023-11-14T22:13:20Z"), "{}", row(&kids[3]));
    assert!(ran.stdout.contains("RSA 2048, HSM"), "{ran:?}");
    assert!(ran.stderr.contains("signet keys --publish") && !ran.stderr.contains(&kids[2]), "{ran:?}");

    let of_others = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}"#;
    publish(&deployment, &format!(r#"{{"x-note":[1, 2],"keys":[{of_others}]}}"#)).await;
    let ran = desk.run(&["keys", "--publish"]).await.exits(0, "Every enabled version is published");
    assert_eq!(ran.stdout.matches("published now: ").count(), 5, "{ran:?}");
    let text = published(&deployment).await;
    assert!(text.contains(of_others) && text.contains(r#""x-note":[1, 2]"#), "{text}");
    let set = JwkSet::parse(&text).expect("a key set");
    for (kid, expected) in kids.iter().zip([true, true, false, true, true]) {
        assert_eq!(set.contains(kid), expected, "{kid}");
    }

    deployment.taps.blob.clear();
    let ran = desk.run(&["keys", "--publish", "--json"]).await.exits(0, "");
    assert_eq!(deployment.taps.blob.count(|exchange| exchange.method == "PUT"), 0, "nothing was missing");
    let overview = ran.json();
    assert_eq!((&overview["complete"], &overview["added"]), (&json!(true), &json!([])));
    assert_eq!(overview["keys"][0]["signing"], json!(kids[1]));
    let versions = overview["keys"][0]["versions"].as_array().expect("versions");
    let listed: Vec<&str> = versions.iter().map(|version| version["kid"].as_str().unwrap()).collect();
    assert_eq!(listed, kids.iter().rev().map(String::as_str).collect::<Vec<_>>(), "newest first");
    let published: Vec<&Value> = versions.iter().map(|version| &version["published"]).collect();
    assert_eq!(published, [&json!(true), &json!(true), &json!(false), &json!(true), &json!(true)]);
    let hsm = &overview["keys"][1]["versions"][0];
    assert_eq!((&hsm["hsm"], &hsm["type"], &hsm["state"]), (&json!(true), &json!("RSA 2048"), &json!("signing")));

    desk.settings.insert("SIGNET_KEY".to_owned(), kids[0].clone());
    let ran = desk.run(&["keys", "--json"]).await.exits(0, "");
    assert_eq!(ran.json()["keys"][0]["signing"], json!(kids[0]), "the pinned one");
    desk.settings.insert("SIGNET_KEY".to_owned(), kids[2].clone());
    let ran = desk.run(&["keys"]).await.exits(0, "disabled");
    assert!(ran.stderr.contains("cannot sign now"), "{ran:?}");
}

#[tokio::test]
async fn keys_of_others_are_neither_lost_nor_replaced() {
    let deployment = deployment().await;
    let mut desks = Vec::new();
    for number in 0..4 {
        let key = deployment.create_key_in(&format!("v{number}"), "k", KeySpec::P256).await.expect("a key");
        desks.push(Desk::new(deployment.settings(&key)));
    }
    // All at the same time, from nothing.
    let runs = futures::future::join_all(desks.iter().map(|desk| desk.run(&["keys", "--publish"]))).await;
    for ran in runs {
        ran.exits(0, "published now");
    }
    let set = JwkSet::parse(&published(&deployment).await).expect("a key set");
    assert_eq!(set.len(), 4, "{set}");
    deployment.taps.blob.fail(Fault::status(412).method("PUT").times(2));
    deployment.vault.rotate("v0", "k").await.expect("a version");
    desks[0].run(&["keys", "--publish"]).await.exits(0, "published now");

    // The same name for another key is no publication, and nothing to be mended by itself.
    let text = published(&deployment).await;
    let kid =
        |vault: &str| deployment.vault.key(vault, "k", None).expect("a key")["key"]["kid"].as_str().unwrap().to_owned();
    let swapped = text.replace(&kid("v1"), "x").replace(&kid("v2"), &kid("v1"));
    publish(&deployment, &swapped).await;
    for arguments in [&["keys"][..], &["keys", "--publish"]] {
        let ran = desks[1].run(arguments).await.exits(1, "another key under the name");
        assert!(ran.stdout.contains("another key"), "{ran:?}");
    }
    assert_eq!(published(&deployment).await, swapped);
}

#[tokio::test]
async fn what_cannot_be_told_of_keys_is_said_to_be_so() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let mut desk = Desk::new(deployment.settings(&key));
    let mut with = async |name: &str, value: &str, says: &str| {
        let before = desk.settings.insert(name.to_owned(), value.to_owned());
        desk.run(&["keys"]).await.exits(2, says);
        desk.run(&["keys", "--publish"]).await.exits(2, says);
        desk.settings.insert(name.to_owned(), before.expect("a setting"));
    };
    with("SIGNET_KEY", "", "SIGNET_KEY is not set").await;
    with("SIGNET_KEY", "https://a.example/k", "must have the form").await;
    with("SIGNET_KEY", &deployment.key_url(VAULT, "missing"), "create it").await;
    with("SIGNET_RESULTS", "", "SIGNET_RESULTS is not set").await;
    let elsewhere = desk_results(&deployment).replace("-signed", "-nowhere");
    with("SIGNET_RESULTS", &elsewhere, "cannot be read: HTTP 404 ContainerNotFound").await;
    publish(&deployment, "{}").await;
    desk.run(&["keys"]).await.exits(2, "is no key set");
    assert_eq!(published(&deployment).await, "{}");
    publish(&deployment, r#"{"keys":[]}"#).await;
    deployment.taps.vault.fail(Fault::status(403).path("/versions"));
    desk.run(&["keys"]).await.exits(2, "the role Key Vault Reader");
}

fn desk_results(deployment: &Deployment) -> String {
    deployment.settings(UNUSED_KEY)["SIGNET_RESULTS"].clone()
}
