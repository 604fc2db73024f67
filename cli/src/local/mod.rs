//! The local stack: everything that Signet needs of Azure, on 127.0.0.1, real where it can be.
//!
//! - [`azurite`]: Blob and Queue Storage, Microsoft's own emulator
//! - [`vault`]: a Key Vault with real keys and signatures
//! - [`identity`]: the App Service endpoint that hands out tokens for a managed identity
//! - [`host`]: a stand-in for the Functions host, which reads this checkout's host.json and function.json
//! - [`puller`]: `handler pull`, which needs no host
//! - [`event_grid`]: the events of blobs that are written, on a queue
//! - [`app`]: the function app of this checkout, and the shipping binary in it
//! - [`shipping`], [`revision`]: how that binary is built, and from which commit
//! - [`npm`]: packages at fixed versions, fetched at first use
//! - [`listener`], [`proxy`], [`certificates`]: how the services are served, over TLS
//! - [`ports`]: where processes that are started will listen
//! - [`tap`]: every request to them counted, listed, or made to fail
//! - [`ledger`], [`receipts`]: what was written, and what became of messages, by the services' own word
//! - [`stack`]: all of it together

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that meets an error has failed"))]

pub mod app;
pub mod azurite;
pub mod certificates;
pub mod event_grid;
pub mod host;
pub mod identity;
pub mod ledger;
pub mod listener;
pub mod npm;
pub mod ports;
pub mod proxy;
pub mod puller;
pub mod receipts;
pub mod revision;
pub mod shipping;
pub mod stack;
pub mod tap;
pub mod vault;

#[cfg(test)]
mod test_client;
