//! A vault of the service, where the environment names one.
//!
//! | variable | meaning |
//! |---|---|
//! | `SIGNET_CONTRACT_VAULT` | the vault, `https://myvault.vault.azure.net`; without it, nothing is checked |
//! | `SIGNET_CONTRACT_TOKEN` | a token for `https://vault.azure.net`; without it, `az account get-access-token` gives them |
//!
//! Whoever the token is for needs the roles "Key Vault Crypto Officer" and, for the keys to be purged after, "Key Vault
//! Purge Operator". All keys made are named `contract-…`, and deleted in the end.

use std::env;

use signet_azure::roots::Roots;

use crate::target::{Target, Tokens, not_checked};

pub(crate) fn from_environment() -> Option<Target> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(url) = set("SIGNET_CONTRACT_VAULT") else {
        not_checked("the service itself. Set SIGNET_CONTRACT_VAULT, and SIGNET_CONTRACT_TOKEN or `az login`.");
        return None;
    };
    let tokens = set("SIGNET_CONTRACT_TOKEN").map_or(Tokens::AzureCli("https://vault.azure.net"), Tokens::Fixed);
    Some(Target::new("the service", url.trim_end_matches('/').to_owned(), tokens, &Roots::built_in(), ()))
}
