//! How Signet reaches Azure.
//!
//! - [`roots`]: which certificate authorities are trusted
//! - [`transport`]: the one HTTPS client that every SDK client is given
//! - [`identity`]: one credential per audience, refreshed before it is needed
//! - [`failure`]: what an SDK error means to the caller: who is at fault, and whether trying again can help
//! - [`names`]: what settings name, and whether it is well-formed

// No input reaches a panic: what could is written otherwise, or proved not to, where it stands.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice))]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used))]

pub mod failure;
pub mod identity;
pub mod names;
mod provider;
pub mod roots;
pub mod transport;

use azure_core::http::{ClientOptions, RetryOptions, Transport};

/// Options for an SDK client: this transport, and no retries, since the caller retries within its own deadline.
#[must_use]
pub fn client_options(transport: &Transport) -> ClientOptions {
    ClientOptions { transport: Some(transport.clone()), retry: RetryOptions::none(), ..ClientOptions::default() }
}
