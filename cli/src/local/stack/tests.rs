use azure_core::http::RequestContent;
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, models::KeyType};
use azure_storage_blob::models::BlobClientUploadOptions;
use azure_storage_queue::models::{QueueClientReceiveMessagesOptions, ReceivedMessage};

use super::*;
use crate::local::{
    tap::{Action, Fault},
    vault::KeySpec,
};

async fn deployment(name: &str) -> Deployment {
    let stack = Stack::start(&|_| ()).await.unwrap();
    Deployment::start(&stack, name).await.unwrap()
}

#[tokio::test]
async fn a_deployment_has_three_containers_and_settings_that_name_them() {
    let deployment = deployment("three").await;
    let settings = deployment.settings("https://unused.vault.localhost/keys/unused");
    for (setting, container, name) in [
        ("SIGNET_RESULTS", deployment.results().unwrap(), "three-signed"),
        ("SIGNET_REJECTED", deployment.rejected().unwrap(), "three-rejected"),
        ("SIGNET_SOURCES", deployment.uploads().unwrap(), "three-uploads"),
    ] {
        assert!(settings[setting].ends_with(&format!("/{name}")), "{}", settings[setting]);
        container.blob_client("a").upload(RequestContent::from(b"content".to_vec()), None).await.unwrap();
        let path = format!("/{name}/a");
        assert_eq!(deployment.taps.blob.count(|exchange| exchange.path == path && exchange.status == Some(201)), 1);
    }
}

#[tokio::test]
async fn an_upload_is_an_event_on_the_work_queue_that_no_tap_sees_arrive() {
    let deployment = deployment("events").await;
    deployment.subscribe(deployment.uploads_subscription());
    let taps = &deployment.taps;
    for (container, content) in [(deployment.results(), "no event"), (deployment.uploads(), "")] {
        let content = RequestContent::from(content.as_bytes().to_vec());
        container.unwrap().blob_client("a b").upload(content, None).await.unwrap();
    }
    deployment.events().settled().await;
    assert_eq!((taps.blob.exchanges().len(), taps.queue.exchanges().len()), (2, 0));
    assert!(taps.identity.exchanges().is_empty());

    let messages = received(&deployment).await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    let event = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, message).unwrap();
    let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["subject"], "/blobServices/default/containers/events-uploads/blobs/a b");
    let url = format!("{}/a%20b", deployment.storage.container_url("uploads"));
    assert_eq!((&event["data"]["url"], &event["data"]["contentLength"]), (&url.into(), &0.into()));
    let [delivery] = &deployment.events().deliveries()[..] else { panic!() };
    assert_eq!((&delivery.message, &delivery.event, &delivery.error), (message, &event, &None));
}

async fn received(deployment: &Deployment) -> Vec<String> {
    let options = QueueClientReceiveMessagesOptions { number_of_messages: Some(32), ..Default::default() };
    let queue = deployment.queue().unwrap();
    let messages = queue.receive_messages(Some(options)).await.unwrap().into_model().unwrap().items.unwrap_or_default();
    messages.into_iter().filter_map(|message: ReceivedMessage| message.message_text).collect()
}

#[tokio::test]
async fn what_is_written_is_in_the_ledger_whatever_the_client_is_told_and_the_taps_do() {
    let deployment = deployment("ledger").await;
    let content = || RequestContent::from(b"content".to_vec());
    deployment.taps.blob.fail(Fault::new(Action::ResetAfter).times(1));
    deployment.taps.blob.fail(Fault::status(503));
    let results = deployment.results().unwrap();
    for name in ["reset é", "refused"] {
        assert!(results.blob_client(name).upload(content(), None).await.is_err(), "{name}");
    }
    let past = deployment.past_taps();
    past.rejected().unwrap().blob_client("past").upload(content(), None).await.unwrap();
    let again = BlobClientUploadOptions::default().if_not_exists();
    assert!(past.rejected().unwrap().blob_client("past").upload(content(), Some(again)).await.is_err());
    let seen = deployment.ledger().since(0);
    let seen: Vec<_> = seen.iter().map(|write| (write.container.as_str(), write.blob.as_str())).collect();
    assert_eq!(seen, [("ledger-signed", "reset é"), ("ledger-rejected", "past")]);
    assert_eq!(deployment.ledger().since(1)[0].content.as_deref(), Some(&b"content"[..]));
    assert_eq!((deployment.ledger().len(), deployment.ledger().is_empty()), (2, false));
    assert_eq!(deployment.taps.blob.exchanges().len(), 2);
}

#[tokio::test]
async fn vaults_of_a_deployment_are_told_apart_by_their_hosts() {
    let deployment = deployment("vaults").await;
    let first = deployment.create_key("signing", KeySpec::P256).await.unwrap();
    let second = deployment.create_key_in("second", "signing", KeySpec::P384.hsm()).await.unwrap();
    assert_eq!((first, second), (deployment.key_url(VAULT, "signing"), deployment.key_url("second", "signing")));
    deployment.taps.vault.fail(Fault::status(403).host("second"));
    for (vault, status) in [(VAULT, 200), ("second", 403), ("third", 404)] {
        let outcome = key_type(&deployment, vault).await;
        assert_eq!(outcome, if status == 200 { Ok(Some(KeyType::Ec)) } else { Err(Some(status)) }, "{vault}");
        let host = format!("{vault}.vault.localhost");
        let answered =
            |exchange: &super::super::tap::Exchange| exchange.host == host && exchange.status == Some(status);
        assert_eq!(deployment.taps.vault.count(answered), 1, "{vault}");
    }
    deployment.taps.vault.heal();
    assert_eq!(key_type(&deployment, "second").await, Ok(Some(KeyType::EcHsm)));
}

/// The type of the key `signing`, or the status answered in its place.
async fn key_type(deployment: &Deployment, vault: &str) -> Result<Option<KeyType>, Option<u16>> {
    let options = KeyClientOptions {
        client_options: signet_azure::client_options(deployment.storage.transport()),
        ..KeyClientOptions::default()
    };
    let owner = storage::owner(&deployment.issuer);
    let client = KeyClient::new(&deployment.vault.url(vault), owner, Some(options)).unwrap();
    match client.get_key("signing", None).await {
        Ok(response) => Ok(response.into_model().unwrap().key.unwrap().kty),
        Err(error) => Err(error.http_status().map(u16::from)),
    }
}
