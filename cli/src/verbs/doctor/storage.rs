//! Containers and queues: whether they are there, and whether what the handler and its host do with them is allowed.
//!
//! A container is tried with a blob of its own. A queue cannot be: whatever is put on it is for the handler. There, requests
//! are made that are wrong in themselves, which the service refuses with 403 to those who may not, and with 400 or 404 to
//! those who may, since it looks at the right to do a thing before it looks at the thing.

use azure_core::{
    Bytes,
    http::{RequestContent, Url},
};
use azure_storage_blob::{
    BlobContainerClient,
    models::{BlobClientUploadOptions, BlobContainerClientListBlobsOptions, BlobItem},
};
use azure_storage_queue::{
    QueueClient,
    models::{QueueClientGetPropertiesResultHeaders, QueueClientSendMessageOptions, QueueMessage},
};
use futures::TryStreamExt;
use rand_core::{OsRng, RngCore as _};
use signet_azure::failure::Failure;
use signet_core::algorithm::hex;

use super::{
    identity::Principal,
    report::{Report, State},
    rights::{Asker, Lack, Right},
};
use crate::{
    queue,
    remote::{Remote, patiently},
};

/// Where probes stand, for as long as they do.
const PROBES: &str = ".signet-doctor/";
/// A message that there is not.
const NO_MESSAGE: &str = "00000000-0000-0000-0000-000000000000";
const NO_RECEIPT: &str = "AgAAAAMAAAAAAAAAAAAAAAAAAAA=";

const BLOB_READER: &str = "Storage Blob Data Reader";
const BLOB_CONTRIBUTOR: &str = "Storage Blob Data Contributor";
const QUEUE_CONTRIBUTOR: &str = "Storage Queue Data Contributor";

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
        report.refused(format!("{name} create"), &error, lack, None);
        return;
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

/// Tries the work queue, and its poison queue.
pub(super) async fn check_queues(
    service: &Url,
    work: &str,
    principal: &Principal,
    remote: &Remote,
    report: &mut Report,
) {
    let account = account(service);
    for (name, is_work) in [(work.to_owned(), true), (format!("{work}-poison"), false)] {
        // On each queue alone: nothing else in the account is the app's business.
        let scope = format!("{}/queueServices/default/queues/{name}", account_id(account));
        let read = Right { app: QUEUE_CONTRIBUTOR, operator: Some("Storage Queue Data Reader"), scope: &scope };
        let create = format!("az storage queue create --account-name {account} --auth-mode login -n {name}");
        let client = match queue::client(remote, service.clone(), &name) {
            Ok(client) => client,
            Err(why) => return report.unknown(name, why.to_string()),
        };
        let lack = read.lack(principal);
        let grant = match &lack {
            Lack::Fault(role) if principal.asker == Some(Asker::App) => role.clone(),
            _ => format!("give the app's identity {QUEUE_CONTRIBUTOR} on it"),
        };
        check_presence(&name, is_work, &client, (&lack, &create, &grant), report).await;
        check_rights((&name, is_work), &client, read, principal, report).await;
    }
}

async fn check_presence(
    name: &str,
    is_work: bool,
    client: &QueueClient,
    (lack, create, grant): (&Lack, &str, &str),
    report: &mut Report,
) {
    let looked = patiently(async || client.get_properties(None).await?.approximate_messages_count()).await;
    match looked {
        Ok(count) => {
            let count = count.unwrap_or_default();
            if !is_work && count > 0 {
                let remedy = "the app takes them over as rejections; if they stay, see its log";
                report.warning(name, format!("there, with about {count} messages that the host gave up"), remedy);
            } else {
                report.ok(name, format!("there, with about {count} messages"));
            }
        }
        Err(error) if !is_work && Failure::from(&error).is(404) => {
            let remedy = format!("{create}; and then {grant}");
            let detail =
                "not there: the host creates it with the first message that it gives up, if its role is on the account";
            report.warning(name, detail, remedy);
        }
        Err(error) => {
            report.refused(name, &error, lack, Some(create));
        }
    }
}

/// What the host does: on the work queue it puts nothing, on the other what it gives up. Operators put items on the one, and
/// look at both.
async fn check_rights(
    (name, is_work): (&str, bool),
    client: &QueueClient,
    read: Right<'_>,
    principal: &Principal,
    report: &mut Report,
) {
    let peek = patiently(async || client.peek_messages(None).await.map(drop)).await;
    // It is never put on the queue: no message can be hidden for a negative time.
    let add = async || {
        let options = QueueClientSendMessageOptions {
            visibility_timeout: Some(-1),
            message_time_to_live: Some(1),
            ..QueueClientSendMessageOptions::default()
        };
        let body: RequestContent<QueueMessage, _> =
            Bytes::from_static(b"<QueueMessage><MessageText>signet doctor</MessageText></QueueMessage>").into();
        client.send_message(body, Some(options)).await.map(drop)
    };
    let is_added_to = !is_work || principal.asker == Some(Asker::Operator);
    let add = if is_added_to { Some(patiently(add).await) } else { None };
    let update = patiently(async || client.update_message(NO_MESSAGE, NO_RECEIPT, 1, None).await.map(drop)).await;
    let delete = patiently(async || client.delete_message(NO_MESSAGE, NO_RECEIPT, None).await.map(drop)).await;
    let apps_alone = Right { operator: None, ..read };
    let send = Right { operator: is_work.then_some("Storage Queue Data Message Sender"), ..read };
    let tried = [
        ("peek", Some(peek), read),
        ("add", add, send),
        ("update", Some(update), apps_alone),
        ("delete", Some(delete), apps_alone),
    ];
    for (what, tried, right) in tried.into_iter().filter_map(|(what, tried, right)| Some((what, tried?, right))) {
        let name = format!("{name} {what}");
        match tried.as_ref().map_err(Failure::from) {
            Ok(()) => report.ok(name, "allowed"),
            // Only who may delete a message is told that there is none; a bad number may be seen before the right is.
            Err(failure) if failure.is(400) => {
                report.ok(name, format!("not refused, in a request that is wrong on purpose: {}", failure.code));
            }
            Err(failure) if failure.is(404) => {
                report.ok(
                    name,
                    format!("allowed, by the answer to a request that is wrong on purpose: {}", failure.code),
                );
            }
            Err(_) => {
                if let Err(error) = &tried {
                    let _: State = report.refused(name, error, &right.lack(principal), None);
                }
            }
        }
    }
}

fn account(url: &Url) -> &str {
    url.host_str().unwrap_or_default().split('.').next().unwrap_or_default()
}

fn account_id(account: &str) -> String {
    format!("$(az storage account show -n {account} --query id -o tsv)")
}
