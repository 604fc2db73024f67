//! However large a source is, the handler's memory stays as small as it is. On Linux, which tells a process's peak.
#![cfg(target_os = "linux")]

use std::time::Instant;

use azure_core::{Bytes, http::RequestContent};
use azure_storage_blob::models::BlockLookupList;
use serde_json::json;
use signet::{remote::Document, verbs::verify};
use signet_core::{algorithm::Hash, format::Format};

use crate::{
    overload::peak_kib,
    world::{Setup, World},
};

const MIB: usize = 1024 * 1024;
const BLOCK: usize = 4 * MIB;
const BLOCKS: usize = 128;
/// What may come on top of the idle handler.
const LIMIT_KIB: u64 = 16 * 1024;

#[tokio::test]
async fn a_blob_of_512_mib_is_signed_in_constant_memory() {
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "240")).await;
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    // One block, listed over and over: the service reads it as often as it is listed.
    let block: Vec<u8> = (0..BLOCK).map(|at| u8::try_from(at % 251).expect("a byte")).collect();
    let client = world.deployment.uploads().expect("the container").blob_client("large").block_blob_client();
    client.stage_block(b"block", BLOCK as u64, Bytes::from(block.clone()).into(), None).await.expect("a block");
    let list = BlockLookupList { latest: Some(vec![b"block".to_vec(); BLOCKS]), ..BlockLookupList::default() };
    let list: RequestContent<_, _> = list.try_into().expect("XML");
    client.commit_block_list(list, None).await.expect("a blob");

    let idle = peak_kib(&world);
    world.clear_taps();
    let begun = Instant::now();
    let message = json!({ "id": "large", "source": { "url": world.upload_url("large") }, "format": Format::ALL.map(Format::name) });
    let reply = world.sign(&message.to_string()).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    let took = begun.elapsed();
    let peak = peak_kib(&world);
    let reads = world.deployment.taps.blob.count(|read| read.method == "GET" && read.path.contains("-uploads/"));
    println!("{} MiB in {BLOCKS} ranges: {idle} KiB idle, {peak} KiB at the peak, {took:?}", BLOCKS * BLOCK / MIB);
    assert_eq!(reads, BLOCKS, "one pass for all formats");
    assert!(peak - idle < LIMIT_KIB, "{idle} KiB idle, {peak} KiB at the peak");

    let mut sha256 = Hash::Sha256.hasher();
    (0..BLOCKS).for_each(|_| sha256.update(&block));
    let sha256 = signet_core::algorithm::hex(&sha256.finish());
    let result = world.result("large.dsse.json").await.expect("a result");
    assert_eq!(result.metadata["signet_sha256"], sha256);
    let document = Document { bytes: result.bytes, metadata: result.metadata };
    let verdict = verify::verdict(&document, None, &world.keys().await).expect("valid");
    assert_eq!(verdict.sha256, Some(sha256));
}
