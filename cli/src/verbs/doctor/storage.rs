//! Containers: whether they are there, and whether what the handler does with them is allowed. Each is tried with a blob of its
//! own.

use azure_core::http::{RequestContent, Url};
use azure_storage_blob::{
    BlobContainerClient,
    models::{BlobClientUploadOptions, BlobContainerClientListBlobsOptions, BlobItem},
};
use futures::TryStreamExt;
use rand_core::{OsRng, RngCore as _};
use signet_azure::failure::Failure;
use signet_core::algorithm::hex;

use super::{
    identity::Principal,
    report::Report,
    rights::{Lack, Right},
};
use crate::remote::{Remote, patiently};

/// Where probes stand, for as long as they do.
const PROBES: &str = ".signet-doctor/";

const BLOB_READER: &str = "Storage Blob Data Reader";
const BLOB_CONTRIBUTOR: &str = "Storage Blob Data Contributor";

/// What is needed of a container, and is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The app reads sources; an operator need not.
    Source,
    /// The app writes results and records, and an operator reads them.
    Output {
        /// Whether a blob may be created to see whether that is allowed.
        probe: bool,
    },
}

/// Tries one container.
pub(super) async fn check_container(
    setting: &str,
    url: &Url,
    need: Need,
    principal: &Principal,
    remote: &Remote,
    report: &mut Report,
) {
    let container = url.path().trim_matches('/');
    let name = format!("{setting} {container}");
    let account = account(url);
    let scope = format!("{}/blobServices/default/containers/{container}", account_id(account));
    let read = match need {
        Need::Source => Right { app: BLOB_READER, operator: None, scope: &scope },
        Need::Output { .. } => Right { app: BLOB_CONTRIBUTOR, operator: Some(BLOB_READER), scope: &scope },
    };
    let create = format!("az storage container create --account-name {account} --auth-mode login -n {container}");
    let client = match remote.container(url.clone()) {
        Ok(client) => client,
        Err(why) => return report.unknown(name, why.to_string()),
    };
    match patiently(async || first_blob(&client).await).await {
        Ok(_) => report.ok(format!("{name} read"), "allowed"),
        Err(error) => {
            report.refused(format!("{name} read"), &error, &read.lack(principal), Some(&create));
            if Failure::from(&error).is(404) {
                return;
            }
        }
    }
    if need == (Need::Output { probe: true }) {
        let write = Right { app: BLOB_CONTRIBUTOR, operator: None, scope: &scope };
        check_write(&name, &client, &write.lack(principal), report).await;
    }
}

async fn first_blob(client: &BlobContainerClient) -> azure_core::Result<Option<BlobItem>> {
    let options =
        BlobContainerClientListBlobsOptions { maxresults: Some(1), ..BlobContainerClientListBlobsOptions::default() };
    client.list_blobs(Some(options))?.try_next().await
}

/// Creates a blob as results are created, and deletes it again, which the handler never does.
async fn check_write(name: &str, client: &BlobContainerClient, lack: &Lack, report: &mut Report) {
    let mut nonce = [0; 8];
    OsRng.fill_bytes(&mut nonce);
    let probe = format!("{PROBES}{}", hex(&nonce));
    let blob = client.blob_client(&probe);
    let created = patiently(async || {
        let options = BlobClientUploadOptions::default().if_not_exists();
        blob.upload(RequestContent::from(b"signet doctor\n".to_vec()), Some(options)).await
    });
    if let Err(error) = created.await {
        let failure = Failure::from(&error);
        let is_there = failure.is(409) || failure.is(412) || failure.code == "UnauthorizedBlobOverwrite";
        // Nobody else knows its name: what stands there is of a try whose answer was lost.
        if !is_there || patiently(async || blob.get_properties(None).await).await.is_err() {
            report.refused(format!("{name} create"), &error, lack, None);
            return;
        }
    }
    report.ok(format!("{name} create"), format!("allowed, tried with {probe}"));
    match patiently(async || blob.delete(None).await).await {
        Ok(_) => report.ok(format!("{name} delete"), "the probe is gone"),
        // What forbids that (a policy, or a role without it) protects results.
        Err(error) => {
            let detail = format!("not possible ({}), and not needed: {probe} stays", Failure::from(&error).message);
            report.ok(format!("{name} delete"), detail);
        }
    }
}

/// The account that a host name begins with.
pub(super) fn account(url: &Url) -> &str {
    url.host_str().unwrap_or_default().split('.').next().unwrap_or_default()
}

/// The command that finds the id of an account.
pub(super) fn account_id(account: &str) -> String {
    format!("$(az storage account show -n {account} --query id -o tsv)")
}
