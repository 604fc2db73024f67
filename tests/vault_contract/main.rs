//! What a client of Key Vault's keys API sees: one contract, kept by the local vault, by Lowkey Vault, and by the service.
//!
//! What the checks expect is what the service does: its REST reference (api-version 2025-07-01), "About keys", and the
//! answers of the service that Microsoft recorded for the tests of its SDKs
//! (`sdk/keyvault/azkeys/testdata/recordings` in the history of Azure/azure-sdk-for-go). Where Lowkey Vault is known to be
//! different, [`Difference`](difference::Difference) says in what, and the suite fails once it no longer is.

mod checks;
mod difference;
mod local;
mod lowkey;
mod service;
mod target;

/// The local vault, over TLS, as the handler meets it.
#[tokio::test(flavor = "multi_thread")]
async fn the_local_vault_keeps_the_contract() {
    checks::hold(local::start()).await;
}

/// Lowkey Vault is another's work from the same documents: a second opinion on what they say.
///
/// It is not on every machine: `SIGNET_LOWKEY_JAR` names its executable jar; see [`lowkey`].
#[tokio::test(flavor = "multi_thread")]
async fn lowkey_vault_keeps_the_contract_but_for_what_is_listed() {
    if let Some(target) = lowkey::start().await {
        checks::hold(target).await;
    }
}

/// The service itself, where the settings for it are there; see [`service`].
#[tokio::test(flavor = "multi_thread")]
async fn the_service_keeps_the_contract() {
    if let Some(target) = service::from_environment() {
        checks::hold(target).await;
    }
}
