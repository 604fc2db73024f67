//! Queues: whether they are there, and whether what is done with them is allowed to who asks.
//!
//! A queue cannot be tried with a message of its own: whatever is put on it is for the handler. So requests are made that are
//! wrong in themselves, which the service refuses with 403 to those who may not, and with 400 or 404 to those who may, since
//! it looks at the right to do a thing before it looks at the thing.

use azure_core::{
    Bytes,
    http::{RequestContent, Url},
};
use azure_storage_queue::{
    QueueClient,
    models::{
        QueueClientGetPropertiesResultHeaders, QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions,
        QueueMessage,
    },
};
use signet_azure::failure::Failure;

use super::{
    identity::Principal,
    report::{Report, State},
    rights::{Asker, Lack, Right, defined_role},
    storage::{account, account_id},
};
use crate::{
    queue,
    remote::{Remote, patiently},
};

/// A message that there is not.
const NO_MESSAGE: &str = "00000000-0000-0000-0000-000000000000";
const NO_RECEIPT: &str = "AgAAAAMAAAAAAAAAAAAAAAAAAAA=";

const QUEUE_CONTRIBUTOR: &str = "Storage Queue Data Contributor";
const QUEUE_READER: &str = "Storage Queue Data Reader";
const QUEUE_SENDER: &str = "Storage Queue Data Message Sender";

/// What came of a request.
type Tried = azure_core::Result<()>;

/// Tries the work queue, and its poison queue, by what the Functions host does.
pub(super) async fn check_hosts(
    service: &Url,
    work: &str,
    principal: &Principal,
    remote: &Remote,
    report: &mut Report,
) {
    let account = account(service);
    for (name, is_work) in [(work.to_owned(), true), (format!("{work}-poison"), false)] {
        // On each queue alone: nothing else in the account is the app's business.
        let scope = queue_id(account, &name);
        let read = Right { app: QUEUE_CONTRIBUTOR, operator: Some(QUEUE_READER), scope: &scope };
        let create = create(account, &name);
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
    let is_added_to = !is_work || principal.asker == Some(Asker::Operator);
    let apps_alone = Right { operator: None, ..read }.lack(principal);
    let send = Right { operator: is_work.then_some(QUEUE_SENDER), ..read }.lack(principal);
    judge(format!("{name} peek"), &peek(client).await, &read.lack(principal), None, report);
    if is_added_to {
        judge(format!("{name} add"), &add(client).await, &send, None, report);
    }
    judge(format!("{name} update"), &update(client).await, &apps_alone, None, report);
    judge(format!("{name} delete"), &delete(client).await, &apps_alone, None, report);
}

/// Tries the work queue by what `handler pull` does: it receives, updates and deletes, and may do nothing else. Operators put
/// items on it and look at it.
pub(super) async fn check_pulled(
    service: &Url,
    name: &str,
    principal: &Principal,
    remote: &Remote,
    report: &mut Report,
) {
    let account = account(service);
    let scope = queue_id(account, name);
    let create = create(account, name);
    let client = match queue::client(remote, service.clone(), name) {
        Ok(client) => client,
        Err(why) => return report.unknown(name, why.to_string()),
    };
    let puller = defined_role("Signet puller", &format!("az storage account show -n {account}"));
    let pulls = Right { app: &puller, operator: None, scope: &scope };
    if principal.asker == Some(Asker::Operator) {
        let look = Right { operator: Some(QUEUE_READER), ..pulls }.lack(principal);
        let send = Right { operator: Some(QUEUE_SENDER), ..pulls }.lack(principal);
        check_presence(name, true, &client, (&look, &create, ""), report).await;
        judge(format!("{name} peek"), &peek(&client).await, &look, Some(&create), report);
        judge(format!("{name} add"), &add(&client).await, &send, Some(&create), report);
    } else {
        report
            .ok(name, "its count, peek and add are not tried: the app needs none of them, and its role gives no count");
    }
    let lack = pulls.lack(principal);
    for (what, tried) in
        [("receive", receive(&client).await), ("update", update(&client).await), ("delete", delete(&client).await)]
    {
        judge(format!("{name} {what}"), &tried, &lack, Some(&create), report);
    }
}

/// Reports what an answer says of a right. Where `create` is given, a queue that is not there is a failure.
fn judge(name: String, tried: &Tried, lack: &Lack, create: Option<&str>, report: &mut Report) {
    let Err(error) = tried else { return report.ok(name, "allowed") };
    let failure = Failure::from(error);
    let is_there = create.is_none() || failure.code != "QueueNotFound";
    // Only who may delete a message is told that there is none; a bad number may be seen before the right is.
    if failure.is(400) {
        report.ok(name, format!("not refused, in a request that is wrong on purpose: {}", failure.code));
    } else if failure.is(404) && is_there {
        report.ok(name, format!("allowed, by the answer to a request that is wrong on purpose: {}", failure.code));
    } else {
        let _: State = report.refused(name, error, lack, create);
    }
}

async fn peek(client: &QueueClient) -> Tried {
    patiently(async || client.peek_messages(None).await.map(drop)).await
}

/// It is never put on the queue: no message can be hidden for a negative time.
async fn add(client: &QueueClient) -> Tried {
    patiently(async || {
        let options = QueueClientSendMessageOptions {
            visibility_timeout: Some(-1),
            message_time_to_live: Some(1),
            ..QueueClientSendMessageOptions::default()
        };
        let body: RequestContent<QueueMessage, _> =
            Bytes::from_static(b"<QueueMessage><MessageText>signet doctor</MessageText></QueueMessage>").into();
        client.send_message(body, Some(options)).await.map(drop)
    })
    .await
}

/// Takes no message: it asks for none, to be hidden for a negative time. The service takes neither: 1 to 32 messages, for a second at
/// the least (<https://learn.microsoft.com/rest/api/storageservices/get-messages>).
async fn receive(client: &QueueClient) -> Tried {
    patiently(async || {
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(0),
            visibility_timeout: Some(-1),
            ..QueueClientReceiveMessagesOptions::default()
        };
        client.receive_messages(Some(options)).await.map(drop)
    })
    .await
}

async fn update(client: &QueueClient) -> Tried {
    patiently(async || client.update_message(NO_MESSAGE, NO_RECEIPT, 1, None).await.map(drop)).await
}

async fn delete(client: &QueueClient) -> Tried {
    patiently(async || client.delete_message(NO_MESSAGE, NO_RECEIPT, None).await.map(drop)).await
}

fn queue_id(account: &str, queue: &str) -> String {
    format!("{}/queueServices/default/queues/{queue}", account_id(account))
}

fn create(account: &str, queue: &str) -> String {
    format!("az storage queue create --account-name {account} --auth-mode login -n {queue}")
}
